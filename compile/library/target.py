"""What a bundle is compiled for, read from configs/targets/NAME.toml: a new target is a new file there.

A target lists variants: CPUs of one family, and GPUs. Each has a library; the device takes the best one it can run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duomem.compile.library.toolchains.link import INSPECTED, library_suffix
from duomem.configs import target_files
from duomem.core.cpu import cpu_arch, cpu_features
from duomem.core.errors import ConfigError
from duomem.core.files import read_toml

LLVM_NAMES = {
    **{name: name.replace("_", ".") for name in ("sse4_1", "sse4_2")},
    **{name: name for name in ("popcnt", "avx", "avx2", "fma", "f16c", "bmi2", "movbe", "gfni", "vaes")},
    **{name: name for name in ("avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd", "avx512ifma")},
    **{name: name for name in ("avx512vbmi", "vpclmulqdq", "sve", "sve2", "i8mm", "bf16")},
    **{name: name.replace("_", "") for name in ("avx512_vnni", "avx512_bf16", "avx512_fp16", "avx512_vbmi2")},
    **{name: name.replace("_", "") for name in ("avx512_bitalg", "avx512_vpopcntdq", "avx_vnni")},
    **{name: name.replace("_", "-") for name in ("amx_tile", "amx_int8", "amx_bf16")},
    **{"bmi1": "bmi", "abm": "lzcnt", "sha_ni": "sha"},
    **{"asimd": "neon", "asimdhp": "fullfp16", "fphp": "fullfp16", "asimddp": "dotprod", "atomics": "lse"},
    **{"asimdrdm": "rdm"},
}
"""LLVM's name of each CPU feature that core.cpu knows by Linux's."""

_NAME = re.compile(r"[a-z0-9_]{1,32}")


@dataclass(frozen=True)
class Variant:
    """What a library is built for: TVM's target options, and the features (Linux names) a CPU must have.

    device: "cpu", or the GPU interface the kernels are for; then `gpu` holds TVM's options for those and `llvm`
    those for the code that calls them.
    """

    name: str
    llvm: dict[str, Any]
    cpu_features: tuple[str, ...]
    device: str = "cpu"
    gpu: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """A compile target.

    device: of the variants that name none. arch: the CPU family. variants: what there is a library for, best first.
    link: the triple zig links for, glibc version included, or "" for this machine's own C compiler.
    """

    name: str
    device: str
    arch: str
    variants: tuple[Variant, ...]
    link: str = ""

    def library(self, variant: Variant) -> str:
        """Where the library for `variant` goes inside a bundle."""
        return f"lib/{variant.device}-{self.arch}-{variant.name}{library_suffix(self.link)}"


def known_targets() -> list[str]:
    """Names of the targets there are files for."""
    return list(target_files())


def load_target(name: str) -> Target:
    """The target `name`. Raises ConfigError, listing the known ones, if there is no such file."""
    if name not in known_targets():
        raise ConfigError(f"--target {name}: no such target: use one of {', '.join(known_targets())}")
    return read_target(target_files()[name])


def read_target(path: Path) -> Target:
    """The target described in the file `path`. Raises ConfigError naming the file and what is wrong in it."""
    try:
        value = read_toml(path, "target file")
        device = str(value["device"])
        variants = tuple(_variant(entry, device) for entry in value["variants"])
        if not variants or len({variant.name for variant in variants}) < len(variants):
            raise ValueError("variants: none, or two of one name")
        link = str(value.get("link", ""))
        for gpu in (variant.gpu for variant in variants if variant.gpu):
            if gpu["kind"] in INSPECTED and not link:
                raise ValueError(f"link: needed for {gpu['kind']}")
            if gpu["kind"] == "cuda" and not gpu["archs"]:
                raise ValueError("archs: none")
        arch = cpu_arch() if value["arch"] == "native" else str(value["arch"])
        return Target(str(value["name"]), device, arch, variants, link)
    except (KeyError, TypeError, ValueError) as e:
        raise ConfigError(f"{path}: not a target file ({type(e).__name__}: {e}): compare it with host.toml") from None


def _variant(entry: dict[str, Any], default_device: str) -> Variant:
    llvm, gpu = dict(entry["llvm"]), dict(entry.get("gpu", {}))
    device = str(entry.get("device", default_device))
    if (device == "cpu") == bool(gpu):
        raise ValueError(f"gpu: needed for every device but cpu, and only there; this is for {device}")
    native = llvm.get("mcpu") == "native"
    features = (cpu_features() or ()) if native else entry["cpu_features"]
    if unknown := [name for name in features if name not in LLVM_NAMES]:
        raise ValueError(f"cpu_features: {', '.join(map(str, unknown))} is no feature duomem knows")
    if not _NAME.fullmatch(entry["name"]):
        raise ValueError(f"name {entry['name']!r}")
    return Variant(entry["name"], llvm, tuple(sorted(features)), device, gpu)
