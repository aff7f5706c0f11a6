"""Times of every kernel on the GPU at hand, and the best tiles of its matrix products.

    python -m dllm_core.ops.tune [GEOMETRY]

The gate comes first: nothing is timed unless every kernel is right at that geometry. The
prediction beside a time is that of the memory: the bytes of all operands at 3.35 TB/s, an H100's.
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
"""Median microseconds of a call whose operands are not in the cache."""

BYTES_PER_MICROSECOND = 3.35e6


def device_timer(call: Callable[[], Any]) -> float:
    return 1e3 * float(do_bench(call, warmup=10, rep=50, return_mode="median"))


def best_tile(
    run: Callable[..., Any], x: Tensor, weight: Tensor, *, may_split: bool, timer: Timer
) -> Tile:
    """Measure `run(tile=...)` over the candidates, and use the fastest for such operands on."""
    tiles = candidates(x, weight, may_split=may_split)
    tile = min(tiles, key=lambda tile: timer(partial(run, tile=tile)))
    remember(x, weight, tile)
    return tile


def measure(case: Case, geometry: Geometry, device: torch.device, timer: Timer) -> str:
    """One line: predicted and measured microseconds, and of a product the tile that won."""
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
    """Lines of all kernels.

    Raises:
        OptionError: a kernel is wrong.
    """
    wrong = [verdict for verdict in check_all([geometry.name], device) if not verdict.right]
    if wrong:
        raise OptionError("Nothing is timed before it is right:\n" + "\n".join(map(str, wrong)))
    for case in CASES:
        yield measure(case, geometry, device, timer)


def main(names: Sequence[str]) -> int:
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
