"""Kits: what goes in, that the same inputs give the same bytes, and that nothing tampered with gets past the reader.

The wheels are small ones made here; tests/aarch64/test_kit_emulated.py installs the real ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from bundles import write_bundle
from fake_wheels import fake_wheel

from duomem.core.claim import claimed
from duomem.core.errors import UserError
from duomem.deploy import kit as module
from duomem.deploy.archive import unpack_archive, write_archive
from duomem.deploy.kit import Kit, make_kit, sizes
from duomem.deploy.wheels import PLATFORMS
from duomem.device.engine.bundle import Bundle, read_bundle
from duomem.device.engine.manifest import manifest_digest
from duomem.device.install import wheels_for

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "memories.dmpack").write_bytes(b"memories")
    game = folder / "games/json_2.1.1/valid_seen/pick_and_place_simple-A-None-B-1/trial_1/game.tw-pddl"
    game.parent.mkdir(parents=True)
    game.write_text('{"solvable": true}')
    return Kit(PLATFORMS["x86_64"], folder / "cache", (PYTHON,), [folder / "memories.dmpack"], folder / "games")


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, Kit, Path], tuple[Bundle, bool]]:
    """make_kit, with wheels made here in place of the package index's."""
    folder = tmp_path_factory.mktemp("wheels")
    number = PYTHON.replace(".", "")
    wheels = [
        fake_wheel(
            folder,
            "apache_tvm",
            "py3-none-any",
            {
                "tvm/__init__.py": b"",
                "tvm/LICENSE": b"apache",
                "tvm/NOTICE": b"tvm",
                "tvm/lib/libtvm_runtime.so": b"r",
                "tvm/lib/libtvm_compiler.so": b"c" * 99999,
                "tvm/lib/libtvm_runtime_cuda.so": b"g",
                "tvm/relax/a.py": b"",
                "tvm/runtime/b.py": b"",
            },
        ),
        fake_wheel(folder, "rich", "py3-none-any", {"rich/__init__.py": b""}),
        fake_wheel(folder, "numpy", f"cp{number}-cp{number}-manylinux2014_x86_64", {"numpy/__init__.py": b""}),
        fake_wheel(folder, "other", "cp39-cp39-manylinux2014_x86_64", {"other/__init__.py": b""}),
    ]

    def run(source: Path, kit: Kit, out: Path) -> tuple[Bundle, bool]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "fetch_wheels", lambda platform, python, cache: wheels)
            return make_kit(source, kit, out)

    return run


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("compiled") / "b")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, make: Callable, source: Path, settings: Kit) -> Bundle:
    """A kit. Read it, do not change it."""
    return make(source, settings, tmp_path_factory.mktemp("kits") / "phone")[0]


def test_a_kit_holds_what_a_device_needs(whole: Bundle, source: Path) -> None:
    files = set(read_bundle(whole.folder).manifest["files"])
    assert set(read_bundle(source).manifest["files"]) < files
    assert {
        "install.sh",
        "play",
        "bench",
        "check",
        "README.md",
        "LICENSES.md",
        "packs/memories.dmpack",
        "wheels/apache_tvm-1.0+runtime-py3-none-any.whl",
        "licenses/rich/00-license",
        "games/json_2.1.1/valid_seen/pick_and_place_simple-A-None-B-1/trial_1/game.tw-pddl",
    } <= files
    parts = sizes(whole)
    assert parts["all"] == sum(p.stat().st_size for p in whole.folder.rglob("*") if p.is_file())
    assert parts["runtime"] == sum(p.stat().st_size for p in (whole.folder / "wheels").iterdir())
    assert "@" not in (whole.folder / "install.sh").read_text().replace("$@", "").replace('"$@"', "")
    for name in ("install.sh", "play", "bench", "check", "serve"):
        assert os.access(whole.folder / name, os.X_OK)
        assert subprocess.run(["sh", "-n", whole.folder / name], check=False).returncode == 0


def test_the_cut_tvm_has_no_compiler_and_keeps_its_licence(whole: Bundle) -> None:
    with zipfile.ZipFile(whole.folder / "wheels/apache_tvm-1.0+runtime-py3-none-any.whl") as archive:
        names = set(archive.namelist())
        assert {
            "tvm/LICENSE",
            "tvm/NOTICE",
            "tvm/lib/libtvm_runtime.so",
            "tvm/runtime/b.py",
            "apache_tvm-1.0+runtime.dist-info/licenses/LICENSE",
        } <= names
        assert not any("compiler" in name or "relax" in name or "cuda" in name for name in names)
        assert b"Version: 1.0+runtime\n" in archive.read("apache_tvm-1.0+runtime.dist-info/METADATA")
        assert b"duomem removed" in archive.read("tvm/NOTICE")
        for line in archive.read("apache_tvm-1.0+runtime.dist-info/RECORD").decode().splitlines():
            name, digest, size = line.split(",")
            assert name.endswith("RECORD") or (int(size) == len(archive.read(name)) and digest.startswith("sha256="))


def test_a_wheel_of_another_name_is_refused(whole: Bundle) -> None:
    files = {**whole.manifest["files"], "wheels/evil.whl": {"size": 1, "sha256": "0" * 64}}
    with pytest.raises(UserError, match=r"wheels/evil\.whl has no wheel's name"):
        wheels_for(replace(whole, manifest={**whole.manifest, "files": files}), "Linux", "x86_64", sys.version_info[:2])


def test_the_same_inputs_give_the_same_bytes_once(make: Callable, source: Path, settings: Kit, tmp_path: Path) -> None:
    first, new = make(source, settings, tmp_path / "a" / "phone")
    assert new and not make(source, settings, tmp_path / "a" / "phone")[1]
    second = make(source, settings, tmp_path / "b" / "phone")[0]
    for bundle in (first, second):
        write_archive(bundle, bundle.folder.with_suffix(".tar.gz"))
    assert (tmp_path / "a/phone.tar.gz").read_bytes() == (tmp_path / "b/phone.tar.gz").read_bytes()
    assert make(source, replace(settings, packs=()), tmp_path / "a" / "phone")[1]
    (tmp_path / "a/phone/play").write_text("echo hi")
    assert make(source, replace(settings, packs=()), tmp_path / "a" / "phone")[1]
    read_bundle(tmp_path / "a/phone")


def test_a_kit_is_held_from_the_start(make: Callable, source: Path, settings: Kit, tmp_path: Path) -> None:
    with claimed(tmp_path / "phone"), pytest.raises(UserError, match="phone: another process is writing it"):
        make(source, settings, tmp_path / "phone")
    assert not (tmp_path / "phone").exists()


def test_a_kit_is_of_the_bundle_that_was_verified(
    make: Callable, source: Path, settings: Kit, whole: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "current"
    link.symlink_to(source)

    def switch(path: Path) -> Bundle:
        bundle = read_bundle(path)
        if path == link and link.exists():
            link.unlink()
        return bundle

    monkeypatch.setattr(module, "read_bundle", switch)
    assert make(link, settings, tmp_path / "phone")[0].manifest == whole.manifest


def test_what_does_not_fit_is_refused(
    make: Callable, source: Path, settings: Kit, whole: Bundle, tmp_path: Path
) -> None:
    for name in ("aarch64", "macos_arm64"):
        with pytest.raises(UserError, match=rf"compiled for \w+ \(x86_64\), not for {name}: compile it"):
            make(source, replace(settings, platform=PLATFORMS[name]), tmp_path / "k")
    with pytest.raises(UserError, match="is a kit already"):
        make(whole.folder, settings, tmp_path / "k")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").touch()
    with pytest.raises(UserError, match="is no bundle"):
        make(source, settings, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis").exists() and not (tmp_path / "k").exists()


def test_a_device_takes_the_wheels_of_its_python(whole: Bundle) -> None:
    python = sys.version_info[:2]
    taken = {name.split("/")[1].split("-")[0] for name in wheels_for(whole, "Linux", "x86_64", python)}
    assert taken == {"apache_tvm", "rich", "numpy", "duomem"}
    for arguments in (("Linux", "aarch64", python), ("Darwin", "arm64", python), ("Linux", "x86_64", (3, 99))):
        with pytest.raises(UserError):
            wheels_for(whole, *arguments)


def copy_of(bundle: Bundle, folder: Path) -> Path:
    return Path(shutil.copytree(bundle.folder, folder / "copy"))


def test_each_file_flipped_truncated_or_removed_is_refused(whole: Bundle, tmp_path: Path) -> None:
    folder = copy_of(whole, tmp_path)
    cases = 0
    for name in ("bundle.json", *whole.manifest["files"]):
        path, data = folder / name, (folder / name).read_bytes()
        middle = len(data) // 2
        changed = [
            data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :] if data else b"x",
            data[:-1] or b"x",
            data[:-1] + bytes([data[-1] ^ 64]) if data else b"y",
        ]
        if name == "bundle.json":
            changed = [*changed[:1], data[:middle]]  # what stands after the last brace is space
        for bad in changed:
            path.write_bytes(bad)
            with pytest.raises(UserError):
                read_bundle(folder)
            cases += 1
        path.unlink()
        with pytest.raises(UserError):
            read_bundle(folder)
        path.write_bytes(data)
        cases += 1
    read_bundle(folder)
    assert cases >= 90


@pytest.mark.parametrize(
    "name",
    [
        "x",
        "site.py",
        ".hidden",
        "wheels/evil-1.0-py3-none-any.whl",
        "lib/cpu2.so",
        "games/g",
        "model/extra.bin",
        "licenses/x",
        "duomem/__init__.py",
        "install.sh~",
    ],
)
def test_a_file_added_is_refused(whole: Bundle, tmp_path: Path, name: str) -> None:
    folder = copy_of(whole, tmp_path)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    with pytest.raises(UserError):
        read_bundle(folder)


@pytest.mark.parametrize("name", ["play", "wheels", "bundle.json", "lib/cpu.so", "packs/memories.dmpack"])
def test_a_link_in_place_of_a_file_is_refused(whole: Bundle, tmp_path: Path, name: str) -> None:
    folder = copy_of(whole, tmp_path)
    os.rename(folder / name, tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError):
        read_bundle(folder)


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/x",
        "wheels/../x",
        "wheels/a/b.whl",
        "wheels/x.so",
        "run.sh",
        "games",
        "wheels/-x.whl",
        "model/a+b",
        "play/x",
        "etc/passwd",
        "bundle.json",
    ],
)
def test_a_name_no_kit_has_is_refused_even_if_listed(whole: Bundle, tmp_path: Path, name: str) -> None:
    folder = copy_of(whole, tmp_path)
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["files"][name] = {"size": 1, "sha256": "0" * 64}
    manifest["kit"]["manifest"] = manifest_digest(manifest)
    (folder / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="no path inside"):
        read_bundle(folder)


@pytest.mark.parametrize(
    "change",
    [{"kit": None}, {"kit": {}}, {"kit": "x"}, {"quantization": "q8f16_1"}, {"tools": []}, {"inputs": "1" * 64}],
)
def test_a_changed_manifest_is_refused(whole: Bundle, tmp_path: Path, change: dict) -> None:
    folder = copy_of(whole, tmp_path)
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(UserError):
        read_bundle(folder)
    del manifest["kit"]
    (folder / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="no path inside model, lib, packs"):
        read_bundle(folder)


def test_an_archive_is_unpacked_as_it_was(whole: Bundle, tmp_path: Path) -> None:
    write_archive(whole, tmp_path / "phone.tar.gz")
    unpacked = unpack_archive(tmp_path / "phone.tar.gz", tmp_path / "out")
    assert unpacked.manifest == whole.manifest
    assert read_bundle(tmp_path / "out").manifest == whole.manifest
    assert os.access(tmp_path / "out/install.sh", os.X_OK) and not os.access(tmp_path / "out/bundle.json", os.X_OK)


@pytest.mark.skipif(platform.system() != "Linux", reason="runs the installer of the Linux kit")
def test_the_installer_says_why_it_cannot(whole: Bundle, tmp_path: Path) -> None:
    def install(folder: Path, **env: str) -> tuple[int, str]:
        done = subprocess.run(
            ["sh", folder / "install.sh", "--check"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **env},
        )
        return done.returncode, (done.stdout + done.stderr).strip().splitlines()[-1]

    python = {"PYTHON": sys.executable}
    (tmp_path / "none").mkdir()
    for name in ("sh", "dirname", "mktemp", "rm"):
        (tmp_path / "none" / name).symlink_to(shutil.which(name) or name)
    status, line = install(whole.folder, PATH=str(tmp_path / "none"))
    assert status == 3 and f"no Python {PYTHON} here" in line
    folder = copy_of(whole, tmp_path)
    (folder / "lib/cpu.so").write_bytes(b"\x7fELF librarz")
    status, line = install(folder, **python)
    assert status == 1 and "cpu.so" in line and "SHA-256" in line
    own = next((folder / "wheels").glob("duomem-*.whl"))
    own.write_bytes(own.read_bytes()[:-1] + b"x")
    assert hashlib.sha256(own.read_bytes()).hexdigest() not in (folder / "install.sh").read_text()
    status, line = install(folder, **python)
    assert status == 1 and "duomem-" in line and "SHA-256" in line
    status, line = install(whole.folder, **python)  # installs; the wheels here hold no numpy to run with
    assert status == 1
    [runtime] = (tmp_path / ".local/share/duomem").glob("runtime-*")
    assert {"duomem", "tvm", "rich", "numpy"} <= {path.name for path in runtime.iterdir()}
    assert not (runtime / "other").exists() and read_bundle(whole.folder)
