"""Best token of each row and its probability, without storing logits over the vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor

from dllm_core.ops.dispatch import Operation

_SLICE = 4096
"""Vocabulary entries that are multiplied at a time, to avoid a float32 copy of the whole head."""


def top1_reference(
    hidden: Tensor,
    weight: Tensor,
    banned: Tensor | None = None,
    live: Tensor | None = None,
    *,
    out: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Greedy prediction from the last hidden states.

    Args:
        hidden: (R, h), normalised.
        weight: (V, h), the language-model head.
        banned: int32 (n,), tokens of probability 0 (the mask token).
        live: int32 (B,), 0 for sequences whose rows are skipped.
        out: ids and probabilities to write to; None allocates them.

    Returns:
        ids, int64 (R,), the lowest of equally likely ones, and their probabilities, float32 (R,),
        from a softmax over all tokens that are not banned. Logits are float32.
    """
    slices = torch.split(weight, _SLICE)
    logits = torch.cat([hidden.float() @ part.float().T for part in slices], dim=-1)
    if banned is not None:
        logits[:, banned.long()] = -torch.inf
    ids = logits.argmax(dim=-1)
    highest = logits.gather(-1, ids[:, None]).squeeze(-1)
    probability = (highest - logits.logsumexp(dim=-1)).exp()
    if out is None:
        return ids, probability
    return out[0].copy_(ids), out[1].copy_(probability)


top1 = Operation(top1_reference, "dllm_core.ops.head_kernel:top1")
