"""Notices that wait for a client's connection, in order; sound of a stopped reply does not."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import Final

import numpy as np

from agent.session.notices import Configured, Notice, Play, Remark, StopPlaying
from agent.session.playback import Delivery

MAX_UNSENT: Final = 512
"""Notices that may wait for a slow client; one more ends the call."""
HELD_BACK: Final = {Delivery.PACED: (0.5, 0.25), Delivery.AT_ONCE: (20.0, 10.0)}
"""Seconds of waiting sound from which on a reply is held back, and at which it goes on. A paced
reply begins with ``playback.lead`` of it (0.3 s), which a good link takes at once."""
MOST_BEHIND, LEAST_BEHIND = 0.7, 0.35
"""Seconds that a client may be behind what was sent to it, likewise."""
PIECE_SECONDS: Final = 0.24
"""Sound that waits long goes in pieces of up to this: fewer events, whose names take bytes, too."""
LONG_SECONDS: Final = 0.3
"""Seconds of waiting sound from which on pieces are joined; a reply is to begin quickly."""


class Unsent:
    """The notices of one connection that it has not taken.

    Attributes:
        sound: seconds of sound among them, with that which is being sent.
    """

    def __init__(self, limit: int = MAX_UNSENT) -> None:
        self.sound = 0.0
        self._limit = limit
        self._notices: deque[Notice] = deque()
        self._some = asyncio.Event()

    def __len__(self) -> int:
        return len(self._notices)

    def put(self, notice: Notice) -> None:
        """Let a notice wait.

        Raises:
            asyncio.QueueFull: too many wait.
        """
        if isinstance(notice, StopPlaying):
            self._drop_sound(notice.response_id)
        if not self._joined(notice):
            if len(self._notices) >= self._limit:
                raise asyncio.QueueFull
            urgent = isinstance(notice, Configured | Remark)
            self._notices.insert(self._place_of(notice) if urgent else len(self._notices), notice)
        self.sound += _seconds(notice)
        self._some.set()

    async def get(self) -> Notice:
        """The next notice; `sent` is to follow."""
        while not self._notices:
            self._some.clear()
            await self._some.wait()
        return self._notices.popleft()

    def sent(self, notice: Notice) -> None:
        """Note that the connection has taken a notice."""
        # Sums of floats: what is left of nothing would hold a reply back for ever.
        self.sound = max(0.0, self.sound - _seconds(notice)) if self._notices else 0.0

    def full(self, delivery: Delivery, behind: float, *, was: bool) -> bool:
        """Whether a reply is to be held back.

        Args:
            behind: seconds by which the client is behind what was sent to it.
            was: whether it is held back now.
        """
        if delivery not in HELD_BACK:
            return False
        most, least = HELD_BACK[delivery]
        late = delivery is Delivery.PACED and behind > (LEAST_BEHIND if was else MOST_BEHIND)
        return late or self.sound > (least if was else most)

    def _joined(self, notice: Notice) -> bool:
        """Whether it is sound that was put to the sound before it."""
        last = self._notices[-1] if self._notices else None
        if not isinstance(notice, Play) or not isinstance(last, Play) or self.sound < LONG_SECONDS:
            return False
        same = (last.response_id, last.rate) == (notice.response_id, notice.rate)
        if not same or _seconds(last) + _seconds(notice) > PIECE_SECONDS:
            return False
        self._notices[-1] = replace(last, samples=np.concatenate([last.samples, notice.samples]))
        return True

    def _drop_sound(self, response_id: str) -> None:
        kept = [each for each in self._notices if not _is_sound_of(each, response_id)]
        self.sound -= sum(_seconds(each) for each in self._notices) - sum(map(_seconds, kept))
        self._notices = deque(kept)

    def _place_of(self, notice: Notice) -> int:
        """The place of a notice: a lighter format helps the sound only that it does not follow."""
        lighter = isinstance(notice, Configured) and notice.settings.output_format is not None
        if lighter or (isinstance(notice, Remark) and notice.code == "network_slow"):
            found = len(self._notices)
            for place in range(found - 1, -1, -1):
                if isinstance(self._notices[place], Configured):
                    break  # settings stay in their order
                if isinstance(self._notices[place], Play):
                    found = place
            return found
        return len(self._notices)


def _is_sound_of(notice: Notice, response_id: str) -> bool:
    return isinstance(notice, Play) and notice.response_id == response_id


def _seconds(notice: Notice) -> float:
    return len(notice.samples) / notice.rate if isinstance(notice, Play) else 0.0
