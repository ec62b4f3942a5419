"""The device code inside a compiled library: TVM packs it into one symbol, which is read here without loading it.

Works on ELF and Mach-O, shared libraries, object files and `ar` archives of any CPU, 64 bits, little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SYMBOL = b"__tvm_ffi__library_bin"
HOST = "_lib"
"""Kind of the entry that stands for the library's own machine code."""

_ELF, _MACHO, _AR = b"\x7fELF", b"\xcf\xfa\xed\xfe", b"!<arch>\n"
_FUNCTION_ARGUMENT, _FUNCTION_TAG = 4, 4


@dataclass(frozen=True)
class DeviceModule:
    """One module as TVM serialized it.

    kind: "cuda", "metal", "webgpu", ... or "relax.VMExecutable". data: its bytes; b"" for HOST.
    """

    kind: str
    data: bytes


@dataclass(frozen=True)
class DeviceCode:
    """The kernels of a CUDA, Metal or WebGPU module.

    format: what `code` is: "cuda" (source), "ptx", "cubin", "fatbin", "metal" (source). kernels: their names.
    code: CUDA: one item, named ""; others: the code of each kernel by its name.
    """

    format: str
    kernels: tuple[str, ...]
    code: dict[str, bytes]


def read_modules(library: Path) -> list[DeviceModule]:
    """The modules packed into `library`, in TVM's order. Raises ValueError if there are none or they are damaged."""
    return unpack(_symbol(Path(library).read_bytes()))


def unpack(blob: bytes) -> list[DeviceModule]:
    """The modules in the bytes of SYMBOL. Raises ValueError if it is not a whole one."""
    reader = _Reader(blob)
    reader = _Reader(reader.take(reader.u64()))
    count = reader.u64() - 1
    reader.take(8 * (count + 1))
    reader.take(8 * reader.u64())
    modules = []
    for _ in range(count):
        kind = reader.text()
        modules.append(DeviceModule(kind, b"" if kind == HOST else reader.take(reader.u64())))
    return modules


def repack(blob: bytes, modules: list[DeviceModule]) -> bytes:
    """`blob` with its modules replaced by `modules`, of the same number and kinds in the same order."""
    if [module.kind for module in unpack(blob)] != [module.kind for module in modules]:
        raise ValueError("repack: other kinds of modules than before")
    reader = _Reader(blob)
    reader.u64()
    reader.take(8 * reader.u64())
    reader.take(8 * reader.u64())
    body = bytearray(blob[8 : reader.at])
    for module in modules:
        body += _packed(module.kind.encode())
        body += b"" if module.kind == HOST else _packed(module.data)
    return struct.pack("<Q", len(body)) + bytes(body)


def read_code(module: DeviceModule) -> DeviceCode:
    """The kernels of a `module` of kind "cuda" or "metal". Raises ValueError if it is damaged."""
    reader = _Reader(module.data)
    form = reader.text()
    kernels = tuple(_kernel(reader) for _ in range(reader.u64()))
    if module.kind == "cuda":
        code = {"": reader.take(reader.u64())}
    else:
        code = {reader.text(): reader.take(reader.u64()) for _ in range(reader.u64())}
    return DeviceCode(form, kernels, code)


def with_binary(module: DeviceModule, form: str, binary: bytes) -> DeviceModule:
    """The CUDA `module` with its code replaced by `binary` of format `form`."""
    old = read_code(module)
    head, tail = _packed(old.format.encode()), _packed(old.code[""])
    return DeviceModule(module.kind, _packed(form.encode()) + module.data[len(head) : -len(tail)] + _packed(binary))


def _kernel(reader: _Reader) -> str:
    name = reader.text()
    reader.text()  # the name again
    reader.take(_FUNCTION_ARGUMENT * reader.u64())
    for _ in range(reader.u64()):
        reader.text()
    reader.take(_FUNCTION_TAG * reader.u64())
    return name


def _packed(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


class _Reader:
    """Reads bytes front to back; ValueError where they end too early."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        if size < 0 or self.at + size > len(self.data):
            raise ValueError("packed modules: cut short")
        self.at += size
        return self.data[self.at - size : self.at]

    def u64(self) -> int:
        return int(struct.unpack("<Q", self.take(8))[0])

    def text(self) -> str:
        return self.take(self.u64()).decode()


def _symbol(data: bytes) -> bytes:
    """The bytes from SYMBOL on, to the end of what holds it."""
    for part in _members(data) if data.startswith(_AR) else (data,):
        try:
            if part.startswith(_ELF):
                found = _elf_symbol(part)
            else:
                found = _macho_symbol(part) if part.startswith(_MACHO) else None
        except struct.error:
            raise ValueError("library: cut short") from None
        if found is not None:
            return found
    raise ValueError("no device code in it (no symbol of TVM's packed modules)")


def _members(archive: bytes) -> Iterator[bytes]:
    at = len(_AR)
    while at + 60 <= len(archive):
        name, size = archive[at : at + 16], int(archive[at + 48 : at + 58])
        skip = int(name[3:]) if name.startswith(b"#1/") else 0
        yield archive[at + 60 + skip : at + 60 + size]
        at += 60 + size + size % 2


def _elf_symbol(data: bytes) -> bytes | None:
    start, count = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<H", data, 60)[0]
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, start + 64 * i) for i in range(count)]
    relocatable = struct.unpack_from("<H", data, 16)[0] == 1
    for _, kind, _, _, offset, size, link, _, _, entry in sections:
        if kind not in (2, 11):  # SHT_SYMTAB, SHT_DYNSYM
            continue
        names = sections[link][4]
        for at in range(offset, offset + size, entry):
            name, _, _, section, value, _ = struct.unpack_from("<IBBHQQ", data, at)
            if 0 < section < count and _name(data, names + name).endswith(SYMBOL):
                _, _, _, address, where, length, *_ = sections[section]
                inside = value if relocatable else value - address
                return data[where + inside : where + length]
    return None


def _macho_symbol(data: bytes) -> bytes | None:
    commands = struct.unpack_from("<I", data, 16)[0]
    at, table, sections = 32, (0, 0, 0), []
    for _ in range(commands):
        command, size = struct.unpack_from("<II", data, at)
        if command == 0x19:  # LC_SEGMENT_64
            for i in range(struct.unpack_from("<I", data, at + 64)[0]):
                sections.append(struct.unpack_from("<QQI", data, at + 72 + 80 * i + 32))
        elif command == 2:  # LC_SYMTAB
            table = struct.unpack_from("<III", data, at + 8)
        at += size
    for i in range(table[1]):
        name, kind, _, _, value = struct.unpack_from("<IBBHQ", data, table[0] + 16 * i)
        if kind & 0x0E == 0x0E and _name(data, table[2] + name).endswith(SYMBOL):  # N_SECT
            for address, size, offset in sections:
                if address <= value < address + size:
                    return data[offset + value - address : offset + size]
    return None


def _name(data: bytes, at: int) -> bytes:
    return data[at : data.index(b"\0", at)]
