"""Rotary position embedding and storage of keys and values, in one pass over the projections."""

from __future__ import annotations

import torch
from torch import Tensor

from dllm_core.ops.dispatch import Operation


def rotate_and_store_reference(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    positions: Tensor,
    slots: Tensor,
    keys: Tensor,
    values: Tensor,
    q_norm: Tensor | None = None,
    k_norm: Tensor | None = None,
    eps: float = 1e-6,
    live: Tensor | None = None,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """Rotate queries and keys (half-split layout, arXiv 2104.09864); store keys and values.

    Args:
        qkv: (R, (n_q + 2 n_kv) d): all query heads, then key heads, then value heads of a row.
        cos, sin: float32 (context, d / 2), the angle of each position and pair.
        positions: int32 (R,), rows of those tables.
        slots: int64 (R,), the place of each row's key and value: page * PAGE + offset. Live rows
            have different slots; the slots of dead rows are ignored.
        keys, values: (pages, n_kv, PAGE, d), written in place.
        q_norm, k_norm: (d,), weights of RMSNorm over each head before the rotation (Qwen3), with
            `eps`; None for models without it.
        live: int32 (B,), 0 for sequences whose rows are skipped.
        out: (R, n_q, d) to write to; None allocates it.

    Returns:
        The rotated queries, (R, n_q, d).
    """
    n_kv, page, d = keys.shape[1:]
    rows = qkv.view(len(qkv), -1, d)
    n_q = rows.shape[1] - 2 * n_kv
    q, k, v = torch.split(rows, [n_q, n_kv, n_kv], dim=1)
    cos, sin = cos[positions.long()][:, None], sin[positions.long()][:, None]
    q, k = _rotate(q, q_norm, eps, cos, sin), _rotate(k, k_norm, eps, cos, sin)
    if live is not None:
        alive = live.repeat_interleave(len(qkv) // len(live)) != 0
        slots, k, v = slots[alive], k[alive], v[alive]
    keys[slots // page, :, slots % page] = k
    values[slots // page, :, slots % page] = v
    return q if out is None else out.copy_(q)


def _rotate(x: Tensor, weight: Tensor | None, eps: float, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate (R, heads, d), normalised first if there is a weight, both in float32."""
    wide = x.float()
    if weight is not None:
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight.float()
    low, high = wide.chunk(2, dim=-1)
    return torch.cat([low * cos - high * sin, high * cos + low * sin], dim=-1).to(x.dtype)


rotate_and_store = Operation(
    rotate_and_store_reference, "dllm_core.ops.rotary_kernel:rotate_and_store"
)
