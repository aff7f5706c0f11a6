"""The messages that go into a responder and the pieces of a reply that come out of it.

`ReplyPiece` is a closed union; a session takes each piece as it is, in a ``ReplyEvent``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the prompt."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class TurnEnding:
    """What a responder's state at the caller's last word says about the words' end.

    Attributes:
        whole: probability that the words are whole.
        more: probability that more must come.
        aside: probability that they are not meant for the agent.
        backchannel: probability that they are a sign of listening.
        floor: probability that they ask the agent to stop or to wait.
    """

    whole: float
    more: float
    aside: float
    backchannel: float
    floor: float

    @property
    def over(self) -> float:
        """Probability that nothing must follow, whatever the words are."""
        return 1.0 - self.more


@dataclass(frozen=True, slots=True)
class Prefilled:
    """The prompt is in the cache.

    Attributes:
        ending: what the state at the caller's last word says; None where there is no head for it.
        cached_tokens: prompt tokens that were in the cache already.
        new_tokens: prompt tokens that were computed now.
        ms: milliseconds that this took.
    """

    cached_tokens: int
    new_tokens: int
    ms: float
    ending: TurnEnding | None = None


@dataclass(frozen=True, slots=True)
class DraftRound:
    """What became of the draft that a step checked.

    Attributes:
        drafted: tokens that were proposed, on all branches.
        accepted: of these, what the model itself would have said; they are the first of the tokens
            that the step made final, the model's own token follows.
        corrected: whether the model's own token stands where another was proposed.
        unverified: tokens added without a check, when the rounds or the time were up.
    """

    drafted: int
    accepted: int
    corrected: bool
    unverified: int = 0


@dataclass(frozen=True, slots=True)
class CanvasStep:
    """The canvas after one denoising step.

    Attributes:
        step: number of the step, from 1 over the whole reply.
        of: planned number of steps; None where it depends on the confidence.
        tokens: text of each position; the empty string for a masked one.
        masked: whether each position is still masked.
        confidence: the model's probability of each position's token.
        ms: milliseconds that the step took.
        draft: what became of the draft that it checked, where there was one.
    """

    step: int
    of: int | None
    tokens: tuple[str, ...]
    masked: tuple[bool, ...]
    confidence: tuple[float, ...]
    ms: float
    draft: DraftRound | None = None


@dataclass(frozen=True, slots=True)
class ReplyText:
    """The next final text of a reply; the texts of its pieces concatenate to the reply."""

    text: str


@dataclass(frozen=True, slots=True)
class ReplyDone:
    """The reply is complete.

    Attributes:
        text: the whole reply.
        steps: denoising steps, or tokens of a model that generates one by one.
        forwards: forward passes of the model.
        prefill_ms: milliseconds until the prompt was in the cache.
        denoise_ms: milliseconds from then to the end of the reply.
        stats: further figures of the responder, by name.
    """

    text: str
    steps: int
    forwards: int
    prefill_ms: float
    denoise_ms: float
    stats: dict[str, float] = field(default_factory=dict)


ReplyPiece = Prefilled | CanvasStep | ReplyText | ReplyDone
"""The pieces that a responder yields: ``Prefilled``, then steps and text, then ``ReplyDone``."""
