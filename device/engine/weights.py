"""Reading weights in MLC's layout (tensor-cache.json + params_shard_*.bin) and tiling them for the kernels.

numpy only: this is the one place where a stored weight becomes what a compiled library takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from duomem.core.errors import BundleError
from duomem.core.files import read_json
from duomem.device.engine.schemes import SCHEMES

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
        if self.format == "f32-to-bf16":
            return (self.bits().astype(np.uint32) << np.uint32(16)).view(np.float32)
        return self._map(_DTYPES[self.dtype])

    def bits(self) -> np.ndarray:
        """The upper halves of the values of a tensor in format "f32-to-bf16", uint16 [shape]."""
        return self._map("<u2")

    def _map(self, dtype: str) -> np.ndarray:
        return np.memmap(self.file, dtype=dtype, mode="r", offset=self.offset, shape=self.shape)


def read_tensor_cache(model_dir: Path) -> dict[str, Record]:
    """The tensors listed in `model_dir`/tensor-cache.json by name, bounds checked against the shard files.

    Raises BundleError if the file is damaged, names a file outside the folder or an unknown type.
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
        raise BundleError(f"{path}: bad record ({type(e).__name__}: {e}): {_REMAKE}") from None
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

    A last, incomplete block is filled with zero rows, whose results the kernels drop. Packed words
    [N, K / codes a word] are tiled as they are.
    """
    n, k = matrix.shape
    blocks = -(-n // columns)
    tiles = np.empty((blocks, k, columns), matrix.dtype)
    whole = n // columns
    tiles[:whole] = matrix[: whole * columns].reshape(whole, columns, k).transpose(0, 2, 1)
    if whole < blocks:
        tiles[whole] = 0
        tiles[whole, :, : n - whole * columns] = matrix[whole * columns :].T
    return tiles


def library_weight(
    records: Sequence[Record], shape: tuple[int, ...], dtype: str, scheme: str, transposed: bool = False
) -> np.ndarray:
    """The tensors of `records`, stacked along rows, in the form a library asks for: `shape` and `dtype` of its
    parameter.

    A three-dimensional parameter is a tiled matrix; as uint16 it holds the bits of bfloat16 values. Any other
    is a vector, widened to float32, or with `transposed` (a GPU library) a matrix whose rows and columns are
    exchanged. scheme: a name in schemes.SCHEMES; some store matrices transposed.
    Raises BundleError if tensor and parameter do not belong together.
    """
    tiled = len(shape) == 3
    arrays = [r.bits() if dtype == "uint16" and r.format == "f32-to-bf16" else r.load() for r in records]
    if tiled and SCHEMES[scheme].transposes(records[0].name):
        arrays = [array.T for array in arrays]
    array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    if tiled and array.ndim == 2:
        array = tile_rows(array, shape[2])
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    if transposed and array.ndim == 2:
        array = array.T
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise BundleError(
            f"{records[0].file.name}: {records[0].name} is {array.dtype} {list(array.shape)}, the library takes "
            f"{dtype} {list(shape)}: {_REMAKE}"
        )
    return np.ascontiguousarray(array)
