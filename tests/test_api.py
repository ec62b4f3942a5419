"""The Python API: what `import duomem` offers, what it loads, and that its page says what its docstrings say."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import duomem
from duomem import Bundle, Pack
from duomem.core.errors import BundleError, PackError

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("numpy", "tvm", "torch", "tokenizers", "transformers", "importlib.metadata")


def _python(program: str) -> str:
    """Standard output of a fresh Python that runs `program`."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout


def test_importing_loads_nothing_heavy() -> None:
    loaded = _python("import sys, json, duomem; dir(duomem); print(json.dumps(sorted(sys.modules)))")
    modules = {name for name in json.loads(loaded) if name.startswith("duomem")}
    assert modules == {"duomem"} and not {*HEAVY} & {*json.loads(loaded)}


def test_a_pack_is_read_without_a_model_runtime() -> None:
    loaded = json.loads(_python("import sys, json, duomem; duomem.Pack; print(json.dumps(sorted(sys.modules)))"))
    assert not {"numpy", "tvm", "torch", "tokenizers"} & {*loaded}


def test_every_export_is_there_once() -> None:
    assert duomem.__all__ == sorted({*duomem._MODULES, "__version__"})
    assert {*duomem.__all__} <= {*dir(duomem)}
    for name in duomem._MODULES:
        assert getattr(duomem, name).__module__ == f"duomem.{duomem._MODULES[name]}"
    assert duomem.__version__[0].isdigit()
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = duomem.nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", list(duomem._MODULES))
def test_every_export_is_described(name: str) -> None:
    value = getattr(duomem, name)
    described = [value]
    if inspect.isclass(value):
        described += [m for n, m in vars(value).items() if inspect.isfunction(m) and not n.startswith("_")]
    assert all((thing.__doc__ or "").strip() for thing in described)


def test_the_page_is_as_the_docstrings_say() -> None:
    made = subprocess.run(
        [sys.executable, "scripts/api_docs.py"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    committed = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
    assert made == committed, "run: python scripts/api_docs.py > docs/python-api.md"


def test_a_type_checker_resolves_every_name(tmp_path: Path) -> None:
    """And refuses a name that is no export, and a wrong argument."""
    checker = shutil.which("basedpyright", path=str(Path(sys.executable).parent)) or shutil.which("basedpyright")
    if checker is None:
        pytest.skip("basedpyright is not installed: pip install basedpyright")
    examples = sorted((ROOT / "examples").glob("*.py"))
    good = subprocess.run([checker, *examples], capture_output=True, text=True, cwd=ROOT)
    assert good.returncode == 0 and "0 errors" in good.stdout, good.stdout
    sample = tmp_path / "sample.py"
    names = [name for name in duomem.__all__ if name != "__version__"]
    sample.write_text(
        f"from duomem import {', '.join(names)}\nfrom duomem import nothing\n"
        'Agent.load("b").play(3)\nreveal_type(Agent.load("b").play(load_game("g")).commands)\n'
    )
    bad = subprocess.run([checker, "--outputjson", sample], capture_output=True, text=True, cwd=ROOT)
    said = json.loads(bad.stdout)["generalDiagnostics"]
    assert [(d["range"]["start"]["line"], d.get("rule")) for d in said if d["severity"] == "error"] == [
        (1, "reportAttributeAccessIssue"),
        (2, "reportArgumentType"),
    ]
    assert any('"tuple[str, ...]"' in d["message"] for d in said)


def test_a_text_may_be_given_for_a_path(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle folder"):
        Bundle.load(str(tmp_path / "none"))
    with pytest.raises(PackError, match="no such memory pack"):
        Pack.load(str(tmp_path / "none"))
