"""Calibration of a question's probabilities by labelled examples, and its measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dllm_core.errors import OptionError

_PENALTY = 0.05
"""Weight of the distance from the uncalibrated probabilities, which few examples keep to."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Vector scaling (arXiv 1706.04599) of the log-probabilities of a question's labels.

    Attributes:
        scale: factor of all log-probabilities; below 1 makes answers less sure.
        bias: what is added to each label's, in nats.
    """

    scale: float
    bias: tuple[float, ...]

    def apply(self, scores: Tensor) -> Tensor:
        """Log-probabilities (..., labels), calibrated and normalised."""
        bias = torch.tensor(self.bias, dtype=scores.dtype)
        return (self.scale * scores + bias).log_softmax(-1)


def fit(scores: Tensor, labels: Sequence[int]) -> Calibration:
    """Fit scale and bias to the right labels, by cross entropy with a penalty.

    Args:
        scores: log-probabilities (examples, labels).
        labels: index of the right label of each example.

    Raises:
        OptionError: there is no example.
    """
    if not len(labels):
        raise OptionError("A calibration needs at least one labelled example.")
    target = torch.tensor(labels)
    with torch.inference_mode(False), torch.enable_grad():
        given = scores.detach().clone().double()
        log_scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
        bias = torch.zeros(given.shape[-1], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [log_scale, bias], max_iter=100, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            optimizer.zero_grad()
            logits = log_scale.exp() * given + bias
            fits = torch.nn.functional.cross_entropy(logits, target)
            value = fits + _PENALTY * (log_scale**2 + (bias**2).mean())
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimizer.step(loss)  # type: ignore[no-untyped-call]
    return Calibration(float(log_scale.detach().exp()), tuple(bias.detach().tolist()))


def calibration_error(confidences: Sequence[float], right: Sequence[bool], bins: int = 10) -> float:
    """Expected calibration error: mean distance of confidence and accuracy over equal bins."""
    total = 0.0
    for i in range(bins):
        inside = [j for j, p in enumerate(confidences) if min(int(p * bins), bins - 1) == i]
        if inside:
            sure = sum(confidences[j] for j in inside)
            total += abs(sure - sum(right[j] for j in inside))
    return total / max(1, len(confidences))
