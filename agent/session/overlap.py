"""Overlapping speech: the table that tells an interruption from a backchannel or noise.

The agent lowers its volume as soon as the caller's voice is detected and decides within a
fraction of a second. Speech that was dismissed is judged again until it ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from agent.turn_taking.addressee import speaks_to_others
from agent.turn_taking.backchannel import (
    is_backchannel,
    is_hesitation_in_words,
    is_hum,
    is_hum_in_words,
)
from agent.turn_taking.completeness import LANGUAGE, is_whole_request
from agent.turn_taking.floor import FloorRequest
from agent.turn_taking.floor_languages import floor_request_in
from agent.turn_taking.openings import takes_floor
from agent.turn_taking.own_words import is_own

LONG = 1.2
"""Seconds of speech from which on it is an interruption, whatever its transcript."""

LASTING = 2.5
"""Seconds of sound without known words from which on a reply is no longer held back for it."""

WORDLESS_PATIENCE = 2.0
"""Times to decide after which a voice without known words interrupts by going on. Words are known
after about one; "mm-hmm" and a cough last longer than that, and have none. In between the agent
goes on speaking."""

GAP = 0.09
"""Seconds of silence that do not end speech yet."""

TRANSCRIBED = 0.35
"""Seconds of silence after guessed words within which their transcript is awaited."""

AGREED = 0.3
"""Seconds of sound over which glances must begin with the same word until it is believed."""

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
    FURTHER_QUESTION = auto()
    """A second question before the first has its answer: both are answered, in turn."""


class WordKind(Enum):
    """The kind of the caller's words, as far as they are known."""

    UNKNOWN = auto()
    GUESS = auto()
    """Words that a glance may have made of anything: a backchannel, too."""
    NO_WORDS = auto()
    BACKCHANNEL = auto()
    ASIDE = auto()
    """Words to somebody beside the caller: "honey, ..."."""
    ATTENTION = auto()
    """"Hello?", "are you there?": the caller asks whether anybody listens."""
    REQUEST = auto()
    """A question or command that is whole by itself."""
    WORDS = auto()
    """Other words, and words about the floor such as "stop"."""
    OWN = auto()
    """The agent's own words of that moment, which the microphone returned."""


class VoiceState(Enum):
    """The duration of the caller's overlapping speech."""

    SHORT = auto()
    """Speech that goes on within the time to decide."""
    GOING_ON = auto()
    """Speech without known words that goes on at the end of the time to decide."""
    STEADY = auto()
    """Speech that goes on at the end of the time to decide, or of twice that without words."""
    LONG = auto()
    """Speech that is longer than a backchannel."""
    ENDING = auto()
    """Guessed words that have just ended: the words up to their end are about to be known."""
    STOPPED = auto()
    """Speech that ended within the time to decide."""


class Evidence(Enum):
    """What is known of speech over a reply of which nothing was heard yet."""

    EARLY = auto()
    """Neither its words nor that it lasts."""
    LASTING = auto()
    """It goes on for long, and its words are not final."""
    FINAL = auto()
    """Its words up to a pause."""


JUDGEMENTS: dict[tuple[WordKind, VoiceState], Judgement] = {
    (WordKind.UNKNOWN, VoiceState.GOING_ON): Judgement.NOTHING,
    (WordKind.UNKNOWN, VoiceState.STEADY): Judgement.INTERRUPTION,
    (WordKind.UNKNOWN, VoiceState.LONG): Judgement.INTERRUPTION,
    (WordKind.UNKNOWN, VoiceState.STOPPED): Judgement.NOTHING,
    (WordKind.GUESS, VoiceState.STEADY): Judgement.WAIT,
    (WordKind.GUESS, VoiceState.LONG): Judgement.INTERRUPTION,
    (WordKind.GUESS, VoiceState.STOPPED): Judgement.NOTHING,
    (WordKind.NO_WORDS, VoiceState.GOING_ON): Judgement.NOTHING,
    (WordKind.NO_WORDS, VoiceState.STEADY): Judgement.INTERRUPTION,
    (WordKind.NO_WORDS, VoiceState.LONG): Judgement.INTERRUPTION,
    (WordKind.NO_WORDS, VoiceState.STOPPED): Judgement.NOTHING,
    (WordKind.BACKCHANNEL, VoiceState.STEADY): Judgement.NOTHING,
    (WordKind.BACKCHANNEL, VoiceState.LONG): Judgement.INTERRUPTION,
    (WordKind.BACKCHANNEL, VoiceState.STOPPED): Judgement.NOTHING,
    (WordKind.ASIDE, VoiceState.STEADY): Judgement.NOTHING,
    (WordKind.ASIDE, VoiceState.LONG): Judgement.NOTHING,
    (WordKind.ASIDE, VoiceState.STOPPED): Judgement.NOTHING,
    (WordKind.WORDS, VoiceState.SHORT): Judgement.INTERRUPTION,
    (WordKind.WORDS, VoiceState.GOING_ON): Judgement.INTERRUPTION,
    (WordKind.WORDS, VoiceState.STEADY): Judgement.INTERRUPTION,
    (WordKind.WORDS, VoiceState.LONG): Judgement.INTERRUPTION,
    (WordKind.WORDS, VoiceState.STOPPED): Judgement.INTERRUPTION,
}
"""The judgement by words and duration; a pair that is not listed is ``WAIT``."""
JUDGEMENTS |= {
    (kind, voice): JUDGEMENTS[WordKind.WORDS, voice]
    for kind in (WordKind.ATTENTION, WordKind.REQUEST)
    for voice in VoiceState
    if voice is not VoiceState.ENDING
}

JUDGEMENTS |= {(WordKind.OWN, voice): Judgement.NOTHING for voice in VoiceState}
UNSETTLED_JUDGEMENTS: dict[tuple[WordKind, VoiceState], Judgement] = {
    (kind, voice): Judgement.NOTHING if voice is VoiceState.STOPPED else Judgement.WAIT
    for kind in (WordKind.UNKNOWN, WordKind.GUESS, WordKind.NO_WORDS)
    for voice in VoiceState
}
"""The same, in place of ``JUDGEMENTS``, while the client's echo cancellation has not settled: a
voice without words may be the agent's own."""

UNHEARD_JUDGEMENTS: dict[tuple[WordKind, Evidence], Judgement] = {
    (WordKind.UNKNOWN, Evidence.LASTING): Judgement.NOTHING,
    (WordKind.GUESS, Evidence.LASTING): Judgement.NOTHING,
    (WordKind.NO_WORDS, Evidence.LASTING): Judgement.NOTHING,
    (WordKind.NO_WORDS, Evidence.FINAL): Judgement.NOTHING,
    (WordKind.BACKCHANNEL, Evidence.FINAL): Judgement.NOTHING,
    (WordKind.ASIDE, Evidence.FINAL): Judgement.NOTHING,
    (WordKind.ATTENTION, Evidence.FINAL): Judgement.NOTHING,
    (WordKind.REQUEST, Evidence.FINAL): Judgement.FURTHER_QUESTION,
}
"""The same where nothing of the reply was heard yet: the agent is silent and has nothing to yield,
so that it goes on generating and waits for the end of the words. A pair that is not listed is
``WAIT``."""


def classify(words: str | None, language: str = LANGUAGE) -> WordKind:
    """The kind of ``words``; None stands for words that are not known yet.

    Asides and requests are known in English only.
    """
    if words is None:
        return WordKind.UNKNOWN
    plain = " ".join(re.findall(r"\w+", words.lower()))
    if not plain or plain in MADE_UP:
        return WordKind.NO_WORDS
    if is_backchannel(words):
        return WordKind.BACKCHANNEL
    if language == LANGUAGE and speaks_to_others(words):
        return WordKind.ASIDE
    if floor_request_in(words, language) is FloorRequest.ATTENTION:
        return WordKind.ATTENTION
    return WordKind.REQUEST if is_whole_request(words, language) else WordKind.WORDS


CONTENT = (WordKind.REQUEST, WordKind.WORDS)
MEANT = (*CONTENT, WordKind.ATTENTION)
WORDLESS = (WordKind.UNKNOWN, WordKind.GUESS, WordKind.NO_WORDS)
HUM_SECONDS = 0.7
"""Seconds of voice; "mm-hmm" takes 0.45 to 0.64."""
HUM = "mm"
"""The words of a hum, whatever a glance makes of it."""
HESITATION = "um"
"""The words of a hesitation, whatever a glance makes of it."""
FLOOR = (FloorRequest.STOP, FloorRequest.WAIT)
"""Words about the floor that take it."""


def begin_alike(words: str, earlier: str | None, count: int = 1) -> bool:
    """Whether both begin with the same ``count`` words."""
    first, before = (re.findall(r"\w+", text.lower())[:count] for text in (words, earlier or ""))
    return len(first) == count and first == before


@dataclass(slots=True)
class Overlap:
    """The caller's speech while the agent speaks.

    Attributes:
        turn: id of the caller's turn.
        began: start of the speech, in seconds of the caller's sound.
        noticed: position at which it was detected, in the same seconds.
        language: the recogniser's language.
        unheard: whether nothing of the reply had been heard when the speech began.
        follows_whole: whether the turn that the reply answers was whole by itself.
        words: its transcript so far; None before there is one.
        final: whether ``words`` are those up to a pause.
        hummed: whether the last glance at it was a hum.
        alike_since: position since which glances have content and begin alike; None: they do not.
        opened_since: position since which glances begin with the same sign of listening.
        believed: whether the first of ``words`` can be believed.
        dismissed: whether it was judged to be no interruption; the agent speaks on.
        unsettled: whether the client's echo cancellation may not have settled yet.
        own: what the agent said meanwhile.
    """

    turn: int
    began: float
    noticed: float
    language: str = LANGUAGE
    unheard: bool = False
    follows_whole: bool = False
    words: str | None = None
    final: bool = False
    hummed: bool = False
    alike_since: float | None = None
    opened_since: float | None = None
    believed: bool = True
    dismissed: bool = False
    unsettled: bool = False
    own: str = ""

    def hear(self, words: str, *, final: bool, seconds: float = LONG) -> None:
        """Take its transcript so far, or up to a pause (``final``), after ``seconds`` of voice.

        A short sound that the last glance took for a hum stays one: of "mm-hmm" the last words may
        be "In a month.".
        """
        short = final and seconds < HUM_SECONDS and self.language == LANGUAGE
        kept = self.hummed and not takes_floor(words)
        self.words = HUM if short and (kept or is_hum_in_words(words)) else words
        self.final, self.believed = final, True

    def glimpse(self, guess: str, position: float) -> None:
        """Take a glance at its first words, up to ``position``.

        One that begins as only a caller does who takes the floor is believed, and one that begins
        like those before it over ``AGREED`` seconds. Where these began as a sign of listening does
        ("Okay.", "Okay, I'd"), the second that goes on in the same way is believed.
        """
        if self.final:
            return  # it was begun before the pause whose words are known
        self.hummed = is_hum(guess)
        words = self._sound_of(guess)
        earlier, self.words, self.final = self.words, words, False
        kind, alike = classify(words, self.language), begin_alike(words, earlier)
        goes_on = self.alike_since is not None and begin_alike(words, earlier, 2)
        if not alike:
            # A hum is often misheard twice alike: only a word is a sign.
            sign = kind is WordKind.BACKCHANNEL and words not in (HUM, HESITATION)
            self.opened_since = position if sign else None
        if kind not in MEANT:
            self.alike_since = None
        elif self.alike_since is None or not alike:
            self.alike_since = position
        agreed = self.alike_since is not None and position - self.alike_since >= AGREED
        opened = self.opened_since is not None and position - self.opened_since >= AGREED
        self.believed = agreed or (opened and goes_on) or self._takes_floor(words)

    def _sound_of(self, guess: str) -> str:
        """The words of a glance, or those of the sound that Whisper made them of."""
        if self.hummed or is_hum_in_words(guess):
            return HUM
        hesitates = self.language == LANGUAGE and is_hesitation_in_words(guess)
        return HESITATION if hesitates and not takes_floor(guess) else guess

    def _takes_floor(self, words: str) -> bool:
        if self.language == LANGUAGE:
            return takes_floor(words)
        return floor_request_in(words, self.language) in FLOOR

    @property
    def kind(self) -> WordKind:
        """The kind of its words."""
        if self.words is not None and is_own(self.words, self.own):
            return WordKind.OWN
        kind = classify(self.words, self.language)
        return WordKind.GUESS if kind in MEANT and not self.believed else kind

    def judge(
        self, position: float, speech_end: float, within: float, *, heard: bool = False
    ) -> Judgement:
        """Judge the speech at ``position``.

        Args:
            position: seconds of the caller's sound received so far.
            speech_end: end of the last speech in it, in seconds.
            within: the time to decide, in seconds since the speech was detected.
            heard: whether some of the reply has been heard by now.
        """
        kind = self.kind
        if not self.unheard or (heard and kind in CONTENT):
            sounding = self._sounding(position, speech_end, within, kind)
            if self.unsettled and (kind, sounding) in UNSETTLED_JUDGEMENTS:
                return UNSETTLED_JUDGEMENTS[kind, sounding]
            return JUDGEMENTS.get((kind, sounding), Judgement.WAIT)
        if kind is WordKind.REQUEST and not self.follows_whole:
            kind = WordKind.WORDS
        return UNHEARD_JUDGEMENTS.get((kind, self._evidence(speech_end)), Judgement.WAIT)

    def _evidence(self, speech_end: float) -> Evidence:
        if self.final:
            return Evidence.FINAL
        return Evidence.LASTING if speech_end - self.began >= LASTING else Evidence.EARLY

    def _sounding(
        self, position: float, speech_end: float, within: float, kind: WordKind
    ) -> VoiceState:
        if speech_end - self.began >= LONG:
            return VoiceState.LONG
        since, silence = position - self.noticed, position - speech_end
        if since >= within and silence >= GAP:
            awaited = kind is WordKind.GUESS and silence < TRANSCRIBED
            return VoiceState.ENDING if awaited else VoiceState.STOPPED
        patience = WORDLESS_PATIENCE if kind in WORDLESS else 1.0
        if since >= patience * within:
            return VoiceState.STEADY
        return VoiceState.GOING_ON if since >= within else VoiceState.SHORT
