"""The attacks of the TUF specification (section 1.5.2), each refused in one line with nothing half installed."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from catalogues import Keeper, Server, drip, make_pack, pour

from duomem.core.errors import CatalogueError, UserError
from duomem.core.reading import sha256_bytes
from duomem.memory_packs.catalogue import store
from duomem.memory_packs.catalogue.fetch import Limits
from duomem.memory_packs.catalogue.keys import load_keys, new_key
from duomem.memory_packs.catalogue.publish import delegate, publish, rotate
from duomem.memory_packs.catalogue.pull import pull, search, update
from duomem.memory_packs.catalogue.repository import Repository, sign
from duomem.memory_packs.catalogue.tuf_api import Metadata

QUICK = Limits(seconds=0.6, rate=1e9, silence=0.3)


def metadata(keeper: Keeper, name: str) -> Path:
    return keeper.folder / "metadata" / name


def target_file(keeper: Keeper) -> Path:
    (path,) = (keeper.folder / "targets" / "expert").glob("*1.0.0.dmpack")
    return path


def refused(pattern: str, ask: Callable[[], object]) -> None:
    """`ask` raises one line that matches, and leaves what was installed as it was."""
    before = [(one.name, one.version) for one in store.installed()]
    with pytest.raises(UserError, match=pattern) as told:
        ask()
    assert "\n" not in str(told.value) and str(told.value).isprintable()
    assert [(one.name, one.version) for one in store.installed()] == before
    held = {file.name for file in store.packs_folder().glob("*")} if store.packs_folder().exists() else set()
    assert held == {name for one in store.installed() for name in (one.path.parent.name, f"{one.name}.json")}


@pytest.mark.parametrize("kept", ["timestamp.json", "everything"])
def test_rollback(keeper: Keeper, server: Server, tmp_path: Path, kept: str) -> None:
    """An old timestamp, or a whole old catalogue, all of it signed and not expired."""
    shutil.copytree(keeper.folder, tmp_path / "old")
    keeper.publish("1.1.0")
    assert pull("expert", [keeper.source(server.url)])[0].version == "1.1.0"
    if kept == "everything":
        shutil.rmtree(keeper.folder)
        shutil.copytree(tmp_path / "old", keeper.folder)
    else:
        shutil.copy(tmp_path / "old" / "metadata" / kept, metadata(keeper, kept))
    refused("older metadata than it gave before: a rollback", lambda: update([], [keeper.source(server.url)]))


def test_freeze(keeper: Keeper, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same signed state for ever: accepted until it expires, then told; what is installed can be played."""
    source = keeper.source(server.url)
    found, _ = pull("expert", [source])
    later = datetime.now(timezone.utc) + timedelta(days=31)
    monkeypatch.setattr(
        "tuf.ngclient._internal.trusted_metadata_set.datetime.datetime",
        type("Later", (datetime,), {"now": staticmethod(lambda tz=None: later)}),
    )
    refused("metadata has expired: .* or the clock here", lambda: update([], [source]))
    assert store.find_installed("expert") == found and found.path.is_file()


def test_mix_and_match(keeper: Keeper, server: Server, tmp_path: Path) -> None:
    """Files of different states of the catalogue, each rightly signed."""
    old = metadata(keeper, "2.targets.json").read_bytes()
    keeper.publish("1.1.0")
    shutil.copy(metadata(keeper, "3.targets.json"), tmp_path / "kept")
    metadata(keeper, "3.targets.json").write_bytes(old)
    refused("do not belong together or were changed", lambda: pull("expert", [keeper.source(server.url)]))
    shutil.copy(tmp_path / "kept", metadata(keeper, "3.targets.json"))
    assert pull("expert", [keeper.source(server.url)])[1]


def test_wrong_keys(keeper: Keeper, server: Server, tmp_path: Path) -> None:
    """A catalogue of the same look by somebody else."""
    source = keeper.source(server.url)
    other = Keeper(tmp_path / "other")
    other.publish("9.0.0")
    shutil.rmtree(keeper.folder)
    shutil.copytree(other.folder, keeper.folder)
    refused("not signed by the keys that are trusted", lambda: pull("expert", [source]))


def test_a_changed_pack(keeper: Keeper, server: Server, tmp_path: Path) -> None:
    """Longer, shorter, or of other bytes, and nothing of it is parsed."""
    path, source = target_file(keeper), keeper.source(server.url)
    whole = path.read_bytes()
    for data, pattern in (
        (whole + b"x", "sends more bytes"),
        (whole[:-1], "ended after"),
        (whole[:-1] + b"x", "do not belong"),
    ):
        path.write_bytes(data)
        for part in (tmp_path / "home" / "downloads").glob("*"):
            part.unlink()
        refused(pattern, lambda: pull("expert", [source]))
    path.write_bytes(whole)
    assert pull("expert", [source])[1]


def test_a_pack_that_is_not_what_its_publisher_says(keeper: Keeper, server: Server) -> None:
    """Signed, of the right digest, and damaged or another one all the same."""
    repository, keys = Repository.open(keeper.folder), load_keys([keeper.keys])
    other = make_pack(keeper.root, "other", "1.0.0").read_bytes()
    for data, pattern in ((b"no pack at all", "memory pack is damaged"), (other, "calls itself other 1.0.0")):
        path = target_file(keeper)
        target = repository.targets["targets"].signed.targets["expert/expert-1.0.0.dmpack"]
        target.length, target.hashes = len(data), {"sha256": sha256_bytes(data)}
        path.with_name(f"{target.hashes['sha256']}.expert-1.0.0.dmpack").write_bytes(data)
        repository.sign_targets("targets", keys)
        repository.publish(keys)
        refused(pattern, lambda: pull("expert", [keeper.source(server.url)]))
        path.with_name(f"{target.hashes['sha256']}.expert-1.0.0.dmpack").unlink()


@pytest.mark.parametrize("asked", ["2.root.json", "timestamp.json", "snapshot.json", "targets.json", ".dmpack"])
def test_endless_data(keeper: Keeper, server: Server, asked: str) -> None:
    server.hook(lambda handler, path: path.endswith(asked) and pour(handler))
    refused("more bytes than it may", lambda: pull("expert", [keeper.source(server.url)]))


@pytest.mark.parametrize("headers", [False, True], ids=["body", "headers"])
@pytest.mark.parametrize("asked", ["timestamp.json", ".dmpack"])
def test_slow_retrieval(keeper: Keeper, server: Server, asked: str, headers: bool) -> None:
    """A byte every 50 ms for ever keeps every wait short, and is cut off by the clock all the same."""
    server.hook(lambda handler, path: path.endswith(asked) and drip(handler, headers))
    start = time.monotonic()
    refused("too slow: cut off", lambda: pull("expert", [keeper.source(server.url)], QUICK))
    assert time.monotonic() - start < 5
    assert threading.active_count() < 20


def test_silence(keeper: Keeper, server: Server) -> None:
    server.hook(lambda handler, path: path.endswith("timestamp.json") and not time.sleep(1))
    refused("sends nothing: cut off|too slow", lambda: search([], [keeper.source(server.url)], QUICK))


def test_a_compromised_key_is_worth_nothing_after_rotation(keeper: Keeper, server: Server, tmp_path: Path) -> None:
    """The thief of the online keys lists a pack of theirs far ahead; the keeper's next root ends that."""
    source = keeper.source(server.url)
    assert pull("expert", [source])[1]
    shutil.copytree(keeper.folder, tmp_path / "good")
    stolen = tmp_path / "stolen"
    shutil.copytree(keeper.keys, stolen)
    for file in stolen.glob("root-*.pem"):
        file.unlink()
    thief = Repository.open(keeper.folder)
    thief.timestamp.signed.version = thief.snapshot.signed.version = 10**6  # a fast-forward
    thief.publish(load_keys([stolen]))
    search([], [source])
    shutil.rmtree(keeper.folder)
    shutil.copytree(tmp_path / "good", keeper.folder)
    refused("rollback", lambda: update([], [source]))
    for role in ("timestamp", "snapshot", "targets"):
        rotate(keeper.folder, role, [keeper.keys])
    keeper.publish("1.1.0")
    assert [(one.version, new) for one, new in update([], [source])] == [("1.1.0", True)]
    good = metadata(keeper, "timestamp.json").read_bytes()
    forged = Metadata.from_bytes(good)
    sign(forged, 30, load_keys([stolen]), [], [thief.root.signed.get_delegated_role("timestamp")])
    assert forged.signatures
    forged.signed.version += 1
    metadata(keeper, "timestamp.json").write_bytes(forged.to_bytes())
    refused("not signed by the keys", lambda: update([], [source]))


def test_a_root_needs_both_its_own_keys_and_the_old_ones(keeper: Keeper, server: Server, tmp_path: Path) -> None:
    """One of two root keys signs no root; a rotated root is followed, one of strangers is not."""
    source = keeper.source(server.url)
    first, second = sorted(keeper.keys.glob("root-*.pem"))
    second.rename(tmp_path / "kept.pem")
    with pytest.raises(CatalogueError, match=r"root metadata needs 2 signatures, private keys for 1 are here"):
        rotate(keeper.folder, "root", [keeper.keys])
    (tmp_path / "kept.pem").rename(second)
    lost = first.name.removeprefix("root-").removesuffix(".pem")
    rotate(keeper.folder, "root", [keeper.keys], retire=[lost])
    assert pull("expert", [source])[0].trust.root_version == 2
    other = Keeper(tmp_path / "other")
    other.publish()
    rotate(other.folder, "root", [other.keys])
    rotate(other.folder, "root", [other.keys])
    shutil.copy(metadata(other, "3.root.json"), metadata(keeper, "3.root.json"))
    refused("not signed by the keys", lambda: update([], [source]))


def test_a_publisher_signs_for_no_name_but_its_own(keeper: Keeper, server: Server, tmp_path: Path) -> None:
    """Neither by a path of the catalogue's own, nor by another name under its own path."""
    new_key(tmp_path / "alice", "alice")
    delegate(keeper.folder, "alice", list((tmp_path / "alice").glob("*.pub.json")), [keeper.keys])
    publish(keeper.folder, [make_pack(tmp_path, "tips", "0.1.0")], [tmp_path / "alice"], publisher="alice")
    repository = Repository.open(keeper.folder)
    targets = repository.targets["alice"].signed.targets
    own = targets["alice/tips/tips-0.1.0.dmpack"]
    custom = {"duomem": {**own.custom["duomem"], "name": "expert", "version": "9.0.0"}}
    stolen = type(own)(own.length, own.hashes, "expert/expert-9.0.0.dmpack", {"custom": custom})
    targets |= {stolen.path: stolen, "alice/x/x-1.0.0.dmpack": own}
    repository.sign_targets("alice", load_keys([tmp_path / "alice"]))
    keeper.publish()
    answer = search([], [keeper.source(server.url)])
    assert [one.entry.title for one in answer.found] == ["alice/tips 0.1.0", "expert 1.0.0"]
    assert len(answer.notes) == 2 and all(note.startswith("alice: a pack in its list") for note in answer.notes)
    refused("no such version", lambda: pull("expert@9.0.0", [keeper.source(server.url)]))


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 16_000, b'{"signed": 1, "signatures": []}', b"\xff" * 100])
def test_metadata_that_is_none(keeper: Keeper, server: Server, data: bytes) -> None:
    metadata(keeper, "timestamp.json").write_bytes(data)
    refused("metadata is damaged|not signed", lambda: search([], [keeper.source(server.url)]))


def test_a_catalogue_that_is_no_plain_file(keeper: Keeper, tmp_path: Path) -> None:
    """A FIFO in a catalogue on this machine keeps nobody waiting."""
    os.unlink(metadata(keeper, "timestamp.json"))
    os.mkfifo(metadata(keeper, "timestamp.json"))
    refused("is no file", lambda: search([], [keeper.source(keeper.folder.as_uri())], QUICK))
