"""`python -m alfworld_lite.generate FOLDER`: sets of new games for the 120 floor plans of the alfworld wheel.

They need the wheel's files (`pip install --no-deps alfworld==0.4.2`), neither its dependencies nor its download.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from alfworld_lite._engine.errors import UserError
from alfworld_lite._engine.game_files import DATA_FOLDER, SPLITS
from alfworld_lite._engine.generator import Generator


def generate_games(folder: Path | str, counts: Mapping[str, int], seed: int = 0) -> Iterator[Path]:
    """Write `counts[split]` games of each split below `folder`, as alfworld-download lays them out; yield their paths.

    counts: split of SPLITS -> games; the six task types take turns. seed: another one makes other games. Game i of a
    split depends on the seed, the split and i alone, so a set may be grown; games that are there are not made again.
    """
    generator = Generator(seed)
    for split, count in counts.items():
        for index in range(count):
            game = generator.make(split, index)
            path = Path(folder) / DATA_FOLDER / split / game.path
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_suffix(f".{os.getpid()}.tmp")
                part.write_bytes(game.data)
                os.replace(part, path)
            yield path


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m alfworld_lite.generate", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other games (%(default)s)")
    for split, count in zip(SPLITS, (600, 60, 60), strict=True):
        parser.add_argument(f"--{split.replace('_', '-')}", type=int, default=count, help="games (%(default)s)")
    args = parser.parse_args()
    counts = {split: getattr(args, split) for split in SPLITS}
    try:
        made = sum(1 for _ in generate_games(args.folder, counts, args.seed))
    except (UserError, OSError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    print(f"{made} games below {args.folder / DATA_FOLDER}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
