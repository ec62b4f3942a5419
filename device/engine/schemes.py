"""The quantization schemes, one entry each: everything that differs between two schemes is said here.

A new scheme is a new entry in SCHEMES. If no kernel reads its layout yet, it also needs a Storage in
compile/kernels/storage.py under the name in `storage`, and, at a new number of bits, candidate divisors in
compile/weights/quantize.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

GROUP = 32
"""Consecutive weights of a row that share a scale, in every quantized scheme; what the kernels are built for."""

_VALUE_BYTES = {"float32": 4, "float16": 2}
_SCALE_BYTES = 2


@dataclass(frozen=True)
class Scheme:
    """How weights are stored, by MLC's name for it.

    bits: of a weight in a matrix; 32 and 16 are floats, fewer are codes in groups that share a scale.
    dtype: of vectors and of scales as MLC's readers get them. Scales take 16 bits in a file: of a float32 scheme
    as bfloat16.
    storage: the layout the CPU kernels read (compile.kernels.storage).
    gguf: the GGUF types that hold the same weights, the first one the closest in size.
    min_agreement: least share of the clear recorded steps, 0..1, on which the compiled model must choose as
    float32 does.
    transposed: whether matrices, except the embedding, are stored as [K, N].
    on_gpu: whether the GPU decoder computes it. in_mlc: whether mlc-llm has it.

    A quantized weight is (code + qmin) * scale, code = 0..2^bits - 1.
    """

    name: str
    bits: int
    dtype: str
    storage: str
    gguf: tuple[str, ...]
    min_agreement: float
    transposed: bool = False
    on_gpu: bool = False
    in_mlc: bool = True

    @property
    def is_quantized(self) -> bool:
        """Whether matrices are stored as codes and scales."""
        return self.bits < 16

    @property
    def group(self) -> int:
        """Weights that share a scale, 0 without scales."""
        return GROUP if self.is_quantized else 0

    @property
    def qmin(self) -> int:
        """The lowest multiple of its group's scale a weight may become; the highest is 1 - qmin."""
        return 1 - (1 << (self.bits - 1))

    @property
    def value_bytes(self) -> int:
        """Bytes of a vector's value."""
        return _VALUE_BYTES[self.dtype]

    @property
    def matrix_bytes(self) -> Fraction:
        """Stored bytes of a weight in a matrix, its share of its group's scale included."""
        return Fraction(self.bits, 8) + (Fraction(_SCALE_BYTES, self.group) if self.group else 0)

    def transposes(self, name: str) -> bool:
        """Whether the matrix `name` (MLC's, with or without the end its stored tensors add) is stored as [K, N]."""
        return self.transposed and "embed_tokens" not in name


_FOUR_BITS = 0.9
"""Measured (SmolLM2-135M with the shipped LoRA; bare): q0f16 and q8f16_1 agree on 1.00 of the clear steps for both,
plain 4 bits on 0.94 to 0.95 and 0.56, GPTQ on 1.00 and 0.95. The student of plain 4 bits still won 131 of 140
constrained games, that of GPTQ 137: 0.9 keeps both, and refuses the bare model in plain 4 bits, whose choices are no
longer its own."""

SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme("q0f32", 32, "float32", "f32", ("F32",), 0.99),
        Scheme("q0f16", 16, "float16", "f16", ("F16",), 0.99),
        Scheme("q4f32_1", 4, "float32", "q4", ("Q4_0", "Q4_1"), _FOUR_BITS, on_gpu=True),
        Scheme("q4f16_1", 4, "float16", "q4h", ("Q4_0", "Q4_1"), _FOUR_BITS, on_gpu=True),
        Scheme("q4f16_0", 4, "float16", "q4h", ("Q4_0", "Q4_1"), _FOUR_BITS, transposed=True),
        Scheme("q8f16_1", 8, "float16", "q8h", ("Q8_0",), 0.95, in_mlc=False),
    )
}
"""Every scheme by its name, in the order they are listed to a person."""

EXACT, INT8 = "exact", "int8"
ACTIVATIONS = (INT8, EXACT)
"""How a CPU library takes the inputs of its products: rounded to 8 bits a group of 32, or as float32."""

DEFAULT_SCHEME = "q4f32_1"
"""What is compiled unless another is asked for."""


def float32_scheme(quantized: bool) -> str:
    """The scheme that keeps scales and vectors in float32's range, quantized or not: for what float16 cannot hold."""
    return next(s.name for s in SCHEMES.values() if s.dtype == "float32" and s.is_quantized == quantized)
