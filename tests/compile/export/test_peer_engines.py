"""onnxruntime-genai and OpenVINO as engines under test: what they hold, what they forget, how they fail.

Packages that stand in for theirs: logits after a sequence are its sum, its length and its last token.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from duomem.compile.export import onnxruntime_genai, openvino
from duomem.core.errors import CompileError


def logits(tokens: list[int]) -> np.ndarray:
    return np.array([[[sum(tokens), len(tokens), tokens[-1]]]], np.float32)


class Generator:
    """onnxruntime-genai's."""

    def __init__(self, model: Any, params: Any) -> None:
        self.tokens: list[int] = []

    def append_tokens(self, ids: np.ndarray) -> None:
        assert ids.dtype == np.int32
        self.tokens += ids.tolist()

    def get_logits(self) -> np.ndarray:
        return logits(self.tokens)

    def rewind_to(self, length: int) -> None:
        del self.tokens[length:]


class Request:
    """OpenVINO's, its one state being the tokens."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.silent = False

    def infer(self, inputs: dict[str, np.ndarray], share_inputs: bool) -> list[np.ndarray]:
        before, new = len(self.tokens), inputs["input_ids"][0].tolist()
        self.tokens += new
        assert inputs["attention_mask"].shape == (1, len(self.tokens))
        assert inputs["position_ids"].tolist() == [list(range(before, len(self.tokens)))]
        return [np.zeros((0, 0, 3), np.float32) if self.silent else logits(self.tokens)]

    def reset_state(self) -> None:
        self.tokens = []

    def query_state(self) -> list[Any]:
        return [State(self)]


class State:
    def __init__(self, request: Request) -> None:
        self.request = request

    @property
    def state(self) -> Any:
        return SimpleNamespace(data=np.array(self.request.tokens))

    @state.setter
    def state(self, kept: np.ndarray) -> None:
        self.request.tokens = kept.tolist()


class Node:
    """Of OpenVINO's graph: `kind` over the nodes of `inputs`."""

    def __init__(self, kind: str, *inputs: Node) -> None:
        self.kind, self.inputs = kind, list(inputs)

    def get_type_name(self) -> str:
        return self.kind

    def get_node(self) -> Node:
        return self

    def output(self, index: int) -> Node:
        return self

    def input_value(self, index: int) -> Node:
        return self.inputs[index]

    def input(self, index: int) -> Any:
        return SimpleNamespace(replace_source_output=lambda node: self.inputs.__setitem__(index, node))


class Peers:
    """Both packages, and what they were told."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}
        self.request = Request()
        self.hidden, self.broken = Node("Multiply"), False
        self.head = Node("MatMul", self.hidden, Node("Constant"))
        self.onnxruntime_genai = SimpleNamespace(
            Config=self._config,
            Model=lambda config: None,
            GeneratorParams=lambda model: SimpleNamespace(set_search_options=self.told.update),
            Generator=Generator,
        )
        self.openvino = SimpleNamespace(
            Core=lambda: SimpleNamespace(read_model=self._read, compile_model=self._compile),
            Tensor=np.array,
            opset13=SimpleNamespace(
                constant=lambda value, dtype: Node("Constant"), slice=lambda *inputs: Node("Slice", *inputs)
            ),
        )

    def _config(self, folder: str) -> Any:
        if self.broken:
            raise RuntimeError("no such model")
        return SimpleNamespace(overlay=lambda text: self.told.update(json.loads(text)))

    def _read(self, file: str) -> Any:
        if self.broken:
            raise RuntimeError("no such model")
        result = Node("Result", Node("Convert", self.head))
        return SimpleNamespace(get_results=lambda: [result], validate_nodes_and_infer_types=lambda: None)

    def _compile(self, model: Any, device: str, options: dict[str, Any]) -> Any:
        self.told |= options
        text = SimpleNamespace(to_string=lambda: "u8")
        return SimpleNamespace(get_property=lambda name: text, create_infer_request=lambda: self.request)


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Peers:
    found = Peers()
    for name in ("onnxruntime_genai", "openvino"):
        monkeypatch.setitem(sys.modules, name, getattr(found, name))
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"{name} 1.2")
    return found


ENGINES = {
    "onnxruntime-genai": (onnxruntime_genai, {"folder": "F", "context_length": 64, "threads": 3}),
    "openvino": (openvino, {"file": "F", "context_length": 64, "threads": 3}),
}
each_engine = pytest.mark.parametrize("name", ENGINES)


def load(name: str) -> Any:
    module, options = ENGINES[name]
    return module.load(options)


@each_engine
def test_what_is_timed_is_forgotten_and_the_base_is_kept(peers: Peers, name: str) -> None:
    engine = load(name)
    for base in ([], [7, 8, 9]):
        engine.extend(base) if base else None
        assert engine.prefill([1, 2, 3]) > 0 and engine.decode([4, 5]) > 0
        whole = [logits([*base, 5])[0, 0], logits([*base, 5, 6])[0, 0]]
        np.testing.assert_array_equal(engine.logits([5, 6]), whole)
    engine.extend([10])
    np.testing.assert_array_equal(engine.logits([11]), logits([7, 8, 9, 10, 11])[0])


@each_engine
def test_the_facts_name_engine_and_version(peers: Peers, name: str) -> None:
    facts = load(name).facts()
    assert facts["engine"] == name and facts[name] == f"{name} 1.2"
    json.dumps(facts)


@each_engine
def test_a_missing_package_and_a_model_it_cannot_load(peers: Peers, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    peers.broken = True
    with pytest.raises(CompileError, match=r"F: .* cannot load it \(no such model\)"):
        load(name)
    monkeypatch.setitem(sys.modules, name.replace("-", "_"), None)
    with pytest.raises(CompileError, match=f"pip install {name}"):
        load(name)


def test_each_gets_the_number_of_threads(peers: Peers) -> None:
    load("onnxruntime-genai")
    assert peers.told["model"]["decoder"]["session_options"]["intra_op_num_threads"] == 3
    assert peers.told["max_length"] >= 64
    load("openvino")
    assert peers.told["INFERENCE_NUM_THREADS"] == 3


def test_openvino_computes_the_last_tokens_logits_alone(peers: Peers) -> None:
    load("openvino")
    assert peers.head.inputs[0].kind == "Slice" and peers.head.inputs[0].inputs[0] is peers.hidden


def test_openvino_that_computes_nothing_is_not_timed(peers: Peers) -> None:
    engine = load("openvino")
    peers.request.silent = True
    with pytest.raises(CompileError, match="computed nothing"):
        engine.prefill([1, 2])


READER = """
import pathlib
def LLMPipeline(file, device, enable_save_ov_model):
    if {writes}:
        pathlib.Path(file).with_name("openvino_model.xml").write_text("a model")
    raise IndexError("no vocabulary")
"""


@pytest.mark.parametrize("writes", [True, False])
def test_a_gguf_file_is_read_though_it_has_no_vocabulary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: bool
) -> None:
    (tmp_path / "openvino_genai.py").write_text(READER.format(writes=writes))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    if writes:
        assert openvino.build_openvino(tmp_path / "w.gguf").read_text() == "a model"
    else:
        with pytest.raises(CompileError, match=r"reader of GGUF failed .*no vocabulary"):
            openvino.build_openvino(tmp_path / "w.gguf")
