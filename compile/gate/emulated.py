"""Checking libraries for another CPU family than this machine's: `python -m duomem.compile.gate.emulated JOB.json`.

Where $DUOMEM_AARCH64_PYTHON names a Python on an emulator (scripts/aarch64_env.sh makes one), each library runs
there on a short text, and its logits are compared with those of a library for this machine.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from duomem.compile.gate.engine import mean_kl
from duomem.core.errors import GateError
from duomem.core.files import write_json
from duomem.core.process import run_step
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.engine.bundle import Bundle, Library
from duomem.device.engine.schemes import EXACT
from duomem.device.engine.tvm_engine import TvmEngine

PYTHON = "DUOMEM_AARCH64_PYTHON"
_TEXT = "You are in the middle of a room. Looking quickly around you, you see a cabinet 2, a cabinet 1, a fridge 1."
_TOKENS, _DECODED = 24, 8
_TIME_LIMIT = 1800.0


def check_emulated(bundle: Bundle, proxy: Bundle, bound: float, int8_bound: float) -> dict[str, float]:
    """How far each library of `bundle` is from the one of `proxy` with the same activations; none where nothing
    emulates it.

    Of exact libraries that is the largest difference of a logit, of those that round their inputs the mean KL
    divergence in nats. Both bundles hold the same weights. Raises GateError if a library is as far as its bound or
    farther, or does not run. bound, int8_bound: for these two.
    """
    python = os.environ.get(PYTHON)
    if python is None or bundle.arch != "aarch64" or not _emulable(bundle):
        return {}
    tokens = PromptTokenizer(bundle.tokenizer_file, bundle.vocab_size).encode(_TEXT)[:_TOKENS]
    with tempfile.TemporaryDirectory(prefix="duomem-emulated-") as folder:
        here = zip(_emulable(proxy), _logits(proxy, tokens, sys.executable, Path(folder) / "here"), strict=True)
        expected = {library.activations: logits for library, logits in here}
        measured = _logits(bundle, tokens, python, Path(folder) / "there")
    found = {}
    for library, logits in zip(_emulable(bundle), measured, strict=True):
        exact = library.activations == EXACT
        reference = expected[library.activations]
        far = float(np.abs(logits - reference).max()) if exact else mean_kl(logits, reference)
        if not far < (bound if exact else int8_bound):
            raise GateError(
                f"{library.file}: its logits on an emulator differ from this machine's by {far:.2e}, "
                f"the bound is {bound if exact else int8_bound:g}: no bundle was written, report this with the model's "
                "config.json"
            )
        found[library.file] = far
    return found


def _logits(bundle: Bundle, tokens: list[int], python: str, folder: Path) -> np.ndarray:
    """float32 [libraries, decoded tokens + 1, vocab] of the bundle's libraries, run by the command `python`."""
    folder.mkdir()
    job = {"bundle": str(bundle.folder.resolve()), "manifest": bundle.manifest, "tokens": tokens}
    write_json(folder / "job.json", job)
    run_step(
        [python, "-m", "duomem.compile.gate.emulated", str(folder / "job.json")],
        _TIME_LIMIT,
        f"a library for {bundle.arch}, run by {python},",
        "libraries, emulated",
        GateError,
    )
    return np.load(folder / "logits.npy")


def _emulable(bundle: Bundle) -> list[Library]:
    """Those an emulated AArch64 Linux can load: no GPU's, and no Mac's."""
    return [library for library in bundle.libraries if library.device == "cpu" and library.file.endswith(".so")]


def main(path: Path) -> None:
    """Run every library of the bundle in the job at `path` and write logits.npy beside it."""
    job: dict[str, Any] = json.loads(path.read_text())
    bundle, tokens = Bundle(Path(job["bundle"]), job["manifest"]), job["tokens"]
    results = []
    for library in _emulable(bundle):
        session = TvmEngine.open(bundle, "cpu", context_length=64, max_sessions=1, library=library.file).session()
        logits = [session.prefill(tokens[:-_DECODED])]
        results.append(np.stack([*logits, *(session.decode(token) for token in tokens[-_DECODED:])]))
    np.save(path.with_name("logits.npy"), np.stack(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
