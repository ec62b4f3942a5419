"""Where things tend to be: the expert's prior knowledge, counted from the hidden facts of train games.

Nothing of a validation split is ever read here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from duomem.core.errors import TrainError
from duomem.core.files import read_json, sha256_file, write_json
from duomem.core.reading import digest_of
from duomem.device.alfworld.game import Game, load_game

Counts = tuple[Counter[str], Counter[str]]


def count_places(path: Path) -> Counts:
    """(holding, all) of one train game, keys "object|receptacle" by type: receptacles of a type that hold an
    object of the type, and receptacles of the type in the scenes where the object occurs.
    """
    return _count(load_game(path))


def _count(game: Game) -> Counts:
    kinds = {r: t.removesuffix("type") for r, t in game.receptacle_type.items() if r in game.receptacle_location}
    instances = Counter(kinds.values())
    holders: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for thing, receptacle in game.facts["inreceptacle"]:
        if receptacle in kinds and thing in game.object_type:
            holders[game.object_type[thing].removesuffix("type")][kinds[receptacle]].add(receptacle)
    holding: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for thing_kind, places in holders.items():
        for place, n in instances.items():
            total[f"{thing_kind}|{place}"] += n
            holding[f"{thing_kind}|{place}"] += len(places[place])
    return holding, total


def combine(counts: Iterable[Counts]) -> dict[str, float]:
    """Priors for the expert: share of receptacles of a type that hold an object of a type."""
    holding: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for game_holding, game_total in counts:
        holding.update(game_holding)
        total.update(game_total)
    return {pair: round(holding[pair] / total[pair], 6) for pair in sorted(total) if holding[pair]}


def cached_priors(file: Path, games: list[Path]) -> dict[str, float] | None:
    """Priors saved in `file` for exactly these games, or None. Raises TrainError if they are damaged."""
    if not file.is_file():
        return None
    saved = read_json(file, "priors file")
    if not isinstance(saved, dict) or saved.get("games") != _key(games):
        return None
    priors = saved.get("priors")
    if not isinstance(priors, dict) or not all(isinstance(share, float) for share in priors.values()):
        raise TrainError(f"{file}: field priors is not an object of shares: delete the file, it is made again")
    return priors


def save_priors(file: Path, games: list[Path], priors: dict[str, float]) -> None:
    """Keep priors for these games."""
    write_json(file, {"games": _key(games), "priors": priors})


def _key(games: list[Path]) -> str:
    return digest_of([sha256_file(g) for g in games])
