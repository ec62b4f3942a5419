"""Reading weights in MLC's layout (tensor-cache.json + params_shard_*.bin) and tiling them for the kernels.

numpy only: this is the one place where a stored weight becomes what a compiled library takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from duomem.base.errors import UserError
from duomem.base.files import read_json

TENSOR_CACHE = "tensor-cache.json"
_LIMIT = 64 << 20
_DTYPES = {"float32": "<f4", "float16": "<f2", "uint32": "<u4"}
_REMAKE = "make the bundle again with duomem compile"


@dataclass(frozen=True)
class Record:
    """Where one tensor is stored: `nbytes` bytes at `offset` of `file`.

    `dtype` is the tensor's type in memory. In format "f32-to-bf16" a float32 tensor is stored as the
    upper half of each value; "raw" stores it as it is.
    """

    name: str
    file: Path
    offset: int
    nbytes: int
    shape: tuple[int, ...]
    dtype: str
    format: str

    def load(self) -> np.ndarray:
        """The tensor, [shape] of dtype; raw tensors are read-only views of the mapped file."""
        stored = "<u2" if self.format == "f32-to-bf16" else _DTYPES[self.dtype]
        raw = np.memmap(self.file, dtype=stored, mode="r", offset=self.offset, shape=self.shape)
        if self.format == "f32-to-bf16":
            return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return raw


def read_tensor_cache(model_dir: Path) -> dict[str, Record]:
    """The tensors listed in `model_dir`/tensor-cache.json by name, bounds checked against the shard files.

    Raises UserError if the file is damaged, names a file outside the folder or an unknown type.
    """
    path = Path(model_dir) / TENSOR_CACHE
    value = read_json(path, "tensor cache", _LIMIT)
    records: dict[str, Record] = {}
    try:
        for shard in value["records"]:
            name, size = shard["dataPath"], shard["nbytes"]
            if not isinstance(name, str) or Path(name).name != name or not name.startswith("params_shard_"):
                raise ValueError(f"dataPath {str(name)[:80]!r} is not a shard name")
            file = path.parent / name
            if shard["format"] != "raw-shard" or not file.is_file() or file.stat().st_size != size:
                raise ValueError(f"{name} is missing or not a raw shard of {size} bytes")
            for entry in shard["records"]:
                record = _record(entry, file, size)
                if record.name in records:
                    raise ValueError(f"{record.name!r} is listed twice")
                records[record.name] = record
    except (KeyError, TypeError, ValueError) as e:
        raise UserError(f"{path}: bad record ({type(e).__name__}: {e}): {_REMAKE}") from None
    return records


def _record(entry: Any, file: Path, size: int) -> Record:
    name, shape, dtype, form = entry["name"], entry["shape"], entry["dtype"], entry["format"]
    offset, nbytes = entry["byteOffset"], entry["nbytes"]
    if not isinstance(name, str) or dtype not in _DTYPES:
        raise ValueError(f"{str(name)[:80]!r} has the unknown dtype {str(dtype)[:40]!r}")
    if not all(type(n) is int and n > 0 for n in shape) or type(offset) is not int or type(nbytes) is not int:
        raise ValueError(f"{name!r} has a bad shape, byteOffset or nbytes")
    if form not in ("raw", "f32-to-bf16") or (form == "f32-to-bf16" and dtype != "float32"):
        raise ValueError(f"{name!r} has the unknown format {str(form)[:40]!r}")
    width = 2 if form == "f32-to-bf16" else np.dtype(_DTYPES[dtype]).itemsize
    if nbytes != math.prod(shape) * width or offset < 0 or offset + nbytes > size:
        raise ValueError(f"{name!r} does not fit its shape or its shard")
    return Record(name, file, offset, nbytes, tuple(shape), dtype, form)


def tile_rows(matrix: np.ndarray, columns: int) -> np.ndarray:
    """[N, K] -> [ceil(N / columns), K, columns]: what the CPU kernels read with one vector load a k.

    A last, incomplete block is filled with zero rows, whose results the kernels drop. A uint32 matrix of
    packed int4 weights [N, K/8] is first seen as its little-endian bytes [N, K/2]: byte j of a row
    holds the weights 2j (low nibble) and 2j + 1.
    """
    if matrix.dtype == np.uint32:
        matrix = np.ascontiguousarray(matrix).view(np.uint8)
    n, k = matrix.shape
    blocks = -(-n // columns)
    if blocks * columns != n:
        matrix = np.concatenate([matrix, np.zeros((blocks * columns - n, k), matrix.dtype)])
    return np.ascontiguousarray(matrix.reshape(blocks, columns, k).transpose(0, 2, 1))


def library_weight(record: Record, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """The tensor of `record` in the form a library asks for: `shape` and `dtype` of its parameter.

    A three-dimensional parameter is a tiled matrix, any other is taken as stored. Raises UserError if
    the two do not belong together.
    """
    array = record.load()
    if len(shape) == 3 and array.ndim == 2:
        array = tile_rows(array, shape[2])
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise UserError(
            f"{record.file.name}: {record.name} is {array.dtype} {list(array.shape)}, the library takes "
            f"{dtype} {list(shape)}: {_REMAKE}"
        )
    return np.ascontiguousarray(array)
