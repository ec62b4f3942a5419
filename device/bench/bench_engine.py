"""What the bench asks of an engine under test.

Everything the bench measures goes through these few calls, so another engine is measured in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class BenchEngine(Protocol):
    """A loaded model with one token sequence, the base, which starts empty."""

    def facts(self) -> dict[str, Any]:
        """What is measured: names, versions, settings, as a JSON object."""
        ...

    def prefill(self, tokens: Sequence[int]) -> float:
        """Seconds to append `tokens` to the base up to the logits of the last; then forgets them."""
        ...

    def decode(self, tokens: Sequence[int]) -> float:
        """Seconds to append `tokens` to the base one by one, with logits after each; then forgets them."""
        ...

    def extend(self, tokens: Sequence[int]) -> None:
        """Append `tokens` to the base."""
        ...

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        """Append `tokens` to the base, float32 logits [len(tokens), vocab] after each; then forgets them."""
        ...
