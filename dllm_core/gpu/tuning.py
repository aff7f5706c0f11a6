"""Choice of the faster matrix product for projections of few rows, measured at warm-up."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from dllm_core.gpu.paged_model import MOST_STREAMED, PROJECTIONS, PagedModel
from dllm_core.model.fp8_linear import Fp8Linear
from dllm_core.ops.fp8 import quantize_rows
from dllm_core.ops.linear import Choice, linear, linear_fp8

_REPEATS = 5


Work = Callable[[], None]


def tune(
    model: PagedModel,
    rows: Iterable[int],
    milliseconds: Callable[[Work], float] | None = None,
    *,
    tiles: bool = False,
) -> None:
    """Set `model.choices` for passes of each number of `rows`.

    The weights of all layers are multiplied in turn: a matrix that was just used would still be in
    the chip's cache, unlike in a step.

    Args:
        rows: numbers of rows; those above `MOST_STREAMED` are left out.
        milliseconds: measures work; by default by CUDA events on the current stream.
        tiles: also measure the kernels' tile sizes first, which compiles some dozens of kernels for
            each shape and takes minutes.
    """
    clock = milliseconds or _on_device
    for count in sorted({count for count in rows if count <= MOST_STREAMED}):
        for layers in _projections(model):
            first = layers[0]
            shape = (count, first.in_features, first.out_features)
            x = _rows(first, count)
            if tiles:
                _try_tiles(first, x)
            times = {choice: clock(_all_layers(layers, x, choice)) for choice in _CHOICES}
            model.choices[shape] = min(_CHOICES, key=lambda choice: times[choice])


_CHOICES: tuple[Choice, Choice] = ("torch", "triton")


def _projections(model: PagedModel) -> list[list[nn.Linear | Fp8Linear]]:
    """Each of the four projections as a list over all layers."""
    blocks = model.model.blocks
    return [[block.get_submodule(path) for block in blocks] for path in PROJECTIONS]  # type: ignore[misc]


def _rows(layer: nn.Linear | Fp8Linear, count: int) -> Tensor:
    dtype = torch.bfloat16 if isinstance(layer, Fp8Linear) else layer.weight.dtype
    return torch.randn(count, layer.in_features, device=layer.weight.device, dtype=dtype)


def _try_tiles(layer: nn.Linear | Fp8Linear, x: Tensor) -> None:
    # Imported here: it imports Triton, which is not needed to load this module.
    from dllm_core.ops.tune import best_tile, device_timer

    if isinstance(layer, Fp8Linear):
        x, scale = quantize_rows(x)
        run = partial(linear_fp8.kernel, x, scale, layer.weight, layer.scale)
    else:
        run = partial(linear.kernel, x, layer.weight)
    best_tile(run, x, layer.weight, may_split=True, timer=device_timer)


def _on_device(work: Work) -> float:
    work()  # compiles, and lets libraries choose
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


def _all_layers(layers: Sequence[nn.Linear | Fp8Linear], x: Tensor, choice: Choice) -> Work:
    # Only GPUs that multiply 8-bit floats can compile the conversion.
    eight_bits = isinstance(layers[0], Fp8Linear)
    rows, scale = quantize_rows(x) if eight_bits else (x, x)

    def work() -> None:
        for layer in layers:
            if isinstance(layer, Fp8Linear):
                linear_fp8(rows, scale, layer.weight, layer.scale, layer.bias, choice=choice)
            else:
                linear(x, layer.weight, layer.bias, choice=choice)

    return work
