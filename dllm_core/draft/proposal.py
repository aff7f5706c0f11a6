"""What a drafter proposes after a token: candidates at every depth, after any of those before.

The Markov head makes the candidates of a place depend on the token before it. It is applied to the
likeliest tokens of the place only, as many as matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dllm_core.draft.calibration import Calibration

_MARGIN = 6.0
"""Nats under the best token of a place from which the Markov head raises no token to the top."""
_SHORTLIST = 96
"""Tokens of a place that it is applied to, at most."""

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
    """Scores of one block. From a place on whose scores are no numbers, nothing is proposed."""

    def __init__(
        self,
        scores: Tensor,
        markov: Markov | None,
        vocabulary: Places | None,
        calibration: Calibration,
    ) -> None:
        """`scores` (depths, words) are of the tokens `vocabulary` (words,); None is all tokens."""
        self._scores: Floats = scores.numpy()
        self._best: Floats = self._scores.max(axis=1)
        self._markov, self._vocabulary, self._calibration = markov, vocabulary, calibration
        sound = np.isfinite(self._best).tolist()
        self.depth = sound.index(False) if False in sound else len(sound)
        """Places that can be drafted, counted from the first."""
        self._listed: dict[int, _Shortlist] = {}

    def after(self, path: Sequence[int], count: int) -> list[Candidate]:
        """The `count` best candidates after the last known token and drafted ones, best first."""
        depth, previous = len(path) - 1, path[-1]
        if depth >= self.depth:
            return []
        if depth not in self._listed:
            self._listed[depth] = _shortlist(self._scores[depth], self._best[depth])
        words, scores, rest = self._listed[depth]
        markov = self._markov
        if markov is not None:
            scores = scores + markov.after[words] @ markov.before[markov.places[previous]]
        weights = np.exp(scores)
        total = float(weights.sum()) + rest
        if not np.isfinite(total):
            return []
        best = np.argsort(-weights, kind="stable")[:count]
        return [
            Candidate(
                int(words[i] if self._vocabulary is None else self._vocabulary[words[i]]),
                self._calibration.chance(depth, float(weights[i]) / total),
            )
            for i in best
        ]


class _Shortlist(NamedTuple):
    """The likeliest tokens of a place."""

    words: Places
    scores: Floats
    """Less than the best by so much."""
    rest: float
    """What all others weigh, beside e**0 of the best."""


def _shortlist(scores: Floats, best: float) -> _Shortlist:
    shifted = scores - best
    words = np.flatnonzero(shifted > -_MARGIN)
    if len(words) > _SHORTLIST:
        words = words[np.argpartition(-shifted[words], _SHORTLIST)[:_SHORTLIST]]
    chosen = shifted[words]
    rest = float(np.exp(shifted).sum()) - float(np.exp(chosen).sum())
    return _Shortlist(words, chosen, max(0.0, rest))
