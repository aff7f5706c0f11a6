"""What a reply cost. Times are those of the engine itself, in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dllm_core.decode.canvas import CanvasView

Ending = Literal["eos", "sentence", "length"]
"""The model ended the reply; it was cut after its last whole sentence; it was cut anywhere."""


@dataclass(frozen=True, slots=True)
class PrefillStats:
    """Reading a prompt into the cache."""

    cached_tokens: int
    """Prompt tokens that were cached already."""
    new_tokens: int
    """Prompt tokens that were computed now."""
    ms: float


@dataclass(frozen=True, slots=True)
class DraftRound:
    """One pass that checked a draft."""

    drafted: int
    """Tokens that were proposed, on all branches."""
    accepted: int
    """Of these, what the model would have said, in a row."""
    corrected: bool
    """Whether the model's own token stands where another was proposed."""
    unverified: int = 0
    """Tokens added without a check, when the rounds or the time were up."""


@dataclass(frozen=True, slots=True)
class DraftStats:
    """The drafts of one reply."""

    rounds: int
    drafted: int
    accepted: int
    tried: tuple[int, ...]
    """Rounds in which a token was proposed at this depth, after all before it were accepted."""
    right: tuple[int, ...]
    """Of these, rounds in which one was accepted."""
    unverified: int

    @property
    def acceptance(self) -> tuple[float, ...]:
        """Share of accepted tokens by depth."""
        return tuple(r / t if t else 0.0 for r, t in zip(self.right, self.tried, strict=True))


@dataclass(frozen=True, slots=True)
class DenoiseStats:
    """Denoising one reply."""

    prefill: PrefillStats
    tokens: int
    """Positions that became final, the end-of-reply token included."""
    forwards: int
    """Forward passes over the canvas."""
    ms: float
    """From the first forward pass to the last, prefill excluded."""
    ended: Ending
    cache_bytes: int
    """Memory held by the call's keys and values."""
    drafts: DraftStats | None = None
    """Under the rule `draft`."""

    @property
    def tokens_per_forward(self) -> float:
        return self.tokens / self.forwards if self.forwards else 0.0


@dataclass(frozen=True, slots=True)
class DenoiseStep:
    """The reply after one forward pass over its canvas."""

    step: int
    """Counts from 1."""
    planned: int | None
    """Planned number of steps, or None where the rule decides on the way."""
    canvas: CanvasView
    tokens: tuple[str, ...]
    """Text of each position; empty where the canvas is still open."""
    text: str
    """What became final with this step; the pieces of all steps concatenate to the reply."""
    ms: float
    prefill: PrefillStats
    """Of the reading before the first step."""
    stats: DenoiseStats | None
    """Set on the last step of a reply."""
    round: DraftRound | None = None
    """Under the rule `draft`: what became of this step's draft."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply."""

    text: str
    ids: tuple[int, ...]
    """All final tokens, those of an unfinished sentence cut from the text included."""
    stats: DenoiseStats
