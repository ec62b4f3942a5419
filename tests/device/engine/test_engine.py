from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from duomem.core.errors import UserError
from duomem.device.engine import tvm_library
from duomem.device.engine.bundle import read_bundle
from duomem.device.engine.session import ContextFull
from duomem.device.engine.tvm_engine import TvmEngine, TvmSession

pytest.importorskip("torch", reason="the tiny bundle is compiled from a transformers model")
ALL_PAGES = 4 * 256 // 16 + 1  # TVM adds one
TOKENS = np.random.default_rng(3).integers(0, 300, 120).tolist()


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> TvmEngine:
    return TvmEngine.load(tiny_bundle)


@pytest.fixture
def session(engine: TvmEngine) -> Iterator[TvmSession]:
    """An empty session of an engine that is otherwise idle; afterwards every page is free again."""
    session = engine.session()
    yield session
    session.close()
    assert engine.free_pages == ALL_PAGES


def near(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype == np.float32 and float(np.abs(a - b).max()) < 1e-3


def test_every_way_of_feeding_agrees(engine: TvmEngine, session: TvmSession) -> None:
    whole = session.prefill(TOKENS)
    assert whole.shape == (engine.vocab_size,) and session.length == 120
    for pieces in ([40, 80], [1, 119], [119, 1], [16, 16, 88]):
        session.rollback(120)
        for size in pieces:
            logits = session.prefill(TOKENS[session.length : session.length + size])
        assert near(logits, whole), pieces
    session.rollback(60)
    for token in TOKENS[60:]:
        logits = session.decode(token)
    assert near(logits, whole)


def test_prefill_longer_than_a_chunk(tiny_bundle: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    bundle.manifest["context"]["prefill_chunk"] = 32
    small = TvmEngine.open(bundle, max_sessions=2)
    whole, pieces = small.session(), small.session()
    a = whole.prefill(TOKENS)
    for token in TOKENS:
        b = pieces.decode(token)
    assert near(a, b)


def test_logits_at_every_position(session: TvmSession) -> None:
    every = session.prefill_all(TOKENS)
    assert every.shape == (120, 300)
    session.rollback(120)
    assert near(every[0], session.decode(TOKENS[0]))
    assert near(every[99], session.prefill(TOKENS[1:100]))


def test_logits_are_copies(session: TvmSession) -> None:
    first = session.prefill(TOKENS)
    kept = first.copy()
    session.decode(5)
    session.prefill([1, 2, 3])
    assert (np.array_equal(first, kept) and first.flags.owndata) or first.base.flags.owndata


@pytest.mark.parametrize("length", [1, 15, 16, 17, 32, 47, 100])
def test_rollback_reproduces_logits_exactly(session: TvmSession, length: int) -> None:
    session.prefill(TOKENS[:length])
    expected = [session.decode(token) for token in TOKENS[length : length + 10]]
    for n in (1, 10):
        session.rollback(n)
        again = [session.decode(token) for token in TOKENS[length + 10 - n : length + 10]]
        assert np.array_equal(again, expected[-n:])


@pytest.mark.parametrize("length", [1, 15, 16, 17, 32, 47, 100])
def test_a_fork_continues_like_its_parent(session: TvmSession, length: int) -> None:
    """Equal but for rounding: attention over shared pages and own pages is summed in two parts."""
    session.prefill(TOKENS[:length])
    expected = [session.decode(token) for token in TOKENS[length : length + 10]]
    session.rollback(10)
    child = session.fork()
    assert child.length == length
    forked = [child.decode(token) for token in TOKENS[length : length + 10]]
    assert near(np.stack(forked), np.stack(expected))
    child.rollback(10)
    session.prefill([7] * 20)
    assert np.array_equal([child.decode(token) for token in TOKENS[length : length + 10]], forked)
    session.rollback(20)
    assert near(session.prefill(TOKENS[length : length + 10]), expected[-1])
    child.close()


def test_a_fork_rolled_back_into_shared_pages(session: TvmSession) -> None:
    session.prefill(TOKENS[:100])
    expected = session.decode(TOKENS[100])
    session.rollback(1)
    child = session.fork()
    child.rollback(63)
    child.prefill([(token + 1) % 300 for token in TOKENS[37:100]])
    assert near(session.decode(TOKENS[100]), expected)
    child.rollback(63)
    assert near(child.prefill(TOKENS[37:101]), expected)
    child.close()


def test_rollback_to_nothing(session: TvmSession) -> None:
    first = session.prefill(TOKENS)
    child = session.fork()
    child.rollback(child.length)
    assert child.length == 0
    assert np.array_equal(child.prefill(TOKENS), first)
    child.close()
    session.rollback(120)
    empty = session.fork()
    assert np.array_equal(empty.prefill(TOKENS), first)
    empty.close()


def test_pages_do_not_leak(engine: TvmEngine) -> None:
    """Thousands of forks, rollbacks and closes in a random order, then nothing is held."""
    rng = np.random.default_rng(0)
    main = engine.session()
    main.prefill(TOKENS[:50])
    for i in range(2000):
        child = main.fork()
        if rng.random() < 0.3:
            child.rollback(int(rng.integers(0, child.length + 1)))
        if rng.random() < 0.1:
            child.decode(int(rng.integers(300)))
        if rng.random() < 0.5:
            grandchild = child.fork()
            child.close()
            grandchild.close()
        child.close()
        if i % 20 == 0:
            main.rollback(int(rng.integers(0, min(30, main.length))))
            main.prefill(TOKENS[: int(rng.integers(1, 40))])
            if main.length > 200:
                main.rollback(150)
        held = ALL_PAGES - engine.free_pages
        assert held == -(-main.length // 16), (i, held, main.length)
    main.close()
    assert engine.free_pages == ALL_PAGES


def test_every_session_can_be_full(engine: TvmEngine) -> None:
    tokens = (TOKENS * 3)[: engine.context_length]
    sessions = [engine.session() for _ in range(3)]
    for session in sessions:
        session.prefill(tokens)
    sessions.append(sessions[0].fork())
    sessions[3].rollback(engine.context_length - 7)
    sessions[3].prefill(tokens[7:])
    with pytest.raises(UserError, match="all 4 sessions are open"):
        engine.session()
    with pytest.raises(UserError, match="all 4 sessions are open"):
        sessions[0].fork()
    for session in sessions:
        session.close()


def test_a_full_context_changes_nothing(engine: TvmEngine, session: TvmSession) -> None:
    session.prefill((TOKENS * 3)[: engine.context_length - 1])
    with pytest.raises(ContextFull, match="exceed the context of 256"):
        session.prefill([1, 2])
    assert session.length == 255
    session.decode(1)
    with pytest.raises(ContextFull):
        session.decode(1)
    session.rollback(1)
    assert session.length == 255


def test_a_failing_forward_changes_nothing(
    engine: TvmEngine, session: TvmSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.prefill(TOKENS[:30])
    expected = session.decode(9)
    session.rollback(1)

    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(engine._loaded.functions, "decode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.decode(9)
    assert session.length == 30
    assert np.array_equal(session.decode(9), expected)


@pytest.mark.parametrize("tokens", [[], [-1], [300], [1.5], ["a"], [[1]]])
def test_bad_tokens(session: TvmSession, tokens: list) -> None:
    with pytest.raises(ValueError, match="tokens"):
        session.prefill(tokens)
    assert session.length == 0


def test_closed_sessions_and_bad_rollbacks(engine: TvmEngine) -> None:
    session = engine.session()
    session.prefill([1, 2, 3])
    for n in (-1, 4):
        with pytest.raises(ValueError, match="rollback"):
            session.rollback(n)
    session.close()
    session.close()
    for call in (lambda: session.decode(1), lambda: session.prefill([1]), session.fork, lambda: session.rollback(0)):
        with pytest.raises(ValueError, match="closed"):
            call()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda"}, "compiled for cpu"),
        ({"context_length": 0}, "1..256"),
        ({"context_length": 257}, "1..256"),
        ({"max_sessions": 0}, "max_sessions"),
    ],
)
def test_wrong_arguments(tiny_bundle: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TvmEngine.load(tiny_bundle, **options)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (True, r"needs \d+ MB of memory .* give a --context"),
        (False, r"KV cache of 4 sessions .* smaller context_length"),
    ],
)
def test_a_cache_too_large_for_memory(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, told: bool, message: str
) -> None:
    """Told before anything is loaded where the system says what is free, else by the allocation."""
    if not told:
        monkeypatch.setattr(tvm_library, "available_memory", lambda: None)
    bundle = read_bundle(tiny_bundle)
    bundle.manifest["context"]["length"] = 1 << 40
    with pytest.raises(UserError, match=message):
        TvmEngine.open(bundle)


def rewrite(bundle: Path, change: dict) -> Path:
    """Change the manifest's target and make its digests right again."""
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["target"] |= change
    for name, entry in manifest["files"].items():
        data = (bundle / name).read_bytes()
        entry |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    return bundle


@pytest.mark.parametrize(
    ("change", "message"),
    [({"cpu_features": ["avx1024"]}, "needs a CPU with avx1024"), ({"arch": "riscv64"}, "compiled for riscv64")],
)
def test_another_machines_bundle(tiny_bundle: Path, tmp_path: Path, change: dict, message: str) -> None:
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "b"))
    (library,) = json.loads((copy / "bundle.json").read_text())["target"]["libraries"]
    if "cpu_features" in change:
        change = {"libraries": [library | change]}
    with pytest.raises(UserError, match=message) as error:
        TvmEngine.load(rewrite(copy, change))
    assert "\n" not in str(error.value)


def test_the_best_library_the_cpu_runs_is_loaded(tiny_bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "b"))
    (native,) = json.loads((copy / "bundle.json").read_text())["target"]["libraries"]
    better = native | {"cpu_features": [*native["cpu_features"], "avx1024"]}
    plain = native | {"cpu_features": []}
    rewrite(copy, {"libraries": [better, plain, native]})
    assert TvmEngine.load(copy).library.cpu_features == frozenset()
    with pytest.raises(UserError, match=r"lib/x.so is no library of it that this CPU can run: those are lib/cpu"):
        TvmEngine.load(copy, library="lib/x.so")


def test_a_library_the_cpu_cannot_run_is_not_loaded_on_request(tiny_bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "b"))
    (native,) = json.loads((copy / "bundle.json").read_text())["target"]["libraries"]
    rewrite(copy, {"libraries": [native | {"cpu_features": ["avx1024"]}]})
    with pytest.raises(UserError, match="that this CPU can run: those are none"):
        TvmEngine.load(copy, library=native["file"])


@pytest.mark.parametrize("content", [b"not a library", b"\x7fELF" + bytes(60)])
def test_a_library_that_does_not_load(tiny_bundle: Path, tmp_path: Path, content: bytes) -> None:
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "b"))
    (copy / read_bundle(copy).libraries[0].file).write_bytes(content)
    with pytest.raises(UserError, match="cannot be loaded") as error:
        TvmEngine.load(rewrite(copy, {}))
    assert "\n" not in str(error.value)


def test_weights_of_another_model(tiny_bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "b"))
    cache = copy / "model" / "tensor-cache.json"
    cache.write_text(cache.read_text().replace("model.norm.weight", "model.other.weight"))
    with pytest.raises(UserError, match=r"holds no model\.norm\.weight"):
        TvmEngine.load(rewrite(copy, {}))


def test_a_device_process_stays_small(tiny_bundle: Path) -> None:
    """To decode, neither the TVM compiler is loaded nor torch (which tvm_ffi would import where it is installed)."""
    code = """
import sys
from duomem.device.engine.tvm_engine import TvmEngine
session = TvmEngine.load(sys.argv[1]).session()
session.prefill([1, 2, 3]); session.decode(4)
assert "libtvm_runtime" in open("/proc/self/maps").read()
assert "libtvm_compiler" not in open("/proc/self/maps").read()
assert not {"torch", "transformers", "duomem.compile"} & set(sys.modules), "heavy import"
"""
    subprocess.run([sys.executable, "-c", code, str(tiny_bundle)], check=True, timeout=120)
