"""How a weight matrix lies in memory: the parameters of a kernel, and its values as vectors.

Every matrix [N, K] is cut into blocks of COLUMNS output columns, padded with zeros (see device/engine/weights.py).
Which scheme has which storage is said in device/engine/schemes.py.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T

from duomem.compile.kernels.tile import COLUMNS
from duomem.device.engine.schemes import GROUP


@dataclass(frozen=True)
class Storage:
    """A layout of a matrix in memory; `bits` a weight.

    32 and 16: float [blocks, K, COLUMNS]. 8 and 4: words uint32 [blocks, K * bits / 32, COLUMNS] of
    consecutive codes of one column, the first in the lowest bits, and scales [blocks, K / 32, COLUMNS],
    uint16 holding bfloat16 bits or float16; w = (code - zero) * scale.
    """

    name: str
    bits: int
    scale: str = ""

    @property
    def grouped(self) -> bool:
        """Whether there are scales."""
        return bool(self.scale)

    @property
    def per_word(self) -> int:
        """Codes a 32-bit word holds."""
        return 32 // self.bits

    @property
    def zero(self) -> int:
        """The code of a weight that is 0."""
        return (1 << (self.bits - 1)) - 1

    def parameters(self, n: int, k: int) -> list[tuple[str, tuple[int, int, int], str]]:
        """(name, shape, dtype) of the arrays that hold a matrix [n, k], in the kernels' order."""
        blocks = -(-n // COLUMNS)
        if not self.grouped:
            return [("weight", (blocks, k, COLUMNS), f"float{self.bits}")]
        return [
            ("q_weight", (blocks, k // self.per_word, COLUMNS), "uint32"),
            ("q_scale", (blocks, k // GROUP, COLUMNS), self.scale),
        ]

    def word(self, q: Any, block: Any, j: Any, column: Any, lanes: int) -> Any:
        """int32 lanes: word `j` of `lanes` columns from `column` on."""
        return T.reinterpret(_vector("int32", lanes), q[block, j, span(column, lanes)])

    def scales(self, scale: Any, block: Any, group: Any, column: Any, lanes: int) -> Any:
        """float32 lanes: the scales of `group` of `lanes` columns from `column` on."""
        stored = scale[block, group, span(column, lanes)]
        if self.scale == "float16":
            return T.Cast(_vector("float32", lanes), stored)
        shift = T.broadcast(T.uint32(16), lanes) if lanes > 1 else T.uint32(16)
        return T.reinterpret(_vector("float32", lanes), T.shift_left(T.Cast(_vector("uint32", lanes), stored), shift))

    def codes(self, words: Any, shifts: Any, lanes: int) -> Any:
        """float32 lanes: the code so many bits up in each word, less zero."""
        code = T.bitwise_and(T.shift_right(words, shifts), T.broadcast((1 << self.bits) - 1, lanes))
        return T.Cast(f"float32x{lanes}", code - T.broadcast(self.zero, lanes))

    def values(self, w: Any, scale: Any, block: Any, row: Any, column: Any, lanes: int) -> Any:
        """float32 lanes: the weights at `row` of K of `lanes` columns from `column` on."""
        if not self.grouped:
            return T.Cast(f"float32x{lanes}", w[block, row, T.ramp(column, 1, lanes)])
        shifts = T.broadcast(row % self.per_word * self.bits, lanes)
        codes = self.codes(self.word(w, block, row // self.per_word, column, lanes), shifts, lanes)
        return codes * self.scales(scale, block, row // GROUP, column, lanes)


def span(first: Any, lanes: int) -> Any:
    """The index of `lanes` neighbours from `first` on."""
    return T.ramp(first, 1, lanes) if lanes > 1 else first


def _vector(dtype: str, lanes: int) -> str:
    return f"{dtype}x{lanes}" if lanes > 1 else dtype


STORAGES = {
    storage.name: storage
    for storage in (
        Storage("f32", 32),
        Storage("f16", 16),
        Storage("q4", 4, scale="uint16"),
        Storage("q4h", 4, scale="float16"),
        Storage("q8h", 8, scale="float16"),
    )
}
"""Every layout the kernels read, by its name."""


def over_weights(storage: Storage, n: int, k: int, body: Any, x_width: int, x_dtype: str, y_width: int) -> Any:
    """PrimFunc (x [1, m, x_width], the arrays of `storage`, y float32 [1, m, y_width]) around the macro `body`.

    body(x, w, scale, y, m) gets w twice when there are no scales. An x_width of 0 means x [1, m].
    """
    arrays = storage.parameters(n, k)
    w_shape, w_dtype = arrays[0][1:]
    scale_shape, scale_dtype = arrays[-1][1:]

    def x_shape(m: Any) -> tuple[Any, ...]:
        return (1, m, x_width) if x_width else (1, m)

    if storage.grouped:

        @T.prim_func(private=True, s_tir=True)
        def grouped(x_handle: T.handle, w_handle: T.handle, scale_handle: T.handle, y_handle: T.handle):
            T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
            m = T.int32()
            x = T.match_buffer(x_handle, x_shape(m), x_dtype)
            w = T.match_buffer(w_handle, w_shape, w_dtype)
            scale = T.match_buffer(scale_handle, scale_shape, scale_dtype)
            y = T.match_buffer(y_handle, (1, m, y_width), "float32")
            body(x, w, scale, y, m)

        return grouped

    @T.prim_func(private=True, s_tir=True)
    def plain(x_handle: T.handle, w_handle: T.handle, y_handle: T.handle):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        m = T.int32()
        x = T.match_buffer(x_handle, x_shape(m), x_dtype)
        w = T.match_buffer(w_handle, w_shape, w_dtype)
        y = T.match_buffer(y_handle, (1, m, y_width), "float32")
        body(x, w, w, y, m)

    return plain
