"""Times of all kernels on the GPU at hand, and the best tiles of its matrix products.

    python -m dllm_core.ops.tune [GEOMETRY]

The correctness gate runs first: kernels are timed only if all are right at that geometry. The
prediction beside a time is the bytes of all operands over an H100's memory bandwidth, 3.35 TB/s.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from triton.testing import do_bench

from dllm_core.errors import OptionError
from dllm_core.ops.cases import CASES, Case, Operands
from dllm_core.ops.check import check_all
from dllm_core.ops.geometry import GEOMETRIES, Geometry
from dllm_core.ops.product_kernel import Tile, candidates, remember

Timer = Callable[[Callable[[], Any]], float]
"""Returns the median microseconds of a run whose operands are not in the cache."""

BYTES_PER_MICROSECOND = 3.35e6


def device_timer(run: Callable[[], Any]) -> float:
    """Median microseconds of a run, by `triton.testing.do_bench`."""
    return 1e3 * float(do_bench(run, warmup=10, rep=50, return_mode="median"))


def best_tile(
    run: Callable[..., Any], x: Tensor, weight: Tensor, *, may_split: bool, timer: Timer
) -> Tile:
    """Measure `run(tile=...)` over all candidates; the fastest is used for such operands from now
    on and returned."""
    tiles = candidates(x, weight, may_split=may_split)
    tile = min(tiles, key=lambda tile: timer(partial(run, tile=tile)))
    remember(x, weight, tile)
    return tile


def measure(case: Case, geometry: Geometry, device: torch.device, timer: Timer) -> str:
    """Line with predicted and measured microseconds, and the fastest tile of a matrix product."""
    arguments, options = case.arguments(Operands(geometry, device))
    run = partial(case.operation.kernel, *arguments, **options)
    tile = ""
    if case.weight is not None:
        x, weight = arguments[0], arguments[case.weight]
        may_split = case.name.startswith("linear")
        tile = str(best_tile(run, x, weight, may_split=may_split, timer=timer))
    size = sum(value.nbytes for value in arguments if isinstance(value, Tensor))
    predicted = size / BYTES_PER_MICROSECOND
    return f"{case.name:20} {predicted:8.1f} us predicted {timer(run):8.1f} us measured  {tile}"


def measure_all(geometry: Geometry, device: torch.device, timer: Timer) -> Iterator[str]:
    """One line per kernel.

    Raises:
        OptionError: a kernel fails the gate.
    """
    wrong = [result for result in check_all([geometry.name], device) if not result.right]
    if wrong:
        raise OptionError("Wrong kernels are not timed:\n" + "\n".join(map(str, wrong)))
    for case in CASES:
        yield measure(case, geometry, device, timer)


def main(names: Sequence[str]) -> int:
    """Print a line per kernel; returns the exit status."""
    if not torch.cuda.is_available():
        print("There is no CUDA device to measure.", file=sys.stderr)
        return 1
    print(torch.cuda.get_device_name())
    name = names[0] if names else "llada-8b"
    for line in measure_all(GEOMETRIES[name], torch.device("cuda"), device_timer):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
