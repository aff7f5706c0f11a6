"""Measures the cost of a step on this machine, before the first caller waits for one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from time import perf_counter, process_time

import torch

from dllm_core.decode.denoise import Forward, run
from dllm_core.decode.draft_economy import DraftCosts
from dllm_core.decode.schedule import CostModel
from dllm_core.decode.unmask import predict
from dllm_core.draft.drafter import Drafter
from dllm_core.model.cache import KeyValues
from dllm_core.model.transformer import Span, Transformer

_DRAFTED_ROWS, _DRAFTED_AT = 8, 160
"""Rows of a checking pass that are measured, and the positions they attend to."""
_TURNS = 3
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


def draft_costs(model: Transformer, drafter: Drafter, context: int) -> DraftCosts:
    """The cost of rounds of the rule `draft` on this machine: the least of several measurements.

    They take turns, so that a busy moment does not fall on one of them alone, and count the
    processor's time: other programs are no reason to draft less. A pass over fewer rows never
    counts as dearer than one over more: what is disturbed takes longer, not shorter.
    """
    visible = min(_DRAFTED_AT, context)
    store = scratch(model, visible, context)
    steps = [step_on(model, rows, visible, store) for rows in range(1, _DRAFTED_ROWS + 1)]
    least = [float("inf")] * (len(steps) + 1)
    for _ in range(_TURNS):
        for i, step in enumerate([*steps, drafting_over(drafter, visible)]):
            begin = process_time()
            step()
            least[i] = min(least[i], (process_time() - begin) * 1e3 / torch.get_num_threads())
    rows = list(accumulate(reversed(least[:-1]), min))[::-1]
    return DraftCosts(tuple(rows), least[-1])


def drafting_over(drafter: Drafter, visible: int) -> Callable[[], object]:
    """An action that drafts a block after so many positions and looks at its candidates."""
    cache = drafter.new_cache()
    drafter.extend(cache, drafter.taps(visible).features.zero_())

    def draft() -> object:
        proposal = drafter.draft([(cache, 0)])[0]
        return [proposal.after(0, depth, 3) for depth in range(proposal.depth)]

    return draft


def step_over(model: Transformer, rows: int, visible: int, context: int) -> Callable[[], object]:
    """An action that runs one such step, on the same memory every time, as a reply does."""
    return step_on(model, rows, visible, scratch(model, visible, context))


@torch.inference_mode()
def scratch(model: Transformer, visible: int, context: int) -> KeyValues:
    """Keys and values of so many positions, all zero, that steps may be measured on."""
    store = KeyValues(model.config, context, model.embedding.dtype, model.embedding.device)
    store.reserve(visible, keep=0)
    for keys, values in store.layers:
        keys.zero_()
        values.zero_()
    return store


@torch.inference_mode()
def step_on(model: Transformer, rows: int, visible: int, store: KeyValues) -> Callable[[], object]:
    """An action that runs a step over `rows` positions, the last of the `visible` ones."""
    device = model.embedding.device
    ids = torch.zeros(rows, dtype=torch.long, device=device)
    span = Span(store, visible - rows, rows, visible)
    forward = Forward(ids, (span,), torch.arange(rows, device=device))

    @torch.inference_mode()
    def step() -> object:
        return predict(run(model, forward))[0].tolist()

    return step
