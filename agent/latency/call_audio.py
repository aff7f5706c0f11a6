"""Audio of a call at the caller's end: mouth and ear on one timeline of samples."""

from __future__ import annotations

import bisect

import numpy as np

from agent.audio.samples import AUDIBLE_DBFS, Samples, last_above

BREAK_SECONDS = 0.1
"""A pause longer than this in the received audio begins a new segment, in seconds."""


class CallAudio:
    """Stereo audio of a call as a recorder at the caller's end captures it.

    Sample 0 is the beginning of the call. Received audio is heard on arrival, or after the audio
    that is still playing; a gap is silence.

    Args:
        rate: samples per second of both channels.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._to_say: Samples = np.zeros(0, np.float32)
        self._said: list[Samples] = []
        self._said_length = 0
        self._ear: Samples = np.zeros(rate * 30, np.float32)
        self._ear_end = 0
        self._segment_starts: list[int] = []
        self._audible_end = 0

    def say(self, samples: Samples, at: float = 0.0) -> int:
        """Queue audio for the mouth.

        Args:
            samples: float32 mono at ``rate``.
            at: earliest second of the call at which the audio may begin.

        Returns:
            Sample of the call at which the audio begins.
        """
        next_free = self._said_length + len(self._to_say)
        begins = max(next_free, round(at * self.rate))
        wait = np.zeros(begins - next_free, np.float32)
        self._to_say = np.concatenate([self._to_say, wait, samples])
        return begins

    def next_frame(self, size: int) -> Samples:
        """Take the next ``size`` samples of the mouth, padded with silence."""
        frame = self._to_say[:size]
        self._to_say = self._to_say[size:]
        frame = np.pad(frame, (0, size - len(frame)))
        self._said.append(frame)
        self._said_length += size
        return frame

    @property
    def saying(self) -> bool:
        """Whether queued audio has not been spoken yet."""
        return len(self._to_say) > 0

    def play(self, samples: Samples, at: float) -> None:
        """Add audio that arrived ``at`` seconds after the call began; float32 mono at ``rate``."""
        start = max(int(at * self.rate), self._ear_end)
        pause = (start - self._ear_end) / self.rate
        if pause > BREAK_SECONDS or not self._segment_starts:
            self._segment_starts.append(start)
        end = start + len(samples)
        while end > len(self._ear):
            self._ear = np.concatenate([self._ear, np.zeros_like(self._ear)])
        self._ear[start:end] = samples
        self._ear_end = end
        loud = last_above(samples, AUDIBLE_DBFS)
        if loud is not None:
            self._audible_end = start + loud + 1

    def stop(self, at: float) -> None:
        """Drop received audio that was not heard by second ``at``."""
        now = int(at * self.rate)
        if now < self._ear_end:
            self._ear[now : self._ear_end] = 0.0
            self._ear_end = now
            self._audible_end = min(self._audible_end, now)

    def silent_from(self) -> float:
        """Second of the call at which all received audio has been played."""
        return self._ear_end / self.rate

    def audible_until(self) -> float:
        """Second of the call at which the last audible sample has been played."""
        return self._audible_end / self.rate

    def segment_start(self, place: int) -> int:
        """First sample of the segment of received audio that contains sample ``place``."""
        return self._segment_starts[bisect.bisect_right(self._segment_starts, place) - 1]

    @property
    def mouth(self) -> Samples:
        """Audio that the caller has spoken."""
        return np.concatenate(self._said) if self._said else np.zeros(0, np.float32)

    @property
    def ear(self) -> Samples:
        """Audio that the caller has heard."""
        return self._ear[: self._ear_end]
