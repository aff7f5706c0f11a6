"""Triton kernels of head.py: a product that keeps only the best token of each tile.

A program multiplies all rows with 128 vocabulary entries and writes, for each row, the best logit
among them, its token and the sum of exponentials below it; a second kernel combines the tiles.
Logits stay in registers: for 64 rows and 126,464 tokens they would be 32 MB in float32, moved
twice.

Predicted on an H100 for LLaDA-8B (bfloat16, 64 rows): 1.04 GB of weights, 309 us at 3.35 TB/s,
988 programs in four rounds of two per processor; the parts are 0.8 MB, the second
launch 3 us.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from dllm_core.ops.launch import dead, require_contiguous, rows_per_sequence
from dllm_core.ops.product_kernel import (
    Tile,
    product,
    sequences_per_tile,
    tile_for,
    tile_is_dead,
)


@triton.jit
def _best_of_tile(
    hidden,
    weight,
    banned,
    live,
    peaks,
    tokens,
    sums,
    rows,
    R,
    V,
    H: tl.constexpr,
    BANNED: tl.constexpr,
    SEQUENCES: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    tile = tl.program_id(0)
    if tile_is_dead(live, tile, rows, R, BLOCK_M, SEQUENCES):
        return
    part = tl.program_id(1)
    m = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    n = part * BLOCK_N + tl.arange(0, BLOCK_N)
    steps: tl.constexpr = (H + BLOCK_K - 1) // BLOCK_K
    logits = product(hidden, weight, m, n, R, V, 0, steps, H, BLOCK_M, BLOCK_N, BLOCK_K, False)
    possible = n < V
    for index in tl.static_range(BANNED):
        possible = possible & (n != tl.load(banned + index))
    logits = tl.where(possible[None, :], logits, float("-inf"))
    peak = tl.max(logits, 1)
    token = tl.min(tl.where(logits == peak[:, None], n[None, :], V - 1), 1)
    # A tile of banned tokens only adds nothing; -inf - -inf would be NaN.
    level = tl.where(peak > float("-inf"), peak, 0.0)
    total = tl.sum(tl.exp(logits - level[:, None]), 1)
    place = m.to(tl.int64) * tl.num_programs(1) + part
    tl.store(peaks + place, peak, mask=m < R)
    tl.store(tokens + place, token, mask=m < R)
    tl.store(sums + place, total, mask=m < R)


@triton.jit
def _best_of_all(peaks, tokens, sums, live, ids, probability, rows, parts, V, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    if dead(live, row // rows):
        return
    part = tl.arange(0, BLOCK)
    inside = part < parts
    place = row * parts + part
    peak = tl.load(peaks + place, mask=inside, other=float("-inf"))
    token = tl.load(tokens + place, mask=inside, other=0)
    top = tl.max(peak, 0)
    total = tl.sum(tl.load(sums + place, mask=inside, other=0.0) * tl.exp(peak - top), 0)
    tl.store(ids + row, tl.min(tl.where(peak == top, token, V - 1), 0).to(tl.int64))
    tl.store(probability + row, 1.0 / total)


def top1(
    hidden: Tensor,
    weight: Tensor,
    banned: Tensor | None = None,
    live: Tensor | None = None,
    *,
    out: tuple[Tensor, Tensor] | None = None,
    tile: Tile | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the kernel; see the reference. `tile` overrides the calculated sizes."""
    require_contiguous(hidden=hidden, weight=weight)
    count, vocabulary = len(hidden), len(weight)
    rows = rows_per_sequence(count, live)
    device = hidden.device
    tile = tile or tile_for(hidden, weight, may_split=False)
    parts = triton.cdiv(vocabulary, tile.n)
    peaks = torch.empty(count, parts, dtype=torch.float32, device=device)
    tokens = torch.empty(count, parts, dtype=torch.int32, device=device)
    sums = torch.empty_like(peaks)
    _best_of_tile[(triton.cdiv(count, tile.m), parts)](
        hidden,
        weight,
        banned,
        live,
        peaks,
        tokens,
        sums,
        rows,
        count,
        vocabulary,
        H=weight.shape[1],
        BANNED=0 if banned is None else len(banned),
        SEQUENCES=sequences_per_tile(rows, tile.m),
        BLOCK_M=tile.m,
        BLOCK_N=tile.n,
        BLOCK_K=tile.k,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
    if out is None:
        ids = torch.empty(count, dtype=torch.int64, device=device)
        out = ids, torch.empty(count, dtype=torch.float32, device=device)
    _best_of_all[(count,)](
        peaks,
        tokens,
        sums,
        live,
        *out,
        rows,
        parts,
        vocabulary,
        BLOCK=triton.next_power_of_2(parts),
    )
    return out
