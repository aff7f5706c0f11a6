"""The send time of each frame to the peer, and the position that was played to the caller.

Positions are samples since the last clear. The peer is kept a short lead ahead of the caller's
ear: a late wake-up then costs nothing, and a clear takes back little. After a late wake-up all
missed frames go at once and in order.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from agent.audio.samples import Samples

FRAME_SECONDS = 0.02
MARK_EVERY = 0.2
"""Seconds of sound between two marks."""
MARK_PATIENCE = 1.0
"""Seconds that a mark may be late before the clock counts instead."""
HOLD_SECONDS = 10.0
"""Seconds after which a peer that asked for a pause is sent audio again in any case."""
TAIL_SECONDS = 0.02
"""Seconds left to play at the peer at which the last, incomplete frame is sent."""
MARGIN_SECONDS = 0.02
"""Seconds left to play at the peer, at least, when the next frame is sent."""
EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Mark:
    """A request to the peer: report when everything so far was played."""

    name: str


@dataclass(slots=True)
class Pacer:
    """The schedule of one call's outbound audio.

    Args:
        rate: samples per second.
        frame: samples of one message.
        lead: seconds of audio that the peer may hold ahead of the caller's ear; raised to a
            frame and the margin where it is shorter.
        marks: whether the peer reports played marks.
        generation: number of clears so far.
    """

    rate: int
    frame: int
    lead: float
    marks: bool
    generation: int = 0
    _frame_seconds: float = field(init=False)
    _room: float = field(init=False)
    """Seconds that the peer may hold: ``lead``, or a frame and the margin."""
    _waiting: deque[Samples] = field(default_factory=deque)
    _waits: int = 0
    _sent: int = 0
    _anchor: tuple[int, float] = (0, 0.0)
    """A position, and the second at which it was played by the clock."""
    _confirmed: tuple[int, float] | None = None
    """A position, and the second at which the peer reported it as played."""
    _asked: deque[tuple[str, int, float]] = field(default_factory=deque)
    """Marks that have not come back: name, position, second of play by the clock."""
    _silent: bool = False
    """Whether the peer leaves marks unanswered."""
    _marked: int = 0
    _names: int = 0
    _mark_due: bool = False
    _held_until: float = 0.0

    def __post_init__(self) -> None:
        self._frame_seconds = self.frame / self.rate
        self._room = max(self.lead, self._frame_seconds + MARGIN_SECONDS)

    def queue(self, samples: Samples) -> None:
        """Append audio, float32 mono."""
        if len(samples):
            self._waiting.append(samples)
            self._waits += len(samples)

    def finish(self) -> None:
        """Fill the last frame with silence and mark the end; no more audio is coming for now."""
        self.queue(np.zeros(-self._waits % self.frame, np.float32))
        self._mark_due = self.marks and self._sent + self._waits > self._marked

    def next(self, now: float) -> Samples | Mark | None:
        """The next frame or mark that is due at ``now``; call it again until it returns None."""
        if self._mark_due and (self._waits < self.frame or self._mark_is_old):
            return self._mark(now)
        if not self._may_send(now):
            return None
        if self.ahead(now) <= 0:
            self._anchor = (self._sent, now)
        self._sent += self.frame
        if self.marks and self._mark_is_old:
            self._mark_due = True
        return self._take()

    @property
    def _mark_is_old(self) -> bool:
        return self._sent - self._marked >= MARK_EVERY * self.rate

    def _mark(self, now: float) -> Mark:
        self._give_up(now)
        self._mark_due = False
        self._marked = self._sent
        self._names += 1
        name = f"{self.generation}.{self._names}"
        self._asked.append((name, self._sent, now + self.ahead(now)))
        return Mark(name)

    def _give_up(self, now: float) -> None:
        """Drop overdue marks; until a mark comes back, the clock counts alone."""
        while self._asked and now > self._asked[0][2] + MARK_PATIENCE:
            self._asked.popleft()
            self._silent = True

    def _may_send(self, now: float) -> bool:
        if self._waits < self.frame or now < self._held_until:
            return False
        return self.ahead(now) + self._frame_seconds <= self._room + EPSILON

    def _take(self) -> Samples:
        pieces: list[Samples] = []
        wanted = self.frame
        while wanted:
            head = self._waiting.popleft()
            if len(head) > wanted:
                self._waiting.appendleft(head[wanted:])
                head = head[:wanted]
            pieces.append(head)
            wanted -= len(head)
        self._waits -= self.frame
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def next_due(self, now: float) -> float | None:
        """Second at which ``next`` or ``starving`` is due again; None until more is queued."""
        if self._waits >= self.frame:
            at = now + max(0.0, self.ahead(now) + self._frame_seconds - self._room)
            return max(at, self._held_until)
        if self._waits or self._unmarked:
            return now + max(0.0, self.ahead(now) - TAIL_SECONDS)
        return None

    def starving(self, now: float) -> bool:
        """Whether the peer runs out soon while an incomplete frame or an unmarked end waits."""
        open_end = 0 < self._waits < self.frame or (not self._waits and self._unmarked)
        return open_end and self.ahead(now) <= TAIL_SECONDS + EPSILON

    @property
    def _unmarked(self) -> bool:
        return self.marks and self._sent > self._marked

    def ahead(self, now: float) -> float:
        """Seconds of sent audio that the peer has not played yet, by the clock."""
        left = (self._sent - self._by_clock(now)) / self.rate
        return left if left > EPSILON else 0.0

    def _by_clock(self, now: float) -> float:
        position, at = self._anchor
        return min(self._sent, position + max(0.0, now - at) * self.rate)

    @property
    def queued(self) -> int:
        """Position of the end of the queued audio."""
        return self._sent + self._waits

    def played(self, now: float) -> float:
        """Position up to which the caller has heard the audio.

        The clock gives an upper bound. The last mark that came back, plus the time since, gives a
        better one; so does the first mark that did not, as long as it is not overdue.
        """
        best = self._by_clock(now)
        if self._confirmed is not None:
            position, at = self._confirmed
            best = min(best, position + (now - at) * self.rate)
        self._give_up(now)
        if self._asked and not self._silent:
            best = min(best, self._asked[0][1])
        return best

    def reached(self, name: str, now: float) -> None:
        """Take a mark that came back; marks of an older generation were cleared and are ignored."""
        for place, (asked, position, _) in enumerate(self._asked):
            if asked == name:
                for _ in range(place + 1):
                    self._asked.popleft()
                self._confirmed = (position, now)
                self._silent = False
                return

    def outstanding(self, now: float) -> bool:
        """Whether queued audio has not been played yet."""
        return self.played(now) < self.queued - EPSILON

    def hold(self, now: float) -> None:
        """Send no audio until ``resume``, for ``HOLD_SECONDS`` at most."""
        self._held_until = now + HOLD_SECONDS

    def resume(self) -> None:
        self._held_until = 0.0

    def clear(self) -> None:
        """Drop everything and start a new generation at position 0."""
        self.generation += 1
        self._waiting.clear()
        self._asked.clear()
        self._waits = self._sent = self._marked = 0
        self._anchor = (0, 0.0)
        self._confirmed = None
        self._mark_due = False
