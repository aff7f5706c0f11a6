"""The words of a reply: what goes into a responder and the pieces that come out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the conversation, as the model is to see it."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Prefilled:
    """The prompt is in the cache."""

    cached_tokens: int
    """Prompt tokens that were in the cache already."""
    new_tokens: int
    """Prompt tokens that had to be computed now."""
    ms: float


@dataclass(frozen=True, slots=True)
class CanvasStep:
    """The canvas after one denoising step."""

    step: int
    """Counts from 1 over the whole reply."""
    of: int | None
    """Planned number of steps, or None where the rule decides on the way."""
    tokens: tuple[str, ...]
    """Text of each position; a masked position is the empty string."""
    masked: tuple[bool, ...]
    confidence: tuple[float, ...]
    ms: float


@dataclass(frozen=True, slots=True)
class ReplyText:
    """Text that will not change any more; the pieces concatenate to the reply."""

    text: str


@dataclass(frozen=True, slots=True)
class ReplyDone:
    """The reply is complete."""

    text: str
    steps: int
    forwards: int
    prefill_ms: float
    denoise_ms: float
    stats: dict[str, float] = field(default_factory=dict)


ReplyPiece = Prefilled | CanvasStep | ReplyText | ReplyDone
