"""Work on a Ray cluster comes back as from this machine's processes: in order, whole when workers or a node die."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from duomem.cli.main import main
from duomem.core import ray_pool
from duomem.core.errors import UserError
from duomem.core.files import read_jsonl
from duomem.core.parallel import map_processes
from duomem.core.ray_pool import RayPool, is_address
from duomem.core.ray_worker import RayWorker, setup_of
from duomem.device.agent.baseline_player import RandomConfig
from duomem.device.agent.evaluate import EvalConfig, PlayConfig, PlayerConfig, evaluate
from duomem.device.alfworld.game_files import find_games
from duomem.train.games.generate import generate


@dataclass(frozen=True)
class _Adder:
    """Makes a worker that adds `offset`, and tells its process and how many items that process had before.

    meeting: a folder in which two processes have to be seen before any goes on.
    """

    offset: int = 0
    meeting: Path | None = None

    def __call__(self) -> Callable[[int], tuple[int, int, int]]:
        done: list[int] = []
        if self.meeting:
            (self.meeting / str(os.getpid())).touch()

        def add(item: int) -> tuple[int, int, int]:
            deadline = time.monotonic() + 60
            while self.meeting and len(os.listdir(self.meeting)) < 2 and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(0.02)
            if item < 0:
                raise UserError(f"{item} is below 0")
            done.append(item)
            return item + self.offset, os.getpid(), len(done) - 1

        return add


@dataclass(frozen=True)
class _Mortal:
    """Makes a worker that dies at item 3 until so many have, each leaving a file in `graves`."""

    graves: Path
    deaths: int

    def __call__(self) -> Callable[[int], int]:
        def work(item: int) -> int:
            if item == 3 and len(os.listdir(self.graves)) < self.deaths:
                (self.graves / str(os.getpid())).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return 10 * item

        return work


@dataclass(frozen=True)
class _Reader:
    """Makes a worker that reads numbered files of `folder`, having read `first`."""

    folder: Path
    first: tuple[Path, ...]

    def __call__(self) -> Callable[[Path], str]:
        return lambda path: self.first[0].read_text() + path.read_text()


def _refuse() -> Callable[[int], int]:
    raise UserError("the bundle is damaged")


def _wrong() -> Callable[[int], float]:
    return lambda item: 1 / item


@pytest.mark.parametrize("address", ["auto", "local", "head:6379", "10.0.0.1:1", "[::1]:6379", "ray://head.org:10001"])
def test_addresses(address: str) -> None:
    assert is_address(address)


@pytest.mark.parametrize(
    "address", ["", "head", ":1", "head:", "head:0", "head:65536", "http://head:1", "a b:1", "a:1\n"]
)
def test_no_address_is_a_wrong_command_line(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not is_address(address)
    with pytest.raises(UserError, match="is no address of a Ray cluster: give auto, local, HOST:PORT or ray://HOST"):
        RayPool(address)
    for command in ("teach", "eval", "compare"):
        assert main([command, "--ray", address]) == 2
        assert "is no address of a Ray cluster: give auto, local" in capsys.readouterr().err


def test_without_ray_one_line_says_what_to_install(
    generated_games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    arguments = ["--games", str(generated_games), "--ray", "local", "--out", str(tmp_path / "t.jsonl")]
    assert main(["teach", *arguments]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "pip install 'duomem[ray]'" in said and not list(tmp_path.iterdir())


def test_nobody_at_an_address_is_found_out_at_once() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        for form in (address, f"ray://{address}"):
            with pytest.raises(UserError, match=rf"--ray {form}: cannot connect \(Connection refused\)"):
                RayPool(form)


def test_nothing_is_played_with_relabel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.jsonl").touch()
    told = ["teach", "--relabel", str(tmp_path / "t.jsonl"), "--ray", "local", "--out", str(tmp_path / "o.jsonl")]
    assert main(told) == 2 and "leave out" in capsys.readouterr().err


def test_a_node_checks_the_files_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that the work names, wherever in it; relative ones from the folder of the command."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        Path(name).write_text(name)
    setup = setup_of(_Reader(tmp_path, (Path("a"),)), [Path("b"), tmp_path / "c", Path("not there"), 7])
    assert dict(setup.files) == {str(tmp_path): None, "a": 1, "b": 1, str(tmp_path / "c"): 1}
    assert setup.folder == str(tmp_path)
    monkeypatch.chdir("/")
    worker = RayWorker()
    worker.start(setup)
    assert worker.work(tmp_path / "b") == "ab"
    node = rf"^node {socket.gethostname()}: "
    Path("b").write_text("longer")
    with pytest.raises(UserError, match=rf"{node}b: has 6 bytes there and 1 here"):
        RayWorker().start(setup)
    (tmp_path / "c").unlink()
    with pytest.raises(UserError, match=rf"{node}{tmp_path}/c: No such file or directory: every node must see this"):
        RayWorker().start(replace(setup, files=setup.files[-1:]))
    with pytest.raises(UserError, match=rf"{node}/nowhere: No such file"):
        RayWorker().start(replace(setup, folder="/nowhere"))
    with pytest.raises(UserError, match=rf"{node}has duomem .*, this is 0\.0: install the same"):
        RayWorker().start(replace(setup, duomem="0.0"))


def test_absolute_paths_need_no_working_folder(tmp_path: Path) -> None:
    assert setup_of(_Adder(), [tmp_path, 1]).folder is None


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A real Ray cluster: a head of one CPU, whose workers can import this file. Tests add nodes."""
    pytest.importorskip("ray", reason="ray is not installed: pip install duomem[ray]")
    from ray.cluster_utils import Cluster

    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", path)
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        yield made
        made.shutdown()


@pytest.fixture
def pool(cluster: Any) -> Iterator[RayPool]:
    """Two raylets of one CPU each."""
    node = cluster.add_node(num_cpus=1)
    with RayPool(cluster.address) as connected:
        yield connected
    if node in cluster.worker_nodes:
        cluster.remove_node(node)


@pytest.mark.slow
def test_on_two_nodes(pool: RayPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pool.size == 2
    assert list(map_processes(_refuse, [], pool)) == []
    counts: dict[int, list[int]] = {}
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    results = list(map_processes(_Adder(10, meeting), range(12), pool))
    assert [value for value, *_ in results] == list(range(10, 22))
    for _, pid, before in results:
        counts.setdefault(pid, []).append(before)
    assert len(counts) == 2 and os.getpid() not in counts, "every CPU has one worker"
    assert all(sorted(before) == list(range(len(before))) for before in counts.values()), "which it keeps"

    got = []
    with pytest.raises(UserError, match=r"^-1 is below 0$"):
        for value, *_ in map_processes(_Adder(), [1, 2, -1, 3], pool):
            got.append(value)
    assert got == [1, 2]
    with pytest.raises(UserError, match=r"^the bundle is damaged$"):
        list(map_processes(_refuse, [1, 2], pool))
    with pytest.raises(ZeroDivisionError):
        list(map_processes(_wrong, [1, 0], pool))
    (tmp_path / "only_here.py").write_text("def make():\n    return abs\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"cannot load this work \(.*'only_here'\): install the same duomem on every"):
        list(map_processes(import_module("only_here").make, [1], pool))

    graves = tmp_path / "two"
    graves.mkdir()
    assert list(map_processes(_Mortal(graves, 2), range(8), pool)) == [10 * i for i in range(8)]
    assert len(os.listdir(graves)) == 2
    graves, got = tmp_path / "many", []
    graves.mkdir()
    with pytest.raises(UserError, match=r"^3 workers on Ray died at 3, of memory or"):
        for value in map_processes(_Mortal(graves, 99), range(8), pool):
            got.append(value)
    assert got == [0, 10, 20]

    busy = map_processes(_Adder(), range(100), pool)
    assert next(busy)[0] == 0
    monkeypatch.setattr(ray_pool, "_START_SECONDS", 2)
    with pytest.raises(UserError, match="no node of the Ray cluster started a worker within 2 seconds"):
        list(map_processes(_Adder(), [1], pool))
    busy.close()  # type: ignore[attr-defined]
    monkeypatch.undo()
    assert next(map_processes(_Adder(), [5], pool))[0] == 5, "whoever stops listening frees the CPUs"


@pytest.fixture(scope="module")
def many_games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough train games that a node can be killed among them."""
    out = tmp_path_factory.mktemp("many")
    for _ in generate(out, 3, {"train": 12, "valid_seen": 0, "valid_unseen": 0}):
        pass
    for game in find_games(out, "train"):
        for i in range(60):
            folder = game.parents[1] / f"{game.parent.name}_{i}"
            folder.mkdir()
            (folder / game.name).symlink_to(game)
    return out


def _kill_when(partial: Path, rows: int, cluster: Any, node: Any, seen: list[int]) -> threading.Thread:
    """Kill `node` once `partial` holds so many rows and a worker is at it there; `seen` gets how many it held then."""
    raylet = node.all_processes["raylet"][0].process.pid

    def works() -> bool:
        children = Path(f"/proc/{raylet}/task/{raylet}/children").read_text().split()
        return any(b"ray::RayWorker" in Path(f"/proc/{child}/cmdline").read_bytes() for child in children)

    def watch() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if partial.is_file() and (n := partial.read_bytes().count(b"\n")) > rows and works():
                seen.append(n)
                cluster.remove_node(node, allow_graceful=False)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
def test_teach_when_a_node_is_killed(
    many_games: Path, cluster: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The same bytes as without Ray, and not a word of Ray's."""
    node = cluster.add_node(num_cpus=1)
    out, seen = tmp_path / "ray" / "t.jsonl", []
    common = ["teach", "--games", str(many_games), "--noise-rate", "0.1", "--out"]
    watcher = _kill_when(out.with_name("t.jsonl.partial"), 20, cluster, node, seen)
    assert main([*common, str(out), "--ray", cluster.address]) == 0
    watcher.join(60)
    assert seen and 20 < seen[0] < 650, "killed among the 732 games"
    said = capfd.readouterr()
    progress = ("priors: ", "teaching: ")
    assert all(line.startswith(progress) for line in said.err.splitlines())
    assert said.out.count("\n") == 1 and "732 train games" in said.out
    assert main([*common, str(tmp_path / "local" / "t.jsonl"), "--jobs", "1"]) == 0
    for name in ("priors.json", "t.jsonl", "t.jsonl.inputs.json"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()


@pytest.mark.slow
def test_eval(generated_games: Path, tiny_bundle: Path, pool: RayPool, tmp_path: Path) -> None:
    """A student and a baseline play as they do here; only the time differs."""
    from episodes import without_times  # not at the top: the workers import this file, and have no tests/ on their path

    games = find_games(generated_games, "train")[:6]
    student: PlayerConfig = EvalConfig(tiny_bundle, play=PlayConfig(max_steps=3))
    for config in (student, RandomConfig(max_steps=5)):
        rows = []
        for name, jobs in (("ray", pool), ("local", 1)):
            out = tmp_path / f"{config.label}-{name}.jsonl"
            evaluate(config, games, "train", out, jobs)
            rows.append([without_times(row) for row in read_jsonl(out, "episode file")])
        assert rows[0] == rows[1] and len(rows[0]) == 6
