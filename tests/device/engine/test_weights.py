from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duomem.core.errors import UserError
from duomem.device.engine.weights import Record, library_weight, read_tensor_cache, tile_rows

ENTRY: dict[str, Any] = {
    "name": "w",
    "shape": [4, 5],
    "dtype": "float32",
    "format": "raw",
    "nbytes": 80,
    "byteOffset": 16,
}


def write(folder: Path, **changes: Any) -> None:
    shard = {"dataPath": "params_shard_0.bin", "format": "raw-shard", "nbytes": 96, "records": [ENTRY | changes]}
    (folder / "params_shard_0.bin").write_bytes(np.arange(24, dtype="<f4").tobytes())
    (folder / "tensor-cache.json").write_text(json.dumps({"metadata": {}, "records": [shard]}))


def test_a_record_is_read(tmp_path: Path) -> None:
    write(tmp_path)
    assert np.array_equal(read_tensor_cache(tmp_path)["w"].load(), np.arange(4, 24).reshape(4, 5))


@pytest.mark.parametrize(
    "change",
    [
        {"byteOffset": 20},
        {"byteOffset": -16},
        {"nbytes": 79},
        {"nbytes": "80"},
        {"shape": [4, 6]},
        {"shape": [-4, -5]},
        {"shape": 20},
        {"shape": [1 << 40, 1 << 40]},
        {"dtype": "object"},
        {"dtype": None},
        {"format": "f64"},
        {"dtype": "uint32", "format": "f32-to-bf16"},
        {"name": 3},
    ],
)
def test_bad_records_are_refused(tmp_path: Path, change: dict) -> None:
    write(tmp_path, **change)
    with pytest.raises(UserError, match=r"tensor-cache.json: bad record"):
        read_tensor_cache(tmp_path)


@pytest.mark.parametrize("name", ["../params_shard_0.bin", "/params_shard_0.bin", "other.bin", "params_shard_9.bin", 3])
def test_shards_stay_in_the_folder(tmp_path: Path, name: Any) -> None:
    write(tmp_path)
    value = json.loads((tmp_path / "tensor-cache.json").read_text())
    value["records"][0]["dataPath"] = name
    (tmp_path / "tensor-cache.json").write_text(json.dumps(value))
    with pytest.raises(UserError, match="bad record"):
        read_tensor_cache(tmp_path)


@pytest.mark.parametrize("text", ["[]", '{"records": 3}', '{"records": [3]}', '{"records": [{}]}'])
def test_other_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "tensor-cache.json").write_text(text)
    with pytest.raises(UserError, match="bad record"):
        read_tensor_cache(tmp_path)


def test_rows_become_tiles_with_a_zero_tail() -> None:
    matrix = np.arange(1, 16, dtype=np.float32).reshape(5, 3)
    tiles = tile_rows(matrix, 4)
    assert tiles.shape == (2, 3, 4)
    assert np.array_equal(tiles.transpose(0, 2, 1).reshape(8, 3)[:5], matrix)
    assert not tiles.transpose(0, 2, 1).reshape(8, 3)[5:].any()


def test_packed_words_are_tiled_whole() -> None:
    words = np.arange(6, dtype=np.uint32).reshape(3, 2) + np.uint32(0x76543210)
    assert np.array_equal(tile_rows(words, 2), [[words[:2, 0], words[:2, 1]], [[words[2, 0], 0], [words[2, 1], 0]]])


def record_of(folder: Path, array: np.ndarray, name: str, form: str = "raw", dtype: str = "") -> Any:
    """The Record of `array`, written to a shard of its own."""
    file = folder / f"params_shard_{name}.bin"
    array.tofile(file)
    return Record(name, file, 0, array.nbytes, array.shape, dtype or str(array.dtype), form)


def test_scales_stay_bfloat16(tmp_path: Path) -> None:
    bits = np.array([[0x3F80, 0xC000]], np.uint16)
    record = record_of(tmp_path, bits, "s", "f32-to-bf16", "float32")
    assert library_weight([record], (1, 2, 1), "uint16", "q4f32_1").tolist() == [[[0x3F80], [0xC000]]]
    assert library_weight([record], (1, 2), "float32", "q4f32_1").tolist() == [[1.0, -2.0]]


def test_vectors_become_float32(tmp_path: Path) -> None:
    record = record_of(tmp_path, np.array([1.5, -2], np.float16), "norm")
    array = library_weight([record], (2,), "float32", "q4f32_1")
    assert array.dtype == np.float32 and array.tolist() == [1.5, -2.0]


def test_stored_parts_are_stacked(tmp_path: Path) -> None:
    parts = [record_of(tmp_path, np.full((n, 3), n, np.float32), f"p{n}") for n in (1, 2)]
    assert np.array_equal(library_weight(parts, (1, 3, 3), "float32", "q4f32_1")[0], [[1, 2, 2]] * 3)


def test_only_q4f16_0_is_transposed_and_not_its_embedding(tmp_path: Path) -> None:
    words = np.arange(4, dtype=np.uint32).reshape(2, 2)
    for name, scheme, expected in [
        ("model.layers.0.mlp.down_proj.q_weight", "q4f16_0", words),
        ("model.layers.0.mlp.down_proj.q_weight", "q4f16_1", words.T),
        ("model.embed_tokens.q_weight", "q4f16_0", words.T),
    ]:
        record = record_of(tmp_path, words, name)
        assert np.array_equal(library_weight([record], (1, 2, 2), "uint32", scheme)[0], expected), (name, scheme)


def test_a_weight_of_another_shape_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    record = read_tensor_cache(tmp_path)["w"]
    assert library_weight([record], (1, 5, 8), "float32", "q4f32_1").shape == (1, 5, 8)
    with pytest.raises(UserError, match="w is float32"):
        library_weight([record], (1, 6, 8), "float32", "q4f32_1")
