"""What was sent to the caller's ear, and how much of it was heard.

Sound is handed out at the speed of the ear plus a short lead, so that little has to be
taken back when the caller interrupts. Positions are seconds since the reply began.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from agent.audio.samples import AUDIBLE_DBFS, Samples, first_above
from tts.engine import SpeechChunk

SLICE_SECONDS = 0.06
"""Sound is handed out in pieces of this length."""


INSTANT = 1e-6
"""Less than this is nothing: it is what adding up floats leaves behind."""


@dataclass(frozen=True, slots=True)
class SpokenMark:
    """A place in the reply up to which words are complete."""

    position: float
    segment: int
    words: int | None
    """Spoken words of the segment that are complete; None when the whole segment is."""


@dataclass(slots=True)
class Playback:
    """One reply on its way to the ear."""

    lead: float
    rate: int = 0
    marks: list[SpokenMark] = field(default_factory=list)
    _waiting: deque[Samples] = field(default_factory=deque)
    _queued: float = 0.0
    _sent: float = 0.0
    _anchor_position: float = 0.0
    _anchor_at: float = 0.0
    _words: dict[int, int] = field(default_factory=dict)
    _first_audible: float | None = None

    def queue(
        self, segment: int, chunk: SpeechChunk, *, answers: bool = True
    ) -> Sequence[SpokenMark]:
        """Append the next sound; a filler comes before the reply and ``answers`` nothing.

        Returns:
            where words end in it.
        """
        self.rate = chunk.rate
        known = len(self.marks)
        for word in chunk.words:
            count = self._words.get(segment, 0) + 1
            self._words[segment] = count
            end = self._queued + word.end / chunk.rate
            self.marks.append(SpokenMark(end, segment, count))
        if answers and self._first_audible is None:
            audible = first_above(chunk.samples, AUDIBLE_DBFS)
            if audible is not None:
                self._first_audible = self._queued + audible / chunk.rate
        self._waiting.append(chunk.samples)
        self._queued += len(chunk.samples) / chunk.rate
        return self.marks[known:]

    def close_segment(self, segment: int) -> None:
        """All sound of the segment is queued."""
        self.marks.append(SpokenMark(self._queued, segment, None))

    @property
    def first_audible(self) -> float | None:
        """Position of the first audible sample; None while there is none."""
        return self._first_audible

    def due(self, now: float) -> Iterator[Samples]:
        """Hand out what may be sent by ``now``."""
        size = int(SLICE_SECONDS * self.rate)
        while self._waiting and self.ahead(now) < self.lead:
            if self.ahead(now) <= 0:
                self._anchor_position, self._anchor_at = self._sent, now
            piece = self._take(size)
            self._sent += len(piece) / self.rate
            yield piece

    def _take(self, size: int) -> Samples:
        pieces: list[Samples] = []
        while size > 0 and self._waiting:
            head = self._waiting.popleft()
            if len(head) > size:
                self._waiting.appendleft(head[size:])
                head = head[:size]
            pieces.append(head)
            size -= len(head)
        return np.concatenate(pieces)

    def heard(self, now: float) -> float:
        """Position of the ear by the clock; a better one comes only from the client."""
        return min(self._sent, self._anchor_position + max(0.0, now - self._anchor_at))

    def ahead(self, now: float) -> float:
        """Seconds of sound that were sent and not heard yet."""
        left = self._sent - self.heard(now)
        return left if left > INSTANT else 0.0

    def next_due(self, now: float) -> float | None:
        """When more may be sent, or when all that was sent will have been heard."""
        if self._waiting:
            return now + max(0.0, self.ahead(now) - self.lead + SLICE_SECONDS / 2)
        return now + self.ahead(now) if self.ahead(now) > 0 else None

    @property
    def sent(self) -> float:
        """Seconds of sound that were handed out."""
        return self._sent

    @property
    def all_sent(self) -> bool:
        return not self._waiting

    def cut(self) -> None:
        """Drop what was not sent yet."""
        self._waiting.clear()

    def mark_at(self, position: float) -> SpokenMark | None:
        """The last mark that lies at or before ``position``."""
        passed = [mark for mark in self.marks if mark.position <= position + INSTANT]
        return passed[-1] if passed else None
