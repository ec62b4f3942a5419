"""Weight matrices of a decoder as modules over the tiled CPU kernels, one class a storage scheme.

Parameter names end as MLC's do: weight, or q_weight and q_scale.
"""

from __future__ import annotations

from typing import Any

from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import Tensor, op

from duomem.compile.kernels import f32, q4
from duomem.compile.kernels.tile import Tile


class Matrix(nn.Module):
    """A stored matrix [n, k]: multiply by it (`forward`), or take rows of it (`rows`)."""

    def __init__(self, n: int, k: int, tile: Tile) -> None:
        super().__init__()
        self.n, self.k, self.tile = n, k, tile

    def forward(self, x: Tensor) -> Tensor:
        """float32 x [1, s, k] -> x @ W.T, float32 [1, s, n]."""
        s = x.shape[1]
        y = self._multiply(op.reshape(x, (s, self.k)), one_row=isinstance(s, int) and s == 1)
        return op.reshape(y, (1, s, self.n))

    def rows(self, ids: Tensor) -> Tensor:
        """int32 ids [1, s] -> the rows they name, float32 [1, s, k]."""
        s = ids.shape[1]
        return op.reshape(self._take(op.reshape(ids, (s,))), (1, s, self.k))

    def _multiply(self, x: Tensor, one_row: bool) -> Tensor:
        raise NotImplementedError

    def _take(self, ids: Tensor) -> Tensor:
        raise NotImplementedError


class Float32Matrix(Matrix):
    """Scheme q0f32."""

    def __init__(self, n: int, k: int, tile: Tile) -> None:
        super().__init__(n, k, tile)
        self.weight = nn.Parameter((-(-n // tile.columns), k, tile.columns), "float32")

    def _multiply(self, x: Tensor, one_row: bool) -> Tensor:
        rows = 1 if one_row else self.tile.rows
        kernel = f32.matmul(self.n, self.k, self.tile.columns, rows)
        return call_kernel(kernel, f"f32_matmul_{self.n}_{self.k}", [x, self.weight], (x.shape[0], self.n))

    def _take(self, ids: Tensor) -> Tensor:
        kernel = f32.embedding(self.n, self.k, self.tile.columns)
        return call_kernel(kernel, "f32_embedding", [ids, self.weight], (ids.shape[0], self.k))


class Int4Matrix(Matrix):
    """Scheme q4f32_1."""

    def __init__(self, n: int, k: int, tile: Tile) -> None:
        super().__init__(n, k, tile)
        blocks = -(-n // tile.columns)
        self.q_weight = nn.Parameter((blocks, k // 2, tile.columns), "uint8")
        self.q_scale = nn.Parameter((blocks, k // q4.GROUP, tile.columns), "float32")

    def _multiply(self, x: Tensor, one_row: bool) -> Tensor:
        if one_row:
            kernel, name = q4.matvec(self.n, self.k, self.tile.columns), f"q4_matvec_{self.n}_{self.k}"
        else:
            kernel = q4.matmul(self.n, self.k, self.tile.columns, self.tile.rows)
            name = f"q4_matmul_{self.n}_{self.k}"
        return call_kernel(kernel, name, [x, self.q_weight, self.q_scale], (x.shape[0], self.n))

    def _take(self, ids: Tensor) -> Tensor:
        kernel = q4.embedding(self.n, self.k, self.tile.columns)
        return call_kernel(kernel, "q4_embedding", [ids, self.q_weight, self.q_scale], (ids.shape[0], self.k))


MATRICES: dict[str, type[Matrix]] = {"q0f32": Float32Matrix, "q4f32_1": Int4Matrix}


def call_kernel(kernel: Any, name: str, args: list[Tensor], shape: tuple[Any, ...]) -> Tensor:
    """The float32 result, of `shape`, of a TIR kernel on `args`."""
    return op.tensor_ir_op(kernel, name, args, Tensor.placeholder(list(shape), "float32"))
