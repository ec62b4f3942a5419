"""RMS norm as a module over the CPU kernel, alone or with the residual addition before it."""

from __future__ import annotations

from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import Tensor, op
from tvm.script import tirx as T

from duomem.compile.kernels.norm import rms_norm


class RMSNorm(nn.Module):
    """x / sqrt(mean(x * x) + epsilon) * weight over the last axis, of `size`; any offset is in the weight."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.size, self.epsilon = size, epsilon
        self.weight = nn.Parameter((size,), "float32")

    def forward(self, x: Tensor) -> Tensor:
        """float32 x [1, s, size] -> its norm, like x."""
        return self._call([x])[0]

    def add(self, x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """(norm of x + residual, x + residual), all float32 [1, s, size]."""
        normed, total = self._call([x, residual])
        return normed, total

    def _call(self, inputs: list[Tensor]) -> list[Tensor]:
        shape = inputs[0].shape
        rows = shape[1]
        loop = T.serial if isinstance(rows, int) and rows == 1 else T.parallel
        kernel = rms_norm(self.size, self.epsilon, len(inputs) == 2, loop)
        name = f"rms_norm_{'add_' if len(inputs) == 2 else ''}{self.size}"
        out = [Tensor.placeholder([*shape], "float32") for _ in inputs]
        result = op.tensor_ir_op(kernel, name, [*inputs, self.weight], out if len(out) > 1 else out[0])
        return [result] if isinstance(result, Tensor) else [*result]
