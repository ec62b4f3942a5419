"""A kit's wheels: TVM's runtime alone, what several Pythons share once, and duomem's own."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
from fake_wheels import fake_wheel

from duomem.core.errors import UserError
from duomem.core.package import own_files
from duomem.deploy.repack import licences, repack
from duomem.deploy.wheels import pins
from duomem.device.install import unpack_wheel


@pytest.mark.parametrize(
    ("devices", "kept"),
    [
        (("cpu",), {"runtime", "runtime_extra"}),
        (("cuda", "cpu"), {"runtime", "runtime_extra", "runtime_cuda"}),
        (("metal",), {"runtime", "runtime_extra", "runtime_metal"}),
    ],
)
def test_the_cut_tvm_has_the_runtimes_of_the_bundles_devices(
    devices: tuple[str, ...], kept: set[str], tmp_path: Path
) -> None:
    names = [f"tvm/lib/libtvm_{part}.so" for part in ("runtime", "runtime_extra", "runtime_cuda", "runtime_metal")]
    wheel = fake_wheel(tmp_path, "apache_tvm", "py3-none-any", dict.fromkeys(names, b"x"))
    (tmp_path / "out").mkdir()
    repack([wheel], tmp_path / "out", devices)
    [cut] = (tmp_path / "out").iterdir()
    with zipfile.ZipFile(cut) as archive:
        found = {name for name in archive.namelist() if name.startswith("tvm/lib/")}
    assert found == {f"tvm/lib/libtvm_{part}.so" for part in kept}


def test_a_wheel_without_a_runtime_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no libtvm_runtime"):
        repack([fake_wheel(tmp_path, "apache_tvm", "py3-none-any", {"tvm/__init__.py": b""})], tmp_path, ["cpu"])
    (tmp_path / "rich-1.0-py3-none-any.whl").write_bytes(b"PK no wheel")
    with pytest.raises(UserError, match=r"rich-1\.0-py3-none-any\.whl: is no wheel"):
        repack([tmp_path / "rich-1.0-py3-none-any.whl"], tmp_path, ["cpu"])


def test_wheels_for_several_pythons_share_what_is_the_same(tmp_path: Path) -> None:
    """Both parts together give back the wheel as it was, and each is smaller than it."""
    library = os.urandom(50_000)
    tags = [f"cp3{minor}-cp3{minor}-manylinux2014_x86_64" for minor in (11, 12, 13)]
    wheels = [
        fake_wheel(
            tmp_path,
            "numpy",
            tag,
            {"numpy/__init__.py": b"", "numpy.libs/blas.so": library, f"numpy/core.{tag[:5]}.so": tag.encode() * 100},
        )
        for tag in tags
    ]
    out = tmp_path / "out"
    out.mkdir()
    repack(wheels, out, ["cpu"])
    shared = out / "numpy-1.0+shared-py3-none-manylinux2014_x86_64.whl"
    assert {path.name for path in out.iterdir()} == {shared.name, *(wheel.name for wheel in wheels)}
    assert shared.stat().st_size > len(library) and all((out / w.name).stat().st_size < 2000 for w in wheels)
    for wheel in wheels:
        for name, parts in (("both", (shared, out / wheel.name)), ("whole", (wheel,))):
            for part in parts:
                unpack_wheel(part, tmp_path / wheel.name[:-4] / name)
        contents = [
            {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            for folder in (tmp_path / wheel.name[:-4]).iterdir()
        ]
        assert contents[0] == contents[1] and len(contents[0]) == 7
    assert [(part.name, part.licence, list(part.texts.values())) for part in licences(out.iterdir())] == [
        ("numpy", "MIT", [b"do what you like"])
    ]


def test_duomems_wheel_holds_all_of_its_packages() -> None:
    packages = {name.split("/")[0] for name in own_files() if "/" in name}
    assert packages == {"cli", "compile", "configs", "core", "deploy", "device", "memory_packs", "report", "train"}
    expected = ("py.typed", "device/engine/tvm_engine.py", "deploy/starters/install.sh", "configs/targets/host.toml")
    assert set(expected) <= set(own_files())
    assert set(pins()) >= {"apache-tvm", "numpy", "tokenizers"}
