"""Compiled kernels on several threads.

The threads are torch's own: a second pool would compete with them, as they spin for a while after
every operation. torch's OpenMP runtime runs any function on its team through `GOMP_parallel`, which
GCC's, Intel's and (on Linux) LLVM's runtimes have. Systems without it, such as macOS and Windows,
use a pool of Python threads, some 50 microseconds slower per launch.
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

from dllm_core.cpu.emit import FIRST_ARGUMENT, I64, POINTER, SLOTS_OF_LINE, Emitter, Value
from dllm_core.cpu.jit import Kernel, compiled

_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Slot(IntEnum):
    """Arguments of the kernel that runs other kernels."""

    COUNT = 0
    KERNELS = 1
    ARGUMENTS = 2
    STRIDE = 3


class Launch(NamedTuple):
    """A kernel and its arguments, which follow the counters."""

    kernel: Kernel
    arguments: tuple[int, ...]


def run(launch: Launch) -> None:
    """Run a kernel on all of torch's threads, which share the work."""
    given = _table(1, len(launch.arguments))
    given[0, FIRST_ARGUMENT:][: len(launch.arguments)] = launch.arguments
    _runner()(launch.kernel.address, given.ctypes.data, torch.get_num_threads())


def _table(launches: int, arguments: int) -> NDArray[np.int64]:
    """Zeros for the slots of so many launches, (launches, slots); each begins a cache line."""
    width = -(-(FIRST_ARGUMENT + arguments) // SLOTS_OF_LINE) * SLOTS_OF_LINE
    memory = np.zeros(launches * width + SLOTS_OF_LINE, np.int64)
    start = -(memory.ctypes.data // memory.itemsize) % SLOTS_OF_LINE
    return memory[start : start + launches * width].reshape(launches, width)


class Program:
    """Launches that run one after another on one start of the threads.

    Attributes:
        table: int64 (launches, slots), the arguments of each launch after the counters; they may
            be changed between two runs.
    """

    def __init__(self, launches: Sequence[Launch]) -> None:
        self._kernels = [launch.kernel for launch in launches]
        self._addresses = np.array([kernel.address for kernel in self._kernels], np.int64)
        self.table = _table(len(launches), max(len(launch.arguments) for launch in launches))
        for row, (_, arguments) in zip(self.table, launches, strict=True):
            row[FIRST_ARGUMENT : FIRST_ARGUMENT + len(arguments)] = arguments
        self._given = (ctypes.c_int64 * len(_Slot))(
            len(launches),
            self._addresses.ctypes.data,
            self.table.ctypes.data,
            self.table.strides[0],
        )

    def run(self, start: int = 0, stop: int | None = None) -> None:
        """Run the kernels from `start` to `stop`, all of them by default."""
        stop = len(self._kernels) if stop is None else stop
        self.table[start:stop, :FIRST_ARGUMENT] = 0
        given = self._given
        given[_Slot.COUNT] = stop - start
        given[_Slot.KERNELS] = self._addresses.ctypes.data + start * self._addresses.itemsize
        given[_Slot.ARGUMENTS] = self.table.ctypes.data + start * self.table.strides[0]
        address = ctypes.addressof(given)
        _runner()(_in_sequence().address, address, torch.get_num_threads())


@cache
def _in_sequence() -> Kernel:
    """Kernel that runs others in sequence; each returns when all threads have done its work."""

    def emit(e: Emitter) -> None:
        kernels, arguments = e.argument(_Slot.KERNELS), e.argument(_Slot.ARGUMENTS)
        stride = e.argument(_Slot.STRIDE)

        def one(i: Value) -> None:
            place = e.builder.inttoptr(e.add(kernels, e.mul(i, 8)), POINTER)
            e.call(e.load(place, I64, 8), e.add(arguments, e.mul(i, stride)))

        e.loop(e.argument(_Slot.COUNT), one)

    return compiled("in_sequence", emit, keep=True)


_Run = Callable[[int, int, int], None]


@cache
def _runner() -> _Run:
    return openmp() or pooled


@cache
def openmp() -> _Run | None:
    """Function that runs a kernel on torch's OpenMP runtime; None if its symbols are not global."""
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
    """Run a kernel on Python threads, which release the interpreter's lock meanwhile."""
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


def _wait_for(runs: Sequence[Future[None]]) -> None:
    """Wait until all runs are done, even if interrupted: their memory is freed afterwards."""
    interrupted: BaseException | None = None
    while not all(run.done() for run in runs):
        try:
            wait(runs)
        except BaseException as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted
