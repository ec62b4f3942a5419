"""Weight matrices of a decoder as modules over the CPU kernels, in any storage scheme.

Parameter names end as MLC's do: weight, or q_weight and q_scale.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import Tensor, op

from duomem.compile.kernels.embedding import embedding
from duomem.compile.kernels.matmul import matmul
from duomem.compile.kernels.storage import STORAGES, Storage
from duomem.compile.kernels.tile import Cpu
from duomem.device.engine.schemes import SCHEMES


class Matrix(nn.Module):
    """A stored matrix [n, k]: multiply by it (`forward`), or take rows of it (`rows`)."""

    def __init__(self, storage: Storage, n: int, k: int, cpu: Cpu, activations: str) -> None:
        super().__init__()
        self.storage, self.n, self.k, self.cpu, self.activations = storage, n, k, cpu, activations
        self._arrays: list[str] = []
        for name, shape, dtype in storage.parameters(n, k):
            setattr(self, name, nn.Parameter(shape, dtype))
            self._arrays.append(name)

    def forward(self, x: Tensor) -> Tensor:
        """x [1, s, k], float32 or as attention gives it -> x @ W.T, float32 [1, s, n]."""
        s = x.shape[1]
        one_row = isinstance(s, int) and s == 1
        kernel = matmul(self.storage, self.n, self.k, self.cpu, one_row, self.activations, x.dtype)
        return self._call(kernel, f"{self.storage.name}_matmul_{self.n}_{self.k}", x, self.n)

    def rows(self, ids: Tensor) -> Tensor:
        """int32 ids [1, s] -> the rows they name, float32 [1, s, k]."""
        return self._call(embedding(self.storage, self.n, self.k), f"{self.storage.name}_embedding", ids, self.k)

    def _call(self, kernel: Any, name: str, x: Tensor, width: int) -> Tensor:
        return call_kernel(kernel, name, [x, *(getattr(self, a) for a in self._arrays)], (1, x.shape[1], width))


def matrix_maker(scheme: str, cpu: Cpu, activations: str) -> Callable[[int, int], Matrix]:
    """What makes the weight matrices [n, k] of a decoder: matrix(n, k), stored in `scheme`, for `cpu`.

    activations: how their inputs are taken, see schemes.ACTIVATIONS.
    """
    storage = STORAGES[SCHEMES[scheme].storage]
    return lambda n, k: Matrix(storage, n, k, cpu, activations)


def call_expression(expression: Callable[..., Any], name: str, args: list[Tensor]) -> Tensor:
    """The result of a kernel that TVM makes and schedules from `expression` (te tensors -> te tensor) on `args`."""
    result: Any = op.tensor_expr_op(expression, name, [*args])
    return result


def call_kernel(kernel: Any, name: str, args: list[Tensor], shape: tuple[Any, ...], dtype: str = "float32") -> Tensor:
    """The result, of `shape` and `dtype`, of a TIR kernel on `args`."""
    return op.tensor_ir_op(kernel, name, args, Tensor.placeholder(list(shape), dtype))
