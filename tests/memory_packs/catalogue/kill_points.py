"""A program: kills pull, update, publish, ... at file-system calls or at random times, and looks at what is left.

python kill_points.py FOLDER ACTION every STEP | random N MS SEED (after at most MS); prints the number of kills.
ACTION is pull, update, student (a pull of an adapter), publish or rotate (of a lost key).
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from catalogues import Keeper, write_adapter

from duomem.memory_packs.catalogue import store
from duomem.memory_packs.catalogue.entry import Entry
from duomem.memory_packs.catalogue.kinds import ADAPTER
from duomem.memory_packs.catalogue.offer import offer_adapter
from duomem.memory_packs.catalogue.publish import publish_offers, rotate
from duomem.memory_packs.catalogue.pull import pull, search, update
from duomem.memory_packs.catalogue.repository import Repository
from duomem.memory_packs.catalogue.sources import Source, read_root
from duomem.memory_packs.catalogue.student import check_adapter
from duomem.memory_packs.pack import read_pack

CALLS = {
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "fcntl.flock",
}


class Killer:
    """Kills this process before its n-th call to the file system below `folder`; an fsync is such a call too."""

    def __init__(self, folder: Path, n: int) -> None:
        self._folder, self._left = str(folder), n
        fsync = os.fsync
        os.fsync = lambda fd: (self._count(), fsync(fd))[1]  # Python raises no audit event for it
        sys.addaudithook(self._called)

    def _called(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in CALLS and (event == "fcntl.flock" or str(arguments[0]).startswith(self._folder)):
            self._count()

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


def child(
    action: Callable[[], object], killer: Callable[[], object] = lambda: None, delay: float | None = None
) -> bool:
    """Run `action` in another process; whether it was killed, after `delay` seconds or by what `killer` sets up."""
    pid = os.fork()
    if not pid:
        killer()
        action()
        os._exit(0)
    if delay is not None:
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL, f"failed: {status}"
    return status != 0


def main(folder: Path, action: str, how: str, numbers: list[int]) -> int:
    keeper, killed = Keeper(folder), 0
    keeper.publish("1.0.0")
    source = keeper.source(keeper.folder.as_uri())
    if action != "publish":
        keeper.publish("1.1.0")
    if action == "student":
        offers = [offer_adapter(write_adapter(folder / "lora"), "lora", "1.1.0", "", "MIT", None)]
        publish_offers(keeper.folder, offers, [keeper.keys])
    n = 0
    rng = random.Random(numbers[-1])
    while True:
        home = folder / f"home-{n}"
        os.environ["DUOMEM_HOME"] = str(home)
        version = f"1.1.{n}"
        act: Callable[[], object] = {
            "pull": lambda: pull("expert", [source]),
            "update": lambda: update([], [source]),
            "student": lambda: pull("lora", [source], kinds=(ADAPTER,)),
            "publish": lambda version=version: keeper.publish(version),
            "rotate": lambda: rotate(keeper.folder, "timestamp", [keeper.keys]),
        }[action]
        if action == "update":
            pull("expert@1.0.0", [source])
        if action == "rotate":
            for key in keeper.keys.glob("timestamp-*"):  # it is lost
                key.unlink()
        top = {"publish": keeper.folder, "rotate": folder}.get(action, home)
        if how == "every":
            died = child(act, lambda top=top, n=n: Killer(top, n))  # type: ignore[misc]
        else:
            died = child(act, delay=rng.random() * numbers[1] / 1000)
        look(action, keeper, version, source)
        act()
        settled(action, keeper, version, source, home)
        killed += died
        n += numbers[0] if how == "every" else 1
        if (how == "every" and not died) or (how == "random" and killed == numbers[0]):
            return killed


def look(action: str, keeper: Keeper, version: str, source: object) -> None:
    """Right after the kill: nothing is lost."""
    if action == "publish":
        assert search([], [source]).found  # type: ignore[list-item]
        return
    if action == "rotate":
        Repository.open(keeper.folder)
        return
    if action == "student":
        student = store.find_installed("lora")
        assert student is None or check_adapter(student.path, listed(source)) is None
        return
    found = store.find_installed("expert")
    assert found is not None or action == "pull"
    if found is not None:
        assert read_pack(found.path).version == found.version in ("1.0.0", "1.1.0")


def listed(source: object) -> Entry:
    """What the catalogue says of the adapter."""
    return next(one.entry for one in search(["lora"], [source]).found)  # type: ignore[list-item]


def settled(action: str, keeper: Keeper, version: str, source: object, home: Path) -> None:
    """After the same command ran again: all is done, and nothing is left over."""
    if action == "publish":
        (found,) = search([], [source]).found  # type: ignore[list-item]
        assert found.entry.version == version and not list(keeper.folder.rglob(".*.tmp"))
        return
    if action == "rotate":
        keeper.publish()
        newest = max((keeper.folder / "metadata").glob("*.root.json"), key=lambda file: int(file.name.split(".")[0]))
        assert search([], [Source(keeper.folder.as_uri(), read_root(newest))]).found
        return
    name = "lora" if action == "student" else "expert"
    found = store.find_installed(name)
    assert found is not None and found.version == "1.1.0"
    with store.changing():
        pass
    left = {file.name for file in (*(home / "packs").iterdir(), *(home / "downloads").iterdir())}
    assert left == {f"{name}.json", found.path.parent.name}, left
    assert not list((home / "catalogues").rglob("tmp*"))


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], [int(word) for word in sys.argv[4:]])))
