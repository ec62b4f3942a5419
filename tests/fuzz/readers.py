"""The eleven readers of what comes from elsewhere; here those of games and of what a device answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random

from bundle_readers import Archives, Manifests, Tokenizers, Wheels
from episode_readers import Episodes, WriterAnswers
from memory_readers import Overlays, Packs, Skills
from mutate import as_json, change_bytes, change_json, change_text
from reader import Reader

from duomem.core.process import Done
from duomem.deploy.deploy import status
from duomem.deploy.transport import Transport
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import load_game
from duomem.train.teachers.expert import Expert

_STEPS = 12


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


READERS: tuple[type[Reader], ...] = (
    Packs,
    Skills,
    Overlays,
    Games,
    Archives,
    Wheels,
    Tokenizers,
    Manifests,
    Devices,
    Episodes,
    WriterAnswers,
)
