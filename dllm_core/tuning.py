"""Which matrix product is the faster one for a projection of few rows, measured at warm-up."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dllm_core.fp8_linear import Fp8Linear
from dllm_core.ops.fp8 import quantize_rows
from dllm_core.ops.linear import Choice, linear, linear_fp8
from dllm_core.paged_model import MOST_STREAMED, PROJECTIONS, PagedModel

_REPEATS = 5


def tune(model: PagedModel, rows: Sequence[int]) -> None:
    """Set `model.choices` for passes of so many rows, by CUDA events on the current stream.

    All layers' weights are multiplied in turn: a matrix that was just used would still lie in
    the cache of the chip, as it never does in a step.
    """
    for count in sorted({count for count in rows if count <= MOST_STREAMED}):
        for layers in _projections(model):
            first = layers[0]
            shape = (count, first.in_features, first.out_features)
            times = {choice: _milliseconds(layers, count, choice) for choice in _CHOICES}
            model.choices[shape] = min(_CHOICES, key=lambda choice: times[choice])


_CHOICES: tuple[Choice, Choice] = ("torch", "triton")


def _projections(model: PagedModel) -> list[list[nn.Linear | Fp8Linear]]:
    """The same projection of all layers, for each of the four."""
    blocks = model.model.blocks
    return [[block.get_submodule(path) for block in blocks] for path in PROJECTIONS]  # type: ignore[misc]


def _milliseconds(layers: Sequence[nn.Linear | Fp8Linear], count: int, choice: Choice) -> float:
    first = layers[0]
    shape, place = (count, first.in_features), first.weight.device
    dtype = torch.bfloat16 if isinstance(first, Fp8Linear) else first.weight.dtype
    x = torch.randn(shape, device=place, dtype=dtype)
    work = _all_layers(layers, x, choice)
    work()
    times = []
    for _ in range(_REPEATS):
        begin = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(float(begin.elapsed_time(end)))
    return statistics.median(times)


def _all_layers(
    layers: Sequence[nn.Linear | Fp8Linear], x: Tensor, choice: Choice
) -> Callable[[], None]:
    rows, scale = quantize_rows(x)

    def work() -> None:
        for layer in layers:
            if isinstance(layer, Fp8Linear):
                linear_fp8(rows, scale, layer.weight, layer.scale, layer.bias, choice=choice)
            else:
                linear(x, layer.weight, layer.bias, choice=choice)

    return work
