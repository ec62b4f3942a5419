"""The metadata that goes along with a pack: verified without a network, and told when it is past its time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bundles import write_bundle
from catalogues import Keeper, Server, make_pack

from duomem.cli.carried import carry_all
from duomem.cli.main import main
from duomem.core.errors import CatalogueError
from duomem.core.user_folders import data_folder
from duomem.deploy.archive import write_archive
from duomem.device.engine.bundle import read_bundle
from duomem.memory_packs.catalogue import store
from duomem.memory_packs.catalogue.carried import carried, carry
from duomem.memory_packs.catalogue.keys import new_key
from duomem.memory_packs.catalogue.publish import delegate, publish, rotate
from duomem.memory_packs.catalogue.pull import pull
from duomem.memory_packs.catalogue.sources import add_source


@pytest.fixture
def pulled(keeper: Keeper, server: Server) -> store.Installed:
    """An installed pack, of a catalogue whose root was rotated."""
    source = keeper.source(server.url)
    rotate(keeper.folder, "timestamp", [keeper.keys])
    found, _ = pull("expert", [source])
    server.server.shutdown()
    return found


def test_from_a_device_to_another(pulled: store.Installed, tmp_path: Path) -> None:
    carry(pulled, tmp_path / "along")
    shutil.copy(pulled.path, tmp_path / "copy.dmpack")
    shutil.rmtree(pulled.path.parents[2])
    entry, trust = carried(tmp_path / "along", tmp_path / "copy.dmpack")
    assert (entry.title, trust.root_version) == ("expert 1.0.0", 2)
    assert (trust.identity, trust.root_keys, trust.expires) == (
        pulled.trust.identity,
        pulled.trust.root_keys,
        pulled.trust.expires,
    )


def test_a_publishers_pack(keeper: Keeper, server: Server, tmp_path: Path) -> None:
    new_key(tmp_path / "alice", "alice")
    delegate(keeper.folder, "alice", list((tmp_path / "alice").glob("*.pub.json")), [keeper.keys])
    publish(keeper.folder, [make_pack(tmp_path, "tips", "0.1.0")], [tmp_path / "alice"], publisher="alice")
    keeper.publish()
    found, _ = pull("alice/tips", [keeper.source(server.url)])
    carry(found, tmp_path / "along")
    assert carried(tmp_path / "along", found.path)[0].title == "alice/tips 0.1.0"


def test_another_file_or_other_metadata_is_refused(pulled: store.Installed, tmp_path: Path) -> None:
    along = tmp_path / "along"
    carry(pulled, along)
    other = Keeper(tmp_path / "other")
    other.publish("1.0.0", tasks=3)
    (theirs,) = (other.folder / "targets" / "expert").iterdir()
    with pytest.raises(CatalogueError, match="does not vouch for this file"):
        carried(along, theirs)
    for file in sorted((along / "metadata").iterdir()):
        data = file.read_bytes()
        for bad in (data.replace(b"1.0.0", b"9.9.9") if b"1.0.0" in data[200:] else b"{}", b"", b"["):
            file.write_bytes(bad)
            with pytest.raises(CatalogueError):
                carried(along, pulled.path)
        file.write_bytes(data)
    assert carried(along, pulled.path)[0].title == "expert 1.0.0"


def test_without_its_metadata_a_pack_goes_all_the_same(
    pulled: store.Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(data_folder() / "catalogues")
    assert carry_all([pulled.path, make_pack(tmp_path, "mine", "1.0.0")], tmp_path) == []
    assert "expert.dmpack goes into the kit without its signatures: " in capsys.readouterr().err


def test_a_kit_says_who_vouches_for_its_packs(
    keeper: Keeper, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = keeper.source(server.url)
    found, _ = pull("expert", [source])
    (trust,) = carry_all([found.path], tmp_path)
    inside = {f"packs/expert.trust/metadata/{file.name}": file.read_bytes() for file in (trust / "metadata").iterdir()}
    folder = write_bundle(tmp_path / "phone", {"packs/expert.dmpack": found.path.read_bytes(), **inside})
    write_archive(read_bundle(folder), tmp_path / "phone.tar.gz")
    words = ["kit", "unpack", str(tmp_path / "phone.tar.gz"), "--out"]
    capsys.readouterr()
    assert main([*words, str(tmp_path / "one")]) == 0
    assert "expert 1.0.0: signed under root 1, keys " in (said := capsys.readouterr().out)
    assert "of a catalogue that was not added here" in said and "past" not in said
    add_source(source)
    monkeypatch.setattr("duomem.memory_packs.catalogue.store.today", lambda: "2090-01-01")
    assert main([*words, str(tmp_path / "two")]) == 0
    assert f"(of {server.url}), vouched for until {found.trust.expires}, which is past" in capsys.readouterr().out

    folder = write_bundle(tmp_path / "other", {"packs/expert.dmpack": b"another", **inside})
    write_archive(read_bundle(folder), tmp_path / "phone.tar.gz")
    assert main([*words, str(tmp_path / "three")]) == 1
    assert "does not vouch for this file" in capsys.readouterr().err
