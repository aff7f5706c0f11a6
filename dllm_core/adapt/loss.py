"""The training loss: weighted cross-entropy over hidden positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dllm_core.adapt.collate import TrainingBatch


@dataclass(frozen=True, slots=True)
class Loss:
    """Loss and metrics of one batch, all scalars.

    Attributes:
        total: bound on the negative log-likelihood per token, in nats (LLaDA's equation 5, arXiv
            2502.09992), with padding at a lower weight.
        accuracy: share of hidden words whose most probable token is right, without padding.
        entropy: mean cross-entropy of hidden words in nats, without the weight 1 / t.
    """

    total: Tensor
    accuracy: Tensor
    entropy: Tensor


def loss_of(logits: Tensor, batch: TrainingBatch, mask_id: int) -> Loss:
    """Loss of logits (Q, vocab) at `batch.rows`, in any float dtype."""
    # The mask token is never predicted; decoding excludes it, too.
    logits = logits.float().index_fill(1, torch.tensor([mask_id], device=logits.device), -torch.inf)
    entropy = F.cross_entropy(logits, batch.targets, reduction="none")
    with torch.no_grad():
        words = batch.words.float()
        count = words.sum().clamp_min(1)
        right = (logits.argmax(-1) == batch.targets).float()
        accuracy, mean = (right * words).sum() / count, (entropy * words).sum() / count
    return Loss((entropy * batch.weights).sum(), accuracy, mean)
