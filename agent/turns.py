"""Has the caller begun, paused, ended? One table of states; time is the caller's sound.

The detector counts in seconds of received sound, not in wall-clock time, so jitter on
the line moves neither a start nor an end.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from agent.config import TurnSettings


class TurnState(Enum):
    """The life of a turn."""

    QUIET = auto()
    """Nobody speaks."""
    ONSET = auto()
    """Sound like speech, not long enough yet to be a turn."""
    SPEAKING = auto()
    PAUSED = auto()
    """Silence after speech; the turn may go on."""


class TurnEvent(Enum):
    """What a frame changed."""

    BEGAN = auto()
    PAUSED = auto()
    RESUMED = auto()
    ENDED = auto()


class FrameKind(Enum):
    """A frame, by its speech probability and the time spent in the state."""

    SPEECH = auto()
    """At or above the threshold."""
    ENOUGH = auto()
    """Speech, and the onset is long enough."""
    SILENCE = auto()
    """Under the release."""
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
    (TurnState.PAUSED, FrameKind.SPEECH): (TurnState.SPEAKING, TurnEvent.RESUMED),
    (TurnState.PAUSED, FrameKind.EXPIRED): (TurnState.QUIET, TurnEvent.ENDED),
}
"""Every change of state. What is not listed changes nothing."""


@dataclass(slots=True)
class TurnDetector:
    """Frames in, turn events out."""

    settings: TurnSettings
    state: TurnState = TurnState.QUIET
    began: float = 0.0
    """Start of the onset or turn, seconds of sound since the call began."""
    speech_end: float = 0.0
    """End of the last speech in the turn."""

    def frame(self, probability: float, start: float, end: float) -> TurnEvent | None:
        """Take one frame that spans ``start`` to ``end`` seconds of the call's sound."""
        before = self.state
        if before is TurnState.QUIET:
            self.began = start
        kind = self._kind(probability, end)
        self.state, event = TRANSITIONS.get((before, kind), (before, None))
        if self.state is TurnState.SPEAKING:
            self.speech_end = end
        return event

    def _kind(self, probability: float, end: float) -> FrameKind:
        settings = self.settings
        if self.open and end - self.began >= settings.max_turn:
            return FrameKind.EXPIRED
        if probability >= settings.threshold:
            waiting = self.state in (TurnState.QUIET, TurnState.ONSET)
            enough = waiting and end - self.began >= settings.min_speech
            return FrameKind.ENOUGH if enough else FrameKind.SPEECH
        if self.state is TurnState.PAUSED:
            # Only a frame above the threshold resumes: the pause runs on through the hysteresis.
            expired = end - self.speech_end >= settings.endpoint_delay
            return FrameKind.EXPIRED if expired else FrameKind.SILENCE
        return FrameKind.SILENCE if probability < settings.release else FrameKind.BETWEEN

    @property
    def open(self) -> bool:
        """Whether a turn has begun and not ended."""
        return self.state in (TurnState.SPEAKING, TurnState.PAUSED)

    def reset(self) -> None:
        """Back to nobody speaking."""
        self.state = TurnState.QUIET
