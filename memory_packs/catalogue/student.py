"""A student as one file of a catalogue: a plain archive of an adapter's or a bundle's files, made and unpacked.

Nothing is compressed, so what unpacks is never larger than what was signed; the bytes depend on the files alone.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from duomem.core.errors import CatalogueError, FileError
from duomem.core.files import read_json
from duomem.core.reading import open_regular, parse_json
from duomem.core.ustar import Writer, check_end, member_pieces, next_member, write_ustar
from duomem.memory_packs.catalogue.entry import Entry

WEIGHTS = "adapter_model.safetensors"
ADAPTER_FILES = ("adapter_config.json", WEIGHTS, "duomem.json")
"""What an adapter is: peft's two files and the record of its training."""
_JSON_LIMIT = 1 << 20
_HEADER_LIMIT = 4 << 20
_FILES = 10_000
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DEPTH = 4


def write_student(folder: Path, names: Sequence[str], f: Writer) -> None:
    """Write the files `names` of `folder` to `f` as an archive. Raises FileError."""
    write_ustar(f, [(name, folder / name, 0o644) for name in sorted(names)])


def measure_student(folder: Path, names: Sequence[str]) -> tuple[int, str]:
    """Bytes and hex SHA-256 of what `write_student` writes."""
    measured = Measured()
    write_student(folder, names, measured)
    return measured.size, measured.sha256


class Measured:
    """A file that counts and digests what is written to it, and hands it on to the file `to`, if there is one."""

    def __init__(self, to: Writer | None = None) -> None:
        self.size, self._digest, self._to = 0, hashlib.sha256(), to

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self.size += len(data)
        if self._to is not None:
            self._to.write(data)
        return len(data)

    def tell(self) -> int:
        return self.size


def unpack_student(path: Path, out: Path) -> None:
    """Unpack an archive into the folder `out`, which is there and empty.

    Takes plain files of plain names alone, each once. Raises FileError for anything else; `out` is then the caller's
    to remove.
    """
    try:
        with open_regular(path) as f:
            found = 0
            while (member := next_member(path, f)) is not None:
                found += 1
                parts = member.name.split("/")
                if found > _FILES or len(parts) > _DEPTH or not all(map(_PART.fullmatch, parts)):
                    raise FileError(f"{path}: {member.name[:200]!r} is no file of a student: ask its publisher")
                if member.size > os.fstat(f.fileno()).st_size - f.tell():
                    raise EOFError(f"{member.name} is cut off")
                target = out.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(target, "xb") as file:
                    for piece in member_pieces(f, member.size):
                        file.write(piece)
            check_end(path, f)
    except EOFError as e:
        raise FileError(f"{path}: is no whole archive ({e}): ask its publisher") from None
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as e:
        name = Path(str(e.filename)).relative_to(out)
        raise FileError(f"{path}: {name} is there twice, or as a folder: ask its publisher") from None


def adapter_model(folder: Path) -> str:
    """Check the files of an adapter and return the name of the model it was trained on.

    Its JSON is bounded and objects; its weights are one safetensors file of exactly the tensors its header lists.
    Raises CatalogueError or FileError naming the file.
    """
    for name in ("adapter_config.json", "duomem.json"):
        if not isinstance(read_json(folder / name, "adapter's record", _JSON_LIMIT), dict):
            raise CatalogueError(f"{folder / name}: is no object: give an adapter duomem trained")
    _check_weights(folder / WEIGHTS)
    config = read_json(folder / "duomem.json", "adapter's record", _JSON_LIMIT).get("config")
    model = config.get("model") if isinstance(config, dict) else None
    if not isinstance(model, str) or not model:
        raise CatalogueError(f"{folder / 'duomem.json'}: field config.model is no name: give an adapter duomem trained")
    return model


def check_adapter(folder: Path, entry: Entry) -> None:
    """Raises CatalogueError or FileError unless `folder` is an adapter, whole, of the model that `entry` says."""
    if {file.relative_to(folder).as_posix() for file in folder.rglob("*")} != {*ADAPTER_FILES}:
        raise CatalogueError(f"{entry.title}: does not hold {', '.join(ADAPTER_FILES)} alone: ask its publisher")
    if adapter_model(folder) != entry.model:
        raise CatalogueError(f"{entry.title}: is not trained on {entry.model} as the catalogue says: ask its publisher")


def _check_weights(file: Path) -> None:
    """The format: https://github.com/huggingface/safetensors#format."""
    try:
        with open_regular(file) as f:
            size = os.fstat(f.fileno()).st_size
            length = int.from_bytes(f.read(8), "little")
            header = f.read(min(length, _HEADER_LIMIT) + 1)[:length]
    except OSError as e:
        raise FileError(f"{file}: cannot read these weights: {e.strerror or e}") from None
    tensors = parse_json(header, f"{file}: header", _HEADER_LIMIT) if len(header) == length else None
    spans = []
    for name, tensor in tensors.items() if isinstance(tensors, dict) else ():
        if name != "__metadata__":
            spans.append(tensor.get("data_offsets") if isinstance(tensor, dict) else None)
    sound = bool(spans) and all(
        isinstance(span, list) and len(span) == 2 and all(type(at) is int and at >= 0 for at in span) for span in spans
    )
    end = 0
    for begin, until in sorted(spans) if sound else ():
        sound = sound and begin == end and until >= begin
        end = until
    if not sound or 8 + length + end != size:
        raise CatalogueError(f"{file}: is no whole safetensors file: train or copy the adapter again")
