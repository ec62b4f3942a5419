"""What is run here and on the emulator alike: player.py BUNDLE GAME STEPS OUT.

Runs every library of BUNDLE that the CPU can run; the logits of a fixed text and the actions of one game, as JSON.
Device code only: no torch, no compiler.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from duomem.core.cpu import cpu_features
from duomem.device.agent.agent import Agent
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.alfworld.game import load_game
from duomem.device.engine.bundle import read_bundle
from duomem.device.engine.tvm_engine import TvmEngine

TEXT = "You are in the middle of a room."


def play(bundle_dir: Path, game: Path, steps: int) -> dict[str, Any]:
    """{"chosen": file, "libraries": {file: {"logits", "actions", "won", "seconds", "tokens"}}}"""
    bundle = read_bundle(bundle_dir)
    tokenizer = PromptTokenizer(bundle.tokenizer_file)
    tokens = tokenizer.encode(TEXT)
    found = {}
    for library in bundle.runnable(cpu_features()):
        engine = TvmEngine.open(bundle, library=library.file, max_sessions=3)
        session = engine.session()
        logits = [session.prefill(tokens[:-4]), *(session.decode(token) for token in tokens[-4:])]
        session.close()
        begin = time.perf_counter()
        agent = Agent(engine, tokenizer, "student", "constrained", max_steps=steps)
        episode = agent.play(load_game(game), "train")
        found[library.file] = {
            "logits": [row.tolist() for row in logits],
            "actions": [step.action for step in episode.trajectory.steps],
            "won": episode.trajectory.won,
            "seconds": time.perf_counter() - begin,
            "tokens": episode.prefilled + episode.decoded,
        }
    return {"chosen": bundle.library_for(cpu_features()).file, "libraries": found}


if __name__ == "__main__":
    Path(sys.argv[4]).write_text(json.dumps(play(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
