"""`duomem games generate`: sets of generated ALFWorld games, from the alfworld wheel, without a download.

A set can be interrupted and grown: see generator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from duomem.core.errors import GameError
from duomem.core.files import read_json, write_bytes, write_json
from duomem.core.progress import progress
from duomem.device.alfworld.game_files import DATA_FOLDER, SPLITS
from duomem.train.games.generator import GENERATOR_VERSION, Generator
from duomem.train.games.wheel import VERSION

MANIFEST = "duomem-games.json"


def generate(out: Path, seed: int, counts: Mapping[str, int]) -> Iterator[bool]:
    """Write `counts[split]` games of every split under `out`, yielding once a game whether it was new.

    A complete set of the same arguments is left alone at once; an interrupted or smaller one is completed.
    Raises GameError if `out` holds something else, or more games than asked for.
    """
    out = Path(out)
    wanted = {
        "format": "duomem-games",
        "version": GENERATOR_VERSION,
        "alfworld": VERSION,
        "seed": seed,
        "counts": dict(counts),
    }
    if _check_manifest(out, wanted):
        return
    generator = Generator(seed)
    write_json(out / MANIFEST, {**wanted, "complete": False})
    for split in SPLITS:
        for index in range(counts[split]):
            game = generator.make(split, index)
            path = out / DATA_FOLDER / split / game.path
            is_new = not path.exists()
            if is_new:
                write_bytes(path, game.data)
            yield is_new
    write_json(out / MANIFEST, {**wanted, "complete": True})


def generate_games(out: Path | str, seed: int = 0, train: int = 600, seen: int = 60, unseen: int = 60) -> int:
    """Make ALFWorld games of all six task types, in the layout of alfworld-download.

    out: folder to write. seed: another one makes other games. train, seen, unseen: games of the splits train,
    valid_seen and valid_unseen. The same arguments give the same bytes; an interrupted set is completed.

    Returns how many games are new. Raises GameError if `out` holds something else, or without the alfworld wheel.
    """
    counts = {"train": train, "valid_seen": seen, "valid_unseen": unseen}
    return sum(progress(generate(Path(out), seed, counts), "games", total=sum(counts.values()), unit="games"))


def _check_manifest(out: Path, wanted: Mapping[str, object]) -> bool:
    """Whether `out` holds the whole wanted set. Raises GameError if it cannot become that set."""
    path = out / MANIFEST
    if not path.exists():
        if out.exists() and any(out.iterdir()):
            raise GameError(f"{out}: is not empty and holds no {MANIFEST}: choose another --out")
        return False
    found = read_json(path, "game manifest")
    if not isinstance(found, dict):
        raise GameError(f"{path}: is not a game manifest: choose another --out")
    for field in ("format", "version", "alfworld", "seed"):
        if found.get(field) != wanted[field]:
            raise GameError(
                f"{path}: field {field} is {found.get(field)!r}, not {wanted[field]!r}: choose "
                "another --out, or remove that folder"
            )
    counts = found.get("counts")
    more = wanted["counts"]
    if not isinstance(counts, dict) or not isinstance(more, dict):
        raise GameError(f"{path}: field counts is not an object: choose another --out")
    for split, count in more.items():
        if not isinstance(counts.get(split), int) or counts[split] > count:
            raise GameError(
                f"{path}: field counts.{split} is {counts.get(split)!r}, more than the {count} "
                "asked for: ask for at least as many, or choose another --out"
            )
    return counts == more and found.get("complete") is True
