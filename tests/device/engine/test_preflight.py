"""The memory a bundle will take, what a device has, and what is said when the one exceeds the other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from bundles import write_bundle

from duomem.core.errors import UserError
from duomem.core.memory import Limit, all_memory
from duomem.device.engine.bundle import Bundle, read_bundle
from duomem.device.engine.preflight import (
    RUNTIME,
    TOKENIZER,
    check_memory,
    gpu_memory,
    kv_bytes,
    memory_need,
    weights_bytes,
    workspace_bytes,
)

MEBI = 1 << 20
SIZES = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """1 MiB of weights, 4096 tokens of 16 KiB."""
    context = {"length": 4096, "prefill_chunk": 64, "page_size": 16, "kv_bytes_per_token": 16384}
    return read_bundle(write_bundle(tmp_path / "b", {"model/params_shard_0.bin": bytes(MEBI)}, context=context))


def test_the_parts_add_up(bundle: Bundle) -> None:
    need = memory_need(bundle, 100, 2)
    assert need.weights == MEBI
    assert need.kv_cache == (7 * 2 + 1) * 16 * 16384
    assert need.workspace == 64 * 300 * 3 * 4
    assert need.runtime == RUNTIME + TOKENIZER * len(b'{"version": "1.0"}')
    assert need.total == need.weights + need.kv_cache + need.workspace + need.runtime
    assert memory_need(bundle).kv_cache == (4096 * 4 + 16) * 16384


def test_a_models_sizes_count() -> None:
    assert workspace_bytes(SIZES, 49152, 512) == 4 * (512 * (3 * 576 + 2 * 12 * 64 + 3 * 1536) + 3 * 64 * 49152)
    assert workspace_bytes(SIZES, 49152, 8) < workspace_bytes(SIZES, 49152, 512)
    assert workspace_bytes({**SIZES, "hidden_size": "many"}, 10, 1) < workspace_bytes(SIZES, 10, 1)
    assert (
        weights_bytes(
            {
                "model/params_shard_12.bin": {"size": 5},
                "model/tokenizer.json": {"size": 9},
                "packs/params_shard_0.bin": {"size": 9},
            }
        )
        == 5
    )
    assert kv_bytes({"page_size": 16, "kv_bytes_per_token": 2}, 1, 1) == 2 * 16 * 2


def test_enough_is_enough(bundle: Bundle) -> None:
    need = memory_need(bundle)
    check_memory(need, None, bundle, 4096, 4)
    check_memory(need, Limit(need.total, "free memory"), bundle, 4096, 4)


@pytest.mark.parametrize(
    ("share", "free", "limit"),
    [
        (None, None, None),  # Vulkan
        (0.25, 5 * MEBI, Limit(5 * MEBI, "free memory of the GPU")),  # a CUDA card
        (0.98, 5 * MEBI, None),  # a Jetson: its GPU has the CPU's memory, where what is cached is free too
        (0.7, None, "all of the GPU's memory"),  # a Mac: as much of the CPU's memory as macOS lets it use
    ],
)
def test_what_a_gpu_has(share: float | None, free: int | None, limit: Limit | str | None) -> None:
    total = None if share is None else int(share * (all_memory() or 0))
    found = gpu_memory(SimpleNamespace(total_global_memory=total, available_global_memory=free))
    assert found == limit if not isinstance(limit, str) else found == Limit(total or 0, limit)


@pytest.mark.parametrize("short", [1, 100 * MEBI, 200 * MEBI])
def test_the_advice_fits(short: int, bundle: Bundle) -> None:
    """The context_length it names is taken, and the next page is not."""
    need = memory_need(bundle)
    limit = Limit(need.total - short, "control group /small")
    with pytest.raises(UserError) as e:
        check_memory(need, limit, bundle, 4096, 4)
    text = str(e.value)
    assert f"needs {need.total / 1e6:.0f} MB" in text and "(control group /small)" in text
    assert f"KV cache {need.kv_cache / 1e6:.0f} for 4 sessions of 4096 tokens" in text
    length = int(text.split("--context of at most ")[1].split(",")[0])
    assert 256 <= length < 4096 and length % 16 == 0
    check_memory(memory_need(bundle, length, 4), limit, bundle, length, 4)
    with pytest.raises(UserError):
        check_memory(memory_need(bundle, length + 16, 4), limit, bundle, length + 16, 4)


def test_fewer_sessions_where_a_shorter_context_is_not_enough(bundle: Bundle) -> None:
    need = memory_need(bundle)
    limit = Limit(need.total - need.kv_cache + 300 * 16384, "free memory")
    with pytest.raises(UserError, match=r"--context of at most 272 and max_sessions of 1"):
        check_memory(need, limit, bundle, 4096, 4)
    check_memory(memory_need(bundle, 272, 1), limit, bundle, 272, 1)
    with pytest.raises(UserError, match="no --context fits, as 85 MB go to the rest"):
        check_memory(need, Limit(50 * MEBI, "free memory"), bundle, 4096, 4)


_LOAD = """
import json, sys
sys.modules["torch"] = None
from pathlib import Path
def field(name):
    return next(int(l.split()[1]) << 10 for l in open("/proc/self/status") if l.startswith(name))
start = field("VmRSS:")
from duomem.device.engine.tvm_engine import TvmEngine
from duomem.device.agent.prompt import PromptTokenizer
tokenizer = PromptTokenizer(Path(sys.argv[1]) / "model")
engine = TvmEngine.load(Path(sys.argv[1]), max_sessions=2)
for _ in range(2):
    session = engine.session()
    session.prefill_all([1] * 64)
    session.prefill([1] * (engine.context_length - 64))
print(json.dumps(field("VmHWM:") - start))
"""


def test_the_estimate_is_near_the_truth(tiny_bundle: Path) -> None:
    """Against the peak of a process that fills every page of it."""
    done = subprocess.run([sys.executable, "-c", _LOAD, str(tiny_bundle)], capture_output=True, text=True, check=True)
    peak = json.loads(done.stdout.splitlines()[-1])
    ratio = memory_need(read_bundle(tiny_bundle), max_sessions=2).total / peak
    assert 0.85 < ratio < 1.6, f"estimate / peak = {ratio:.2f}"
