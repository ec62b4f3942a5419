"""The seven readers of what comes from elsewhere, each with a sound sample and ways to damage it."""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from bundles import write_bundle
from mutate import as_json, change_bytes, change_json, change_text

from duomem.core.files import sha256_bytes
from duomem.core.process import Done
from duomem.deploy.archive import unpack_archive, write_archive
from duomem.deploy.deploy import status
from duomem.deploy.repack import write_wheel
from duomem.deploy.transport import Transport
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import load_game
from duomem.device.engine.bundle import read_bundle
from duomem.device.install import unpack_wheel
from duomem.memory_packs.pack import read_pack
from duomem.train.teachers.expert import Expert

_SHIPPED = Path(__file__).parents[2] / "shipped" / "packs" / "alfworld-expert.dmpack"
_STEPS = 12
_SIZES = [0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 20]

Damage = Callable[[Random], bytes]


class Reader:
    """name: of the reader. sample: sound bytes it takes. damage(random): other bytes. read(file): take the bytes in
    `file` as the program would; anything but a UserError that leaves it is a finding.
    """

    name: str
    sample: bytes

    def __init__(self, folder: Path) -> None:
        """folder: empty, for what the reader needs on disk."""
        self.folder = folder
        self.prepare()

    def prepare(self) -> None:
        """Make the sample."""

    def damage(self, random: Random) -> bytes:
        return change_bytes(self.sample, random)

    def read(self, file: Path) -> None:
        raise NotImplementedError


class Packs(Reader):
    """Half of the damage is inside the members, under digests that fit."""

    name = "packs"

    def prepare(self) -> None:
        with zipfile.ZipFile(_SHIPPED) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        rows = members["memories.jsonl"].split(b"\n")[:20]
        self.members = {**members, "memories.jsonl": b"\n".join(rows) + b"\n"}
        self.sample = _pack(self.members)

    def damage(self, random: Random) -> bytes:
        if random.random() < 0.5:
            return change_bytes(self.sample, random)
        name = random.choice(list(self.members))
        lines = self.members[name].split(b"\n") if name.endswith("l") else [self.members[name]]
        at = random.randrange(max(1, len(lines) - 1))
        if random.random() < 0.5:
            lines[at] = as_json(change_json(json.loads(lines[at]), random))
        else:
            lines[at] = change_bytes(lines[at], random)
        return _pack({**self.members, name: b"\n".join(lines)})

    def read(self, file: Path) -> None:
        read_pack(file).search("put a clean mug in the desk")


def _pack(members: dict[str, bytes]) -> bytes:
    """A pack whose manifest, if it is one still, tells the digests of the other members."""
    try:
        manifest = json.loads(members["manifest.json"])
        for value in manifest.values():
            if isinstance(value, dict) and value.get("file") in members:
                data = members[value["file"]]
                fits = {"sha256": sha256_bytes(data), "bytes": len(data), "count": data.count(b"\n")}
                value.update({name: fits[name] for name in fits if name in value})
        members = {**members, "manifest.json": as_json(manifest)}
    except (ValueError, AttributeError, TypeError, RecursionError):
        pass
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


class Games(Reader):
    """What is read is played: the stored solution's place by the expert, a few steps."""

    name = "games"

    def prepare(self) -> None:
        from duomem.train.games.generate import Generator

        self.sample = Generator(7).make("train", 0).data
        self.fields = json.loads(self.sample)

    def damage(self, random: Random) -> bytes:
        how = random.random()
        problem, grammar = self.fields["pddl_problem"], self.fields["grammar"]
        if how < 0.2:
            return change_bytes(self.sample, random)
        if how < 0.4:
            return as_json(change_json(self.fields, random))
        if how < 0.5:
            mark = random.choice(["Your task is to: ", "Available commands:"])
            hidden = random.choice(["\x1b[2J", "\x9b2J", "\u202e", "\u200b", "\ud800", "a" * 600, "{}", "\t"])
            return as_json({**self.fields, "grammar": grammar.replace(mark, f"{mark}{hidden} ", 1)})
        if how < 0.6:  # a thing is called something else everywhere
            old = random.choice(re.findall(r"[A-Za-z]+_bar_\S+(?= - )|(?<=\(receptacleType )\S+", problem))
            new = random.choice(["desk", "_bar_1", "a_bar_", "x" * 199, "1_bar_1", "on_bar_in", f"{old}_", "agent1"])
            return as_json({**self.fields, "pddl_problem": problem.replace(old, new)})
        field = random.choice(["grammar", *["pddl_problem"] * 5])
        return as_json({**self.fields, field: change_text(self.fields[field], random)})

    def read(self, file: Path) -> None:
        env = AlfworldEnv()
        seen = env.reset(load_game(file))
        _shown(seen.text, env.step("help").text)
        expert = Expert(seen.text, {})
        for _ in range(_STEPS):
            command = expert.act(seen)
            seen = env.step(command)
            expert.observe(command, seen)
            _shown(command, seen.text)


def _shown(*texts: str) -> None:
    """`play --watch` prints them."""
    assert all(line.isprintable() for text in texts for line in text.split("\n")), "steers the terminal"


class Archives(Reader):
    """Damage of the packed bytes, of the tar inside, and of its headers under sums that fit."""

    name = "archives"

    def prepare(self) -> None:
        write_bundle(self.folder / "bundle")
        write_archive(read_bundle(self.folder / "bundle"), self.folder / "bundle.tar.gz")
        self.sample = (self.folder / "bundle.tar.gz").read_bytes()
        self.tar = gzip.decompress(self.sample)

    def damage(self, random: Random) -> bytes:
        how = random.random()
        if how < 0.2:
            return change_bytes(self.sample, random)
        tar = change_bytes(self.tar, random) if how < 0.5 else self._other_header(random)
        return gzip.compress(tar, 1)

    def _other_header(self, random: Random) -> bytes:
        tar = bytearray(self.tar)
        starts = [at for at in range(0, len(tar), 512) if tar[at + 257 : at + 262] == b"ustar"]
        at = random.choice(starts)
        header = tar[at : at + 512]
        how = random.randrange(4)
        if how == 0:
            header[156] = random.choice(b"0123456789xgLKSMNVX\0A")
        elif how == 1:
            header[124:136] = random.choice(
                [b"77777777777\0", b"\x80" + b"\0" * 3 + b"\x7f" * 8, b"-1         \0", b" " * 12]
            )
        elif how == 2:
            name = random.choice([b"../../x", b"/x", b"a" * 100, b"bundle/\x1b[2J", b"bundle/lib/\xff", b""])
            header[:100] = name.ljust(100, b"\0")
        else:
            header[random.randrange(512)] ^= 1 << random.randrange(8)
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        more = bytes(header) if random.random() < 0.3 else b""
        tar[at : at + 512] = more * random.choice([1, 1, 3000]) + bytes(header)
        return bytes(tar)

    def read(self, file: Path) -> None:
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        unpack_archive(file, out)


class Wheels(Reader):
    """Damage of the bytes, entries of other kinds, and sizes that lie."""

    name = "wheels"

    def prepare(self) -> None:
        files = {"tool/__init__.py": b"x = 1\n" * 50, "tool-1.dist-info/WHEEL": b"Wheel-Version: 1.0\n"}
        self.files = {**files, "tool-1.data/purelib/more.py": b"", "tool-1.dist-info/METADATA": b"Name: tool\n"}
        write_wheel(self.folder / "tool-1-py3-none-any.whl", self.files)
        self.sample = (self.folder / "tool-1-py3-none-any.whl").read_bytes()

    def damage(self, random: Random) -> bytes:
        if random.random() < 0.4:
            return change_bytes(self.sample, random)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in self.files.items():
                if random.random() < 0.3:
                    name = random.choice(["../x", "/x", "a\\b", "C:x", "\x1b[2J", "a" * 300, ".", "tool", "tool/", "é"])
                entry = zipfile.ZipInfo(name)
                entry.external_attr = random.choice([0, stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO]) << 16
                entry.compress_type = random.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
                archive.writestr(entry, random.choice([data, data, bytes(3 << 20)]))
        wheel = bytearray(buffer.getvalue())
        if random.random() < 0.5:
            at = wheel.find(b"PK\1\2") + random.choice([10, 16, 20, 24, 42])
            wheel[at : at + 4] = struct.pack("<L", random.choice(_SIZES))
        return bytes(wheel)

    def read(self, file: Path) -> None:
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        unpack_wheel(file, out)


class Tokenizers(Reader):
    name = "tokenizers"

    def prepare(self) -> None:
        from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer = Tokenizer(
            models.BPE({c: i for i, c in enumerate([*alphabet, "mu", "mug"])}, [("m", "u"), ("mu", "g")])
        )
        tokenizer.normalizer = normalizers.NFC()
        digits = pre_tokenizers.Digits(individual_digits=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens(["<bos>", "<|im_end|>"])
        tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 258)])
        self.fields = json.loads(tokenizer.to_str())
        self.sample = as_json(self.fields)

    def damage(self, random: Random) -> bytes:
        how = random.random()
        if how < 0.3:
            return change_bytes(self.sample, random)
        if how < 0.5:
            return as_json(change_json(self.fields, random))
        part = random.choice([name for name, value in self.fields.items() if value])
        if part == "model" and random.random() < 0.7:
            rest = {name: value for name, value in self.fields[part].items() if name != "vocab"}
            changed = {**change_json(rest, random), "vocab": self.fields[part]["vocab"]}
        else:
            changed = change_json(self.fields[part], random)
        return as_json({**self.fields, part: changed})

    def read(self, file: Path) -> None:
        tokenizer = PromptTokenizer(file, 300)
        for text in ("put a mug in desk 1.\n", "a" * 20_000, "e\u0301<|im_end|>\x00\ufffd" * 100):
            ids = tokenizer.encode(text)
            tokenizer.decode(ids)
            assert max(ids, default=0) < 300 and len(ids) <= 4 * len(text.encode()), (
                "ids beyond the vocabulary, or too many"
            )


class Manifests(Reader):
    name = "manifests"

    def prepare(self) -> None:
        write_bundle(self.folder / "bundle")
        self.sample = (self.folder / "bundle" / "bundle.json").read_bytes()
        self.fields = json.loads(self.sample)

    def damage(self, random: Random) -> bytes:
        if random.random() < 0.3:
            return change_bytes(self.sample, random)
        return as_json(change_json(self.fields, random))

    def read(self, file: Path) -> None:
        (self.folder / "bundle" / "bundle.json").write_bytes(file.read_bytes())
        bundle = read_bundle(self.folder / "bundle")
        bundle.library_for(frozenset({"avx2"}), bundle.devices[0])


class Devices(Reader):
    """What a device says to `deploy status`."""

    name = "devices"

    def prepare(self) -> None:
        digest, version = "a" * 64, "b" * 20
        self.sample = (
            f"root /home/me/duomem\ncurrent versions/{version}\nversion {version}\nprevious {version} {'c' * 20}\n"
            f"file {version} {digest} model/tokenizer.json\nrecord {version}\npart {digest} 100\n"
            "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/root 1000 10 990 1% /\n"
        ).encode()

    def damage(self, random: Random) -> bytes:
        if random.random() < 0.4:
            return change_bytes(self.sample, random)
        lines = self.sample.decode().split("\n")
        at = random.randrange(len(lines))
        lines[at] = change_text(lines[at], random)
        return "\n".join(lines).encode("utf-8", "replace")

    def read(self, file: Path) -> None:
        status(_Liar(file.read_bytes().decode("utf-8", "replace")), "d")


class _Liar(Transport):
    """Answers the same to every script, and ends it well."""

    name = "liar"

    def __init__(self, answer: str) -> None:
        self._answer = answer

    def _shell(self, script: bytes, timeout: float) -> Done:
        (mark,) = re.findall(rb'echo "(duomem-[0-9a-f]+) ', script)
        return Done(0, f"{self._answer}\n{mark.decode()} 0\n", "")

    def _explain(self, complaint: str) -> str:
        return f"the liar went away: {complaint}"

    def append(self, source: Path, offset: int, size: int, path: str) -> None:
        raise AssertionError("status copies nothing")

    def fetch(self, path: str, target: Path) -> None:
        raise AssertionError("status copies nothing")


READERS: tuple[type[Reader], ...] = (Packs, Games, Archives, Wheels, Tokenizers, Manifests, Devices)


def state(reader: Reader, seed: int) -> Any:
    """The random state of a reader's input of this number."""
    return Random(f"{reader.name}/{seed}")
