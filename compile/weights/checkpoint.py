"""Reading a Hugging Face model folder: config.json and safetensors weights, one tensor at a time.

No torch: the safetensors format is a JSON header and raw little-endian values, mapped and widened here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from duomem.compile.models import FAMILIES, architecture_of
from duomem.compile.models.config import DecoderConfig, Weight
from duomem.core.errors import ModelError
from duomem.core.files import read_json, sha256_file
from duomem.core.reading import digest_of, parse_json

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
_HEADER_LIMIT = 100 << 20
_BLOCK_VALUES = 1 << 22
"""Most values of a tensor that are read at once: 16 MiB as float32."""
_STORED = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class Checkpoint:
    """A model folder: `config`, `architecture` and, by name, its float32 tensors.

    Format of the weights: https://github.com/huggingface/safetensors#format
    """

    def __init__(self, folder: Path) -> None:
        """Read config.json and the headers of the weight files; raises ModelError if the folder is not a
        complete model of a supported architecture.
        """
        self.folder = Path(folder)
        where = self.folder / "config.json"
        if not self.folder.is_dir():
            raise ModelError(f"{self.folder}: no such model folder: give a Hugging Face folder with a config.json")
        value = read_json(where, "model config")
        if not isinstance(value, dict):
            raise ModelError(f"{where}: model config is not an object: give a Hugging Face model folder")
        self.architecture = architecture_of(value, str(where))
        self.family = FAMILIES[self.architecture]
        self.config: DecoderConfig = self.family.read_config(value, str(where))
        if not (self.folder / "tokenizer.json").is_file():
            raise ModelError(
                f"{self.folder / 'tokenizer.json'}: no such file: save the tokenizer into the model folder"
            )
        self._tensors = self._index()
        self._check_complete()

    @property
    def files(self) -> list[Path]:
        """The files that make the model: weights, config, tokenizer; sorted."""
        weights = {path for path, _, _, _ in self._tensors.values()}
        names = ("config.json", "generation_config.json", "model.safetensors.index.json", *TOKENIZER_FILES)
        return sorted(weights | {self.folder / name for name in names if (self.folder / name).is_file()})

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 over the names and contents of `files`."""
        return digest_of({path.name: sha256_file(path) for path in self.files})

    def matrix(self, weight: Weight) -> np.ndarray:
        """The parameter `weight`, float32 of its shape: its sources stacked along rows, plus its offset."""
        whole = np.empty(weight.shape, np.float32)
        row = 0
        for block in self.blocks(weight):
            whole[row : row + len(block)] = block
            row += len(block)
        return whole

    def blocks(self, weight: Weight) -> Iterator[np.ndarray]:
        """The rows of `matrix(weight)`, float32 [r, ...], at most 16 MiB (or a row) at a time."""
        for source in weight.sources:
            for values in self._source_blocks(source):
                yield values + np.float32(weight.offset) if weight.offset else values

    def tensor(self, source: str) -> np.ndarray:
        """The tensor `source` of the folder, float32, as it is there."""
        whole = np.empty(self._tensors[source][2], np.float32)
        row = 0
        for block in self._source_blocks(source):
            whole[row : row + len(block)] = block
            row += len(block)
        return whole

    def rows(self, source: str, ids: np.ndarray) -> np.ndarray:
        """The rows `ids`, sorted, of the tensor `source`, float32 [len(ids), ...]."""
        found, first = [], 0
        for block in self._source_blocks(source):
            begin, end = np.searchsorted(ids, (first, first + len(block)))
            found.append(block[ids[begin:end] - first])
            first += len(block)
        return np.concatenate(found)

    def _source_blocks(self, source: str) -> Iterator[np.ndarray]:
        path, dtype, shape, offset = self._tensors[source]
        row = int(np.prod(shape[1:], dtype=np.int64))
        stored = np.dtype(_STORED[dtype])
        with open(path, "rb") as f:
            f.seek(offset)
            left = shape[0]
            while left:
                rows = min(left, max(1, _BLOCK_VALUES // row))
                raw = np.fromfile(f, stored, rows * row)
                if raw.size != rows * row:
                    raise ModelError(f"{path}: {source} ends early: copy the model again")
                yield _widen(raw).reshape(rows, *shape[1:])
                left -= rows

    def _index(self) -> dict[str, tuple[Path, str, tuple[int, ...], int]]:
        """name, as the family's decoder calls it -> (file, stored dtype, shape, offset of its first byte)."""
        index = self.folder / "model.safetensors.index.json"
        if index.is_file():
            value = read_json(index, "weight index")
            shards = value.get("weight_map") if isinstance(value, dict) else None
            if not isinstance(shards, dict) or any(Path(str(name)).name != name for name in shards.values()):
                raise ModelError(f"{index}: field weight_map does not name files of this folder: copy the model again")
            names = sorted(set(shards.values()))
        else:
            names = ["model.safetensors"]
        tensors = {}
        for name in names:
            for found, place in _read_header(self.folder / name).items():
                if (tensor := self.family.tensor(found)) is not None:
                    tensors[tensor] = place
        return tensors

    def _check_complete(self) -> None:
        expected: set[str] = set()
        for weight in self.config.weights():
            for source in weight.sources:
                expected.add(source)
                if source not in self._tensors:
                    raise ModelError(
                        f"{self.folder}: no tensor {source}: the model folder is incomplete, copy it again"
                    )
                shape = (self.config.source_rows(source), *weight.shape[1:])
                if self._tensors[source][2] != shape:
                    found = list(self._tensors[source][2])
                    raise ModelError(
                        f"{self.folder}: {source} is {found}, config.json says {list(shape)}: copy both again"
                    )
        for name in sorted(set(self._tensors) - expected):
            derived = name.endswith("rotary_emb.inv_freq")
            if not derived and not (name == "lm_head.weight" and self.config.tie_word_embeddings):
                raise ModelError(
                    f"{self.folder}: tensor {name} has no place in a {self.architecture}: not a plain model"
                )


def _widen(raw: np.ndarray) -> np.ndarray:
    """Stored values as float32; bfloat16 ones come as their bits."""
    if raw.dtype == np.dtype("<u2"):
        return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return raw.astype(np.float32)


def _read_header(path: Path) -> dict[str, tuple[Path, str, tuple[int, ...], int]]:
    try:
        with open(path, "rb") as f:
            size = int.from_bytes(f.read(8), "little")
            header = f.read(size) if 0 < size <= _HEADER_LIMIT else b""
    except OSError as e:
        raise ModelError(
            f"{path}: cannot read the weights: {e.strerror or e}: give a folder with safetensors"
        ) from None
    value: Any = parse_json(header, f"{path}: safetensors header", _HEADER_LIMIT)
    length = path.stat().st_size
    tensors = {}
    try:
        value.pop("__metadata__", None)
        for name, entry in value.items():
            dtype, shape = entry["dtype"], tuple(entry["shape"])
            begin, end = entry["data_offsets"]
            if dtype not in _STORED:
                raise ValueError(f"{name} is {dtype}; F32, F16 and BF16 are read")
            count = int(np.prod(shape, dtype=np.int64)) * np.dtype(_STORED[dtype]).itemsize
            if begin < 0 or end - begin != count or 8 + size + end > length:
                raise ValueError(f"{name} lies outside the file")
            tensors[name] = (path, dtype, shape, 8 + size + begin)
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise ModelError(f"{path}: bad safetensors header ({e}): copy the model again") from None
    return tensors


def model_id(folder: Path) -> str:
    """A name for the model in `folder`: the config's own, if it is one word, else the folder's."""
    name = json.loads((folder / "config.json").read_text()).get("_name_or_path")
    return name if isinstance(name, str) and name and " " not in name else Path(folder).resolve().name
