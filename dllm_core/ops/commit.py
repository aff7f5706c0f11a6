"""Commit rule on the device: which positions of all sequences become final after a step.

The rules are those of unmask.py (`top`, `above`) and of the denoising loop, which puts
end-of-reply tokens behind all others; equal confidences go from left to right.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dllm_core.errors import OptionError
from dllm_core.ops.dispatch import Operation

BEHIND = -1000.0
"""Rank of an end-of-reply token at the first position: below every probability."""


def require_one_rule(quota: Tensor | None, threshold: float | None) -> None:
    """Raises OptionError unless exactly one of the two rules is asked for."""
    if (quota is None) == (threshold is None):
        raise OptionError("commit needs either a quota or a threshold.")


def commit_reference(
    ids: Tensor,
    masked: Tensor,
    proposed: Tensor,
    probability: Tensor,
    confidence: Tensor,
    live: Tensor,
    steps: Tensor,
    eos_ids: Tensor,
    *,
    quota: Tensor | None = None,
    threshold: float | None = None,
    eos_last: bool = True,
) -> None:
    """Commit proposals at open positions, in place, and end the sequences that are done.

    Args:
        ids: int64 (B, C), the canvas; written where a position is committed.
        masked: bool (B, C), which positions are open; cleared where committed.
        proposed: int64 (B, C), the best token of each position.
        probability: float32 (B, C), that of the proposals.
        confidence: float32 (B, C), takes the probability at every position that was open.
        live: int32 (B,), becomes 0 when nothing is open any more or an end-of-reply token
            stands with nothing open before it. Sequences with 0 are left as they are.
        steps: int32 (B,), counts the steps that each sequence took part in.
        eos_ids: int64 (E,), tokens that end a reply.
        quota: int32 (B,): commit that many of the surest open positions, or
        threshold: commit all at least that probable, and one in any case.
        eos_last: put end-of-reply tokens behind all others, the leftmost of them first.
    """
    require_one_rule(quota, threshold)
    alive = (live != 0)[:, None]
    begin_open = masked & alive
    confidence.copy_(torch.where(begin_open, probability, confidence))
    keys = _keys(proposed, probability, eos_ids, eos_last)
    rank = _ranks(keys, begin_open)
    if threshold is not None:
        chosen = begin_open & ((keys >= threshold) | (rank == 0))
    elif quota is not None:
        chosen = begin_open & (rank < quota[:, None])
    ids.copy_(torch.where(chosen, proposed, ids))
    masked &= ~chosen
    steps += (live != 0).to(steps.dtype)
    live.copy_(torch.where(_ended(ids, masked, eos_ids), 0, live))


def _keys(proposed: Tensor, probability: Tensor, eos_ids: Tensor, eos_last: bool) -> Tensor:
    """Sort key (B, C) of the positions, larger first."""
    if not eos_last:
        return probability
    places = torch.arange(proposed.shape[1], device=proposed.device, dtype=torch.float32)
    return torch.where(torch.isin(proposed, eos_ids), BEHIND - places, probability)


def _ranks(keys: Tensor, masked: Tensor) -> Tensor:
    """Rank of each open position in the order of the keys, from 0; equal keys from the left."""
    order = keys.masked_fill(~masked, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    return order.argsort(dim=-1)


def _ended(ids: Tensor, masked: Tensor, eos_ids: Tensor) -> Tensor:
    """bool (B,): nothing is open, or an end-of-reply token has nothing open before it."""
    final = masked.long().cumsum(-1) == 0
    return ~masked.any(-1) | (final & torch.isin(ids, eos_ids)).any(-1)


commit = Operation(commit_reference, "dllm_core.ops.commit_kernel:commit")
