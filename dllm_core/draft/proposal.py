"""What a drafter proposes after a token: candidates at every depth, after any of those before.

The Markov head makes the candidates of a place depend on the token before it. It is applied to the
likeliest tokens of the place only, as many as matter.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dllm_core.draft.calibration import Calibration

_SHORTLIST = 128
"""Tokens of a place that the Markov head may still raise."""

Floats = NDArray[np.float32]
Places = NDArray[np.int64]


class Candidate(NamedTuple):
    """A token that may come next."""

    token: int
    chance: float
    """That the base says it, if it says all before."""


class Markov(NamedTuple):
    """The low-rank head as arrays."""

    before: Floats
    """(words + 1, rank), the last row for tokens outside the draft vocabulary."""
    after: Floats
    """(words, rank)"""
    places: Places
    """(vocab_size,): where a token is in the draft vocabulary."""


class Proposal:
    """Scores of one block. A block whose scores are no numbers proposes nothing."""

    def __init__(
        self,
        scores: Tensor,
        markov: Markov | None,
        vocabulary: Places | None,
        calibration: Calibration,
    ) -> None:
        """`scores` (depths, words) are of the tokens `vocabulary` (words,); None is all tokens."""
        best = scores.topk(min(_SHORTLIST, scores.shape[1]), dim=1)
        self._scores: Floats = best.values.numpy()
        self._words: Places = best.indices.numpy()
        self._markov, self._vocabulary, self._calibration = markov, vocabulary, calibration
        sound = [bool(np.isfinite(row).all()) for row in self._scores]
        self.depth = sound.index(False) if False in sound else len(sound)
        """Places that can be drafted, counted from the first."""

    def after(self, previous: int, depth: int, count: int) -> list[Candidate]:
        """The `count` best candidates at a depth (from 0) after a token, best first."""
        if depth >= self.depth:
            return []
        markov, words, scores = self._markov, self._words[depth], self._scores[depth]
        if markov is not None:
            scores = scores + markov.after[words] @ markov.before[markov.places[previous]]
        if not np.isfinite(scores).all():
            return []
        weights = np.exp(scores - scores.max())
        chances = weights / weights.sum()
        best = np.argsort(-chances, kind="stable")[:count]
        return [
            Candidate(
                int(words[i] if self._vocabulary is None else self._vocabulary[words[i]]),
                self._calibration.chance(depth, float(chances[i])),
            )
            for i in best
        ]
