"""GPTQ (Frantar et al., arXiv 2210.17323) of matrices that share their inputs.

Into the codes and scales of `quantize`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from duomem.compile.weights.quantize import DIVISORS, pack, round_scale
from duomem.device.engine.schemes import GROUP, SCHEMES, Scheme

if TYPE_CHECKING:
    import torch

_DAMPING = 0.01
"""Share of the Hessian's mean diagonal that is added to its diagonal."""
_ROWS = 2048
"""Rows of a matrix rounded at once: what they need stays in the caches."""
_SPAN = 8
"""Columns of a group whose errors go to the group's others one by one; later ones get them together."""


def hessian(inputs: torch.Tensor) -> np.ndarray:
    """X^T X, float32 [K, K], of inputs X [n, K]."""
    x = inputs.numpy()
    return x.T @ x  # NumPy computes a matrix times its own transpose in half the time.


class Gptq:
    """GPTQ of matrices that share their inputs.

    Column by column, what rounding one loses is made up for by those not yet rounded. The groups with the
    largest inputs go first, and so do the columns within each, while there is most left to make up with. A
    group's scale is chosen when it is reached, for the weights as they are by then, with an error counted by
    how large its column's inputs are. Rows do not depend on each other.
    """

    def __init__(self, hessian: np.ndarray, scheme: str) -> None:
        """hessian: the inputs' X^T X, float32 [K, K]."""
        self._scheme = scheme
        self._importance = np.diagonal(hessian).copy()
        self._order = _order(self._importance)
        self._factor = _factor(hessian, self._order)

    def round(self, n: int, blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """A matrix of n rows, float32 [r, K] a block -> (uint32 [n, K * bits / 32], float32 [n, K / 32]), as of
        `quantize`.
        """
        k = len(self._order)
        q = np.empty((n, k // GROUP * SCHEMES[self._scheme].bits), np.uint32)
        scale = np.empty((n, k // GROUP), np.float32)
        row = 0
        for block in blocks:
            for begin in range(0, len(block), _ROWS):
                part = block[begin : begin + _ROWS]
                rows = slice(row, row + len(part))
                q[rows], scale[rows] = self._round_rows(part)
                row += len(part)
        return q, scale

    def _round_rows(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`round` of some rows, [N, K]."""
        import torch

        n, k = w.shape
        kind = SCHEMES[self._scheme]
        original = torch.from_numpy(np.ascontiguousarray(w.T[self._order]))
        owed = torch.zeros(k, n)  # what the errors so far ask of each column, before the factor's own block is solved
        importance = torch.from_numpy(self._importance[self._order])
        codes = np.empty((k, n), np.float32)
        scale = np.empty((k // GROUP, n), np.float32)
        one = torch.eye(GROUP)
        for start in range(0, k, GROUP):
            now, later = slice(start, start + GROUP), slice(start + GROUP, k)
            columns = self._order[now]
            factor = self._factor[now]
            feedback = torch.linalg.solve_triangular(factor[:, now], one, upper=True)
            target = torch.addmm(original[now], feedback.T, owed[now])
            chosen = group_scales(target, importance[now], kind)
            rounded = _round_group(target, chosen, feedback, kind.qmin)
            codes[columns], scale[columns[0] // GROUP] = rounded.numpy(), chosen.numpy()
            owed[later].addmm_(factor[:, later].T, original[now] - rounded * chosen)
        by_row = np.ascontiguousarray(codes.T).reshape(-1, GROUP)
        return pack(by_row, self._scheme).reshape(n, -1), scale.T


def group_scales(w: torch.Tensor, importance: torch.Tensor, kind: Scheme) -> torch.Tensor:
    """Scales, float32 [N], of the groups `w` [32, N], as `quantize` chooses them but with the squared error of column k
    counted `importance[k]` times.
    """
    import torch

    high, low = w.amax(0), w.amin(0)
    largest = torch.where(high >= -low, high, low).numpy()
    codes, error = torch.empty_like(w), torch.empty_like(w)

    def tried(scale: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        s = torch.from_numpy(round_scale(scale, kind))
        _nearest(w, s, kind.qmin, codes)
        torch.mul(codes, s, out=error)
        return s, importance @ error.sub_(w).square_()

    best, least = tried(largest / DIVISORS[kind.bits][0])
    for divisor in DIVISORS[kind.bits][1:]:
        scale, lost = tried(largest / divisor)
        best, least = torch.where(lost < least, scale, best), torch.minimum(lost, least)
    _nearest(w, best, kind.qmin, codes)
    norm = importance @ torch.mul(codes, codes, out=error)
    refined = (importance @ torch.mul(codes, w, out=error)).div_(norm).nan_to_num_(0.0, 0.0, 0.0)
    scale, lost = tried(refined.numpy())
    return torch.where(lost < least, scale, best)


def _nearest(w: torch.Tensor, scale: torch.Tensor, qmin: int, out: torch.Tensor) -> None:
    """The codes of `w` [32, N] for `scale` [N], 0 where the scale is."""
    import torch

    torch.mul(w, torch.where(scale != 0, 1 / scale, 0.0), out=out)
    out.round_().clamp_(qmin, 1 - qmin)


def _order(importance: np.ndarray) -> np.ndarray:
    """The columns [K] in the order they are rounded: whole groups, largest sum first, largest first in each."""
    groups = importance.reshape(-1, GROUP)
    within = np.argsort(-groups, axis=1, kind="stable") + np.arange(0, importance.size, GROUP)[:, None]
    return within[np.argsort(-groups.sum(axis=1), kind="stable")].ravel()


def _factor(hessian: np.ndarray, order: np.ndarray) -> torch.Tensor:
    """The upper triangular R, R R^T = H + damping, of the Hessian in this order: float32 [K, K].

    R^-1 is the factor of the inverse that GPTQ goes by. R itself gives the same updates where they are needed: after
    errors E the later columns are best moved by R_later^-T R_E^T E, of which a group needs its own block alone.
    With both axes reversed R is the Cholesky factor.
    """
    import torch

    back = order[::-1].copy()
    h = torch.from_numpy(hessian[back[:, None], back]).double()
    mean = float(h.diagonal().mean())
    h.diagonal().add_(_DAMPING * mean if mean > 0 else 1.0)
    return torch.linalg.cholesky(h).float().flip(0, 1)


def _round_group(w: torch.Tensor, scale: torch.Tensor, feedback: torch.Tensor, qmin: int) -> torch.Tensor:
    """Codes qmin..1 - qmin, float32 [32, N], of the columns `w` [32, N] for `scale` [N].

    feedback: of these columns, the upper Cholesky factor of the inverse Hessian, [32, 32].
    """
    import torch

    rest = w * torch.where(scale != 0, 1 / scale, 0.0)  # in units of the scale
    codes, errors = torch.empty_like(rest), torch.empty_like(rest)
    shares = feedback / feedback.diagonal()[:, None]
    for start in range(0, GROUP, _SPAN):
        end = start + _SPAN
        for j in range(start, end):
            torch.round(rest[j], out=codes[j]).clamp_(qmin, 1 - qmin)
            torch.sub(rest[j], codes[j], out=errors[j])
            rest[j + 1 : end].addr_(shares[j, j + 1 : end], errors[j], alpha=-1)
        rest[end:].addmm_(shares[start:end, end:].T, errors[start:end], alpha=-1)
    return codes
