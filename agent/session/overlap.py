"""Both speak: is the caller interrupting, or only saying "mhm"? One table.

The agent turns itself down as soon as it hears something and decides within a fraction of a
second. What it takes for nothing stays under observation until it is over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from agent.turn_taking.backchannel import is_backchannel

LONG = 1.2
"""Seconds of speech that are more than a backchannel, whatever the recogniser made of it."""

GAP = 0.09
"""Silence within speech that is no end of it."""

MADE_UP = frozenset(
    {"you", "bye", "thanks", "thank you", "thank you very much", "thanks for watching"}
)
"""What Whisper writes for noise. WordKind in earnest over the agent's voice, it can wait too."""


class Judgement(Enum):
    WAIT = auto()
    """Too early to tell."""
    NOTHING = auto()
    """A sound of agreement, a cough, noise: the agent goes on."""
    INTERRUPTION = auto()


class WordKind(Enum):
    """What the words are, as far as they are known."""

    UNKNOWN = auto()
    NO_WORDS = auto()
    BACKCHANNEL = auto()
    WORDS = auto()


class VoiceState(Enum):
    """The caller's voice."""

    SHORT = auto()
    """Speaks, and the time to decide is not over."""
    STEADY = auto()
    """Speaks, and it is."""
    LONG = auto()
    """Has spoken for longer than a backchannel takes."""
    STOPPED = auto()
    """Was silent again before the time to decide was over."""


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
"""What is not listed is too early to tell."""


def classify(words: str | None) -> WordKind:
    """Sort words; None stands for words that are not known yet."""
    if words is None:
        return WordKind.UNKNOWN
    plain = " ".join(re.findall(r"\w+", words.lower()))
    if not plain or plain in MADE_UP:
        return WordKind.NO_WORDS
    return WordKind.BACKCHANNEL if is_backchannel(words) else WordKind.WORDS


@dataclass(slots=True)
class Overlap:
    """One attempt of the caller to say something while the agent speaks."""

    turn: int
    began: float
    """Its start, seconds of the caller's sound."""
    noticed: float
    """When it was noticed, in the same seconds."""
    words: str | None = None
    """What was understood so far."""
    dismissed: bool = False
    """Taken for nothing; the agent speaks on."""

    def judge(self, position: float, speech_end: float, within: float) -> Judgement:
        """Decide at ``position`` seconds of sound, of which speech reaches to ``speech_end``."""
        sounding = self._sounding(position, speech_end, within)
        return JUDGEMENTS.get((classify(self.words), sounding), Judgement.WAIT)

    def _sounding(self, position: float, speech_end: float, within: float) -> VoiceState:
        if speech_end - self.began >= LONG:
            return VoiceState.LONG
        due = position - self.noticed >= within
        if due and position - speech_end >= GAP:
            return VoiceState.STOPPED
        return VoiceState.STEADY if due else VoiceState.SHORT
