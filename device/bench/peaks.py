"""What this machine can do: `python -m duomem.device.bench.peaks THREADS BYTES`, one JSON line.

Practical peaks, measured with numpy so that a phone can measure its own: the rate of its BLAS in a float32 matrix
product, and the rate of its fastest reduction reading a buffer. A kernel may beat them: shares above 100 % say so.
"""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from duomem.core.errors import DeviceError
from duomem.core.machine import caches
from duomem.core.memory import available_memory
from duomem.core.process import ending, python_module, run

_SIDE = 1024
_SECONDS = 0.5
"""Least time one figure is taken over: the best of as many tries as fit."""
_CACHE_TIMES = 4
_LEAST_MEMORY = 256 << 20
_BLAS_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def measure_peaks(threads: int, weight_bytes: int) -> dict[str, Any]:
    """Peaks with `threads` threads, in a process of its own:

    flops: float32 operations a second of a 1024 x 1024 matrix product. read: bytes a second reading again and
    again a buffer of `weight_bytes`, so at whatever cache level the weights themselves are found, token after
    token. memory: the same over a buffer of `memory_buffer` bytes, four times the last-level cache; both None
    if there is not the memory for it.
    """
    command = python_module("duomem.device.bench.peaks", str(threads), str(weight_bytes))
    done = run(command, math.inf, dict.fromkeys(_BLAS_THREADS, str(threads)))
    if done.status:
        raise DeviceError(f"measuring the machine's peaks failed ({ending(done.status)}): {done.last_line}")
    return json.loads(done.output)


def matrix_rate() -> float:
    """float32 operations a second of numpy's matrix product, with the threads its BLAS was started with."""
    a = np.random.default_rng(0).random((_SIDE, _SIDE), np.float32)
    out = np.empty_like(a)

    def multiply() -> None:
        np.matmul(a, a, out=out)

    return 2 * _SIDE**3 / _best(multiply)


def read_rate(size: int, threads: int) -> float:
    """Bytes a second that `threads` threads read of a buffer of `size` bytes, each its own part."""
    buffer = np.ones(max(size // 4, threads), np.float32)
    parts = np.array_split(buffer, threads)

    def read() -> None:
        others = [threading.Thread(target=np.maximum.reduce, args=(part,)) for part in parts[1:]]
        for thread in others:
            thread.start()
        np.maximum.reduce(parts[0])
        for thread in others:
            thread.join()

    return buffer.nbytes / _best(read)


def memory_buffer() -> int | None:
    """Bytes of a buffer no cache holds, None if it would take more than half of the memory this process may have."""
    size = max(_CACHE_TIMES * max(caches().values(), default=0), _LEAST_MEMORY)
    limit = available_memory()
    return size if limit is None or size <= limit.bytes // 2 else None


def _best(call: Callable[[], None]) -> float:
    """Least seconds a call takes."""
    call()
    best, end = float("inf"), time.perf_counter() + _SECONDS
    while (begin := time.perf_counter()) < end:
        call()
        best = min(best, time.perf_counter() - begin)
    return best


def main(arguments: list[str]) -> None:
    """Measure and print."""
    threads, weight_bytes = map(int, arguments)
    buffer = memory_buffer()
    print(
        json.dumps(
            {
                "flops": matrix_rate(),
                "read": read_rate(weight_bytes, threads),
                "memory": read_rate(buffer, threads) if buffer else None,
                "memory_buffer": buffer,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
