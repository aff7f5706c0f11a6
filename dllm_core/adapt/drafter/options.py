"""How a drafter is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]


def fast_precision() -> Precision:
    """bfloat16 where this CPU has units for its products (AMX), float32 elsewhere: without them
    bfloat16 takes four times as long."""
    find = getattr(torch.cpu, "get_capabilities", None)  # older ones have none
    return "bfloat16" if find is not None and find().get("amx_bf16") else "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftTraining:
    """How a drafter is trained."""

    steps: int
    batch: int = 16
    """Conversations a step, in two parts of like length each (gradients.py)."""
    blocks: int = 12
    """Of each."""
    rate: float = 1.5e-3
    warm_up: int = 100
    flat: float = 0.4
    """Share of the steps at the full rate, which then falls to nothing in a straight line."""
    clip: float = 1.0
    average: float = 0.998
    """Weight of the average of weights over a step, less in the beginning."""
    seed: int = 0
    precision: Precision = "float32"
    """Of the products; weights and sums stay in float32."""
    every_seconds: float = 150.0
    """Between two measurements, each with a checkpoint."""
    seconds: float | None = None
    processes: int = 1
    """1 or 2; a second one works out half of every gradient."""
