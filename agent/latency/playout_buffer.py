"""The buffer between a network and an ear, as browsers have one for WebRTC. Pure.

It holds little while packets come evenly, more after it ran dry, and less again with time. What is
too much after a stall is dropped, so that the ear hears the present. Chromium's NetEq does the same
with stretched and squeezed sound; this one only drops and waits, and hears no better than it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np

from agent.audio.samples import AUDIBLE_DBFS, Samples, first_above

FRAME_SECONDS: Final = 0.02
LEAST_SECONDS: Final = 0.04
"""Sound that waits while packets come evenly, in seconds."""
MOST_SECONDS: Final = 0.2
"""Sound that waits on a bad network, at most, in seconds."""
GROWS_SECONDS: Final = 0.02
"""Seconds that are added when the buffer has run dry, and taken off after ``CALM_SECONDS``."""
CALM_SECONDS: Final = 10.0
"""Seconds without running dry after which the buffer holds less."""
SPARE_SECONDS: Final = 0.03
"""Seconds beyond its target that waited for ``LOOK_SECONDS`` on end, from which on the buffer
skips silence; NetEq squeezes from 20 ms on."""
LOOK_SECONDS: Final = 0.5
BEHIND_SECONDS: Final = 0.5
"""Seconds beyond its target from which on the buffer drops sound."""


class PlayoutBuffer:
    """Sound that waits to be heard.

    Args:
        rate: samples per second.

    Attributes:
        glitches: interruptions of audible sound so far: the buffer was empty, sound was made up in
            place of lost packets, or sound was dropped.
    """

    def __init__(self, rate: int) -> None:
        self.glitches = 0
        self._rate = rate
        self._frame = round(FRAME_SECONDS * rate)
        self._waiting: deque[tuple[Samples, bool]] = deque()
        self._target = LEAST_SECONDS
        self._fills = True
        self._calm = 0.0
        self._left: deque[float] = deque(maxlen=round(LOOK_SECONDS / FRAME_SECONDS))
        """Seconds that still waited after each of the last frames."""
        self._audible: bool | None = None
        """Whether the newest whole frame was; None before the first."""
        self._broken: bool | None = None
        """In a run of frames that are not whole: whether the sound before it was audible."""

    @property
    def seconds(self) -> float:
        """Seconds of sound that wait."""
        return sum(len(samples) for samples, _ in self._waiting) / self._rate

    def push(self, samples: Samples, made_up: bool) -> None:
        """Take received sound, float32 mono at ``rate``.

        Args:
            made_up: whether it stands for lost packets.
        """
        if len(samples):
            self._waiting.append((samples, made_up))

    def pull(self) -> Samples:
        """The next ``FRAME_SECONDS`` of sound for the ear; silence where there is none."""
        waits = self.seconds
        if waits < (self._target if self._fills else FRAME_SECONDS):
            self._run_dry()
            return np.zeros(self._frame, np.float32)
        self._fills = False
        self._settle()
        if waits > self._target + BEHIND_SECONDS:
            self._drop(waits - self._target)
        frame, whole = self._take(self._frame)
        self._left.append(self.seconds)
        if self._is_late and not _audible(frame):
            frame, whole = self._take(self._frame)
            self._left = deque((left - FRAME_SECONDS for left in self._left), self._left.maxlen)
        self._judge(_audible(frame), whole)
        return frame

    @property
    def _is_late(self) -> bool:
        """Whether more than is wanted waited all the time lately: even the latest came early."""
        enough = self._target - FRAME_SECONDS + SPARE_SECONDS
        return len(self._left) == self._left.maxlen and min(self._left) > enough

    def _run_dry(self) -> None:
        self._left.clear()
        if not self._fills:
            self._target = min(MOST_SECONDS, self._target + GROWS_SECONDS)
        self._fills, self._calm = True, 0.0
        self._break()

    def _settle(self) -> None:
        self._calm += FRAME_SECONDS
        if self._calm >= CALM_SECONDS:
            self._target = max(LEAST_SECONDS, self._target - GROWS_SECONDS)
            self._calm = 0.0

    def _drop(self, seconds: float) -> None:
        self._take(round(seconds * self._rate))
        self._break()

    def _take(self, count: int) -> tuple[Samples, bool]:
        """Take ``count`` waiting samples, and whether all of them were received."""
        pieces: list[Samples] = []
        whole = True
        while count and self._waiting:
            samples, made_up = self._waiting.popleft()
            pieces.append(samples[:count])
            whole = whole and not made_up
            if len(samples) > count:
                self._waiting.appendleft((samples[count:], made_up))
            count -= len(pieces[-1])
        pieces.append(np.zeros(count, np.float32))
        return np.concatenate(pieces), whole

    def _break(self) -> None:
        if self._broken is None:
            self._broken = self._audible  # before the first frame there is nothing to break

    def _judge(self, audible: bool, whole: bool) -> None:
        """Count a run of broken frames, at its end, if there was something to hear beside it."""
        if not whole:
            self._break()
            return
        if self._broken is not None:
            self.glitches += self._broken or audible
        self._audible, self._broken = audible, None


def _audible(samples: Samples) -> bool:
    return first_above(samples, AUDIBLE_DBFS) is not None
