"""The CPU kernel that takes rows of a stored matrix of any storage: token embedding."""

# No postponed annotations here: TVMScript evaluates them while it parses.
import functools
from typing import Any

from tvm.script import tirx as T

from duomem.compile.kernels.storage import Storage, over_weights
from duomem.compile.kernels.tile import COLUMNS
from duomem.device.engine.schemes import GROUP


@functools.cache
def embedding(storage: Storage, n: int, k: int) -> Any:
    """PrimFunc y[1, m, k] = W[ids[1, m]], float32; ids int32 below n, m dynamic."""
    per_word = storage.per_word

    @T.macro
    def plain(ids, w, scale, y, m):
        for row, i in T.grid(m, k):
            with T.sblock("embedding"):
                r, j = T.axis.remap("SS", [row, i])
                y[0, r, j] = T.Cast("float32", w[ids[0, r] // COLUMNS, j, ids[0, r] % COLUMNS])

    @T.macro
    def grouped(ids, w, scale, y, m):
        for row, word in T.grid(m, k // per_word):
            with T.sblock("embedding"):
                r, j = T.axis.remap("SS", [row, word])
                y[0, r, T.ramp(j * per_word, 1, per_word)] = storage.codes(
                    T.broadcast(storage.word(w, ids[0, r] // COLUMNS, j, ids[0, r] % COLUMNS, 1), per_word),
                    T.ramp(0, storage.bits, per_word),
                    per_word,
                ) * T.broadcast(
                    storage.scales(scale, ids[0, r] // COLUMNS, j * per_word // GROUP, ids[0, r] % COLUMNS, 1), per_word
                )

    return over_weights(storage, n, k, grouped if storage.grouped else plain, 0, "int32", k)
