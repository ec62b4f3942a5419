"""`duomem kit make`: a compiled bundle becomes the folder, and the archive, that a device installs from offline.

Adds wheels, pack, games, installer and starters to the bundle and lists them all in bundle.json. It stands with
deploying, not with compiling: it changes nothing that was compiled, and runs without torch or TVM's compiler.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from duomem.core.claim import Claim, claimed
from duomem.core.errors import BundleError
from duomem.core.files import sha256_file, write_json
from duomem.core.package import own_digests
from duomem.core.reading import digest_of
from duomem.deploy.readme import readme, write_licences
from duomem.deploy.repack import duomem_wheel, repack
from duomem.deploy.wheels import PYTHONS, Platform, fetch_wheels, pins
from duomem.device.alfworld.game_files import DATA_FOLDER, find_games
from duomem.device.engine.bundle import Bundle, existing_bundle, read_bundle
from duomem.device.engine.manifest import FOLDERS, MANIFEST, check_manifest, list_files, manifest_digest

SPLIT = "valid_seen"
_STARTERS = Path(str(files("duomem.deploy") / "starters"))
_ARCH = {"arm64": "aarch64"}
_SUFFIX = {"Linux": ".so", "Darwin": ".dylib"}


@dataclass(frozen=True)
class Kit:
    """What goes into a device's folder beside the bundle.

    pythons: CPython versions to bring wheels for, as "3.11". packs: .dmpack files; the first is what `play` uses.
    games: a folder of games, of which `limit` of valid_seen go along, or None. wheels: more of them, such as a device
    plugin's. cache: where fetched wheels are kept. trusts: folders of packs' signed metadata.
    """

    platform: Platform
    cache: Path
    pythons: tuple[str, ...] = PYTHONS
    packs: Sequence[Path] = ()
    games: Path | None = None
    limit: int = 12
    wheels: Sequence[Path] = field(default=())
    trusts: Sequence[Path] = ()


def make_kit(source: Path, kit: Kit, out: Path) -> tuple[Bundle, bool]:
    """Write the bundle in `source` and everything `kit` says into the folder `out`; (bundle, whether it is new).

    `out` exists only once it is whole and verified, and is held to the end. A valid one of the same inputs is left
    alone. Raises BundleError if `source` is damaged or not for this platform, `out` holds something else, or a wheel
    cannot be had; FileError if another process writes `out`.
    """
    bundle = read_bundle(source)
    platform, pythons = kit.platform, kit.pythons
    if "kit" in bundle.manifest:
        raise BundleError(f"{source}: is a kit already: give the bundle it was made of")
    suffix = _SUFFIX[platform.system]
    if bundle.arch != _ARCH.get(platform.machine, platform.machine) or any(
        not library.file.endswith(suffix) for library in bundle.libraries
    ):
        raise BundleError(
            f"{source}: is compiled for {bundle.manifest['target']['name']} ({bundle.arch}), not for "
            f"{platform.name}: compile it for that target"
        )
    games = _games(kit)
    named = [*(f"packs/{path.name}" for path in kit.packs), *(f"wheels/{path.name}" for path in kit.wheels)]
    if len(set(named)) != len(named):
        raise BundleError(f"{out}: two packs or wheels have the same name: rename one")
    inputs = digest_of(
        {
            "bundle": sha256_file(bundle.folder / MANIFEST),
            "platform": platform.name,
            "pythons": pythons,
            "pins": pins(),
            "games": {str(name): sha256_file(path) for name, path in games.items()},
            "added": [(path.name, sha256_file(path)) for path in (*kit.packs, *kit.wheels)],
            "trusts": {folder.name: list_files(folder) for folder in kit.trusts},
            "code": own_digests(),
        }
    )
    with claimed(out) as claim:
        current = existing_bundle(out, lambda manifest: manifest.get("kit", {}).get("inputs") == inputs)
        return (current, False) if current is not None else (_write(claim, bundle, kit, games, inputs), True)


def _write(claim: Claim, bundle: Bundle, kit: Kit, games: Mapping[str, Path], inputs: str) -> Bundle:
    """The kit of `bundle` at the claimed path. inputs: digest of all that goes in."""
    platform, pythons = kit.platform, kit.pythons
    fetched = {wheel for python in pythons for wheel in fetch_wheels(platform, python, kit.cache / platform.name)}
    with claim.folder() as work:
        for name in (*bundle.manifest["files"], *FOLDERS):
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            if name in FOLDERS:
                (work / name).mkdir(exist_ok=True)
            else:
                shutil.copyfile(bundle.folder / name, work / name)
        for path in kit.packs:
            shutil.copyfile(path, work / "packs" / path.name)
        for path in kit.trusts:
            shutil.copytree(path, work / "packs" / path.name)
        for name, path in games.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, work / name)
        wheels = work / "wheels"
        wheels.mkdir()
        repack((*fetched, *kit.wheels), wheels, bundle.devices)
        own = duomem_wheel(wheels)
        write_licences(work)
        _write_starters(work, own, platform, pythons, kit.packs)
        names = [wheel.name for wheel in kit.wheels]
        (work / "README.md").write_text(readme(bundle, platform, pythons, bool(games), bool(kit.packs), names))
        manifest: dict[str, Any] = copy.deepcopy(bundle.manifest)
        manifest["files"] = list_files(work)
        manifest["kit"] = {
            "platform": platform.name,
            "system": platform.system,
            "machine": platform.machine,
            "pythons": list(pythons),
            "inputs": inputs,
        }
        manifest["kit"]["manifest"] = manifest_digest(manifest)
        write_json(work / MANIFEST, check_manifest(manifest, work / MANIFEST))
        read_bundle(work)
    return Bundle(claim.path, manifest)


def sizes(bundle: Bundle) -> dict[str, int]:
    """Bytes of each part of a kit: model, lib, packs, games, runtime (wheels) and rest; and in all."""
    parts = {"model": 0, "lib": 0, "packs": 0, "games": 0, "runtime": 0, "rest": 0}
    for name, entry in bundle.manifest["files"].items():
        part = {"wheels": "runtime"}.get(name.split("/")[0], name.split("/")[0])
        parts[part if part in parts else "rest"] += entry["size"]
    parts["rest"] += (bundle.folder / MANIFEST).stat().st_size
    return {**parts, "all": sum(parts.values())}


def _games(kit: Kit) -> dict[str, Path]:
    """The games that go along, by their path in the bundle: evenly chosen, so that all task types are there."""
    if kit.games is None:
        return {}
    found = find_games(kit.games, SPLIT)
    if not found:
        raise BundleError(f"--games {kit.games}: has no {SPLIT} games: make some with duomem games generate")
    chosen = found[:: max(1, len(found) // kit.limit)][: kit.limit]
    return {"/".join(("games", DATA_FOLDER, SPLIT, *path.parts[-3:])): path for path in chosen}


def _write_starters(work: Path, own: Path, platform: Platform, pythons: Sequence[str], packs: Sequence[Path]) -> None:
    values = {
        "PLATFORM": f"{platform.system} {platform.machine}",
        "PYTHONS": ", ".join(pythons),
        "NAMES": " ".join(f"python{python}" for python in pythons),
        "WHEEL": own.name,
        "SHA256": sha256_file(own),
        "PACK": f' --pack "$here/packs/{packs[0].name}"' if packs else "",
    }
    for template in sorted(_STARTERS.iterdir()):
        text = template.read_text(encoding="utf-8")
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        target = work / template.name
        target.write_text(text, encoding="utf-8")
        target.chmod(0o755)
