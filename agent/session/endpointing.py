"""Endpointing: the pause that ends a turn, by the client's settings and the words before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.config.settings import TurnSettings
from agent.reply import TurnEnding
from agent.session.events import Configure
from agent.turn_taking.addressee import DOUBT, SURE, others_probability
from agent.turn_taking.completeness import LANGUAGE, TurnVerdict, completeness
from agent.turn_taking.ending import CallerPace, between, whole_probability


@dataclass(frozen=True, slots=True)
class EndpointDelays:
    """Seconds of silence that end a turn, by the verdict on its words."""

    complete: float
    unsure: float
    incomplete: float

    @classmethod
    def of(cls, settings: TurnSettings) -> EndpointDelays:
        """The delays of the server's settings."""
        return cls(settings.complete_delay, settings.endpoint_delay, settings.incomplete_delay)

    def after(self, verdict: TurnVerdict) -> float:
        """The delay in seconds for a verdict."""
        return {
            TurnVerdict.COMPLETE: self.complete,
            TurnVerdict.UNSURE: self.unsure,
            TurnVerdict.INCOMPLETE: self.incomplete,
        }[verdict]

    def at(self, probability: float, extra: float = 0.0) -> float:
        """The delay in seconds for a probability that the turn is over.

        Args:
            extra: seconds that a doubtful pause may last longer, by the caller's pace; a sure
                end is not delayed by it.
        """
        longer = self.incomplete - self.unsure
        points = (
            (0.0, self.incomplete),
            (UNLIKELY, self.unsure + UNLIKELY_SHARE * longer),
            (EVEN, self.unsure + EVEN_SHARE * longer),
            (LIKELY, (self.complete + self.unsure) / 2),
            (SURE_END, self.complete),
            (SUREST, SHORTEST_SHARE * self.complete),
            (1.0, SHORTEST_SHARE * self.complete),
        )
        return between(points, probability) + extra * min(1.0, 2.0 * (1.0 - probability))


UNLIKELY: Final = 0.4
EVEN: Final = 0.55
LIKELY: Final = 0.72
SURE_END: Final = 0.87
SUREST: Final = 0.95
"""Probabilities that a turn is over at which the delay turns; it is linear between them."""
UNLIKELY_SHARE: Final = 0.85
EVEN_SHARE: Final = 0.3
"""Shares of the way from the unsure to the incomplete delay that such a turn waits."""
FOR_OTHERS: Final = 1.0
"""Seconds that words wait beyond the incomplete delay if they may be meant for others."""
SHORTEST_SHARE: Final = 0.6
"""Share of the complete delay that the surest ends wait: 0.18 s."""

EAGERNESS: Final[Mapping[str, EndpointDelays]] = {
    "low": EndpointDelays(0.5, 1.2, 3.0),
    "high": EndpointDelays(0.2, 0.5, 1.2),
}
"""Delays by the client's ``eagerness``; ``medium`` and ``auto`` stand for the server's settings."""

SOUNDS_OVER: Final = 0.5
"""The turn model's probability from which a turn is over, as its makers set it."""


def verdict_of(
    words: str, seconds_of_speech: float, end_probability: float, language: str = LANGUAGE
) -> TurnVerdict:
    """The verdict on a turn at a pause: by its words and, where they are unsure, the turn model.

    Args:
        seconds_of_speech: from the first to the last speech of the turn.
        end_probability: the turn model's probability that the turn is over, from 0 to 1.
        language: of the words, by its ISO 639-1 code.
    """
    verdict = completeness(words, seconds_of_speech, language).verdict
    unsure = verdict is TurnVerdict.UNSURE
    return TurnVerdict.COMPLETE if unsure and end_probability >= SOUNDS_OVER else verdict


@dataclass(slots=True)
class Endpointing:
    """The endpoint delays of one call; its client may change them.

    Attributes:
        settings: the server's settings.
        language: the recogniser's language.
        semantic: whether the words of a turn help to decide when it is over.
        pace: the caller's own pauses within turns.
    """

    settings: TurnSettings
    language: str
    semantic: bool = field(init=False)
    pace: CallerPace = field(init=False)
    _silence: float = field(init=False)
    """Seconds of silence that end a turn where its words do not help."""
    _delays: EndpointDelays = field(init=False)

    def __post_init__(self) -> None:
        self.semantic = self.settings.detection == "semantic_vad"
        self._silence = self.settings.endpoint_delay
        self._delays = EndpointDelays.of(self.settings)
        self.pace = CallerPace()

    def configure(self, change: Configure) -> None:
        """Apply the client's settings; those that it leaves out stay as they are."""
        if change.semantic is not None:
            self.semantic = change.semantic
        if change.endpoint_delay is not None:
            self._silence = change.endpoint_delay
        if change.eagerness is not None:
            self._delays = EAGERNESS.get(change.eagerness, EndpointDelays.of(self.settings))

    @property
    def default_delay(self) -> float:
        """Seconds of silence that end a turn whose words were not asked for."""
        return self._delays.unsure if self.semantic else self._silence

    @property
    def delay_for_words(self) -> float:
        """Seconds of silence that end a turn whose transcript is still being decoded."""
        return max(self.default_delay, self._delays.incomplete)

    def delay_after(
        self,
        words: str,
        seconds_of_speech: float,
        end_probability: float,
        ending: TurnEnding | None = None,
        seconds_of_voice: float | None = None,
    ) -> float:
        """Seconds of silence that end a turn with these words; see `verdict_of`.

        With what a responder's head says (``ending``), the delay follows the probability that
        the turn is over, and the pace of the caller.

        Args:
            seconds_of_voice: length of the turn without its pauses, if known.
        """
        if not self.semantic:
            return self.default_delay
        if DOUBT <= self.to_others(words, ending) < SURE:
            return self._delays.incomplete + FOR_OTHERS
        if ending is not None:
            found = completeness(words, seconds_of_speech, self.language)
            melody = end_probability if self.settings.turn_model == "smart-turn" else None
            probability = whole_probability(found, ending, melody, seconds_of_voice)
            return self._delays.at(probability, self.pace.extra)
        return self._delays.after(
            verdict_of(words, seconds_of_speech, end_probability, self.language)
        )

    def to_others(self, words: str, ending: TurnEnding | None) -> float:
        """Probability that the words are not meant for the agent; 0 where nobody is to ask."""
        if not (self.semantic and self.settings.asides):
            return 0.0
        return others_probability(words, ending, self.language)

    def expects_more(self, words: str) -> bool:
        """Whether the words are plainly incomplete."""
        return completeness(words, language=self.language).verdict is TurnVerdict.INCOMPLETE
