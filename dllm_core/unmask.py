"""Decode rules: which positions of a canvas become final after a forward pass.

Pure functions over tensors; they neither run the model nor change their arguments.
"""

from __future__ import annotations

import torch
from torch import Tensor


def predict(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Greedy prediction: logits (rows, vocab) -> ids (rows,) and their probabilities (rows,)."""
    best, ids = logits.max(dim=-1)
    return ids, (best - torch.logsumexp(logits, dim=-1)).exp_()


def fixed_prefix(drafts: Tensor, predicted: Tensor) -> Tensor:
    """How many leading predictions can no longer change under causal attention.

    `predicted[i]` (n,) was computed from the first i of `drafts` (n - 1,). The first one is
    therefore final, and each next one as long as the draft before it was predicted again.
    This is Jacobi iteration of greedy decoding (arXiv 2305.10427): its fixed point is the
    greedy autoregressive sequence. Returns a scalar count between 1 and n.
    """
    return (drafts == predicted[:-1]).long().cumprod(0).sum() + 1
