"""From a drafter's probabilities to the chance that the base says the same.

At every depth `chance = sigmoid(slope * logit(probability) + offset)` (Platt scaling), fitted to
drafts after which everything before was right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dllm_core.errors import DrafterError

_LEAST = 1e-6
_PRIOR = 2.0
"""How firmly a depth with few drafts stays at slope 1 and offset 0."""
_STEPS = 200


@dataclass(frozen=True, slots=True)
class Calibration:
    """A slope and an offset for every depth."""

    slopes: tuple[float, ...]
    offsets: tuple[float, ...]

    @classmethod
    def none(cls, block: int) -> Calibration:
        """Takes probabilities as they are."""
        return cls((1.0,) * block, (0.0,) * block)

    @classmethod
    def fitted(cls, drafts: Sequence[tuple[int, float, bool]], block: int) -> Calibration:
        """Fit to (depth, probability, whether the base said it)."""
        slopes, offsets = [], []
        for depth in range(block):
            here = [(p, right) for at, p, right in drafts if at == depth]
            slope, offset = _fit(here) if here else (1.0, 0.0)
            slopes.append(slope)
            offsets.append(offset)
        return cls(tuple(slopes), tuple(offsets))

    def chance(self, depth: int, probability: float) -> float:
        """That the base agrees, if it agreed with everything before."""
        p = min(max(probability, _LEAST), 1 - _LEAST)
        logit = math.log(p / (1 - p))
        return 1 / (1 + math.exp(-(self.slopes[depth] * logit + self.offsets[depth])))

    def to_json(self) -> dict[str, list[float]]:
        return {
            "slopes": [round(s, 5) for s in self.slopes],
            "offsets": [round(o, 5) for o in self.offsets],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], block: int) -> Calibration:
        """Raises DrafterError where it is not for blocks of this size."""
        if not values:
            return cls.none(block)
        try:
            slopes = tuple(float(value) for value in values["slopes"])
            offsets = tuple(float(value) for value in values["offsets"])
        except (KeyError, TypeError, ValueError) as error:
            raise DrafterError(f"The drafter's calibration is damaged: {error}.") from error
        if len(slopes) != block or len(offsets) != block:
            raise DrafterError(f"The drafter's calibration is not for blocks of {block}.")
        return cls(slopes, offsets)


def _fit(here: Sequence[tuple[float, bool]]) -> tuple[float, float]:
    """Slope and offset by Newton's method on the logistic loss, with a prior."""
    p = torch.tensor([pair[0] for pair in here], dtype=torch.float64).clamp(_LEAST, 1 - _LEAST)
    right = torch.tensor([float(pair[1]) for pair in here], dtype=torch.float64)
    x = torch.stack([torch.logit(p), torch.ones_like(p)], 1)
    start = torch.tensor([1.0, 0.0], dtype=torch.float64)
    w = start.clone()
    for _ in range(_STEPS):
        chance = torch.sigmoid(x @ w)
        slope = x.T @ (chance - right) + _PRIOR * (w - start)
        curve = (x * (chance * (1 - chance))[:, None]).T @ x
        step = torch.linalg.solve(curve + _PRIOR * torch.eye(2, dtype=torch.float64), slope)
        w = w - step.clamp(-0.5, 0.5)
        if float(step.abs().max()) < 1e-9:
            break
    return float(w[0]), float(w[1])
