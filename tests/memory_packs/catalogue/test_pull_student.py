"""Adapters and bundles from folder to folder by way of a catalogue; hostile archives leave nothing installed."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from bundles import write_bundle
from catalogues import Keeper, Server, write_adapter

from duomem.cli.main import main
from duomem.cli.values import AdapterFolder, BundleFolder
from duomem.core.cpu import cpu_arch
from duomem.core.errors import UserError
from duomem.core.reading import sha256_bytes
from duomem.memory_packs.catalogue import store
from duomem.memory_packs.catalogue.entry import Entry
from duomem.memory_packs.catalogue.kinds import ADAPTER
from duomem.memory_packs.catalogue.offer import Offer, offer_adapter
from duomem.memory_packs.catalogue.publish import publish_offers
from duomem.memory_packs.catalogue.pull import pull
from duomem.memory_packs.catalogue.student import ADAPTER_FILES, WEIGHTS


def run(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> tuple[str, str]:
    """What the command prints, as (out, err); of one that fails, err is its one line."""
    assert main([*map(str, words)]) == status
    out, err = capsys.readouterr()
    assert not status or (err.count("\n") == 1 and err.startswith("duomem: error: "))
    return out, err


def publish_student(keeper: Keeper, folder: Path, name: str, version: str = "1.0.0", status: int = 0) -> None:
    words = ("--name", name, "--version", version, "--licence", "Apache-2.0", "--keys", keeper.keys)
    assert main(["student", "publish", str(keeper.folder), str(folder), *map(str, words)]) == status


def at(keeper: Keeper, server: Server) -> tuple[object, ...]:
    return "--catalogue", server.url, "--root", keeper.folder / "metadata" / "1.root.json"


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def nothing_half(home: Path) -> bool:
    """Whether in the folder of what is installed stands nothing but what a record names."""
    kept = {f"{one.name}.json" for one in store.installed()}
    kept |= {one.path.parent.name for one in store.installed()}
    return {item.name for item in (home / "packs").iterdir()} == kept and not [*(home / "downloads").iterdir()]


def test_an_adapter_from_publish_to_merge(
    keeper: Keeper, server: Server, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = write_adapter(tmp_path / "adapter")
    publish_student(keeper, adapter, "tiny-lora")
    assert "tiny-lora 1.0.0, adapter of 0.0 MB, sha256 " in capsys.readouterr().out
    (listed,) = json.loads(run(capsys, "pack", "search", "adapter", *at(keeper, server), "--json")[0])["found"]
    assert (listed["name"], listed["kind"], listed["model"]) == ("tiny-lora", "adapter", "tiny")
    assert "made of: tiny\n" in run(capsys, "pack", "info", "tiny-lora", *at(keeper, server))[0]
    out, err = run(capsys, "student", "pull", "tiny-lora", *at(keeper, server))
    assert out.startswith(f"installed: tiny-lora 1.0.0 (adapter) from {server.url}") and "program" not in err
    assert run(capsys, "student", "pull", "tiny-lora@1.0.0", *at(keeper, server))[0].startswith("up to date: ")
    path = AdapterFolder().convert("tiny-lora", None, None)
    assert contents(path) == {name: (adapter / name).read_bytes() for name in ADAPTER_FILES} and nothing_half(home)
    assert "installed: tiny-lora 1.0.0 (adapter)" in run(capsys, "student", "list")[0]
    assert run(capsys, "pack", "list")[0].startswith("tiny-lora 1.0.0 (adapter) from ")
    assert "no such memory pack" in run(capsys, "pack", "show", "tiny-lora", status=1)[1]
    assert run(capsys, "pack", "remove", "tiny-lora")[0] == "removed: tiny-lora 1.0.0\n"
    assert not path.exists() and nothing_half(home)


def test_a_bundle_is_a_program_and_says_so(
    keeper: Keeper, server: Server, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library = {"file": "lib/cpu.so", "mcpu": "generic", "activations": "exact", "cpu_features": []}
    target = {"name": "any", "device": "cpu", "arch": cpu_arch(), "libraries": [library]}
    bundle = write_bundle(tmp_path / "bundle", target=target)
    publish_student(keeper, bundle, "phone")
    capsys.readouterr()
    out, err = run(capsys, "student", "pull", "phone", *at(keeper, server))
    assert out.startswith("installed: phone 1.0.0 (bundle)") and err.count("\n") == 1
    assert err.startswith("duomem: phone 1.0.0 is a program: it will run with your rights")
    path = BundleFolder().convert("phone", None, None)
    assert path.name == "phone" and contents(path) == contents(bundle) and nothing_half(home)
    assert BundleFolder().convert(str(bundle), None, None) == bundle


@pytest.mark.parametrize(
    ("change", "pattern"),
    [({"arch": "riscv64"}, "is compiled for Linux riscv64, this is "), ({"cpu_features": ["amx_x"]}, "with amx_x")],
)
def test_a_bundle_of_another_cpu_is_not_downloaded(
    keeper: Keeper, server: Server, tmp_path: Path, change: dict, pattern: str, capsys: pytest.CaptureFixture[str]
) -> None:
    library = {
        "file": "lib/cpu.so",
        "mcpu": "generic",
        "activations": "exact",
        "cpu_features": change.get("cpu_features", []),
    }
    target = {"name": "any", "device": "cpu", "arch": change.get("arch", cpu_arch()), "libraries": [library]}
    publish_student(keeper, write_bundle(tmp_path / "bundle", target=target), "other")
    _, err = run(capsys, "student", "pull", "other", *at(keeper, server), status=1)
    assert pattern in err and "nothing was downloaded" in err
    assert not [path for path, _ in server.asked if path.endswith(".bundle.tar")]
    assert "installed: other" in run(capsys, "student", "pull", "other", "--any-cpu", *at(keeper, server))[0]


def test_each_kind_has_its_command(
    keeper: Keeper, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No `pack` command installs a student, and a name is of one kind."""
    adapter = write_adapter(tmp_path / "adapter")
    publish_student(keeper, adapter, "tiny-lora")
    publish_student(keeper, adapter, "expert", "9.0.0", status=1)
    assert "expert is published as a pack: give another name" in capsys.readouterr().err
    _, err = run(capsys, "pack", "pull", "tiny-lora", *at(keeper, server), status=1)
    assert "is listed as adapter: take it with `duomem student pull tiny-lora`" in err
    _, err = run(capsys, "student", "pull", "expert", *at(keeper, server), status=1)
    assert "is listed as pack: take it with `duomem pack pull expert`" in err
    run(capsys, "student", "pull", "tiny-lora", *at(keeper, server))
    assert "no such pack" in run(capsys, "pack", "update", "tiny-lora", *at(keeper, server), status=1)[1]


def test_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    one, other = (
        offer_adapter(write_adapter(tmp_path / name), "x", "1.0.0", "", "MIT", None).entry for name in ("a", "b")
    )
    os.utime(tmp_path / "b" / WEIGHTS, (1, 1))
    (tmp_path / "b" / WEIGHTS).chmod(0o600)
    assert one == other == offer_adapter(tmp_path / "b", "x", "1.0.0", "", "MIT", None).entry


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (WEIGHTS, ""),
        (WEIGHTS, "\xff" * 8),
        (WEIGHTS, "\x02" + "\0" * 7 + "{}"),
        ("duomem.json", "[]"),
        ("duomem.json", '{"config": {"model": 1}}'),
        ("adapter_config.json", "1"),
        ("adapter_config.json", "["),
    ],
)
def test_what_is_no_adapter_is_not_published(
    keeper: Keeper, tmp_path: Path, name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (write_adapter(tmp_path / "adapter") / name).write_bytes(text.encode("latin-1"))
    before = contents(keeper.folder)
    publish_student(keeper, tmp_path / "adapter", "tiny-lora", status=1)
    assert name in capsys.readouterr().err and contents(keeper.folder) == before


def test_what_is_no_student_is_not_published(
    keeper: Keeper, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_student(keeper, tmp_path, "x", status=1)
    assert "neither a bundle.json nor an adapter_config.json" in capsys.readouterr().err
    publish_student(keeper, write_adapter(tmp_path / "adapter"), "X/Y", status=1)
    assert "name 'X/Y' is none for a catalogue" in capsys.readouterr().err
    publish_student(keeper, tmp_path / "adapter", "x", "1", status=1)
    assert "version '1' is not as 1.2.0" in capsys.readouterr().err


def archive(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, "/etc/passwd", len(data) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


HOSTILE: dict[str, Callable[[list[tuple[str, bytes]]], bytes]] = {
    "empty": lambda m: archive(),
    "no archive": lambda m: b"x" * 2048,
    "cut off": lambda m: archive(*m)[:700],
    "a tail": lambda m: archive(*m) + b"x",
    "parent": lambda m: archive(*m, ("../evil", b"x")),
    "absolute": lambda m: archive(*m, ("/tmp/duomem-evil", b"x")),
    "deep": lambda m: archive(*m, ("a/b/c/d/e", b"x")),
    "twice": lambda m: archive(*m, m[0]),
    "a file as a folder": lambda m: archive(*m, (f"{m[0][0]}/x", b"x")),
    "a folder as a file": lambda m: archive(("a/x", b"x"), ("a", b"x")),
    "one more": lambda m: archive(*m, ("setup.py", b"x")),
    "one less": lambda m: archive(*m[1:]),
    "links": lambda m: archive(*m, kind=tarfile.SYMTYPE),
    "a huge member": lambda m: tarfile.TarInfo("a").tobuf()[:124] + b"77777777777\0" + b"\0" * 376,
    "another model": lambda m: archive(*m[:2], ("duomem.json", b'{"config": {"model": "other"}}')),
    "cut weights": lambda m: archive((WEIGHTS, m[0][1][:-1]), *m[1:]),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_rightly_signed_leaves_nothing(
    keeper: Keeper, server: Server, tmp_path: Path, home: Path, case: str
) -> None:
    """And the version that was installed stays."""
    folder, source = write_adapter(tmp_path / "adapter"), keeper.source(server.url)
    good = offer_adapter(folder, "tiny-lora", "1.0.0", "", "MIT", None)
    publish_offers(keeper.folder, [good], [keeper.keys])
    found, _ = pull("tiny-lora", [source], kinds=(ADAPTER,))
    data = HOSTILE[case]([(name, (folder / name).read_bytes()) for name in (WEIGHTS, *ADAPTER_FILES[::2])])
    entry = replace(good.entry, version="1.1.0", size=len(data), sha256=sha256_bytes(data))
    publish_offers(keeper.folder, [Offer(entry, lambda f: f.write(data), case)], [keeper.keys])
    with pytest.raises(UserError) as told:
        pull("tiny-lora", [source], kinds=(ADAPTER,))
    assert str(told.value).isprintable()
    assert store.find_installed("tiny-lora") == found and found.path.is_dir() and nothing_half(home)
    assert not list(tmp_path.rglob("evil")) and not Path("/tmp/duomem-evil").exists()


def test_a_student_that_grew_on_the_server_is_refused_by_size(keeper: Keeper, server: Server, tmp_path: Path) -> None:
    """Neither more bytes than were signed, nor others of the same number."""
    publish_offers(
        keeper.folder,
        [offer_adapter(write_adapter(tmp_path / "adapter"), "tiny-lora", "1.0.0", "", "MIT", None)],
        [keeper.keys],
    )
    (file,) = (keeper.folder / "targets" / "tiny-lora").iterdir()
    data = file.read_bytes()
    for bad, pattern in ((data + b"x", "more bytes than it may"), (data[:-1] + b"x", "were changed")):
        file.write_bytes(bad)
        with pytest.raises(UserError, match=pattern):
            pull("tiny-lora", [keeper.source(server.url)], kinds=(ADAPTER,))
    assert store.installed() == []


def test_a_part_is_never_parsed_before_its_digest(tmp_path: Path, keeper: Keeper) -> None:
    entry = Entry("adapter", "x", "1.0.0", "0" * 64, 4)
    part = store.part_file(entry)
    part.parent.mkdir(parents=True)
    part.write_bytes(b"evil")
    trust = store.Trust("http://x", "0" * 16, 1, (), 1, "2030-01-01", "2030-01-01")
    with store.changing(), pytest.raises(UserError, match="is not what the catalogue lists"):
        store.install(entry, part, trust, ADAPTER)
    assert not part.exists() and store.installed() == []


def test_a_file_of_no_bytes_is_not_listed() -> None:
    entry = Entry("adapter", "x", "1.0.0", "0" * 64, 0)
    with pytest.raises(UserError, match="fields length and hashes"):
        Entry.from_custom(entry.path, entry.size, entry.sha256, entry.custom(), "x")
