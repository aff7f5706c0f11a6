"""What arrives during one turn, until it is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.audio.samples import AUDIBLE_DBFS, first_above
from agent.latency.line import Line
from agent.latency.wire import (
    Arrival,
    Fault,
    Hush,
    ReplyBegan,
    ReplyEnded,
    ServerSpans,
    Sound,
    SpeechStarted,
    SpeechStopped,
    WordsHeard,
)

MIN_GAP = 0.01
"""Sound that comes less late than this, in seconds, is no gap."""
SETTLE_SECONDS = 1.0
"""Silence that ends a reply where the agent does not tell."""


@dataclass(slots=True)
class TurnLog:
    """One turn on ``line``."""

    line: Line
    heard: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    stats: Mapping[str, float] = field(default_factory=dict)
    spans: list[tuple[float, ServerSpans]] = field(default_factory=list)
    """With the second of the call at which they arrived."""
    errors: list[str] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    """Seconds for which the sound of a reply was late."""
    speaking: bool = False
    """The agent hears speech."""
    replying: bool = False
    """A reply began and did not end."""
    replies: int = 0
    reply_audio: float = 0.0
    """Seconds of sound of the newest reply."""
    frame_late: float = 0.0
    """Seconds by which the caller itself was late."""
    _in_sound: bool = False

    def take(self, arrival: Arrival, now: float) -> None:
        """Something arrived ``now`` seconds after the call began."""
        match arrival:
            case Sound():
                self._play(arrival, now)
            case Hush():
                self._in_sound = False
                self.line.stop(now)
            case SpeechStarted():
                self.speaking = True
            case SpeechStopped():
                self.speaking = False
            case WordsHeard(text):
                self.heard.append(text)
            case ReplyBegan():
                self.replying, self._in_sound, self.reply_audio = True, False, 0.0
            case ServerSpans():
                self.spans.append((now, arrival))
            case ReplyEnded():
                self._reply_ended(arrival)
            case Fault(message):
                self.errors.append(message)

    def _play(self, sound: Sound, now: float) -> None:
        gap = now - self.line.silent_from()
        if self._in_sound and MIN_GAP < gap < SETTLE_SECONDS:
            self.gaps.append(gap)
        audible = first_above(sound.samples, AUDIBLE_DBFS) is not None
        self._in_sound = self._in_sound or audible
        if self.replying or not self.replies:  # silence may go on arriving after a reply
            self.reply_audio += len(sound.samples) / self.line.rate
        self.line.play(sound.samples, now)

    def _reply_ended(self, reply: ReplyEnded) -> None:
        self.replying, self._in_sound = False, False
        self.replies += 1
        self.answers.append(reply.text)
        self.stats = reply.stats
        if reply.error is not None:
            self.errors.append(reply.error)
