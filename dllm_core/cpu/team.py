"""Compiled kernels on several threads.

They are torch's own: a second pool beside it would fight with its threads, which spin for a
while after every operation. torch's OpenMP runtime starts its team on any function through
`GOMP_parallel`, which GCC's, Intel's and (on Linux) LLVM's runtime have. Where there is none, such
as on macOS and Windows, a pool of Python's takes its place, some 50 microseconds a call slower.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from enum import IntEnum
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dllm_core.cpu.emit import I64, POINTER, Counter, Emitter, Value
from dllm_core.cpu.jit import Kernel, compiled

_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Slot(IntEnum):
    """Arguments of the kernel that runs others."""

    COUNT = 0
    KERNELS = 1
    ARGUMENTS = 2
    STRIDE = 3


class Call(NamedTuple):
    """A kernel and what it finds in its slots after the counters."""

    kernel: Kernel
    arguments: tuple[int, ...]


def run(call: Call) -> None:
    """Run a kernel on as many threads as torch uses; they share the work among themselves."""
    slots = (*(0,) * len(Counter), *call.arguments)
    given = (ctypes.c_int64 * len(slots))(*slots)
    _runner()(call.kernel.address, ctypes.addressof(given), torch.get_num_threads())


class Program:
    """Kernels that run one after another, started once: between two of them no thread sleeps."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._kernels = [call.kernel for call in calls]
        self._addresses = np.array([kernel.address for kernel in self._kernels], np.int64)
        first, width = len(Counter), max(len(call.arguments) for call in calls)
        self.table: NDArray[np.int64] = np.zeros((len(calls), first + width), np.int64)
        """A row of slots for each kernel; the arguments may be changed between two runs."""
        for row, (_, arguments) in zip(self.table, calls, strict=True):
            row[first : first + len(arguments)] = arguments
        self._given = (ctypes.c_int64 * len(_Slot))(
            len(calls), self._addresses.ctypes.data, self.table.ctypes.data, self.table.strides[0]
        )

    def run(self, start: int = 0, stop: int | None = None) -> None:
        """Run the kernels from `start` to `stop`, all of them by default."""
        stop = len(self._kernels) if stop is None else stop
        self.table[start:stop, : len(Counter)] = 0
        given = self._given
        given[_Slot.COUNT] = stop - start
        given[_Slot.KERNELS] = self._addresses.ctypes.data + start * self._addresses.itemsize
        given[_Slot.ARGUMENTS] = self.table.ctypes.data + start * self.table.strides[0]
        address = ctypes.addressof(given)
        _runner()(_in_sequence().address, address, torch.get_num_threads())


@cache
def _in_sequence() -> Kernel:
    """The kernel that calls others: each ends when all its work is done, on whatever thread."""

    def emit(e: Emitter) -> None:
        kernels, arguments = e.argument(_Slot.KERNELS), e.argument(_Slot.ARGUMENTS)
        stride = e.argument(_Slot.STRIDE)

        def one(i: Value) -> None:
            place = e.builder.inttoptr(e.add(kernels, e.mul(i, 8)), POINTER)
            e.call(e.load(place, I64, 8), e.add(arguments, e.mul(i, stride)))

        e.loop(e.argument(_Slot.COUNT), one)

    return compiled("in_sequence", emit)


_Run = Callable[[int, int, int], None]


@cache
def _runner() -> _Run:
    return openmp() or pooled


@cache
def openmp() -> _Run | None:
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
    function = _FUNCTION(kernel)
    with _lock:
        if threads not in _pools:
            _pools[threads] = ThreadPoolExecutor(max(1, threads - 1), "kernel")
    others = []
    try:
        for _ in range(threads - 1):
            others.append(_pools[threads].submit(function, arguments))
        function(arguments)
    finally:
        _wait_for(others)


def _wait_for(calls: Sequence[Future[None]]) -> None:
    """Until all are done, whatever interrupts: they work in memory that is freed afterwards."""
    interrupted: BaseException | None = None
    while not all(call.done() for call in calls):
        try:
            wait(calls)
        except BaseException as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted
