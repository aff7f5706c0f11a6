"""CUDA graphs of whole rounds: recorded at warm-up, replayed by one launch.

A step of an 8B model takes some three hundred kernels of a few microseconds; launching them from
Python costs more than running them. A recorded round is launched as one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import torch

from dllm_core.gpu.device_round import DeviceRound, RoundOptions, RoundShape

_log = logging.getLogger(__name__)

NO_DEVICE = "Replies run without CUDA graphs, for their tensors are not on a CUDA device."


class Recorder(Protocol):
    """Records work on a device for later replays."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record `work` and return a function that replays it.

        Raises:
            RuntimeError: the work cannot be recorded.
        """

    def free_bytes(self) -> int:
        """Bytes of the device's memory that are free."""


class CudaRecorder:
    """Records on a side stream; all graphs share one pool of memory, as only one runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._memory = torch.cuda.graph_pool_handle()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            # Compiles kernels and lets libraries allocate: neither may happen in a capture.
            for _ in range(2):
                work()
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Other threads (a recogniser) may use the device meanwhile.
        with torch.cuda.graph(graph, self._memory, self._stream, capture_error_mode="thread_local"):
            work()
        return graph.replay

    def free_bytes(self) -> int:
        torch.cuda.synchronize(self._device)
        return torch.cuda.mem_get_info(self._device)[0]


@dataclass(frozen=True, slots=True)
class Captured:
    """A round that is ready to be replayed.

    Attributes:
        round: the round and its buffers.
        replay: runs the graph.
        bytes: memory of the graph.
        seconds: time that the capture took.
    """

    round: DeviceRound
    replay: Callable[[], None]
    bytes: int
    seconds: float

    def __str__(self) -> str:
        shape = self.round.shape
        return (
            f"batch {shape.batch}, canvas {shape.canvas}, {shape.pages} pages, {shape.steps} "
            f"steps: {self.bytes / 2**20:.1f} MiB, captured in {self.seconds:.1f} s"
        )


class Graphs:
    """The captured graphs, and the reason why no more were captured."""

    def __init__(self, recorder: Recorder | None, keep_free: int) -> None:
        """Make an empty set; capturing stops when less than `keep_free` bytes are free."""
        self._recorder, self._keep_free = recorder, keep_free
        self.captured: list[Captured] = []
        self.reason = NO_DEVICE if recorder is None else None
        """Sentence that says why a requested round was not captured; None if all were."""

    def capture(self, work: DeviceRound) -> bool:
        """Capture a round; after a failure none is tried again, and `reason` says why."""
        if self._recorder is None or self.reason is not None:
            return False
        before, begin = self._recorder.free_bytes(), perf_counter()
        if before < self._keep_free:
            return self._stop(work, f"{before / 2**30:.1f} GiB of memory are free")
        try:
            replay = self._recorder.record(work.run)
        except RuntimeError as error:  # torch.OutOfMemoryError and failed captures are such
            return self._stop(work, str(error).partition("\n")[0])
        used = max(0, before - self._recorder.free_bytes())
        self.captured.append(Captured(work, replay, used, perf_counter() - begin))
        _log.info("captured %s", self.captured[-1])
        return True

    def _stop(self, work: DeviceRound, why: str) -> bool:
        self.reason = f"{work.shape} and what follows runs without a CUDA graph: {why}."
        _log.warning(self.reason)
        return False

    def runner(self, work: DeviceRound) -> Callable[[], None]:
        """Function that runs a round: the replay of its graph, or the round itself."""
        found = (graph.replay for graph in self.captured if graph.round is work)
        return next(found, work.run)

    def find(self, needed: RoundShape, options: RoundOptions, *, enough: bool) -> Captured | None:
        """Smallest captured round with room for `needed`, or None.

        With `enough` a round with sufficient steps is preferred, else the longest one, which the
        caller runs repeatedly; without it the number of steps does not matter.
        """

        def size(graph: Captured) -> tuple[int, int, int, int]:
            shape = graph.round.shape
            missing = max(0, needed.steps - shape.steps) if enough else 0
            return missing, shape.batch * shape.canvas, shape.pages, shape.steps

        room = [
            graph
            for graph in self.captured
            if graph.round.options == options and _has_room(graph.round.shape, needed)
        ]
        return min(room, key=size, default=None)

    def steps(self, canvas: int, options: RoundOptions) -> list[int]:
        """Captured numbers of steps for a canvas of that many positions, ascending."""
        return sorted(
            {
                graph.round.shape.steps
                for graph in self.captured
                if graph.round.options == options and graph.round.shape.canvas >= canvas
            }
        )

    def report(self) -> list[str]:
        """One line per graph, a line with their memory, and `reason` if there is one."""
        total = sum(graph.bytes for graph in self.captured)
        lines = [str(graph) for graph in self.captured]
        lines.append(f"{len(self.captured)} graphs, {total / 2**20:.1f} MiB")
        return lines if self.reason is None else [*lines, self.reason]


def _has_room(shape: RoundShape, needed: RoundShape) -> bool:
    return (
        shape.batch >= needed.batch
        and shape.canvas >= needed.canvas
        and shape.pages >= needed.pages
    )
