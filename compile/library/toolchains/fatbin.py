"""What a CUDA fat binary holds: machine code or PTX, and for which GPUs."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_MAGIC = 0xBA55ED50
_KINDS = {1: "ptx", 2: "sass"}
_EM_CUDA = 190


@dataclass(frozen=True)
class Image:
    """One entry: kind "sass" (machine code), "ptx" or "kind N"; arch: "sm_87"; data: the cubin (an ELF file)."""

    kind: str
    arch: str
    data: bytes

    def has_kernel(self, name: str) -> bool:
        """Whether the machine code of kernel `name` is in it."""
        machine = struct.unpack_from("<H", self.data, 18)[0] if self.data.startswith(b"\x7fELF") else 0
        return machine == _EM_CUDA and b".text." + name.encode() + b"\0" in self.data


def read_fatbin(data: bytes) -> list[Image]:
    """The images in `data`. Raises ValueError if it is no fat binary, or cut short."""
    images = []
    try:
        magic, _, header, size = struct.unpack_from("<IHHQ", data)
        if magic != _MAGIC or header + size > len(data):
            raise ValueError("no CUDA fat binary, or cut short")
        at = header
        while at < header + size:
            kind, _, skip, length = struct.unpack_from("<HHIQ", data, at)
            arch = struct.unpack_from("<I", data, at + 28)[0]
            start = at + skip
            images.append(Image(_KINDS.get(kind, f"kind {kind}"), f"sm_{arch}", data[start : start + length]))
            at = start + length
    except struct.error:
        raise ValueError("CUDA fat binary: cut short") from None
    return images
