"""A call as a stereo recording: the caller left, the agent right, both as the caller heard it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import wave
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.audio.samples import Samples

log = logging.getLogger("onebreath.telephony")

SETTLE_SECONDS = 1.0
"""Sound that is older than this is written; what is younger may still be cleared."""
WINDOW_SECONDS = 15.0
"""Sound that is further away than this from what was written is dropped."""
TOLERANCE = 0.2
"""Seconds by which pieces may arrive early or late and still follow each other."""
CALLER, AGENT = 0, 1
_DISK = ThreadPoolExecutor(1, thread_name_prefix="recorder")
"""Writes in order, one at a time, so that a slow disk holds up no call."""


class StereoTrack:
    """The part of a recording that is not written yet. Pure; times are monotonic seconds.

    Args:
        rate: samples per second.
        now: when the recording begins.
    """

    def __init__(self, rate: int, now: float) -> None:
        self.rate = rate
        self._began = now
        self._written = 0
        self._window = np.zeros((int(WINDOW_SECONDS * rate), 2), np.int16)
        self._ends = [0, 0]

    def caller(self, samples: Samples, now: float) -> None:
        """Sound of the caller, whose last sample came at ``now``."""
        self._place(CALLER, samples, now - len(samples) / self.rate)

    def agent(self, samples: Samples, at: float) -> None:
        """Sound that the caller begins to hear at ``at``."""
        self._place(AGENT, samples, at)

    def _place(self, channel: int, samples: Samples, at: float) -> None:
        wanted, end = self._index(at), self._ends[channel]
        begin = wanted if abs(wanted - end) > TOLERANCE * self.rate else end
        offset = max(begin, end) - self._written
        room = self._window[max(offset, 0) : max(offset, 0) + len(samples), channel]
        room[:] = np.rint(np.clip(samples[: len(room)], -1.0, 32767 / 32768) * 32768)
        self._ends[channel] = self._written + max(offset, 0) + len(room)

    def _index(self, at: float) -> int:
        return round((at - self._began) * self.rate)

    def cut(self, now: float) -> None:
        """The caller heard nothing of the agent after ``now``."""
        offset = max(0, self._index(now) - self._written)
        self._window[offset:, AGENT] = 0
        self._ends[AGENT] = min(self._ends[AGENT], self._written + offset)

    def take(self, now: float) -> NDArray[np.int16]:
        """What cannot change any more, as (samples, 2)."""
        return self._shift(self._index(now - SETTLE_SECONDS) - self._written)

    def rest(self) -> NDArray[np.int16]:
        """Everything that is left."""
        return self._shift(max(self._ends) - self._written)

    def _shift(self, count: int) -> NDArray[np.int16]:
        count = min(max(count, 0), len(self._window))
        taken = self._window[:count].copy()
        self._window[: len(self._window) - count] = self._window[count:]
        self._window[len(self._window) - count :] = 0
        self._written += count
        self._ends = [max(end, self._written) for end in self._ends]
        return taken


async def write_recording(
    directory: Path, track: StereoTrack, clock: Callable[[], float] = time.monotonic
) -> None:
    """Write the track to a new WAV file, second by second, until cancelled.

    The name tells when the call came, not from whom. A disk that fails ends the recording, not
    the call; the log says so.
    """
    name = f"{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(4)}.wav"
    loop = asyncio.get_running_loop()
    try:
        file = await loop.run_in_executor(_DISK, _open, directory / name, track.rate)
        try:
            while True:
                await asyncio.sleep(1.0)
                taken = track.take(clock()).tobytes()
                await loop.run_in_executor(_DISK, file.writeframes, taken)
        finally:
            await loop.run_in_executor(_DISK, _finish, file, track.rest().tobytes())
    except OSError as error:
        log.error("the recording %s breaks off: %s", name, error.strerror or error)


def _finish(file: wave.Wave_write, rest: bytes) -> None:
    file.writeframes(rest)
    file.close()


def _open(path: Path, rate: int) -> wave.Wave_write:
    file = wave.open(str(path), "wb")  # noqa: SIM115  # closed by the writer
    file.setnchannels(2)
    file.setsampwidth(2)
    file.setframerate(rate)
    return file
