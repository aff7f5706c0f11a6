"""How long a pause may be: by what the client wishes, and by the words before the pause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.config.settings import TurnSettings
from agent.session.events import Configure
from agent.turn_taking.completeness import LANGUAGE, TurnVerdict, completeness


@dataclass(frozen=True, slots=True)
class EndpointDelays:
    """Seconds of silence that end a turn, by the verdict on its words."""

    complete: float
    unsure: float
    incomplete: float

    @classmethod
    def of(cls, settings: TurnSettings) -> EndpointDelays:
        """As the server is configured."""
        return cls(settings.complete_delay, settings.endpoint_delay, settings.incomplete_delay)

    def after(self, verdict: TurnVerdict) -> float:
        return {
            TurnVerdict.COMPLETE: self.complete,
            TurnVerdict.UNSURE: self.unsure,
            TurnVerdict.INCOMPLETE: self.incomplete,
        }[verdict]


EAGERNESS: Final[Mapping[str, EndpointDelays]] = {
    "low": EndpointDelays(0.5, 1.2, 3.0),
    "high": EndpointDelays(0.2, 0.5, 1.2),
}
"""What a client may ask for; ``medium`` and ``auto`` are what the server is configured to."""

SOUNDS_OVER: Final = 0.5
"""The turn model's probability from which on a turn is over, by its makers."""


def verdict_of(
    words: str, seconds_of_speech: float, end_probability: float, language: str = LANGUAGE
) -> TurnVerdict:
    """The verdict of the words and, where they leave it open, of the turn model."""
    verdict = completeness(words, seconds_of_speech, language).verdict
    unsure = verdict is TurnVerdict.UNSURE
    return TurnVerdict.COMPLETE if unsure and end_probability >= SOUNDS_OVER else verdict


@dataclass(slots=True)
class Endpointing:
    """Of one call; its client may change it."""

    settings: TurnSettings
    """The server's."""
    language: str
    """Of the recogniser."""
    semantic: bool = field(init=False)
    """Whether the words have a say."""
    _silence: float = field(init=False)
    """Ends a turn when they have none."""
    _delays: EndpointDelays = field(init=False)

    def __post_init__(self) -> None:
        self.semantic = self.settings.detection == "semantic_vad"
        self._silence = self.settings.endpoint_delay
        self._delays = EndpointDelays.of(self.settings)

    def configure(self, change: Configure) -> None:
        """Take what the client says; what it leaves out stays."""
        if change.semantic is not None:
            self.semantic = change.semantic
        if change.endpoint_delay is not None:
            self._silence = change.endpoint_delay
        if change.eagerness is not None:
            self._delays = EAGERNESS.get(change.eagerness, EndpointDelays.of(self.settings))

    @property
    def default_delay(self) -> float:
        """Seconds, as long as nobody asked for the words."""
        return self._delays.unsure if self.semantic else self._silence

    @property
    def delay_for_words(self) -> float:
        """Seconds to wait for words that were asked for: without them there is no answer yet."""
        return max(self.default_delay, self._delays.incomplete)

    def delay_after(self, words: str, seconds_of_speech: float, end_probability: float) -> float:
        """Seconds, once the words are known.

        Args:
            end_probability: the turn model's probability that the turn is over; asked where the words
                leave it open.
        """
        if not self.semantic:
            return self.default_delay
        return self._delays.after(
            verdict_of(words, seconds_of_speech, end_probability, self.language)
        )

    def expects_more(self, words: str) -> bool:
        """Whether the words are plainly not all."""
        return completeness(words, language=self.language).verdict is TurnVerdict.INCOMPLETE
