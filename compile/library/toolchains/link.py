"""Linking by zig, for any system: shared libraries, and for iOS archives of object files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from duomem.core.errors import CompileError
from duomem.core.process import python_module, run, said_lines

INSPECTED = ("cuda", "metal")
"""Kinds of GPU code that toolchains.export makes, links and inspects: this machine may have no GPU to run them on."""

ARCHIVE = ".a"
"""Suffix of the libraries that are archives, for an app to link in: iOS loads none."""

_TIME_LIMIT = 900.0
_APPLE = ("macos", "ios")


def linker_for(library: Path, triple: str) -> Callable[..., None]:
    """What export_library calls to make the file `library` for zig's `triple` ("aarch64-linux-gnu.2.28")."""
    return archiver(triple) if library.suffix == ARCHIVE else linker(triple)


def library_suffix(triple: str) -> str:
    """Suffix of the libraries for `triple`; "" is this machine, Linux."""
    if "-ios" in triple:
        return ARCHIVE
    return ".dylib" if "-macos" in triple else ".so"


def linker(triple: str) -> Callable[..., None]:
    """What export_library calls to link a shared library for zig's `triple`, oldest version it runs on included."""
    apple = any(name in triple for name in _APPLE)
    # What a Mac's library takes from TVM's runtime is found when it is loaded.
    options = ["-Wl,-undefined,dynamic_lookup"] if apple else ["-s"]

    def link(output: str, objects: list[str], extra: list[str] | None = None, **_: Any) -> None:
        name = ["-Wl,-install_name,@rpath/" + Path(output).name] if apple else []
        _zig("cc", "-target", triple, "-shared", "-fPIC", *options, *name, "-o", output, *objects, *(extra or ()))

    link.output_format = "dylib" if apple else "so"  # pyright: ignore[reportFunctionMemberAccess]
    link.get_target_triple = lambda: triple  # pyright: ignore[reportFunctionMemberAccess]
    return link


def archiver(triple: str) -> Callable[..., None]:
    """What export_library calls to put object files for `triple` into an archive."""

    def archive(output: str, objects: list[str], extra: list[str] | None = None, **_: Any) -> None:
        form = "darwin" if any(name in triple for name in _APPLE) else "gnu"
        _zig("ar", "rcs", f"--format={form}", output, *objects, *(extra or ()))

    archive.output_format = "a"  # pyright: ignore[reportFunctionMemberAccess]
    archive.get_target_triple = lambda: triple  # pyright: ignore[reportFunctionMemberAccess]
    return archive


def _zig(*arguments: str) -> None:
    done = run(python_module("ziglang", *arguments), _TIME_LIMIT)
    if done.status:
        reason = next((line for line in said_lines(done.error) if "error" in line.lower()), done.last_line)
        raise CompileError(f"zig {arguments[0]} failed: {reason}")
