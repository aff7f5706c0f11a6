"""Detection of turns: start, pause, resumption and end, by one table of state transitions.

The detector counts in seconds of received sound, not in wall-clock time, so that jitter on
the line moves neither a start nor an end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from agent.config.settings import TurnSettings


class TurnState(Enum):
    """The states of a turn."""

    QUIET = auto()
    """Nobody speaks."""
    ONSET = auto()
    """Sound like speech, not long enough yet to be a turn."""
    SPEAKING = auto()
    PAUSED = auto()
    """Silence after speech; the turn may go on."""
    RESUMING = auto()
    """Sound in a pause, not long enough yet to be speech again; the pause runs on."""


class TurnEvent(Enum):
    """The change that a frame made."""

    BEGAN = auto()
    PAUSED = auto()
    RESUMED = auto()
    ENDED = auto()


class FrameKind(Enum):
    """A frame, by its speech probability and the time spent in the state."""

    SPEECH = auto()
    """At or above the threshold."""
    ENOUGH = auto()
    """Speech that has lasted for ``min_speech`` by now."""
    SILENCE = auto()
    """Below the release threshold."""
    EXPIRED = auto()
    """Silence, and the pause is long enough; or the turn is too long."""
    BETWEEN = auto()
    """Between release and threshold: hysteresis, nothing changes."""


TRANSITIONS: dict[tuple[TurnState, FrameKind], tuple[TurnState, TurnEvent | None]] = {
    (TurnState.QUIET, FrameKind.SPEECH): (TurnState.ONSET, None),
    (TurnState.QUIET, FrameKind.ENOUGH): (TurnState.SPEAKING, TurnEvent.BEGAN),
    (TurnState.ONSET, FrameKind.ENOUGH): (TurnState.SPEAKING, TurnEvent.BEGAN),
    (TurnState.ONSET, FrameKind.SILENCE): (TurnState.QUIET, None),
    (TurnState.SPEAKING, FrameKind.SILENCE): (TurnState.PAUSED, TurnEvent.PAUSED),
    (TurnState.SPEAKING, FrameKind.EXPIRED): (TurnState.QUIET, TurnEvent.ENDED),
    (TurnState.PAUSED, FrameKind.SPEECH): (TurnState.RESUMING, None),
    (TurnState.PAUSED, FrameKind.ENOUGH): (TurnState.SPEAKING, TurnEvent.RESUMED),
    (TurnState.PAUSED, FrameKind.EXPIRED): (TurnState.QUIET, TurnEvent.ENDED),
    (TurnState.RESUMING, FrameKind.ENOUGH): (TurnState.SPEAKING, TurnEvent.RESUMED),
    (TurnState.RESUMING, FrameKind.SILENCE): (TurnState.PAUSED, None),
    (TurnState.RESUMING, FrameKind.EXPIRED): (TurnState.QUIET, TurnEvent.ENDED),
}
"""Every change of state; a pair that is not listed changes nothing."""


@dataclass(slots=True)
class TurnDetector:
    """Detects turns from the speech probabilities of frames.

    Positions are seconds of the caller's sound since the call began.

    Attributes:
        delay: seconds of silence that end the turn (endpoint delay); it may be changed at any
            time.
        began: start of the onset or of the turn.
        speech_end: end of the last speech in the turn.
        set_in: start of the sound that is or may become speech.
        last_pause: seconds of the last pause after which the caller went on.
    """

    settings: TurnSettings
    delay: float = field(init=False)
    state: TurnState = TurnState.QUIET
    began: float = 0.0
    speech_end: float = 0.0
    set_in: float = 0.0
    last_pause: float = 0.0

    def __post_init__(self) -> None:
        self.delay = self.settings.endpoint_delay

    def frame(self, probability: float, start: float, end: float) -> TurnEvent | None:
        """Take one frame from ``start`` to ``end``; returns the change that it made."""
        if self.state is TurnState.QUIET:
            self.began = start
        if self.state in (TurnState.QUIET, TurnState.PAUSED):
            self.set_in = start
        event = self._change(self._kind(probability, end))
        if event is TurnEvent.RESUMED:
            self.last_pause = self.set_in - self.speech_end
        if self.state is TurnState.SPEAKING:
            self.speech_end = end
        return event

    def expire(self, position: float) -> TurnEvent | None:
        """End the turn if its pause is as long as the delay by ``position``."""
        if self.state is TurnState.PAUSED and self.pause(position) >= self.delay:
            return self._change(FrameKind.EXPIRED)
        return None

    def pause(self, position: float) -> float:
        """Seconds of silence between the last speech and ``position``."""
        return position - self.speech_end

    def _change(self, kind: FrameKind) -> TurnEvent | None:
        self.state, event = TRANSITIONS.get((self.state, kind), (self.state, None))
        return event

    def _kind(self, probability: float, end: float) -> FrameKind:
        settings = self.settings
        if self.open and end - self.began >= settings.max_turn:
            return FrameKind.EXPIRED
        if probability >= settings.threshold:
            enough = end - self.set_in >= settings.min_speech
            return FrameKind.ENOUGH if enough else FrameKind.SPEECH
        if self.state is TurnState.PAUSED:
            # Only a frame above the threshold resumes; frames of the hysteresis extend the pause.
            expired = self.pause(end) >= self.delay
            return FrameKind.EXPIRED if expired else FrameKind.SILENCE
        return FrameKind.SILENCE if probability < settings.release else FrameKind.BETWEEN

    @property
    def open(self) -> bool:
        """Whether a turn has begun and not ended."""
        return self.state not in (TurnState.QUIET, TurnState.ONSET)

    @property
    def paused(self) -> bool:
        """Whether the caller is silent within a turn."""
        return self.state in (TurnState.PAUSED, TurnState.RESUMING)

    def reset(self) -> None:
        """Return to ``QUIET``."""
        self.state = TurnState.QUIET
