"""Success of a compiled student in train games that its training held out, a figure of bundle.json.

`python -m duomem.compile.gate.success JOB.json` plays them in a process of its own.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duomem.compile.gate.job import run_job
from duomem.core.errors import CompileError, GateError
from duomem.core.files import read_json, sha256_input, write_json
from duomem.core.process import run_step
from duomem.core.reading import digest_of
from duomem.device.agent.held_out import play_held_out
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.engine.bundle import Bundle, Library
from duomem.device.engine.tvm_engine import TvmEngine

MOST_GAMES = 32
TIME_LIMIT = 1800.0
"""Seconds for all of them."""
_PLAYER = (sys.executable, "-m", "duomem.compile.gate.success")


@dataclass(frozen=True)
class HeldOutGames:
    """What is played, with the goals in the games' own words.

    games: train games, at most MOST_GAMES, none of which the student was trained on. pack: memories to play with, None
    for none; those of the games' floor plans are left out.
    """

    games: tuple[Path, ...]
    pack: Path | None

    def record(self) -> dict[str, Any]:
        """What identifies it, by content. Raises UserError for a missing file, CompileError for no game or
        too many.
        """
        if not 0 < len(self.games) <= MOST_GAMES:
            raise CompileError(f"{len(self.games)} held-out games: give 1 to {MOST_GAMES}")
        return {
            "games": len(self.games),
            "digest": digest_of([sha256_input(game, "game") for game in self.games]),
            "pack": sha256_input(self.pack, "memory pack") if self.pack else None,
        }


def measure_success(bundle: Bundle, library: Library, held_out: HeldOutGames) -> dict[str, Any]:
    """Play the games once by each protocol with one of the bundle's libraries; the figures for bundle.json: "library",
    what HeldOutGames.record says, and the games won by protocol. Raises GateError if the process fails.
    """
    with tempfile.TemporaryDirectory(prefix="duomem-success-") as name:
        job = Path(name) / "success.json"
        games = [str(game.resolve()) for game in held_out.games]
        ours = {"bundle": str(bundle.folder.resolve()), "manifest": bundle.manifest, "library": library.file}
        pack = str(held_out.pack.resolve()) if held_out.pack else None
        write_json(job, {**ours, "device": library.device, "games": games, "pack": pack})
        what = "playing the held-out games"
        run_step([*_PLAYER, str(job)], TIME_LIMIT, what, "held-out games", GateError)
        won = read_json(job.with_suffix(".result.json"), "result of the held-out games")
    return {"library": library.file, **held_out.record(), "won": won}


def play(job: dict[str, Any], folder: Path) -> dict[str, int]:
    """Games won by each protocol."""
    bundle = Bundle(Path(job["bundle"]), job["manifest"])
    engine = TvmEngine.open(bundle, job["device"], library=job["library"])
    tokenizer = PromptTokenizer(bundle.tokenizer_file, engine.vocab_size)
    return play_held_out(engine, tokenizer, [*map(Path, job["games"])], Path(job["pack"]) if job["pack"] else None)


if __name__ == "__main__":
    run_job(play)
