"""One whole delivery over a real sshd: kit, deploy, install, self-check, benchmark; and a version that is refused.

The student is a tiny one, everything else is real: the runtime is what is installed here, packed as wheels.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from devices import Sshd

from duomem.cli.main import main
from duomem.core.cpu import cpu_arch
from duomem.deploy import kit as module
from duomem.deploy.kit import Kit, make_kit
from duomem.deploy.repack import write_wheel
from duomem.deploy.wheels import PLATFORMS, pins

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
pytestmark = [
    pytest.mark.ssh,
    pytest.mark.skipif(sys.platform != "linux", reason="installs the kit of a Linux machine"),
    pytest.mark.skipif(sys.version_info < (3, 11), reason="kits are for Python 3.11 and later"),
]


def installed_wheel(name: str, folder: Path) -> Path:
    """The distribution `name` of this environment as a wheel, without what a device's kit leaves out anyway."""
    distribution = importlib.metadata.distribution(name)
    files = {
        str(path): Path(str(path.locate())).read_bytes()
        for path in distribution.files or ()
        if ".." not in path.parts
        and "tests" not in path.parts
        and "libtvm_compiler" not in path.name
        and path.suffix != ".pyc"
        and path.name not in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
    }
    tag = f"cp{VERSION.replace('.', '')}"
    wheel = folder / f"{name.replace('-', '_')}-{distribution.version}-{tag}-{tag}-linux_{cpu_arch()}.whl"
    write_wheel(wheel, files, 0)
    return wheel


@pytest.fixture(scope="module")
def kit(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    wheels = [installed_wheel(name, folder) for name in pins()]
    out = tmp_path_factory.mktemp("kits") / "host"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "fetch_wheels", lambda platform, python, cache: wheels)
        make_kit(tiny_bundle, Kit(PLATFORMS[cpu_arch()], folder, (VERSION,)), out)
    return out


@pytest.fixture
def device(sshd: Sshd) -> Sshd:
    """sshd of a machine that has a bare Python of this version and no duomem."""
    python = sshd.folder / "tools" / f"python{VERSION}"
    if not python.exists():
        python.symlink_to(Path(sys.executable).resolve())
    done = subprocess.run([python, "-I", "-c", "import duomem"], capture_output=True, text=True, check=False)
    if "ModuleNotFoundError" not in done.stderr:
        pytest.skip("this machine's own Python has duomem installed")
    return sshd


def test_a_kit_is_delivered_installed_checked_and_measured(
    device: Sshd, kit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address, config = f"ssh://device{tmp_path}/duomem", ["--ssh-config", str(device.config)]
    arguments = "--prompt 32 --gen 4 --repetitions 1 --threads 1"
    results = tmp_path / "results"
    assert (
        main(["deploy", "push", address, str(kit), *config, "--bench", str(results), "--bench-arguments", arguments])
        == 0
    )
    out = capsys.readouterr().out
    assert "version " in out and "is current; sent " in out
    assert "self-check: passed: verified, needs " in out and " on cpu" in out
    [runtime] = (device.folder / "duomem").glob("runtime-*")
    assert not list(runtime.rglob("libtvm_compiler*")) and (runtime / "duomem/device/engine/tvm_engine.py").is_file()
    [result] = results.glob("*.json")
    measured = json.loads(result.read_text())
    assert [test["test"] for test in measured["runs"][0]["tests"]] == ["pp32", "tg4"]
    table = (results / "bench.md").read_text().splitlines()
    assert len(table) == 3 and f"| {result.stem} |" in table[2]

    first = os.readlink(tmp_path / "duomem/current")
    damaged = Path(shutil.copytree(kit, tmp_path / "damaged"))
    manifest = json.loads((damaged / "bundle.json").read_text())
    manifest["gate"]["bound"] = 2.0  # another version, with a manifest that is not as duomem kit wrote it
    (damaged / "bundle.json").write_text(json.dumps(manifest))
    assert main(["deploy", "push", address, str(damaged), *config]) == 1
    assert "is not as duomem kit wrote it" in capsys.readouterr().err
    assert os.readlink(tmp_path / "duomem/current") == first


def test_a_kit_serves_its_student(device: Sshd, kit: Path, tmp_path: Path) -> None:
    """One command on a bare Python: installed, served over HTTP, ended by a signal."""
    python = device.folder / "tools" / f"python{VERSION}"
    env = {"PATH": os.environ["PATH"], "DUOMEM_HOME": str(tmp_path / "home"), "PYTHON": str(python)}
    command = ["sh", str(kit / "serve"), "--port", "0"]
    with subprocess.Popen(command, env=env, cwd="/", stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split(" at ")[1].split()[0]
            with urlopen(f"{url}/models", timeout=60) as answer:
                assert json.load(answer)["data"][0]["id"] == kit.name
        finally:
            server.terminate()
            told, _ = server.communicate()
    assert server.returncode == 0 and told.startswith("stopping")
