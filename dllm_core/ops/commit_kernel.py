"""Triton kernel of commit.py: one program per sequence.

The rank of a position is the number of open positions that come before it, so all pairs of a
canvas are compared in registers (4,096 for 64 positions) instead of sorting them. A few kilobytes
per sequence are moved: predicted 2 us, the time of a launch.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from dllm_core.errors import OptionError
from dllm_core.ops.commit import BEHIND, require_one_rule
from dllm_core.ops.launch import dead, require_contiguous

_BEHIND = tl.constexpr(BEHIND)
_MOST_POSITIONS = 256


@triton.jit
def _ends(tokens, eos_ids, EOS: tl.constexpr):
    """Mask of the tokens that end a reply."""
    found = tokens != tokens
    for index in tl.static_range(EOS):
        found = found | (tokens == tl.load(eos_ids + index))
    return found


@triton.jit
def _keys(
    place, inside, masked, proposed, probability, eos_ids, EOS: tl.constexpr, EOS_LAST: tl.constexpr
):
    """Sort keys of the positions, and the mask of the open ones."""
    is_open = tl.load(masked + place, mask=inside, other=0) != 0
    key = tl.load(probability + place, mask=inside, other=0.0)
    if EOS_LAST:
        tokens = tl.load(proposed + place, mask=inside, other=0)
        key = tl.where(_ends(tokens, eos_ids, EOS), _BEHIND - place.to(tl.float32), key)
    return key, is_open


@triton.jit
def _commit(
    ids,
    masked,
    proposed,
    probability,
    confidence,
    live,
    steps,
    eos_ids,
    quota,
    threshold,
    C: tl.constexpr,
    BLOCK: tl.constexpr,
    EOS: tl.constexpr,
    EOS_LAST: tl.constexpr,
):
    sequence = tl.program_id(0)
    if dead(live, sequence):
        return
    begin = sequence.to(tl.int64) * C
    ids += begin
    masked += begin
    proposed += begin
    probability += begin
    confidence += begin
    place = tl.arange(0, BLOCK)
    inside = place < C
    key, is_open = _keys(place, inside, masked, proposed, probability, eos_ids, EOS, EOS_LAST)
    other = tl.arange(0, BLOCK)[None, :]
    rival, rival_open = _keys(
        other, other < C, masked, proposed, probability, eos_ids, EOS, EOS_LAST
    )
    first = (rival > key[:, None]) | ((rival == key[:, None]) & (other < place[:, None]))
    rank = tl.sum((first & rival_open).to(tl.int32), 1)
    if quota is not None:
        chosen = is_open & (rank < tl.load(quota + sequence))
    else:
        chosen = is_open & ((key >= threshold) | (rank == 0))

    tokens = tl.load(proposed + place, mask=inside, other=0)
    final = tl.where(chosen, tokens, tl.load(ids + place, mask=inside, other=0))
    sure = tl.load(probability + place, mask=inside, other=0.0)
    count = tl.load(steps + sequence)
    left = is_open & (chosen == 0)
    first_left = tl.min(tl.where(left, place, C), 0)
    ends = _ends(final, eos_ids, EOS) & (place < first_left) & inside
    ended = (first_left == C) | (tl.max(ends.to(tl.int32), 0) != 0)

    # Positions were read twice, by different threads: all have to be done before any is written.
    tl.debug_barrier()
    tl.store(confidence + place, sure, mask=is_open)
    tl.store(ids + place, tokens, mask=chosen)
    tl.store(masked + place, left.to(tl.uint8), mask=inside)
    tl.store(steps + sequence, count + 1)
    if ended:
        tl.store(live + sequence, 0)


def commit(
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
    """Run the kernel; see the reference in `commit`."""
    require_one_rule(quota, threshold)
    require_contiguous(ids=ids, masked=masked, proposed=proposed, confidence=confidence)
    require_contiguous(probability=probability)
    sequences, positions = ids.shape
    if positions > _MOST_POSITIONS:
        raise OptionError(
            f"A canvas of {positions} positions is too long for the commit kernel, which orders "
            f"at most {_MOST_POSITIONS}: denoise it block by block."
        )
    block = triton.next_power_of_2(positions)
    _commit[(sequences,)](
        ids,
        masked.view(torch.uint8),
        proposed,
        probability,
        confidence,
        live,
        steps,
        eos_ids,
        quota,
        0.0 if threshold is None else threshold,
        C=positions,
        BLOCK=block,
        EOS=len(eos_ids),
        EOS_LAST=eos_last,
        num_warps=max(4, min(16, block * block // 2048)),
    )
