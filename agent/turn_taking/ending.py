"""The end of a turn as one probability, from the words' rules, the head and the melody.

The probability becomes the pause that ends the turn: a sure end waits for a short time, a doubtful
one as long as its doubt says. All functions are pure.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise
from statistics import mean
from typing import Final

from agent.reply import TurnEnding
from agent.turn_taking.completeness import Completeness, TurnVerdict


class Evidence(Enum):
    """What the rules know of the words, in kinds that a head is weighed against."""

    SURE = auto()
    """The end is known, such as that of a code with its last digit; a head learns it from no
    example."""
    ANSWER = auto()
    """A whole answer of a word or two, after which people often go on: "Yes, but ..."."""
    QUESTION = auto()
    """A whole question."""
    REQUEST = auto()
    """A whole command or other sentence that nothing must follow."""
    STATEMENT = auto()
    """Words of which the rules know nothing."""
    DOUBTED = auto()
    """Numbers, codes and the like, which may go on; a head does not know them."""
    LACKING = auto()
    """The last word needs another one, but for rare uses: "what do I wash it with"."""
    UNFINISHED = auto()
    """More must come."""


_DOUBTED: Final = frozenset(
    {"dictation_maybe", "bare_number", "half_clause_maybe", "destination", "no_words", "drawn_out"}
    | {"misheard", "reason"}
)
_SURE: Final = frozenset({"command", "dictation_done"})
_UNFINISHED: Final = frozenset(
    {"hesitation", "trails_off", "connective", "opener", "dictation_open", "condition", "open_list"}
    | {"subject", "adjective", "then", "half_name", "correction", "announcement"}
)


def evidence(found: Completeness) -> Evidence:
    """The kind of what the rules found."""
    if found.rule in _SURE:
        return Evidence.SURE
    if found.rule == "short_answer":
        return Evidence.ANSWER
    if found.rule in _DOUBTED:
        return Evidence.DOUBTED
    if found.verdict is TurnVerdict.INCOMPLETE:
        return Evidence.UNFINISHED if found.rule in _UNFINISHED else Evidence.LACKING
    if found.verdict is TurnVerdict.UNSURE and found.rule != "short_question":
        return Evidence.STATEMENT
    return Evidence.QUESTION if found.mark == "?" else Evidence.REQUEST


FIXED: Final = {Evidence.SURE: 0.97, Evidence.ANSWER: 0.87, Evidence.UNFINISHED: 0.05}
"""Probability of a whole turn where no head is asked."""
WITHOUT_HEAD: Final = {
    Evidence.QUESTION: 0.9,
    Evidence.REQUEST: 0.9,
    Evidence.STATEMENT: 0.55,
    Evidence.DOUBTED: 0.35,
    Evidence.LACKING: 0.05,
}
"""Probability of a whole turn by the rules alone."""
BIAS: Final = {
    Evidence.QUESTION: 0.4,
    Evidence.REQUEST: 0.01,
    Evidence.STATEMENT: -0.3,
    Evidence.DOUBTED: -0.72,
    Evidence.LACKING: -0.19,
}
HEAD_WEIGHT: Final = 0.97
UNMARKED: Final = -0.73
"""Log-odds of a whole turn, for words without a mark at their end."""
LENGTH_WEIGHT: Final = 0.84
"""Log-odds of a whole turn for each e-fold of voice over ``USUAL_LENGTH``: who has spoken for half
a second is seldom done, but for the short answers that the rules know. These weights are fitted by
logistic regression (ADR 49); docs/turns.md has their reliability on other words."""
USUAL_LENGTH: Final = 2.0
"""Seconds of voice that say nothing about the end of a turn."""
LENGTHS: Final = (1.0, 4.0)
"""Seconds of voice below and above which the length says no more."""
DOUBT: Final = 0.4
HIGHEST: Final = {Evidence.DOUBTED: DOUBT, Evidence.LACKING: 0.7}
"""Highest probability of a whole turn where the rules doubt what a head does not know."""
LOWEST: Final = {Evidence.QUESTION: 0.72, Evidence.STATEMENT: 0.55}
"""Lowest probability of a whole turn whose words end with a question mark and lack nothing: a head
that knows them badly would make the caller wait for a second or more. STATEMENT is a short question
that may go on: "Can you help me?"."""
MELODY_WEIGHT: Final = 0.5
"""Not fitted: smart-turn hears nothing in synthetic voices."""


def whole_probability(
    found: Completeness,
    ending: TurnEnding | None = None,
    melody: float | None = None,
    seconds_of_voice: float | None = None,
) -> float:
    """Probability that the turn is over, from 0 to 1.

    Args:
        found: the verdict of the rules.
        ending: the head's probabilities; None where the responder has no head.
        melody: the turn model's probability that the voice sounds over; None without one.
        seconds_of_voice: length of the turn without its pauses, if known; a head is needed for it.
    """
    kind = evidence(found)
    if kind in FIXED:
        return FIXED[kind]
    if ending is None:
        odds = _logit(WITHOUT_HEAD[kind])
    else:
        odds = BIAS[kind] + HEAD_WEIGHT * _logit(ending.over)
        odds += 0.0 if found.mark else UNMARKED
        odds += 0.0 if seconds_of_voice is None else LENGTH_WEIGHT * length(seconds_of_voice)
    if melody is not None:
        odds += MELODY_WEIGHT * _logit(melody)
    probability = 1.0 / (1.0 + math.exp(-odds))
    lowest = LOWEST.get(kind, 0.0) if found.mark == "?" else 0.0
    return max(min(probability, HIGHEST.get(kind, 1.0)), lowest)


def length(seconds_of_voice: float) -> float:
    """E-folds of voice over the usual length, within bounds."""
    shortest, longest = LENGTHS
    return math.log(min(max(seconds_of_voice, shortest), longest) / USUAL_LENGTH)


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

    def was_cut_off_after(self, seconds: float) -> None:
        """Note a pause that was taken for the end of a turn, and after which he went on.

        It is known for a pause for thought, and counts at once.
        """
        if SHORTEST <= seconds <= LONGEST_THOUGHT:
            self.pauses.extend([seconds] * ENOUGH)

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
LONGEST_THOUGHT: Final = 2.0
"""Seconds; after a longer silence the caller begins anew."""
USUAL: Final = 0.7
"""Seconds of a pause for thought that the endpoint delays are made for."""
LEAST_EXTRA: Final = 0.0
"""A quick caller is not cut off the sooner: the delays are calibrated, and gaps between words count
among his pauses."""
MOST_EXTRA: Final = 0.6
