"""Measures the cost of a step on this machine, before the first caller waits for one."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import torch

from dllm_core.decode.denoise import Forward, run
from dllm_core.decode.schedule import CostModel
from dllm_core.decode.unmask import predict
from dllm_core.model.cache import KeyValues
from dllm_core.model.transformer import Span, Transformer

_SHAPES = ((2, 32), (2, 256), (16, 64), (32, 64), (32, 256))
"""(rows of a step, positions they attend to)."""


def measured_cost(model: Transformer, context: int) -> CostModel:
    """The cost model of this model on this machine; takes a second or so on a CPU.

    `context` is the longest sequence, in positions.
    """
    shapes = [(rows, min(visible, context)) for rows, visible in _SHAPES]
    return CostModel.fitted([(r, v, step_ms(model, r, v, context)) for r, v in shapes])


def step_ms(model: Transformer, rows: int, visible: int, context: int, repeats: int = 2) -> float:
    """Milliseconds of one step over `rows` positions after `visible - rows` cached ones.

    The shortest of `repeats` runs; logits and the prediction from them are included.
    """
    step = step_over(model, rows, visible, context)
    times = []
    for _ in range(repeats):
        begin = perf_counter()
        step()
        times.append((perf_counter() - begin) * 1e3)
    return min(times)


@torch.inference_mode()
def step_over(model: Transformer, rows: int, visible: int, context: int) -> Callable[[], object]:
    """An action that runs one such step, on the same memory every time, as a reply does."""
    device = model.embedding.device
    store = KeyValues(model.config, context, model.embedding.dtype, device)
    store.reserve(visible, keep=0)
    for keys, values in store.layers:
        keys.zero_()
        values.zero_()
    ids = torch.zeros(rows, dtype=torch.long, device=device)
    span = Span(store, visible - rows, rows, visible)
    forward = Forward(ids, (span,), torch.arange(rows, device=device))

    @torch.inference_mode()
    def step() -> object:
        return predict(run(model, forward))[0].tolist()

    return step
