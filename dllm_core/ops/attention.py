"""Attention of a canvas to all visible positions of its sequence: cached prompt and canvas."""

from __future__ import annotations

import torch
from torch import Tensor

from dllm_core.ops.dispatch import Operation


def canvas_attention_reference(
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
    """Softmax attention in which every row of a sequence sees all its visible positions.

    Args:
        q: (B, rows, n_q, d), rotated; n_q is a multiple of n_kv.
        keys, values: (pages, n_kv, PAGE, d), the pool of this layer.
        table: int32 (B, max_pages), the pages of each sequence in order. Only the first
            ceil(visible / PAGE) entries of a row are looked at, and of their pages only the
            visible positions.
        visible: int32 (B,), positions that are attended to: those cached and the rows' own.
        live: int32 (B,), 0 for sequences that are skipped; None means that all are live.
        splits: number of parts into which the positions are split, each a program of its own;
            None lets the kernel choose by B and n_kv. The result differs by rounding only.
        out: (B, rows, n_q, d), where the result is written; None allocates it.

    Returns:
        (B, rows, n_q, d); zeros where nothing is visible.
    """
    result = torch.zeros_like(q) if out is None else out.zero_()
    n_kv, page = keys.shape[1:3]
    alive = [True] * len(q) if live is None else live.bool().tolist()
    for sequence, count in enumerate(visible.tolist()):
        if not alive[sequence] or count == 0:
            continue
        pages = table[sequence, : -(-count // page)].long()
        k, v = (_gather(pool, pages)[:, :count] for pool in (keys, values))
        rows = q[sequence].float().view(q.shape[1], n_kv, -1, q.shape[-1])
        scores = torch.einsum("rkgd,knd->rkgn", rows, k) * q.shape[-1] ** -0.5
        attended = torch.einsum("rkgn,knd->rkgd", scores.softmax(-1), v)
        result[sequence] = attended.flatten(1, 2)
    return result


def _gather(pool: Tensor, pages: Tensor) -> Tensor:
    """Pages of a pool one after another: float32 (n_kv, pages * PAGE, d)."""
    return pool[pages].float().transpose(0, 1).flatten(1, 2)


canvas_attention = Operation(
    canvas_attention_reference, "dllm_core.ops.attention_kernel:canvas_attention"
)
