"""What a kit's user reads on the device: README.md and LICENSES.md, written for that device and that bundle.

Only what is in the bundle is told of; what was never executed is said to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from duomem.deploy.repack import licences
from duomem.deploy.wheels import Platform
from duomem.device.engine.bundle import Bundle
from duomem.device.engine.cuda import JETPACK, LIBRARIES, MAJOR

VULKAN_WHEEL = "duomem_vulkan-"

_CUDA = f"""CUDA: needs NVIDIA's driver and the CUDA {MAJOR} runtime: {LIBRARIES[0]} and
{LIBRARIES[1]}. {JETPACK} has both. Where one is missing `sh check` names it, and the CPU is used."""
_VULKAN = """Vulkan: needs the GPU's own driver. A software rasteriser is passed over, as the CPU's library is faster,
and so is a driver that computes something else than it should (checked at start)."""
_NO_PLUGIN = """Vulkan: this bundle came without duomem-vulkan, the plugin its Vulkan library needs: the CPU is used."""
_METAL = """Metal: macOS compiles the kernels when they are loaded, so the first start takes longer."""
_PHONE = """On an Android phone: Termux's own Python cannot load these wheels (they need glibc). Inside Termux do
`pkg install proot-distro`, `proot-distro install debian`, `proot-distro login debian`, then there
`apt install python3`, and go on as above. The phone's GPU is seldom reachable from there: the CPU is used."""
_MAC = """macOS's own /usr/bin/python3 is too old: install Python from python.org or Homebrew. If macOS refuses a
library as downloaded from the internet: `xattr -dr com.apple.quarantine .` in this folder."""


def readme(
    bundle: Bundle, platform: Platform, pythons: Sequence[str], games: bool, packs: bool, wheels: Sequence[str]
) -> str:
    """The text of README.md. wheels: the names of those in the kit."""
    libraries = "\n".join(
        f"| `{library.file}` | {library.device} | {', '.join(sorted(library.cpu_features)) or 'any'} |"
        for library in bundle.libraries
    )
    memories = "`play` shows the student the memories in packs/." if packs else "No memories are in packs/."
    other = "Other games" if games else "No games are in this bundle"
    unchecked = ", ".join(f"`{name}`" for name in bundle.manifest["gate"].get("unchecked", []))
    executed = (
        f"Not executed before shipping, only compiled: {unchecked}.\n"
        if unchecked
        else "Every library was executed before shipping.\n"
    )
    notes = "".join(f"\n{note}\n" for note in _notes(bundle, platform, wheels))
    return f"""# duomem on {"macOS" if platform.system == "Darwin" else platform.system} {platform.machine}

Student {bundle.manifest["model"]["id"]}, {bundle.quantization}, {bundle.context_length} tokens of context.
Needs {platform.needs}, and Python
{_either(pythons)}; no network, no pip, no root.

```
sh play --watch          # install what is not installed, then play a game{" of those in games/" if games else ""}
sh install.sh            # verify, install, self-check
sh check                 # does it run here? exit 0 yes, 3 cannot be told, else no
sh bench                 # how fast it is here: a table and one JSON line
sh serve                 # the student and the agent over HTTP, for programs on this device (loopback, port 8000)
```

{memories} {other}: give `--games DIR` or set ALFWORLD_DATA.
Less memory: `sh play --context TOKENS`. The runtime is unpacked to `$DUOMEM_HOME` (~/.local/share/duomem), once for
all bundles with the same wheels; removing that folder uninstalls it. Every start verifies the bundle's digests:
they show damage, not origin. This folder is a program, so use one from someone you trust.
{notes}
| library | device | CPU features it needs |
|---|---|---|
{libraries}

{executed}Licences: LICENSES.md.
"""


def _either(names: Sequence[str]) -> str:
    return " or ".join((", ".join(names[:-1]), names[-1]) if len(names) > 1 else names)


def _notes(bundle: Bundle, platform: Platform, wheels: Sequence[str]) -> list[str]:
    notes = []
    if "vulkan" in bundle.devices:
        notes.append(_VULKAN if any(name.startswith(VULKAN_WHEEL) for name in wheels) else _NO_PLUGIN)
    if "cuda" in bundle.devices:
        notes.append(_CUDA)
    elif (platform.system, platform.machine) == ("Linux", "aarch64"):
        notes.append(_PHONE)
    if "metal" in bundle.devices:
        notes.append(_METAL)
    if platform.system == "Darwin":
        notes.append(_MAC)
    return notes


def write_licences(work: Path) -> None:
    """LICENSES.md, and every licence text of the wheels below licenses/, so that it is read without unpacking them."""
    lines = ["# Licences of what this bundle holds", "", "| part | version | licence | texts |", "|---|---|---|---|"]
    for part in licences((work / "wheels").glob("*.whl")):
        folder = Path("licenses") / _plain(part.name)
        texts = f"{len(part.texts)}, in {folder}" if part.texts else "none in its wheel"
        lines.append(f"| {part.name} | {part.version} | {part.licence[:120]} | {texts} |")
        for i, (name, text) in enumerate(part.texts.items()):
            target = work / folder / f"{i:02d}-{_plain(Path(name).name)}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text)
    lines += [
        "",
        "The student in model/ and lib/ and the memories in packs/ are under the terms of the model they "
        "were made from and of the trajectories they were learned from; see the project's README.",
        "",
    ]
    (work / "LICENSES.md").write_text("\n".join(lines), encoding="utf-8")


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._" else "_" for c in name.lower()).lstrip(".")
