"""A caller's mouth and ear on one timeline, sample by sample."""

from __future__ import annotations

import bisect

import numpy as np

from agent.audio.samples import AUDIBLE_DBFS, Samples, last_above

BREAK_SECONDS = 0.1
"""Sound that comes later than this after what was before it begins a new stretch."""


class Line:
    """Both sides of a call as a stereo recorder at the caller's end would have them.

    Sample 0 lies at the moment the call began. What arrives is heard at once, or after
    what still plays; nothing is heard before it arrived.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._to_say: Samples = np.zeros(0, np.float32)
        self._said: list[Samples] = []
        self._said_length = 0
        self._ear: Samples = np.zeros(rate * 30, np.float32)
        self._ear_end = 0
        self._piece_starts: list[int] = []
        self._audible_end = 0

    def say(self, samples: Samples, at: float = 0.0) -> int:
        """Speak next, but not before second ``at``; returns the place where it begins."""
        next_free = self._said_length + len(self._to_say)
        begins = max(next_free, round(at * self.rate))
        wait = np.zeros(begins - next_free, np.float32)
        self._to_say = np.concatenate([self._to_say, wait, samples])
        return begins

    def next_frame(self, size: int) -> Samples:
        """The next ``size`` samples of the mouth; silence when there is nothing to say."""
        frame = self._to_say[:size]
        self._to_say = self._to_say[size:]
        frame = np.pad(frame, (0, size - len(frame)))
        self._said.append(frame)
        self._said_length += size
        return frame

    @property
    def saying(self) -> bool:
        return len(self._to_say) > 0

    def play(self, samples: Samples, at: float) -> None:
        """Sound arrived ``at`` seconds after the call began."""
        start = max(int(at * self.rate), self._ear_end)
        pause = (start - self._ear_end) / self.rate
        if pause > BREAK_SECONDS or not self._piece_starts:
            self._piece_starts.append(start)
        end = start + len(samples)
        while end > len(self._ear):
            self._ear = np.concatenate([self._ear, np.zeros_like(self._ear)])
        self._ear[start:end] = samples
        self._ear_end = end
        loud = last_above(samples, AUDIBLE_DBFS)
        if loud is not None:
            self._audible_end = start + loud + 1

    def stop(self, at: float) -> None:
        """Drop what was not heard by ``at``."""
        now = int(at * self.rate)
        if now < self._ear_end:
            self._ear[now : self._ear_end] = 0.0
            self._ear_end = now
            self._audible_end = min(self._audible_end, now)

    def silent_from(self) -> float:
        """Seconds after the call began at which everything that arrived was heard."""
        return self._ear_end / self.rate

    def audible_until(self) -> float:
        """Seconds after the call began at which the last audible sample was heard."""
        return self._audible_end / self.rate

    def piece_start(self, place: int) -> int:
        """Where the stretch of sound at the ear began that ``place`` lies in."""
        return self._piece_starts[bisect.bisect_right(self._piece_starts, place) - 1]

    @property
    def mouth(self) -> Samples:
        return np.concatenate(self._said) if self._said else np.zeros(0, np.float32)

    @property
    def ear(self) -> Samples:
        return self._ear[: self._ear_end]
