"""Log of the events and audio that a caller receives during one turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.audio.samples import AUDIBLE_DBFS, first_above
from agent.latency.call_audio import CallAudio
from agent.latency.connection import (
    ReceivedAudio,
    ReceivedClear,
    ReceivedError,
    ReceivedEvent,
    ReceivedReplyEnd,
    ReceivedReplyStart,
    ReceivedSpeechStart,
    ReceivedSpeechStop,
    ReceivedTimings,
    ReceivedTranscript,
)

MIN_GAP = 0.01
"""Shortest gap in a reply, in seconds; audio that arrives late by less is not a gap."""
SETTLE_SECONDS = 1.0
"""Silence that ends a reply of an agent that does not report ends, in seconds."""


@dataclass(slots=True)
class TurnLog:
    """Events of one turn; its audio goes into ``audio``.

    Attributes:
        audio: audio of the whole call.
        heard: transcripts of the agent.
        answers: words of each reply that ended.
        stats: counts of the newest reply.
        spans: timings of the server with the second of the call at which they arrived.
        errors: errors that the agent reported.
        gaps: seconds of each gap in a reply at which audio arrived late.
        speaking: whether the agent currently detects speech.
        replying: whether a reply began and has not ended.
        replies: number of replies that ended.
        reply_audio: seconds of audio in the newest reply.
        frame_late: most seconds by which the caller sent a frame late.
    """

    audio: CallAudio
    heard: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    stats: Mapping[str, float] = field(default_factory=dict)
    spans: list[tuple[float, ReceivedTimings]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    speaking: bool = False
    replying: bool = False
    replies: int = 0
    reply_audio: float = 0.0
    frame_late: float = 0.0
    _in_sound: bool = False

    def take(self, received: ReceivedEvent, now: float) -> None:
        """Log an event that arrived ``now`` seconds after the call began."""
        match received:
            case ReceivedAudio():
                self._play(received, now)
            case ReceivedClear():
                self._in_sound = False
                self.audio.stop(now)
            case ReceivedSpeechStart():
                self.speaking = True
            case ReceivedSpeechStop():
                self.speaking = False
            case ReceivedTranscript(text):
                self.heard.append(text)
            case ReceivedReplyStart():
                self.replying, self._in_sound, self.reply_audio = True, False, 0.0
            case ReceivedTimings():
                self.spans.append((now, received))
            case ReceivedReplyEnd():
                self._reply_ended(received)
            case ReceivedError(message):
                self.errors.append(message)

    def _play(self, sound: ReceivedAudio, now: float) -> None:
        gap = now - self.audio.silent_from()
        if self._in_sound and MIN_GAP < gap < SETTLE_SECONDS:
            self.gaps.append(gap)
        audible = first_above(sound.samples, AUDIBLE_DBFS) is not None
        self._in_sound = self._in_sound or audible
        if self.replying or not self.replies:  # silence may keep arriving after a reply
            self.reply_audio += len(sound.samples) / self.audio.rate
        self.audio.play(sound.samples, now)

    def _reply_ended(self, reply: ReceivedReplyEnd) -> None:
        self.replying, self._in_sound = False, False
        self.replies += 1
        self.answers.append(reply.text)
        self.stats = reply.stats
        if reply.error is not None:
            self.errors.append(reply.error)
