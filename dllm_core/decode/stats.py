"""The cost of a reply. Times are the engine's own, in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dllm_core.decode.canvas import CanvasView

Ending = Literal["eos", "sentence", "length"]
"""The model ended the reply, it was cut after its last whole sentence, or within a sentence."""


@dataclass(frozen=True, slots=True)
class PrefillStats:
    """The cost of reading a prompt into the cache.

    Attributes:
        cached_tokens: prompt tokens that were in the cache already.
        new_tokens: prompt tokens that were computed now.
        ms: milliseconds.
    """

    cached_tokens: int
    new_tokens: int
    ms: float


@dataclass(frozen=True, slots=True)
class DraftRound:
    """One pass that checked a draft.

    Attributes:
        drafted: tokens that were proposed, on all branches.
        accepted: of these, consecutive tokens that the model itself would have said.
        corrected: whether the model's own token stands where another was proposed.
        unverified: tokens added without a check, when the rounds or the time were up.
    """

    drafted: int
    accepted: int
    corrected: bool
    unverified: int = 0


@dataclass(frozen=True, slots=True)
class DraftStats:
    """The drafts of one reply.

    Attributes:
        rounds: passes of the model.
        drafted, accepted: tokens of all rounds; see `DraftRound`.
        tried: by depth, rounds in which a token was proposed there after all before it were
            accepted.
        right: by depth, those of these rounds in which one was accepted.
        unverified: tokens added without a check.
        asked: rounds for which the drafter was asked; others had what is known without it.
    """

    rounds: int
    drafted: int
    accepted: int
    tried: tuple[int, ...]
    right: tuple[int, ...]
    unverified: int
    asked: int = 0

    @property
    def acceptance(self) -> tuple[float, ...]:
        """Share of rounds with an accepted token, by depth."""
        return tuple(r / t if t else 0.0 for r, t in zip(self.right, self.tried, strict=True))


@dataclass(frozen=True, slots=True)
class DenoiseStats:
    """The cost of denoising one reply.

    Attributes:
        prefill: cost of reading the prompt before the first step.
        tokens: positions that became final, the end-of-reply token included.
        forwards: forward passes over the canvas.
        ms: milliseconds from the reply's submission to its last step, prefill excluded.
        ended: how the reply ended.
        cache_bytes: memory of the sequence's keys and values.
        drafts: figures of the drafts under the rule `draft`; else None.
    """

    prefill: PrefillStats
    tokens: int
    forwards: int
    ms: float
    ended: Ending
    cache_bytes: int
    drafts: DraftStats | None = None

    @property
    def tokens_per_forward(self) -> float:
        """Tokens that became final per forward pass, on average."""
        return self.tokens / self.forwards if self.forwards else 0.0


@dataclass(frozen=True, slots=True)
class DenoiseStep:
    """The reply after one forward pass over its canvas.

    Attributes:
        step: number of the step, from 1.
        planned: planned number of steps of a canvas, or None where the rule decides on the way.
        canvas: the positions of the reply so far.
        tokens: text of each position; empty where it is still open.
        text: text that became final with this step; the texts of all steps concatenate to the
            reply.
        ms: milliseconds of the step.
        prefill: cost of reading the prompt before the first step.
        stats: cost of the whole reply, on its last step; else None.
        round: what became of the step's draft under the rule `draft`; else None.
    """

    step: int
    planned: int | None
    canvas: CanvasView
    tokens: tuple[str, ...]
    text: str
    ms: float
    prefill: PrefillStats
    stats: DenoiseStats | None
    round: DraftRound | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply.

    Attributes:
        text: its text.
        ids: all final tokens; where an unfinished sentence is cut from the text, its tokens are
            still here.
        stats: its cost.
    """

    text: str
    ids: tuple[int, ...]
    stats: DenoiseStats
