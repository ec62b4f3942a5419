"""`duomem bench` as a user types it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from duomem.cli.main import main
from duomem.cli.values import Numbers

QUICK = ["--prompt", "16", "--gen", "4", "--repetitions", "1", "--threads", "1"]


def test_a_table_then_one_json_line(tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "result.json"
    assert main(["bench", str(tiny_bundle), *QUICK, "--context", "0,32", "--json", str(file)]) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    result = json.loads(lines[-1])
    assert result == json.loads(file.read_text()) and err == ""
    assert [test["test"] for test in result["runs"][0]["tests"]] == ["pp16", "tg4", "tg4@0", "tg4@32"]
    assert any(line.startswith("pp16") for line in lines[:-1])
    assert sum(line.startswith("{") for line in lines) == 1


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["absent"], 1, "absent: no such bundle folder"),
        (["BUNDLE", "--prompt", "300"], 1, "holds 256 tokens, --prompt 300"),
        (["BUNDLE", "--vs-quant", "Q4_0"], 2, "--vs-quant: for which engine? Give --vs llama.cpp too"),
        (["BUNDLE", "--model", "."], 1, ".: no config.json in it"),
        (["BUNDLE", "--vs", "llama.cpp,onnxruntime-genai"], 2, "of which model? Give --model"),
        (["BUNDLE", "--json", "."], 1, ".: is a folder, a file is to be written there"),
    ],
)
def test_a_mistake_is_one_line(
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *(str(tiny_bundle) if word == "BUNDLE" else word for word in arguments)]) == status
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("duomem: error: ") and said in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["b", "--threads", "0"],
        ["b", "--threads", "1,,2"],
        ["b", "--threads", "two"],
        ["b", "--context", "-1"],
        ["b", "--context", "x"],
        ["b", "--prompt", "0"],
        ["b", "--repetitions", "0"],
        ["b", "--vs", "ollama"],
        ["b", "--vs", "llama.cpp,,"],
    ],
)
def test_wrong_usage(tiny_bundle: Path, arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *(str(tiny_bundle) if word == "b" else word for word in arguments)]) == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_lists_of_numbers() -> None:
    assert Numbers(1).convert("2,1,2", None, None) == (2, 1)
    assert Numbers(0, ascending=True).convert("512,0,0", None, None) == (0, 512)


def test_without_llama_cpp_one_line_says_how_to_get_it(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "llama_cpp" else find(name, *rest)
    )
    assert main(["bench", str(tiny_bundle), *QUICK, "--vs", "llama.cpp"]) == 1
    err = capfd.readouterr().err
    assert "pip install --no-binary llama-cpp-python llama-cpp-python gguf" in err and err.count("\n") == 1


def test_each_missing_engine_has_its_line(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    absent = ("llama_cpp", "onnxruntime_genai", "openvino_genai")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in absent else find(name, *rest))
    (tmp_path / "config.json").write_text("{}")
    vs = ["--vs", "llama.cpp,onnxruntime-genai,openvino", "--model", str(tmp_path)]
    assert main(["bench", str(tiny_bundle), *QUICK, *vs]) == 1
    err = capfd.readouterr().err
    assert "--vs llama.cpp: " in err and "--vs onnxruntime-genai: " in err and "pip install onnxruntime-genai" in err
    assert "--vs openvino: " in err and "pip install openvino-genai" in err


def test_against_llama_cpp(tiny_bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The same weights through both engines: only llama.cpp's 8-bit activations may tell them apart."""
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (docs/bench.md)")
    pytest.importorskip("gguf", reason="gguf is not installed")
    assert main(["bench", str(tiny_bundle), *QUICK, "--vs", "llama.cpp", "--context", "32"]) == 0
    run = json.loads(capfd.readouterr().out.splitlines()[-1])["runs"][0]
    for quant in ("Q4_0", "Q4_1"):
        agreement, engine = run["agreement"][f"llama.cpp {quant}"], run["engines"][f"llama.cpp {quant}"]
        assert 0 < agreement["mean_kl"] < 0.05 and agreement["same_best"] > 0.8
        assert engine["engine"] == "llama.cpp" and engine["inexact"] == 0
    assert all(test["best_baseline"].startswith("llama.cpp Q4_") for test in run["tests"])


def test_against_openvino(tiny_bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The same weights through both engines, after a base too."""
    for package in ("openvino", "openvino_genai", "gguf"):
        pytest.importorskip(package, reason=f"{package} is not installed (docs/bench.md)")
    assert main(["bench", str(tiny_bundle), *QUICK, "--vs", "openvino", "--context", "32"]) == 0
    run = json.loads(capfd.readouterr().out.splitlines()[-1])["runs"][0]
    agreement, engine = run["agreement"]["openvino"], run["engines"]["openvino"]
    assert agreement["same_weights"] and agreement["mean_kl"] < 0.05 and agreement["same_best"] > 0.8
    assert engine["gguf"] == "Q4_0" and engine["inexact"] == 0
    assert all(test["best_baseline"] == "openvino" for test in run["tests"])


def test_a_gguf_type_that_does_not_hold_the_weights(tiny_bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (docs/bench.md)")
    pytest.importorskip("gguf", reason="gguf is not installed")
    assert main(["bench", str(tiny_bundle), *QUICK, "--vs", "llama.cpp", "--vs-quant", "Q4_0,Q6_K"]) == 1
    assert "--vs-quant Q6_K: weights in q4f32_1 can become Q4_0 or Q4_1" in capfd.readouterr().err


def test_an_estimate_measures_nothing(tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "estimate.json"
    names = "raspberry-pi-5,apple-m1"
    assert main(["bench", str(tiny_bundle), "--estimate", names, "--json", str(file)]) == 0
    out, err = capfd.readouterr()
    result = json.loads(out.splitlines()[-1])
    assert result == json.loads(file.read_text()) and err == "" and out.startswith("ESTIMATES")
    assert [device["device"] for device in result["devices"]] == names.split(",")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--estimate", "fridge"], 1, "--estimate fridge: no such device: use all, or some of raspberry-pi-5"),
        (["--measured", __file__], 2, "--measured: for what? Give --estimate DEVICE too"),
        (["--estimate", "all", "--measured", __file__], 1, "test_bench_command.py: bench result"),
    ],
)
def test_a_mistake_in_an_estimate_is_one_line(
    tiny_bundle: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], status: int, said: str
) -> None:
    assert main(["bench", str(tiny_bundle), *arguments]) == status
    out, err = capfd.readouterr()
    assert out == "" and said in err and err.count("\n") == 1
