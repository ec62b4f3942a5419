"""The readers of what a student comes in: archives, wheels, tokenizers, manifests."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import stat
import struct
import zipfile
from pathlib import Path
from random import Random

from bundles import write_bundle
from mutate import as_json, change_bytes, change_json
from reader import Reader

from duomem.deploy.archive import unpack_archive, write_archive
from duomem.deploy.repack import write_wheel
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.engine.bundle import read_bundle
from duomem.device.install import unpack_wheel

_SIZES = [0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 20]


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
