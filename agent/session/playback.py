"""Playout of a reply: paced sending, and the position up to which the caller has heard it.

Sound is sent at the speed of playback plus a short lead, so that little has to be dropped
when the caller interrupts. Positions are seconds of the reply's sound.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np

from agent.audio.samples import AUDIBLE_DBFS, Samples, first_above
from tts.engine import SpeechChunk

SLICE_SECONDS = 0.06
"""Length of the pieces that sound is sent in."""


LONG_SLICE_SECONDS = 0.24
"""Length of the pieces where nothing paces them."""


class Delivery(Enum):
    """The way of a reply's sound to the client."""

    PACED = auto()
    """In events, at the speed of playback plus a short lead."""
    AT_ONCE = auto()
    """In events, as fast as it is synthesised: the client keeps what it does not play yet."""
    TRACK = auto()
    """Beside the events, at the speed of playback."""


INSTANT = 1e-6
"""Tolerance of positions, for rounding errors of float sums."""


@dataclass(frozen=True, slots=True)
class SpokenMark:
    """The end of a word or of a segment in the sound of a reply.

    ``words`` is the number of complete spoken words of the segment; None for the whole segment.
    """

    position: float
    segment: int
    words: int | None


@dataclass(slots=True)
class Playback:
    """Playout of one reply.

    Attributes:
        lead: seconds of sound that may be at the client unplayed.
        not_before: monotonic second until which the client plays the reply before it.
    """

    lead: float
    not_before: float = 0.0
    rate: int = 0
    marks: list[SpokenMark] = field(default_factory=list)
    _waiting: deque[Samples] = field(default_factory=deque)
    _queued: float = 0.0
    _dropped: bool = False
    _sent: float = 0.0
    _anchor_position: float = 0.0
    _anchor_at: float = 0.0
    _words: dict[int, int] = field(default_factory=dict)
    _first_audible: float | None = None

    def queue(
        self, segment: int, chunk: SpeechChunk, *, answers: bool = True
    ) -> Sequence[SpokenMark]:
        """Append the next sound; ``answers`` is False for silence or a filler before the reply.

        Returns:
            the ends of the words in it.
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
        """Mark the end of a segment, once all its sound is queued."""
        self.marks.append(SpokenMark(self._queued, segment, None))

    @property
    def first_audible(self) -> float | None:
        """Position of the first audible sample of the reply; None while there is none."""
        return self._first_audible

    def due(self, now: float) -> Iterator[Samples]:
        """Take the sound that may be sent by ``now``, piece by piece."""
        size = int((SLICE_SECONDS if self.lead < math.inf else LONG_SLICE_SECONDS) * self.rate)
        while self._waiting and self.ahead(now) < self.lead:
            if self.ahead(now) <= 0:
                self._anchor_position, self._anchor_at = self._sent, max(now, self.not_before)
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
        """Position up to which the caller has heard the reply, estimated by the clock."""
        return min(self._sent, self._anchor_position + max(0.0, now - self._anchor_at))

    def ahead(self, now: float) -> float:
        """Seconds of sound that were sent and are not heard yet."""
        left = self._sent - self.heard(now)
        return left if left > INSTANT else 0.0

    def left(self, now: float) -> float:
        """Seconds until all sound that was sent will have been heard; 0 where it was dropped."""
        ahead = 0.0 if self._dropped else self.ahead(now)
        return ahead + max(0.0, self._anchor_at - now) if ahead else 0.0

    def next_due(self, now: float) -> float | None:
        """Monotonic second at which more may be sent, or all sent sound will have been heard."""
        if self._waiting:
            return now + max(0.0, self.ahead(now) - self.lead + SLICE_SECONDS / 2)
        return now + self.left(now) if self.left(now) > 0 else None

    @property
    def sent(self) -> float:
        """Seconds of sound that were sent."""
        return self._sent

    @property
    def all_sent(self) -> bool:
        """Whether all queued sound was sent."""
        return not self._waiting

    def cut(self) -> None:
        """Drop the sound that was not sent yet; the client drops what it has not played."""
        self._waiting.clear()
        self._dropped = True

    def mark_at(self, position: float) -> SpokenMark | None:
        """The last mark at or before ``position``."""
        passed = [mark for mark in self.marks if mark.position <= position + INSTANT]
        return passed[-1] if passed else None
