"""Overlapping speech: the table that tells an interruption from a backchannel or noise.

The agent lowers its volume as soon as the caller's voice is detected and decides within a
fraction of a second. Speech that was dismissed is judged again until it ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from agent.turn_taking.backchannel import is_backchannel

LONG = 1.2
"""Seconds of speech from which on it is an interruption, whatever its transcript."""

GAP = 0.09
"""Seconds of silence that do not end speech yet."""

MADE_UP = frozenset(
    {"you", "bye", "thanks", "thank you", "thank you very much", "thanks for watching"}
)
"""Transcripts that Whisper produces for noise. Spoken in earnest, they need no quick answer."""


class Judgement(Enum):
    """The meaning of overlapping speech."""

    WAIT = auto()
    """Too early to tell."""
    NOTHING = auto()
    """A sound of agreement, a cough, noise: the agent goes on."""
    INTERRUPTION = auto()


class WordKind(Enum):
    """The kind of the caller's words, as far as they are known."""

    UNKNOWN = auto()
    NO_WORDS = auto()
    BACKCHANNEL = auto()
    WORDS = auto()


class VoiceState(Enum):
    """The duration of the caller's overlapping speech."""

    SHORT = auto()
    """Speech that goes on within the time to decide."""
    STEADY = auto()
    """Speech that goes on at the end of the time to decide."""
    LONG = auto()
    """Speech that is longer than a backchannel."""
    STOPPED = auto()
    """Speech that ended within the time to decide."""


JUDGEMENTS: dict[tuple[WordKind, VoiceState], Judgement] = {
    (WordKind.UNKNOWN, VoiceState.STEADY): Judgement.INTERRUPTION,
    (WordKind.UNKNOWN, VoiceState.LONG): Judgement.INTERRUPTION,
    (WordKind.UNKNOWN, VoiceState.STOPPED): Judgement.NOTHING,
    (WordKind.NO_WORDS, VoiceState.STEADY): Judgement.INTERRUPTION,
    (WordKind.NO_WORDS, VoiceState.LONG): Judgement.INTERRUPTION,
    (WordKind.NO_WORDS, VoiceState.STOPPED): Judgement.NOTHING,
    (WordKind.BACKCHANNEL, VoiceState.STEADY): Judgement.NOTHING,
    (WordKind.BACKCHANNEL, VoiceState.LONG): Judgement.INTERRUPTION,
    (WordKind.BACKCHANNEL, VoiceState.STOPPED): Judgement.NOTHING,
    (WordKind.WORDS, VoiceState.SHORT): Judgement.INTERRUPTION,
    (WordKind.WORDS, VoiceState.STEADY): Judgement.INTERRUPTION,
    (WordKind.WORDS, VoiceState.LONG): Judgement.INTERRUPTION,
    (WordKind.WORDS, VoiceState.STOPPED): Judgement.INTERRUPTION,
}
"""The judgement by words and duration; a pair that is not listed is ``WAIT``."""


def classify(words: str | None) -> WordKind:
    """The kind of ``words``; None stands for words that are not known yet."""
    if words is None:
        return WordKind.UNKNOWN
    plain = " ".join(re.findall(r"\w+", words.lower()))
    if not plain or plain in MADE_UP:
        return WordKind.NO_WORDS
    return WordKind.BACKCHANNEL if is_backchannel(words) else WordKind.WORDS


@dataclass(slots=True)
class Overlap:
    """The caller's speech while the agent speaks.

    Attributes:
        turn: id of the caller's turn.
        began: start of the speech, in seconds of the caller's sound.
        noticed: position at which it was detected, in the same seconds.
        words: its transcript so far; None before there is one.
        dismissed: whether it was judged to be no interruption; the agent speaks on.
    """

    turn: int
    began: float
    noticed: float
    words: str | None = None
    dismissed: bool = False

    def judge(self, position: float, speech_end: float, within: float) -> Judgement:
        """Judge the speech at ``position``.

        Args:
            position: seconds of the caller's sound received so far.
            speech_end: end of the last speech in it, in seconds.
            within: the time to decide, in seconds since the speech was detected.
        """
        sounding = self._sounding(position, speech_end, within)
        return JUDGEMENTS.get((classify(self.words), sounding), Judgement.WAIT)

    def _sounding(self, position: float, speech_end: float, within: float) -> VoiceState:
        if speech_end - self.began >= LONG:
            return VoiceState.LONG
        due = position - self.noticed >= within
        if due and position - speech_end >= GAP:
            return VoiceState.STOPPED
        return VoiceState.STEADY if due else VoiceState.SHORT
