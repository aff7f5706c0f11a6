"""A compiled kernel on several threads.

They are torch's own: a second pool beside it would fight with its threads, which spin for a
while after every operation. torch's OpenMP runtime starts its team on any function through
`GOMP_parallel`, which GCC's, Intel's and (on Linux) LLVM's runtime have. Where there is none, such
as on macOS and Windows, a pool of Python's takes its place, some 50 microseconds a call slower.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache

import torch

from dllm_core.cpu.jit import Kernel

_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

Arguments = "ctypes.Array[ctypes.c_int64]"


def run(kernel: Kernel, arguments: ctypes.Array[ctypes.c_int64]) -> None:
    """Run it on as many threads as torch uses; they share the work among themselves."""
    _runner()(kernel.address, ctypes.addressof(arguments), torch.get_num_threads())


Run = Callable[[int, int, int], None]


@cache
def _runner() -> Run:
    return openmp() or pooled


@cache
def openmp() -> Run | None:
    """torch's OpenMP runtime, whose symbols torch makes global where it is a library of its own."""
    try:
        parallel = ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):
        return None
    parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    parallel.restype = None

    def start(kernel: int, arguments: int, threads: int) -> None:
        parallel(kernel, arguments, threads, 0)

    return start


_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}


def pooled(kernel: int, arguments: int, threads: int) -> None:
    """The same on threads of Python, which give up its lock meanwhile."""
    function = _KERNEL(kernel)
    with _lock:
        if threads not in _pools:
            _pools[threads] = ThreadPoolExecutor(max(1, threads - 1), "kernel")
    others = [_pools[threads].submit(function, arguments) for _ in range(threads - 1)]
    function(arguments)
    wait(others)
