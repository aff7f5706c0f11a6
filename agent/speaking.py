"""The agent's half of a turn: from reply text to paced sound, without doing the work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from agent.commands import Command, Speak
from agent.conversation import Reply, Turn
from agent.events import SegmentSpoken, SoundReady
from agent.notices import Play, ReplyFinished, ReplyWords, StopPlaying, TurnTimed
from agent.playback import Playback
from agent.reply import ReplyDone
from agent.timing import Stage
from tts.segments import Segmenter
from tts.speakable import Speakable, speakable


@dataclass(slots=True)
class Speaking:
    """One reply in flight. Everything in it belongs to one generation."""

    generation: int
    response_id: str
    turn: Turn
    reply: Reply
    lead: float
    done: ReplyDone | None = None
    playback: Playback = field(init=False)
    _segmenter: Segmenter = field(default_factory=Segmenter)
    _segments: list[tuple[str, Speakable]] = field(default_factory=list)
    _spoken: int = 0
    _timed: bool = False
    _truncated_at: float | None = None
    """What the client says it played, in seconds; it knows better than the clock."""

    def __post_init__(self) -> None:
        self.playback = Playback(self.lead)

    def text(self, delta: str, now: float) -> Iterator[Command]:
        """More words of the reply are final."""
        self.reply.text += delta
        yield ReplyWords(self.response_id, self.reply.item_id, delta)
        for segment in self._segmenter.feed(delta):
            yield from self._speak(segment, now)

    def complete(self, done: ReplyDone, now: float) -> Iterator[Command]:
        """All words of the reply are known."""
        self.done = done
        for segment in self._segmenter.flush():
            yield from self._speak(segment, now)

    def _speak(self, source: str, now: float) -> Iterator[Command]:
        spoken = speakable(source)
        self._segments.append((source, spoken))
        if not spoken.text:
            self._spoken += 1
            return
        self.turn.timings.mark(Stage.FIRST_TEXT, now)
        yield Speak(self.generation, len(self._segments) - 1, spoken.text)

    def sound(self, ready: SoundReady, now: float) -> Iterator[Command]:
        """Sound of a segment; segments arrive in order."""
        self.playback.queue(ready.segment, ready.chunk)
        if self.playback.first_audible is not None:
            self.turn.timings.mark(Stage.FIRST_SOUND, now)
        yield from self.pump(now)

    def segment_spoken(self, spoken: SegmentSpoken) -> None:
        self._spoken += 1
        self.playback.close_segment(spoken.segment)

    def pump(self, now: float) -> Iterator[Command]:
        """Send what is due."""
        for samples in self.playback.due(now):
            yield Play(self.response_id, self.reply.item_id, samples, self.playback.rate)
        audible = self.playback.first_audible
        if not self._timed and audible is not None and audible < self.playback.sent:
            self._timed = True
            yield self._timings(now)

    def _timings(self, now: float) -> TurnTimed:
        timings = self.turn.timings
        timings.mark(Stage.FIRST_PLAYED, now)
        return TurnTimed(
            self.response_id, self.reply.item_id, timings.spans(), self.turn.speech_end
        )

    @property
    def generated(self) -> bool:
        """Whether text and sound of the whole reply exist."""
        return self.done is not None and self._spoken == len(self._segments)

    def over(self, now: float) -> bool:
        """Whether the whole reply was heard."""
        return self.generated and self.playback.all_sent and self.playback.ahead(now) <= 0

    def heard_text(self, position: float) -> str:
        """The words of the reply up to ``position`` seconds of its sound."""
        mark = self.playback.mark_at(position)
        if mark is None:
            return ""
        before = "".join(source for source, _ in self._segments[: mark.segment])
        source, spoken = self._segments[mark.segment]
        part = source if mark.words is None else spoken.heard(mark.words)
        return (before + part).strip()

    def truncate(self, position: float) -> None:
        """The reply is remembered only up to ``position`` seconds of its sound."""
        self._truncated_at = position
        self.reply.interrupted = True
        self.reply.spoken = self.heard_text(position)

    def finish(self) -> ReplyFinished:
        """The reply was spoken to its end."""
        if self._truncated_at is None:
            self.reply.spoken = self.reply.text
        stats = self.done.stats if self.done else {}
        return ReplyFinished(
            self.response_id, self.reply.item_id, "completed", "", self.reply.text, stats
        )

    def cut(
        self, now: float, reason: str, status: Literal["cancelled", "failed"] = "cancelled"
    ) -> Iterator[Command]:
        """Interrupted or broken: drop what was not heard, remember what was."""
        position = self.playback.heard(now)
        self.playback.cut()
        self.reply.failed = status == "failed"
        self.truncate(position if self._truncated_at is None else self._truncated_at)
        ids = (self.response_id, self.reply.item_id)
        yield StopPlaying(*ids, position)
        yield ReplyFinished(*ids, status, reason, self.reply.spoken)
