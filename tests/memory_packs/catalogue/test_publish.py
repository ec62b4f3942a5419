"""What a keeper and a publisher may do: versions never change, keys are their owner's, a page to look at."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from html.parser import HTMLParser
from pathlib import Path

import pytest
from catalogues import Keeper, make_pack

from duomem.cli.main import main
from duomem.core.errors import CatalogueError, PackError
from duomem.memory_packs.catalogue.entry import Entry, is_name, newest, split_wanted, version_key
from duomem.memory_packs.catalogue.index_page import index_page
from duomem.memory_packs.catalogue.keys import load_keys, new_key
from duomem.memory_packs.catalogue.publish import delegate, publish, rotate
from duomem.memory_packs.catalogue.pull import search
from duomem.memory_packs.catalogue.repository import Repository


def seen(keeper: Keeper) -> list[tuple[str, str]]:
    """What a client of the catalogue finds."""
    found = search([], [keeper.source(keeper.folder.as_uri())]).found
    return [(one.entry.name, one.entry.version) for one in found]


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_version_is_never_changed(keeper: Keeper, tmp_path: Path) -> None:
    keeper.publish("1.0.0")  # the same again is no fault
    before = files(keeper.folder)
    for version, tasks in (("1.0.0", 3), ("0.9.0", 2), ("1.0.0-rc.1", 2)):
        with pytest.raises(CatalogueError, match=r"expert 1\.0\.0 is published, and a version is never changed"):
            keeper.publish(version, tasks=tasks)
    with pytest.raises(PackError, match="no such memory pack"):
        publish(keeper.folder, [make_pack(tmp_path, "b", "1.0.0"), tmp_path / "none"], [keeper.keys])
    assert files(keeper.folder) == before
    keeper.publish("1.1.0-rc.1", "1.1.0", "2.0.0-rc.1")
    assert seen(keeper) == [("expert", "1.1.0")]


@pytest.mark.parametrize("name", ["Expert", "../expert", "a b", "alice/expert", "-", "a" * 65, "x..y", "\x1b[31m"])
def test_names_that_are_none(name: str) -> None:
    assert name == "alice/expert" or not is_name(name)
    with pytest.raises(CatalogueError, match=r"x: the pack's name .* is none for a catalogue"):
        Entry("pack", name, "1.0.0", "0" * 64, 1).checked(None, "x")


def test_versions_are_ordered_as_semver_does() -> None:
    ordered = ["0.9.0", "1.0.0-1", "1.0.0-2", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta", "1.0.0", "1.10.0"]
    assert sorted(reversed(ordered), key=lambda v: version_key(v) or ()) == ordered
    assert {version_key(text) for text in ("", "1", "1.0", "01.0.0", "1.0.0+x", "1.0.0-", "1.0.0-01", "1.0.٣")} == {
        None
    }
    assert newest([]) is None
    assert split_wanted("alice/expert@1.0.0-rc.1") == ("alice/expert", "1.0.0-rc.1")
    for text in ("expert@", "expert@new", "@1.0.0", "root/expert@1.0.0", "a/b/c"):
        with pytest.raises(CatalogueError):
            split_wanted(text)


def test_private_keys_are_for_their_owner(keeper: Keeper) -> None:
    private = sorted(keeper.keys.glob("*.pem"))
    assert len(private) == 5 and {stat.S_IMODE(file.stat().st_mode) for file in private} == {0o600}
    private[0].chmod(0o640)
    with pytest.raises(CatalogueError, match=r"root-[0-9a-f]{8}\.pem: others can read this private key: chmod 600"):
        keeper.publish()
    private[0].chmod(0o600)
    shutil.copy(private[1], private[0])
    with pytest.raises(CatalogueError, match="is not the private key of the public one beside it"):
        load_keys([keeper.keys])
    private[0].unlink()
    os.mkfifo(private[0], 0o600)
    with pytest.raises(CatalogueError, match="is no private key made by"):
        load_keys([keeper.keys])


@pytest.mark.parametrize("text", ["[]", "{}", '{"role": "root", "ed25519": "00"}', '{"role": "../x", "ed25519": "00"}'])
def test_public_keys_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.pub.json").write_text(text)
    with pytest.raises(CatalogueError, match=r"x\.pub\.json: field (role|ed25519)"):
        load_keys([tmp_path])


def test_a_role_without_a_key_is_named(tmp_path: Path) -> None:
    new_key(tmp_path / "keys", "root")
    with pytest.raises(CatalogueError, match="no key of targets to begin this catalogue with"):
        publish(tmp_path / "c", [], [tmp_path / "keys"])
    for role in ("targets", "snapshot", "timestamp"):
        new_key(tmp_path / "keys", role)
    with pytest.raises(CatalogueError, match="--threshold 2: there are 1 root keys"):
        publish(tmp_path / "c", [], [tmp_path / "keys"], threshold=2)
    assert not (tmp_path / "c" / "metadata").exists()


def test_a_root_key_on_another_disk(keeper: Keeper, tmp_path: Path) -> None:
    """Publishing needs no root key; rotation finds them in both folders."""
    (tmp_path / "vault").mkdir()
    for file in keeper.keys.glob("root-*"):
        file.rename(tmp_path / "vault" / file.name)
    keeper.publish("1.1.0")
    with pytest.raises(CatalogueError, match="root metadata needs 2 signatures, private keys for 0 are here"):
        rotate(keeper.folder, "timestamp", [keeper.keys])
    rotate(keeper.folder, "timestamp", [keeper.keys, tmp_path / "vault"])
    assert seen(keeper) == [("expert", "1.1.0")] and Repository.open(keeper.folder).root.signed.version == 2


def test_a_lost_key_is_rotated_without_it(keeper: Keeper) -> None:
    for role in ("timestamp", "targets", "snapshot"):
        for file in keeper.keys.glob(f"{role}-*.pem"):
            file.unlink()
        rotate(keeper.folder, role, [keeper.keys])
        assert seen(keeper) == [("expert", "1.0.0")]


@pytest.mark.parametrize("role", ["timestamp", "targets", "snapshot"])
@pytest.mark.parametrize("written", range(6))
def test_a_rotation_without_the_old_key_that_is_cut_short(
    keeper: Keeper, role: str, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any number of files it wrote: the keeper's next run puts it right."""
    for file in keeper.keys.glob(f"{role}-*.pem"):
        file.unlink()
    write, left = Repository._write, [written]

    def cut(repository: Repository, name: str, metadata: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        write(repository, name, metadata)  # type: ignore[arg-type]

    with contextlib.suppress(KeyboardInterrupt), monkeypatch.context() as patched:
        patched.setattr(Repository, "_write", cut)
        rotate(keeper.folder, role, [keeper.keys])
    if Repository.open(keeper.folder).root.signed.version == 1:  # it is as it was: the key is still lost
        rotate(keeper.folder, role, [keeper.keys])
    keeper.publish("1.1.0")
    assert seen(keeper) == [("expert", "1.1.0")] and not (keeper.folder / "metadata" / "next.root.json").exists()


def test_a_publisher_of_its_own(keeper: Keeper, tmp_path: Path) -> None:
    """Signs with its key alone; the keeper lists it; after a change of key it signs again before anything is seen."""
    alice = tmp_path / "alice"
    new_key(alice, "alice")
    pack = make_pack(tmp_path, "tips", "0.1.0")
    with pytest.raises(CatalogueError, match="no publisher alice: its keeper adds one"):
        publish(keeper.folder, [pack], [alice], publisher="alice")
    delegate(keeper.folder, "alice", list(alice.glob("*.pub.json")), [keeper.keys])
    assert publish(keeper.folder, [pack], [alice], publisher="alice").unlisted
    assert seen(keeper) == [("expert", "1.0.0")]
    keeper.publish()
    assert seen(keeper) == [("alice/tips", "0.1.0"), ("expert", "1.0.0")]
    with pytest.raises(CatalogueError, match="alice metadata needs 1 signatures, private keys for 0"):
        publish(keeper.folder, [make_pack(tmp_path, "tips", "0.2.0")], [keeper.keys], publisher="alice")

    new_key(tmp_path / "new", "alice")
    delegate(keeper.folder, "alice", list((tmp_path / "new").glob("*.pub.json")), [keeper.keys])
    answer = search([], [keeper.source(keeper.folder.as_uri())])
    assert [one.entry.name for one in answer.found] == ["expert"]
    assert "alice: its metadata is not signed" in answer.notes[0]
    publish(keeper.folder, [make_pack(tmp_path, "tips", "0.2.0")], [tmp_path / "new"], publisher="alice")
    keeper.publish()
    assert seen(keeper) == [("alice/tips", "0.2.0"), ("expert", "1.0.0")]


@pytest.mark.parametrize("name", ["root", "Alice", "a/b", ""])
def test_names_of_publishers_that_are_none(keeper: Keeper, name: str) -> None:
    with pytest.raises(CatalogueError):
        delegate(keeper.folder, name, list(keeper.keys.glob("*.pub.json")), [keeper.keys])


@pytest.mark.parametrize("name", ["timestamp.json", "1.root.json", "2.snapshot.json", "2.targets.json"])
def test_a_catalogue_that_somebody_changed_is_not_signed_again(keeper: Keeper, tmp_path: Path, name: str) -> None:
    """Whoever can write to the folder gets nothing signed by its keeper."""
    other = Keeper(tmp_path / "other")
    other.publish("1.0.0")
    for data in ((other.folder / "metadata" / name).read_bytes(), b"{}", b""):
        (keeper.folder / "metadata" / name).write_bytes(data)
        with pytest.raises(CatalogueError, match=r"copy (the catalogue|it) again"):
            keeper.publish("1.1.0")


def test_the_page_is_escaped(keeper: Keeper) -> None:
    page = (keeper.folder / "index.html").read_text()
    assert "<td>expert</td>" in page and "Apache-2.0" in page and "<script" not in page
    (link,) = [value for tag in _tags(page) for key, value in tag if key == "href"]
    assert (keeper.folder / str(link)).is_file()
    evil = "<script>alert(1)</script>\"'>"
    entry = Entry("pack", "a", "1.0.0", "0" * 64, 1, evil, evil, 1, (evil,), ())
    harmless = Entry("pack", "a", "1.0.0", "0" * 64, 1, "b", "c", 1, ("d",), ())
    pages = [index_page([one], ["0"], "2026-01-01") for one in (entry, harmless)]
    assert _tags(pages[0]) == _tags(pages[1]) and "&lt;script&gt;" in pages[0]


def _tags(page: str) -> list[list[tuple[str, str | None]]]:
    found: list[list[tuple[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append(attrs)

    Reader().feed(page)
    return found


def test_as_a_keeper_types_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys, catalogue = str(tmp_path / "keys"), str(tmp_path / "catalogue")
    pack = str(make_pack(tmp_path, "expert", "1.0.0"))
    assert main(["pack", "keys", "new", keys]) == 0
    assert capsys.readouterr().out.count(" key ") == 4
    assert main(["pack", "publish", catalogue, pack, "--keys", keys, "--days", "7"]) == 0
    assert "expert 1.0.0, 2 memories, sha256 " in capsys.readouterr().out
    assert main(["pack", "keys", "rotate", catalogue, "--role", "root", "--keys", keys]) == 0
    assert main(["pack", "keys", "new", str(tmp_path / "alice"), "--role", "alice"]) == 0
    (public,) = (tmp_path / "alice").glob("*.pub.json")
    assert main(["pack", "keys", "delegate", catalogue, "alice", str(public), "--keys", keys]) == 0
    assert main(["pack", "publish", catalogue, "--keys", keys]) == 0
    root = f"{catalogue}/metadata/1.root.json"
    assert main(["pack", "search", "--catalogue", catalogue, "--root", root]) == 0
    assert "expert  pack  1.0.0" in capsys.readouterr().out
    assert main(["pack", "keys", "rotate", catalogue, "--role", "root", "--keys", keys, "--retire", "zz"]) == 1
    assert "--retire zz: root has the keys " in capsys.readouterr().err
