"""Float32 rows on a CPU whose bits do not depend on the rows beside them.

The products of torch's libraries sum in another order for one row than for several, which may turn
one of two tokens that are as good as equally likely into the other. Where a model writes from left
to right, up to 32 rows are therefore multiplied in blocks of eight, filled up with zeros, and
attend one by one to the keys that they see. It is the plain version beside the kernels of
dllm_core/cpu, for which the same holds (tests/test_exact_rows.py).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MOST = 32
"""Rows of a pass that checks drafts, at most. More are a prompt's, whose speed counts."""
_BLOCK = 8


def serves(x: Tensor) -> bool:
    """Whether rows (rows, features) are few, in float32 and on a CPU."""
    return len(x) <= MOST and x.dtype == torch.float32 and x.device.type == "cpu"


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What `F.linear` gives for rows (rows, in_features)."""
    padded = F.pad(x, (0, 0, 0, -len(x) % _BLOCK))
    parts = [F.linear(block, weight, bias) for block in torch.split(padded, _BLOCK)]
    return (parts[0] if len(parts) == 1 else torch.cat(parts))[: len(x)]


def attend(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of every row to the keys that it sees.

    Args:
        q: (rows, kv_heads, group, head_dim).
        keys, values: (kv_heads, visible, head_dim).
        mask: bool (rows, visible), or None where all are seen.

    Returns:
        (rows, kv_heads, group, head_dim)
    """
    found = []
    for row in range(len(q)):
        k, v = keys, values
        if mask is not None:
            # Copied, so that the keys that are seen lie as they would without the others.
            seen = mask[row].nonzero()[:, 0]
            k, v = keys[:, seen], values[:, seen]
        found.append(F.scaled_dot_product_attention(q[row][None], k[None], v[None])[0])
    return torch.stack(found)
