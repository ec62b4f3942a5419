"""What mlc-llm is given: the folder's files and fields, and how an installed mlc_llm is driven (a fake one here)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duomem.cli.export import MLC_DEVICES
from duomem.cli.main import main
from duomem.compile.export.mlc import DEVICES, compile_mlc
from duomem.compile.models.config import DecoderConfig
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.compile.weights.mlc_config import chat_config, check_mlc, conversation
from duomem.core.errors import UserError
from duomem.device.engine.weights import read_tensor_cache

MODEL_FIELDS = {
    "LlamaForCausalLM": {
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "num_hidden_layers",
        "rms_norm_eps",
        "vocab_size",
        "tie_word_embeddings",
        "position_embedding_base",
        "rope_scaling",
        "context_window_size",
        "prefill_chunk_size",
        "num_key_value_heads",
        "head_dim",
    },
    "Qwen2ForCausalLM": {"hidden_act", "rope_theta", "num_key_value_heads", "head_dim", "dtype"},
    "Qwen3ForCausalLM": {"hidden_act", "rope_theta", "attention_bias", "num_key_value_heads", "head_dim"},
    "Gemma2ForCausalLM": {
        "attention_bias",
        "hidden_activation",
        "position_embedding_base",
        "query_pre_attn_scalar",
        "attn_logit_softcapping",
        "final_logit_softcapping",
        "sliding_window",
    },
    "Gemma3ForCausalLM": {"text_config", "vocab_size", "context_window_size", "sliding_window_size"},
}
"""What the config class of each family in mlc-llm's python/mlc_llm/model takes, or asks for."""

TYPES = {
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3_text",
}

FAKE = """
import json, os, sys, time
mode = sys.argv.pop(1)
if mode == "hang":
    time.sleep(60)
if mode == "fail":
    sys.exit("ValueError: no such device")
if mode == "crash":
    os.kill(os.getpid(), 11)
if mode == "work":
    with open(sys.argv[sys.argv.index("--output") + 1], "w") as f:
        json.dump(sys.argv[1:], f)
"""


class Model:
    """As much of a Checkpoint as the config needs."""

    def __init__(self, folder: Path, architecture: str, **fields: Any) -> None:
        from duomem.compile.models import FAMILIES

        self.folder, self.family = folder, FAMILIES[architecture]
        sizes = {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 300,
            "bos_token_id": 2,
            "eos_token_ids": (1,),
        }
        self.config = DecoderConfig(**{**sizes, **fields})


@pytest.fixture
def speak(byte_tokenizer: Path, tmp_path: Path) -> Callable[..., Path]:
    """speak(*tokens): folder of a tokenizer that knows these special tokens, from id 256 on."""

    def make(*tokens: str) -> Path:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(byte_tokenizer / "tokenizer.json"))
        tokenizer.add_special_tokens(list(tokens))
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        return tmp_path

    return make


def fake(mode: str) -> tuple[str, ...]:
    return (sys.executable, "-c", FAKE, mode)


@pytest.mark.parametrize("architecture", MODEL_FIELDS)
def test_each_family_has_the_fields_mlc_reads(architecture: str, byte_tokenizer: Path) -> None:
    model: Any = Model(byte_tokenizer, architecture, sliding_window=32, attention_scale=0.125)
    config = chat_config(model, "q4f16_1", 512, 128)
    assert config["model_type"] == TYPES[architecture] and config["quantization"] == "q4f16_1"
    fields = config["model_config"]
    assert MODEL_FIELDS[architecture] <= set(fields)
    assert fields["context_window_size"] == config["context_window_size"] == 512
    assert fields.get("query_pre_attn_scalar", 64) == 64
    text = fields.get("text_config", fields)
    assert (text["hidden_size"], text["num_key_value_heads"], text["head_dim"]) == (64, 4, 16)
    json.dumps(config, allow_nan=False)


@pytest.mark.parametrize(
    ("architecture", "tokens", "name", "stop"),
    [
        ("LlamaForCausalLM", ("<|im_start|>", "<|im_end|>"), "chatml", [1, 257]),
        ("LlamaForCausalLM", ("<|start_header_id|>", "<|eot_id|>"), "llama-3", [1, 257]),
        ("LlamaForCausalLM", (), "LM", [1]),
        ("Qwen2ForCausalLM", ("<|im_start|>", "<|im_end|>"), "qwen2", [1, 257]),
        ("Qwen3ForCausalLM", ("<|im_start|>", "<|im_end|>"), "qwen3", [1, 257]),
        ("Gemma2ForCausalLM", ("<start_of_turn>", "<end_of_turn>"), "gemma_instruction", [1, 257]),
        ("Gemma3ForCausalLM", ("<start_of_turn>", "<end_of_turn>"), "gemma3_instruction", [1, 257]),
        ("Gemma3ForCausalLM", ("<|im_start|>",), "LM", [1]),
    ],
)
def test_the_conversation_is_the_family_s(
    architecture: str, tokens: tuple[str, ...], name: str, stop: list[int], speak: Callable[..., Path]
) -> None:
    template = conversation(Model(speak(*tokens), architecture))  # type: ignore[arg-type]
    assert template["name"] == name and template["stop_token_ids"] == stop
    assert len(template["seps"]) == 1 and set(template["roles"]) == {"user", "assistant"}
    assert "{system_message}" in template["system_template"]


def test_a_student_of_the_kit_reads_plain_text(speak: Callable[..., Path]) -> None:
    folder = speak("<|im_start|>", "<|im_end|>")
    (folder / "duomem.json").write_text("{}")
    assert conversation(Model(folder, "LlamaForCausalLM"))["name"] == "LM"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("architecture", "fields", "scheme", "message"),
    [
        ("LlamaForCausalLM", {}, "q8f16_1", r"--quant q8f16_1: mlc-llm has no such scheme.*q4f16_0"),
        ("LlamaForCausalLM", {"rope_scaling": {"rope_type": "linear"}}, "q0f16", "no linear rope scaling for llama"),
        ("Qwen2ForCausalLM", {"rope_scaling": {"rope_type": "llama3"}}, "q0f16", "no llama3 rope scaling for qwen2"),
        ("Qwen2ForCausalLM", {"head_dim": 32}, "q0f16", "head_dim x heads"),
    ],
)
def test_what_mlc_does_not_compute_is_refused(
    architecture: str, fields: dict[str, Any], scheme: str, message: str, byte_tokenizer: Path
) -> None:
    with pytest.raises(UserError, match=message):
        check_mlc(Model(byte_tokenizer, architecture, **fields), scheme)  # type: ignore[arg-type]


def test_the_folder(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "mlc"
    assert compile_mlc(tiny_model, "q4f16_1", out, 256)
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {
        "model/mlc-chat-config.json",
        "model/tensor-cache.json",
        "model/tokenizer.json",
        "README.md",
        "android/mlc-package-config.json",
        "ios/mlc-package-config.json",
    } <= files
    records = read_tensor_cache(out / "model")
    assert records["model.embed_tokens.q_scale"].load().dtype == np.float16
    config = json.loads((out / "model" / "mlc-chat-config.json").read_text())
    assert all((out / "model" / name).is_file() for name in config["tokenizer_files"])
    for app, device in {"android": "android", "ios": "iphone"}.items():
        package = json.loads((out / app / "mlc-package-config.json").read_text())
        (entry,) = package["model_list"]
        assert package["device"] == device and entry["bundle_weight"] is True
        assert (out / app / entry["model"] / "mlc-chat-config.json").is_file()
        assert entry["model_id"] == f"{tiny_model.name}-q4f16_1-MLC"
        weights = sum(f.stat().st_size for f in (out / "model").glob("params_shard_*"))
        assert entry["estimated_vram_bytes"] > weights
        assert entry["overrides"] == {"prefill_chunk_size": 128, "context_window_size": 256}
    before = (out / "README.md").stat().st_mtime_ns
    assert not compile_mlc(tiny_model, "q4f16_1", out, 256)
    assert (out / "README.md").stat().st_mtime_ns == before
    (out / "model" / "params_shard_0.bin").write_bytes(b"")
    assert compile_mlc(tiny_model, "q4f16_1", out, 256)


def test_a_folder_of_something_else_is_kept(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is no MLC folder"):
        compile_mlc(tiny_model, "q0f16", tmp_path, 256)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_mlc_llm_is_asked_for_the_library(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "mlc"
    assert compile_mlc(tiny_model, "q0f16", out, 256, device="android", command=fake("work"))
    arguments = json.loads((out / "lib" / "android.tar").read_text())
    assert arguments[0] == "compile" and Path(arguments[1]).name == "mlc-chat-config.json"
    assert arguments[2:5] == ["--device", "android", "--output"]
    assert "./lib/android.tar" in (out / "README.md").read_text()
    assert not compile_mlc(tiny_model, "q0f16", out, 256, device="android", command=fake("work"))


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("hang", r"mlc_llm, for cpu, took more than 1 s and was stopped"),
        ("fail", r"mlc_llm, for cpu, failed \(exit 1\): ValueError: no such device"),
        ("crash", r"mlc_llm, for cpu, crashed \(SIGSEGV\)"),
        ("nothing", r"wrote no cpu\.so"),
    ],
)
def test_mlc_llm_failing_leaves_nothing(tiny_model: Path, tmp_path: Path, mode: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        compile_mlc(tiny_model, "q0f16", tmp_path / "o", 256, device="cpu", command=fake(mode), time_limit=1.0)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def command(*args: str) -> int:
    return main(["export", "mlc", *args])


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (["--device", "moon"], 2, "'--device': 'moon' is not one of 'cpu', 'cuda'"),
        (["--target", "aarch64"], 2, "No such option '--target'"),
        (["--quant", "q3"], 2, "'--quant': 'q3' is not one of 'q0f32'"),
        (["--context", "8"], 2, "'--context': 8 is not in the range x>=64"),
        (["--context", "9999"], 1, "--context 9999: this model takes 64..512 tokens"),
        (["--calibrate-pack", "PACK"], 2, "--calibrate-pack: the memories of which episodes?"),
    ],
)
def test_wrong_options(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], status: int, said: str
) -> None:
    pack = tmp_path / "p.dmpack"
    pack.touch()
    words = [str(pack) if word == "PACK" else word for word in args]
    assert command(str(tiny_model), "--out", str(tmp_path / "o"), *words) == status
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_devices_are_those_of_the_command() -> None:
    assert tuple(DEVICES) == MLC_DEVICES


def test_without_mlc_llm_one_line_says_how_to_get_it(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mlc_llm", None)
    assert command(str(tiny_model), "--out", str(tmp_path / "o"), "--device", "cpu") == 1
    err = capsys.readouterr().err
    assert "--device cpu: mlc_llm is not installed" in err and "https://llm.mlc.ai/docs/install" in err


def test_an_installed_mlc_llm_is_found(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "site" / "mlc_llm"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(FAKE.replace("sys.argv.pop(1)", "'work'"))
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    assert command(str(tiny_model), "--out", str(tmp_path / "o"), "--device", "cpu", "--quant", "q4f16_0") == 0
    assert "library lib/cpu.so" in capsys.readouterr().out
    assert json.loads((tmp_path / "o" / "lib" / "cpu.so").read_text())[0] == "compile"


def test_a_real_checkpoint_reads_its_own_template(tiny_model: Path) -> None:
    assert conversation(Checkpoint(tiny_model))["name"] == "LM"
