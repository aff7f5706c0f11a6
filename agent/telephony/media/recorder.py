"""Stereo recording of a call: caller left, agent right, in the caller's time."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import stat
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
"""Age in seconds at which audio is written; younger audio may still be cleared."""
WINDOW_SECONDS = 15.0
"""Seconds after the written part within which audio is kept; audio further away is dropped."""
TOLERANCE = 0.2
"""Seconds by which a piece may arrive early or late and still follow the one before."""
CALLER, AGENT = 0, 1
_DISK = ThreadPoolExecutor(1, thread_name_prefix="recorder")
"""The thread that writes, in order, so that a slow disk holds up no call."""


class StereoTrack:
    """The unwritten part of a recording. Pure; times are monotonic seconds.

    Args:
        rate: samples per second.
        now: second at which the recording begins.
    """

    def __init__(self, rate: int, now: float) -> None:
        self.rate = rate
        self._began = now
        self._written = 0
        self._window = np.zeros((int(WINDOW_SECONDS * rate), 2), np.int16)
        self._ends = [0, 0]

    def caller(self, samples: Samples, now: float) -> None:
        """Add audio of the caller, whose last sample came at second ``now``."""
        self._place(CALLER, samples, now - len(samples) / self.rate)

    def agent(self, samples: Samples, at: float) -> None:
        """Add audio of the agent, which is played from second ``at`` on."""
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
        """Silence the agent's channel after second ``now``: a clear dropped the rest."""
        offset = max(0, self._index(now) - self._written)
        self._window[offset:, AGENT] = 0
        self._ends[AGENT] = min(self._ends[AGENT], self._written + offset)

    def take(self, now: float) -> NDArray[np.int16]:
        """Take the part that is final, as int16 of shape (samples, 2)."""
        return self._shift(self._index(now - SETTLE_SECONDS) - self._written)

    def rest(self) -> NDArray[np.int16]:
        """Take the remaining part, as int16 of shape (samples, 2)."""
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

    The file name holds the time of the call and no caller. A failing disk ends the recording
    and is logged; the call goes on.
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
    """A new file that its owner alone may read, in a directory that is likewise closed."""
    if stat.S_IMODE(path.parent.stat().st_mode) & 0o077:
        log.warning("closed the recordings in %s to other users (mode 0700)", path.parent)
        path.parent.chmod(0o700)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    file = wave.open(str(path), "wb")  # noqa: SIM115  # closed by the writer
    file.setnchannels(2)
    file.setsampwidth(2)
    file.setframerate(rate)
    return file
