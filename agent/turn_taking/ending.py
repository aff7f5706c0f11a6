"""The end of a turn as one probability, from the words' rules, the head and the melody.

The probability becomes the pause that ends the turn: a sure end waits for a short time, a doubtful
one as long as its doubt says. All functions are pure.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import mean
from typing import Final

from agent.reply import TurnEnding
from agent.turn_taking.completeness import Completeness, TurnVerdict

RULE_ODDS: Final = {
    TurnVerdict.COMPLETE: 0.9,
    TurnVerdict.UNSURE: 0.55,
    TurnVerdict.INCOMPLETE: 0.05,
}
"""Probability of a whole turn by the rules' verdict alone."""
DOUBTFUL_RULES: Final = frozenset(
    {"dictation_maybe", "bare_number", "half_clause_maybe", "destination", "no_words", "drawn_out"}
)
"""Rules whose doubt a head cannot remove: it does not know codes, numbers and what follows them."""
SURE_RULES: Final = frozenset({"short_answer", "command", "dictation_done"})
"""Rules that know the end of what they judge; a head learns it from no example."""
DOUBT: Final = 0.35
"""Probability of a whole turn where such a rule doubts it."""


def whole_probability(
    found: Completeness, ending: TurnEnding | None = None, melody: float | None = None
) -> float:
    """Probability that the turn is over, from 0 to 1.

    Args:
        found: the verdict of the rules.
        ending: the head's probabilities; None where the responder has no head.
        melody: the turn model's probability that the voice sounds over; None without one.
    """
    prior = RULE_ODDS[found.verdict]
    if found.verdict is TurnVerdict.INCOMPLETE:
        return prior
    if found.rule in DOUBTFUL_RULES:
        return DOUBT if ending is None else min(DOUBT, ending.over)
    if found.rule in SURE_RULES:
        return 0.97
    odds = _logit(prior) * RULES_WEIGHT
    if ending is not None:
        odds += HEAD_WEIGHT * _logit(ending.over) + HEAD_BIAS
    if melody is not None:
        odds += MELODY_WEIGHT * _logit(melody)
    return 1.0 / (1.0 + math.exp(-odds))


RULES_WEIGHT: Final = 0.68
HEAD_WEIGHT: Final = 0.66
HEAD_BIAS: Final = -0.59
"""Fitted by logistic regression on the half of the utterances of `onebreath bench endpoint` that
the rules were tuned on; docs/turns.md has the reliability on the other half."""
MELODY_WEIGHT: Final = 0.5
"""Not fitted: smart-turn hears nothing in synthetic voices."""


def _logit(probability: float) -> float:
    bounded = min(max(probability, 0.005), 0.995)
    return math.log(bounded / (1.0 - bounded))


def between(points: Sequence[tuple[float, float]], place: float) -> float:
    """The value at ``place`` on the lines between points, which rise in their first number."""
    for (left, low), (right, high) in pairwise(points):
        if place <= right:
            share = (place - left) / (right - left)
            return low + (high - low) * min(max(share, 0.0), 1.0)
    return points[-1][1]


@dataclass(slots=True)
class CallerPace:
    """The caller's own pauses within turns, learnt from those after which he went on.

    Attributes:
        pauses: seconds of the newest of them.
    """

    pauses: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def went_on_after(self, seconds: float) -> None:
        """Note a pause within a turn."""
        if seconds >= SHORTEST:
            self.pauses.append(seconds)

    @property
    def extra(self) -> float:
        """Seconds that a doubtful pause may last longer than usual."""
        if len(self.pauses) < ENOUGH:
            return 0.0
        longest = mean(sorted(self.pauses)[-ENOUGH:])
        return min(max(longest - USUAL, LEAST_EXTRA), MOST_EXTRA)


REMEMBERED: Final = 8
"""Pauses that the pace of a caller is learnt from."""
ENOUGH: Final = 2
"""Pauses from which on it is known."""
SHORTEST: Final = 0.2
"""Seconds; shorter pauses belong to the flow of speech."""
USUAL: Final = 0.7
"""Seconds of a pause for thought that the endpoint delays are made for."""
LEAST_EXTRA: Final = 0.0
"""A quick caller is not cut off the sooner: the delays are calibrated, and gaps between words count
among his pauses."""
MOST_EXTRA: Final = 0.6
