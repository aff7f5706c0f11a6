"""Triton kernels of attention.py: flash-decoding for a canvas (arXiv 2205.14135, 2311.01282).

A program takes one sequence, one key/value head, up to 128 rows (query heads that share a key head
count as rows) and one part of the positions; it walks over pages, which are exactly one
tile of keys and one of values, 16 KB of consecutive memory each at d = 128 in bfloat16. Where
sequences times heads leave processors idle, the positions are split and a second kernel combines
the parts. How many positions there are is read on the device, so one launch serves every prompt
length; the parts are divided by the true length, not by the longest.

Predicted on an H100 for LLaDA-8B (32 heads of 128, 64 rows, 576 positions, batch 1): 9.4 MB of
keys and values, 2.8 us at 3.35 TB/s. With 4 splits, 128 programs; their partial sums (4.2 MB,
float32) stay in the L2 cache and cost about 1.5 us more, the second launch 2 us.
With a batch of 32 there is no split: 302 MB, 90 us.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from dllm_core.errors import OptionError
from dllm_core.ops.launch import dead, processors, require_contiguous

_LOG2_E = tl.constexpr(1.4426950408889634)
_MOST_ROWS = 128
_MOST_SPLITS = 16
_COMBINED_ROWS = 8


@triton.jit
def _attend(
    q,
    keys,
    values,
    table,
    visible,
    live,
    out,
    sums,
    peaks,
    rows,
    max_pages,
    scale,
    N_KV: tl.constexpr,
    GROUP: tl.constexpr,
    D: tl.constexpr,
    PAGE: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCKS: tl.constexpr,
    SPLITS: tl.constexpr,
):
    sequence = tl.program_id(2)
    if dead(live, sequence):
        return
    split = tl.program_id(0)
    kv = tl.program_id(1) // BLOCKS
    # Row m of a key head is query head m % GROUP of canvas row m // GROUP.
    m = (tl.program_id(1) % BLOCKS) * BLOCK + tl.arange(0, BLOCK)
    inside = m < rows * GROUP
    head = (sequence.to(tl.int64) * rows + m // GROUP) * (N_KV * GROUP) + kv * GROUP + m % GROUP
    dim = tl.arange(0, D)
    query = tl.load(q + head[:, None] * D + dim[None, :], mask=inside[:, None], other=0.0)

    count = tl.load(visible + sequence)
    pages = tl.cdiv(count, PAGE)
    offset = tl.arange(0, PAGE)
    peak = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    acc = tl.zeros([BLOCK, D], tl.float32)
    for page in range(split * pages // SPLITS, (split + 1) * pages // SPLITS):
        number = tl.load(table + sequence * max_pages + page).to(tl.int64)
        begin = (number * N_KV + kv) * PAGE * D
        seen = page * PAGE + offset < count
        # Positions behind the visible ones may hold anything, even NaN: they are not loaded.
        k = tl.load(
            keys + begin + offset[None, :] * D + dim[:, None], mask=seen[None, :], other=0.0
        )
        v = tl.load(
            values + begin + offset[:, None] * D + dim[None, :], mask=seen[:, None], other=0.0
        )
        scores = tl.dot(query, k, input_precision="ieee") * (scale * _LOG2_E)
        scores = tl.where(seen[None, :], scores, float("-inf"))
        higher = tl.maximum(peak, tl.max(scores, 1))
        weights = tl.exp2(scores - higher[:, None])
        shrink = tl.exp2(peak - higher)
        total = total * shrink + tl.sum(weights, 1)
        acc = acc * shrink[:, None]
        acc = tl.dot(weights.to(v.dtype), v, acc, input_precision="ieee")
        peak = higher

    if SPLITS == 1:
        # Nothing visible: zeros.
        mean = acc / tl.where(total > 0, total, 1.0)[:, None]
        place = out + head[:, None] * D + dim[None, :]
        tl.store(place, mean.to(out.dtype.element_ty), mask=inside[:, None])
    else:
        heads = tl.num_programs(2).to(tl.int64) * rows * (N_KV * GROUP)
        part = split * heads + head
        tl.store(out + part[:, None] * D + dim[None, :], acc, mask=inside[:, None])
        tl.store(sums + part, total, mask=inside)
        tl.store(peaks + part, peak, mask=inside)


@triton.jit
def _combine(
    parts,
    sums,
    peaks,
    live,
    out,
    heads,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
    SPLITS: tl.constexpr,
    SPLITS_BLOCK: tl.constexpr,
):
    sequence = tl.program_id(1)
    if dead(live, sequence):
        return
    local = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = local < heads
    head = sequence.to(tl.int64) * heads + local
    every = tl.num_programs(1).to(tl.int64) * heads
    split = tl.arange(0, SPLITS_BLOCK)
    part = split[:, None] * every + head[None, :]
    real = (split < SPLITS)[:, None] & inside[None, :]
    peak = tl.load(peaks + part, mask=real, other=float("-inf"))
    top = tl.max(peak, 0)
    # Where no part saw anything, all weights have to be 0 and not NaN.
    top = tl.where(top > float("-inf"), top, 0.0)
    total = tl.sum(tl.load(sums + part, mask=real, other=0.0) * tl.exp2(peak - top[None, :]), 0)

    dim = tl.arange(0, D)
    acc = tl.zeros([BLOCK, D], tl.float32)
    for index in tl.static_range(SPLITS):
        place = index * every + head
        shrink = tl.exp2(tl.load(peaks + place, mask=inside, other=float("-inf")) - top)
        acc += shrink[:, None] * tl.load(
            parts + place[:, None] * D + dim[None, :], mask=inside[:, None], other=0.0
        )
    mean = acc / tl.where(total > 0, total, 1.0)[:, None]
    place = out + head[:, None] * D + dim[None, :]
    tl.store(place, mean.to(out.dtype.element_ty), mask=inside[:, None])


def splits_for(programs: int, max_pages: int, device: torch.device) -> int:
    """Parts that give every processor a program, as far as there are pages to share out."""
    wanted = round(processors(device) / programs)
    return max(1, min(wanted, max_pages, _MOST_SPLITS))


def canvas_attention(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    table: Tensor,
    visible: Tensor,
    live: Tensor | None = None,
    splits: int | None = None,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """Run the kernel; see the reference in `attention`."""
    require_contiguous(q=q, keys=keys, values=values, table=table, out=out)
    sequences, rows, n_q, d = q.shape
    n_kv, page = keys.shape[1:3]
    if d & (d - 1) or d < 16:
        raise OptionError(f"The attention kernel needs a head_dim that is a power of 2, not {d}.")
    block = min(_MOST_ROWS, max(16, triton.next_power_of_2(rows * n_q // n_kv)))
    blocks = triton.cdiv(rows * n_q // n_kv, block)
    if splits is None:
        splits = splits_for(sequences * n_kv * blocks, table.shape[1], q.device)
    attended = torch.empty_like(q) if out is None else out
    parts, sums, peaks = attended, None, None
    if splits > 1:
        heads = (splits, sequences * rows * n_q)
        parts = torch.empty(*heads, d, dtype=torch.float32, device=q.device)
        sums = torch.empty(heads, dtype=torch.float32, device=q.device)
        peaks = torch.empty_like(sums)
    _attend[(splits, n_kv * blocks, sequences)](
        q,
        keys,
        values,
        table,
        visible,
        live,
        parts,
        sums,
        peaks,
        rows,
        table.shape[1],
        d**-0.5,
        N_KV=n_kv,
        GROUP=n_q // n_kv,
        D=d,
        PAGE=page,
        BLOCK=block,
        BLOCKS=blocks,
        SPLITS=splits,
        num_warps=8 if block == _MOST_ROWS else 4,
        num_stages=3,
    )
    if sums is not None and peaks is not None:
        _combine_parts(parts, sums, peaks, live, attended)
    return attended


def _combine_parts(
    parts: Tensor, sums: Tensor, peaks: Tensor, live: Tensor | None, out: Tensor
) -> None:
    """Combine the parts (splits, B * rows * n_q, d) of the attention into out (B, rows, n_q, d)."""
    sequences, rows, n_q, d = out.shape
    _combine[(triton.cdiv(rows * n_q, _COMBINED_ROWS), sequences)](
        parts,
        sums,
        peaks,
        live,
        out,
        rows * n_q,
        D=d,
        BLOCK=_COMBINED_ROWS,
        SPLITS=len(parts),
        SPLITS_BLOCK=triton.next_power_of_2(len(parts)),
        num_warps=4,
    )
