"""A student compiled for Vulkan, on whatever GPU is there: the CPU's logits and actions, and which is chosen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duomem.core.cpu import cpu_arch
from duomem.core.errors import UserError
from duomem.device.engine.bundle import Bundle, read_bundle
from duomem.device.engine.gpu import SOFTWARE, Gpu
from duomem.device.engine.tvm_engine import TvmEngine, TvmSession

pytest.importorskip("torch", reason="the tiny bundle is compiled from a transformers model")
pytestmark = pytest.mark.vulkan
TOKENS = np.random.default_rng(3).integers(0, 300, 120).tolist()
STEPS = 4


@pytest.fixture(scope="module")
def gpu(vulkan_bundle: Path) -> TvmEngine:
    return TvmEngine.load(vulkan_bundle, "vulkan")


@pytest.fixture(scope="module")
def cpu(tiny_bundle: Path) -> TvmEngine:
    return TvmEngine.load(tiny_bundle, "cpu")


@pytest.fixture
def pair(gpu: TvmEngine, cpu: TvmEngine) -> Iterator[tuple[TvmSession, TvmSession]]:
    """Empty sessions on the GPU and on the CPU."""
    sessions = gpu.session(), cpu.session()
    yield sessions
    for session in sessions:
        session.close()
    assert gpu.free_pages == cpu.free_pages


@pytest.fixture
def both(vulkan_bundle: Path, tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle with the libraries of both."""
    folder = Path(shutil.copytree(vulkan_bundle, tmp_path / "both"))
    manifest = json.loads((folder / "bundle.json").read_text())
    other = json.loads((tiny_bundle / "bundle.json").read_text())
    for library in other["target"]["libraries"]:
        manifest["target"]["libraries"].append(library)
        manifest["files"][library["file"]] = other["files"][library["file"]]
        shutil.copy(tiny_bundle / library["file"], folder / library["file"])
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


def near(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype == np.float32 and a.shape == b.shape and float(np.abs(a - b).max()) < 1e-3


def test_every_way_of_feeding_gives_the_cpus_logits(pair: tuple[TvmSession, TvmSession]) -> None:
    gpu, cpu = pair
    assert near(gpu.prefill_all(TOKENS[:33]), cpu.prefill_all(TOKENS[:33]))
    assert near(gpu.prefill(TOKENS[33:41]), cpu.prefill(TOKENS[33:41]))  # over old tokens and new ones
    for token in TOKENS[41:60]:
        assert near(gpu.decode(token), cpu.decode(token))
    assert near(gpu.prefill(TOKENS[60:]), cpu.prefill(TOKENS[60:]))


def test_fork_and_rollback_give_the_cpus_logits(pair: tuple[TvmSession, TvmSession]) -> None:
    expected = pair[1].prefill(TOKENS)
    gpu = pair[0]
    gpu.prefill(TOKENS[:50])
    child = gpu.fork()
    for token in TOKENS[50:70]:
        child.decode(token)
    assert near(child.prefill(TOKENS[70:]), expected)
    child.rollback(70)
    assert near(child.prefill(TOKENS[50:]), expected)
    gpu.prefill(TOKENS[50:119])
    child.close()
    logits = gpu.decode(TOKENS[119])
    assert near(logits, expected)
    gpu.rollback(1)
    assert np.array_equal(gpu.decode(TOKENS[119]), logits)


def test_a_step_takes_at_most_ten_dispatches_a_layer(gpu: TvmEngine) -> None:
    import duomem_vulkan

    with_session = gpu.session()
    with_session.prefill(TOKENS[:20])
    with_session.decode(1)
    before = duomem_vulkan.statistics()["dispatches"]
    for token in TOKENS[:10]:
        with_session.decode(token)
    dispatches = (duomem_vulkan.statistics()["dispatches"] - before) / 10
    with_session.close()
    layers = gpu.bundle.manifest["model"]["config"]["num_hidden_layers"]
    assert dispatches <= 9 * layers + 3


def test_the_gate_ran_the_library(vulkan_bundle: Path) -> None:
    manifest = read_bundle(vulkan_bundle).manifest
    (library,) = manifest["target"]["libraries"]
    assert library["device"] == "vulkan" and library["file"] in manifest["gate"]["libraries"]
    assert manifest["gate"]["unchecked"] == [] and 0 < manifest["gate"]["libraries"][library["file"]] < 1e-3
    assert list(manifest["gate"]["proxy_libraries"]) == [f"lib/cpu-{cpu_arch()}-native.so"]
    assert [path.name for path in (vulkan_bundle / "lib").iterdir()] == [Path(library["file"]).name]


def test_without_a_gpu_the_gate_says_what_it_did_not_run(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu_facts: dict[str, Any]
) -> None:
    from duomem.compile import bundle as writer
    from duomem.compile.gate import gate
    from duomem.compile.library.target import load_target

    monkeypatch.setattr(gate, "has_gpu", lambda: False)
    bundle, _ = writer.compile_bundle(tiny_model, load_target("vulkan"), "q4f32_1", tmp_path / "b", context_length=256)
    (library,) = bundle.manifest["target"]["libraries"]
    assert bundle.manifest["gate"]["unchecked"] == [library["file"]]
    assert bundle.manifest["gate"]["libraries"] == {} and len(bundle.manifest["gate"]["proxy_libraries"]) == 1
    assert [path.name for path in (tmp_path / "b" / "lib").iterdir()] == [Path(library["file"]).name]
    read_bundle(tmp_path / "b")


@pytest.mark.skipif(cpu_arch() == "aarch64", reason="a phone's libraries run here themselves")
def test_a_phones_libraries_are_checked_through_ones_for_this_machine(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu_facts: dict[str, Any]
) -> None:
    pytest.importorskip("ziglang")
    from duomem.compile.bundle import compile_bundle
    from duomem.compile.gate.emulated import PYTHON
    from duomem.compile.library.target import load_target

    monkeypatch.delenv(PYTHON, raising=False)
    bundle, _ = compile_bundle(tiny_model, load_target("phone"), "q4f32_1", tmp_path / "b", context_length=256)
    files = [
        f"lib/{name}.so"
        for name in ("cpu-aarch64-i8mm", "cpu-aarch64-dotprod", "cpu-aarch64-neon", "vulkan-aarch64-f32")
    ]
    gate = read_bundle(tmp_path / "b").manifest["gate"]
    assert [library.file for library in bundle.libraries] == files == gate["unchecked"]
    assert set(gate["proxy_libraries"]) == {
        f"lib/{device}.so" for device in (f"cpu-{cpu_arch()}-exact", f"vulkan-{cpu_arch()}-f32")
    }
    assert all(0 < difference < 1e-3 for difference in gate["proxy_libraries"].values())
    assert list(gate["proxy_mean_kl"]) == [f"lib/cpu-{cpu_arch()}-native.so"]


def test_a_software_rasteriser_is_not_chosen_unasked(
    both: Path, gpu_facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not gpu_facts["software"]:
        pytest.skip("this is no software rasteriser")
    monkeypatch.delenv(SOFTWARE, raising=False)
    assert TvmEngine.load(both).library.device == "cpu"
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and "only a software rasteriser" in told[0] and told[0].endswith("going on with cpu")
    monkeypatch.setenv(SOFTWARE, "1")
    assert TvmEngine.load(both).library.device == "vulkan"
    assert capsys.readouterr().err == ""


def refuses(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line an engine prints before it falls back to the CPU."""
    engine = TvmEngine.open(bundle, max_sessions=1)
    engine.session().close()
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert engine.library.device == "cpu"
    return line


def test_wrong_logits_are_noticed(
    both: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(SOFTWARE, "1")
    bundle = read_bundle(both)
    bundle.manifest["gate"]["self_check"]["logits"][5] += 0.1
    assert "logits differ by 0.1 " in refuses(bundle, capsys)
    del bundle.manifest["gate"]["self_check"]
    assert "records no logits" in refuses(bundle, capsys)


def test_a_failing_device_is_noticed(
    both: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(SOFTWARE, "1")

    def lost(*_: object) -> None:
        raise RuntimeError("device lost")

    monkeypatch.setattr(TvmSession, "prefill", lost)
    assert "the device fails (device lost)" in refuses(read_bundle(both), capsys)


def test_without_gpu_or_plugin_the_cpu_is_used(
    both: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from duomem.device.engine import gpu as gpu_module

    monkeypatch.setattr(gpu_module, "gpus", lambda tvm: [])
    assert "no GPU with a Vulkan driver" in refuses(read_bundle(both), capsys)
    with pytest.raises(UserError, match="no GPU with a Vulkan driver"):
        TvmEngine.load(both, "vulkan")


def test_a_gpu_is_chosen_before_the_cpu(
    both: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a GPU is: the software rasteriser here, with another name for it."""
    from duomem.device.engine import gpu as gpu_module

    monkeypatch.delenv(SOFTWARE, raising=False)
    monkeypatch.setattr(gpu_module, "gpus", lambda tvm: [Gpu(0, "a GPU", False, 1 << 27)])
    engine = TvmEngine.load(both)
    assert engine.library.device == "vulkan" and capsys.readouterr().err == ""
    assert read_bundle(both).devices == ("vulkan", "cpu")


def test_an_episode_takes_the_cpus_actions(
    gpu_facts: dict[str, Any], make_model: Any, generated_games: Path, tmp_path: Path
) -> None:
    """The agent, on a generated game, with a system text prefilled once and forked, and commands scored by branches."""
    from duomem.compile.bundle import compile_bundle
    from duomem.compile.library.target import load_target
    from duomem.device.agent.agent import Agent
    from duomem.device.agent.prompt import PromptTokenizer
    from duomem.device.alfworld.game import load_game
    from duomem.device.alfworld.game_files import find_games

    game = load_game(find_games(generated_games, "train")[0])
    model = make_model(tmp_path / "model", max_position_embeddings=8192)
    played = []
    for target, device in (("host", "cpu"), ("vulkan", "vulkan")):
        compile_bundle(model, load_target(target), "q4f32_1", tmp_path / target, 8192, min_agreement=0.0)
        engine = TvmEngine.load(tmp_path / target, device, max_sessions=3)
        tokenizer = PromptTokenizer(engine.bundle.tokenizer_file)
        agent = Agent(engine, tokenizer, "student", "constrained", max_steps=STEPS)
        episode = agent.play(game, "train")
        played.append([(step.action, step.observation) for step in episode.trajectory.steps])
    assert len(played[0]) == STEPS and played[0] == played[1]


@pytest.mark.parametrize(
    ("scheme", "config"),
    [
        ("q4f16_1", {"tie_word_embeddings": False, "num_key_value_heads": 6, "vocab_size": 321}),
        ("q4f32_1", {"head_dim": 128, "num_attention_heads": 4}),
    ],
)
def test_other_shapes_pass_the_gate(
    gpu_facts: dict[str, Any], make_model: Any, tmp_path: Path, scheme: str, config: dict[str, Any]
) -> None:
    from duomem.compile.bundle import compile_bundle
    from duomem.compile.library.target import load_target

    model = make_model(tmp_path / "model", **config)
    bundle, _ = compile_bundle(model, load_target("vulkan"), scheme, tmp_path / "b", 256, min_agreement=0.0)
    assert 0 < bundle.manifest["gate"]["max_abs_diff"] < 1e-3
