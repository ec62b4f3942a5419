"""Progress bars with a rate and an ETA, on the error stream; silent where it is not a terminal.

One place, so that every long stage looks alike.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(
    items: Iterable[Any] | None, what: str, total: int | None = None, unit: str = "it", initial: int = 0
) -> tqdm:
    """A tqdm bar over `items` (or a manual one if None), labelled `what`, counting `unit`s."""
    return tqdm(
        items,
        desc=what,
        total=total,
        unit=unit,
        initial=initial,
        dynamic_ncols=True,
        disable=not sys.stderr.isatty(),
        file=sys.stderr,
    )
