"""SmolLM2-135M with the shipped LoRA adapter, in 4 bits, on whatever GPU is there: the CPU's logits and actions.

Without the parity gate, which `duomem compile --target vulkan` runs on the same two libraries and transformers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.device.engine.bundle import Bundle
from duomem.device.engine.manifest import list_files
from duomem.device.engine.tvm_engine import TvmEngine, TvmSession

pytest.importorskip("peft", reason="the adapter is merged here")
pytestmark = pytest.mark.vulkan
SHIPPED = Path(__file__).parents[2] / "shipped" / "students" / "smollm2-135m"
TOKENS = np.random.default_rng(0).integers(0, 49152, 60).tolist()
CONTEXT, BOUND = 2048, 1e-3


@pytest.fixture(scope="module")
def student(gpu_facts: dict[str, Any], smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with the libraries for this CPU and for Vulkan."""
    from duomem.compile.bundle import packed_tensors
    from duomem.compile.library.build import building
    from duomem.compile.library.target import load_target
    from duomem.compile.weights.checkpoint import Checkpoint
    from duomem.compile.weights.mlc_layout import write_chat_config, write_weights
    from duomem.train.merge import merge

    checkpoint = Checkpoint(merge(smollm2, SHIPPED, tmp_path_factory.mktemp("merged") / "student"))
    folder = tmp_path_factory.mktemp("smollm2")
    (folder / "lib").mkdir()
    (folder / "model").mkdir()
    host = load_target("host")
    both = dataclasses.replace(host, variants=(*host.variants, *load_target("vulkan").variants))
    with building(checkpoint, "q4f32_1", both, 512, "exact", folder) as finish:
        write_weights(packed_tensors(checkpoint, "q4f32_1", None), folder / "model")
        write_chat_config(checkpoint, "q4f32_1", CONTEXT, 512, folder / "model")
        libraries = finish()
    config = checkpoint.config
    return Bundle(
        folder,
        {
            "model": {"config": config.to_json(), "vocab_size": config.vocab_size, "eos_token_ids": []},
            "quantization": "q4f32_1",
            "context": {
                "length": CONTEXT,
                "prefill_chunk": 512,
                "page_size": 16,
                "kv_bytes_per_token": config.kv_values_per_token * max(entry["kv_bytes"] for entry in libraries),
            },
            "target": {"name": both.name, "arch": both.arch, "libraries": libraries},
            "files": list_files(folder),
            "gate": {},
        },
    )


@pytest.fixture(scope="module")
def engines(student: Bundle) -> dict[str, TvmEngine]:
    return {name: TvmEngine.open(student, name, max_sessions=3) for name in ("cpu", "vulkan")}


@pytest.fixture
def games(request: pytest.FixtureRequest) -> list[Path]:
    """Official valid_seen games, or where there are none generated ones."""
    try:
        return request.getfixturevalue("real_games")[::12]
    except pytest.skip.Exception:
        return find_games(request.getfixturevalue("generated_games"), "valid_seen")


@pytest.fixture
def pair(engines: dict[str, TvmEngine]) -> Iterator[list[TvmSession]]:
    """An empty session on each."""
    sessions = [engine.session() for engine in engines.values()]
    yield sessions
    for session in sessions:
        session.close()


def distance(logits: list[np.ndarray]) -> float:
    """Largest difference between the two engines' logits."""
    return float(np.abs(logits[0] - logits[1]).max())


def test_every_way_of_feeding_gives_the_cpus_logits(pair: list[TvmSession]) -> None:
    assert distance([s.prefill_all(TOKENS[:33]) for s in pair]) < BOUND
    assert distance([s.prefill(TOKENS[33:41]) for s in pair]) < BOUND
    for token in TOKENS[41:47]:
        assert distance([s.decode(token) for s in pair]) < BOUND
    children = [s.fork() for s in pair]
    assert distance([s.decode(TOKENS[47]) for s in children]) < BOUND
    for session in children:
        session.rollback(10)
    assert distance([s.prefill(TOKENS[38:52]) for s in children]) < BOUND
    for session in children:
        session.close()
    assert distance([s.decode(TOKENS[47]) for s in pair]) < BOUND


def test_a_step_is_nine_dispatches_a_layer_and_three(engines: dict[str, TvmEngine]) -> None:
    import duomem_vulkan

    session = engines["vulkan"].session()
    session.prefill(TOKENS[:20])
    session.decode(1)
    before = duomem_vulkan.statistics()["dispatches"]
    session.decode(2)
    assert duomem_vulkan.statistics()["dispatches"] - before == 9 * 30 + 3
    session.close()


def test_an_episode_is_the_cpus(engines: dict[str, TvmEngine], games: list[Path]) -> None:
    """The game of a few that the CPU wins soonest, writing every command: on the GPU each must be the same."""
    from duomem.device.agent.agent import Agent

    tokenizer = PromptTokenizer(engines["cpu"].bundle.tokenizer_file)
    agents = {name: Agent(engine, tokenizer, "student", "free", max_steps=20) for name, engine in engines.items()}
    won = []
    for game in games:
        episode = agents["cpu"].play(load_game(game), "valid_seen")
        if episode.trajectory.won:
            won.append((len(episode.trajectory.steps), game, episode))
    assert won
    _, game, expected = min(won, key=lambda entry: entry[0])
    played = agents["vulkan"].play(load_game(game), "valid_seen")
    assert played.trajectory.won and played.trajectory.steps == expected.trajectory.steps
    assert (played.prefilled, played.decoded) == (expected.prefilled, expected.decoded)
    for agent in agents.values():
        agent.close()
