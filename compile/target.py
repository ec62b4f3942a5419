"""What a bundle is compiled for, read from configs/targets/NAME.toml: a new target is a new file there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duomem.base.errors import UserError
from duomem.base.files import read_toml
from duomem.device.cpu import cpu_arch

TARGETS = Path(__file__).resolve().parent.parent / "configs" / "targets"


@dataclass(frozen=True)
class Target:
    """A compile target. `llvm` are TVM's target options; `arch` names the CPU the library runs on."""

    name: str
    device: str
    arch: str
    llvm: dict[str, Any]

    @property
    def library(self) -> str:
        """Where the library goes inside a bundle."""
        return f"lib/{self.device}-{self.arch}.so"

    @property
    def native(self) -> bool:
        """Whether the library uses every extension of the CPU it is built on."""
        return self.llvm.get("mcpu") == "native"


def known_targets() -> list[str]:
    """Names of the targets there are files for."""
    return sorted(path.stem for path in TARGETS.glob("*.toml"))


def load_target(name: str) -> Target:
    """The target `name`. Raises UserError, listing the known ones, if there is no such file."""
    if name not in known_targets():
        raise UserError(f"--target {name}: no such target: use one of {', '.join(known_targets())}")
    path = TARGETS / f"{name}.toml"
    try:
        value = read_toml(path, "target file")
        arch = cpu_arch() if value["arch"] == "native" else value["arch"]
        return Target(name=value["name"], device=value["device"], arch=arch, llvm=dict(value["llvm"]))
    except (KeyError, TypeError) as e:
        raise UserError(
            f"{path}: not a target file ({type(e).__name__}: {e}): compare it with host.toml"
        ) from None
