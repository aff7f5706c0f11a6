"""The training loss: weighted cross-entropy over hidden positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dllm_core.adapt.collate import TrainingBatch


@dataclass(frozen=True, slots=True)
class Loss:
    """Of one batch."""

    total: Tensor
    """Scalar: the bound on the negative log-likelihood per token, in nats (LLaDA's
    equation 5, arXiv 2502.09992), padding weighed down."""
    accuracy: Tensor
    """Scalar: share of hidden words whose best guess is right, padding left out."""
    entropy: Tensor
    """Scalar: mean cross-entropy of hidden words in nats, not weighed by 1 / t."""


def loss_of(logits: Tensor, batch: TrainingBatch, mask_id: int) -> Loss:
    """logits (questions, vocab) of `batch.rows`, in any float dtype."""
    # The mask itself is never an answer; decoding rules it out, too.
    logits = logits.float().index_fill(1, torch.tensor([mask_id], device=logits.device), -torch.inf)
    entropy = F.cross_entropy(logits, batch.targets, reduction="none")
    with torch.no_grad():
        words = batch.words.float()
        count = words.sum().clamp_min(1)
        right = (logits.argmax(-1) == batch.targets).float()
        accuracy, mean = (right * words).sum() / count, (entropy * words).sum() / count
    return Loss((entropy * batch.weights).sum(), accuracy, mean)
