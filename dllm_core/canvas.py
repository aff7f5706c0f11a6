"""The positions of a reply that are being denoised."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CanvasView:
    """The reply after one step, as plain values: what is final, then what is still open."""

    ids: tuple[int, ...]
    masked: tuple[bool, ...]
    """True where the id is a guess that may still change."""
    confidence: tuple[float, ...]
    """Probability of each id when it was last predicted."""
