"""The denoising loops: from a cached prompt to final tokens, one forward pass per step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from dllm_core.cache import PromptCache, causal
from dllm_core.model import Span, Transformer
from dllm_core.unmask import fixed_prefix, predict


@dataclass(frozen=True, slots=True)
class Progressed:
    """What one step found: ids that are final now, and the guesses that follow them."""

    final: list[int]
    final_confidence: list[float]
    open: list[int]
    open_confidence: list[float]


def fixed_point(
    model: Transformer, cache: PromptCache, last: int, length: int
) -> Iterator[Progressed]:
    """Slide a causal canvas of `length` positions to the right as they become final.

    Every step predicts all positions from the last step's predictions; those that no longer
    change leave the canvas on the left, their keys and values stay in the cache. Endless: the
    caller stops at the end-of-reply token or at its bound. `last` is the token before the
    canvas; it is not in the cache yet. Needs no training: the result is the model's greedy
    autoregressive sequence.
    """
    device = model.embedding.device
    drafts = torch.full((length,), last, device=device)
    while True:
        cache.reserve(length)
        start = len(cache)
        mask = causal(length, start, device) if length > 1 else None
        span = Span(cache.store, start, length, start + length, mask)
        logits = model.logits(model(drafts, [span]))
        predicted, confidence = predict(logits)
        count = int(fixed_prefix(drafts[1:], predicted))
        cache.commit(drafts[:count].tolist())
        ids, certain = predicted.tolist(), confidence.tolist()
        yield Progressed(ids[:count], certain[:count], ids[count:], certain[count:])
        # Guesses keep their place; the free places on the right start from the last guess.
        drafts = torch.cat([predicted[count - 1 :], predicted[-1:].expand(count - 1)])
