"""Measures the cost of a step on this machine, before the first caller waits for one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Generator
from itertools import accumulate
from time import perf_counter

import torch

from dllm_core.decode.denoise import Forward, run
from dllm_core.decode.draft_economy import TYPICAL, DraftCosts
from dllm_core.decode.schedule import CostModel
from dllm_core.decode.unmask import predict
from dllm_core.draft.drafter import Drafter
from dllm_core.draft.tree import grow
from dllm_core.model.cache import KeyValues
from dllm_core.model.transformer import Span, Transformer

_DRAFTED_ROWS = (1, 2, 3, 4, 6, 8)
"""Rows of a checking pass that are measured: those that a kernel is made for."""
_DRAFTED_AT, _ACCEPTED = 160, 3
"""Positions that they attend to; those of them that the round before has added."""
_TURNS = 6
"""The first two are slow: weights come from memory, and kernels are looked up."""
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


def draft_costs(
    model: Transformer, drafter: Drafter | None, context: int
) -> Generator[None, None, DraftCosts]:
    """The cost of rounds of the rule `draft` on this machine: the least of several measurements.

    The generator pauses after each of them, and returns the cost. They take turns, so that a busy
    moment does not fall on one of them alone. The clock counts and not the processor's time, to
    which idle threads add while they spin. A pass over fewer rows never counts as dearer than one
    over more: what is disturbed takes longer, not shorter. Without a `drafter` drafts cost nothing.
    """
    visible = min(_DRAFTED_AT, context)
    store = scratch(model, visible, context)
    actions = [step_on(model, rows, visible, store) for rows in _DRAFTED_ROWS]
    if drafter is not None:
        actions.append(drafting_over(drafter, visible))
    least = [float("inf")] * len(actions)
    for _ in range(_TURNS):
        for i, action in enumerate(actions):
            begin = perf_counter()
            action()
            least[i] = min(least[i], (perf_counter() - begin) * 1e3)
            yield
    passes, drafts = least[: len(_DRAFTED_ROWS)], least[len(_DRAFTED_ROWS) :]
    known = list(accumulate(reversed(passes), min))[::-1]
    sizes = range(1, _DRAFTED_ROWS[-1] + 1)
    rows = tuple(known[bisect_left(_DRAFTED_ROWS, size)] for size in sizes)
    return DraftCosts(rows, sum(drafts))


def drafting_over(drafter: Drafter, visible: int) -> Callable[[], object]:
    """An action that takes in a few positions, drafts a block after them and grows a tree, as
    a round does."""
    cache = drafter.new_cache()
    features = drafter.taps(visible).features.normal_(generator=torch.Generator().manual_seed(0))
    drafter.extend(cache, features)

    def draft() -> object:
        cache.crop(visible - _ACCEPTED)
        drafter.extend(cache, features[:_ACCEPTED], later=True)
        proposal = drafter.draft([(cache, 0)])[0]
        return grow(0, proposal, cost=TYPICAL.of, deepest=proposal.depth)

    return draft


def step_over(model: Transformer, rows: int, visible: int, context: int) -> Callable[[], object]:
    """An action that runs one such step, on the same memory every time, as a reply does."""
    return step_on(model, rows, visible, scratch(model, visible, context))


@torch.inference_mode()
def scratch(model: Transformer, visible: int, context: int) -> KeyValues:
    """Keys and values of so many positions, all zero, that steps may be measured on."""
    store = KeyValues(model.config, context, model.embedding.dtype, model.embedding.device)
    store.reserve(visible, keep=0)
    store.zero()
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
