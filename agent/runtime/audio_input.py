"""From the wire's sound to frames with a speech probability: the caller's, not the agent's echo."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from agent.audio.echo import EchoDetector
from agent.audio.samples import AudioChunk, Samples, StreamResampler
from agent.audio.vad import SpeechGate
from agent.errors import AudioError
from agent.session.events import AudioFrame
from asr.engine import RATE

MAX_AHEAD_SECONDS = 60.0
"""Sound may arrive this much faster than real time before it is refused."""
INAUDIBLE = 10 ** (-75 / 20)
"""Under -75 dBFS the line is muted: the network that costs most of a quiet call is not asked."""

NO_SPEECH = 0.1
"""Speech probability up to which nobody speaks, so that it need not be asked who it is."""
NOTHING_ELSE = 0.9
"""Share of a frame that is the agent's echo, over which it is nothing else."""


class AudioInput:
    """Resamples one caller's sound, cuts it into frames and asks the gate about each."""

    def __init__(
        self,
        gate: SpeechGate,
        source_rate: int,
        started_at: float,
        echo: EchoDetector | None = None,
    ) -> None:
        self._gate = gate
        self._echo = echo
        self._silent_from = 0.0
        """When all that was played has been heard, monotonic seconds."""
        self._echo_share = 0.0
        """Of the last frame that was judged; what lies between two such frames is as they are."""
        self._resampler = StreamResampler(source_rate, RATE)
        self._started_at = started_at
        self._raw: list[Samples] = []
        self._raw_length = 0
        self._rest: Samples = np.zeros(0, np.float32)
        self._position = 0

    def push(self, samples: Samples, now: float) -> Iterator[AudioFrame]:
        """Yield the frames that are complete.

        Raises:
            AudioError: the caller sends much more sound than time has passed.
        """
        ahead = self._position / RATE - (now - self._started_at)
        if ahead > MAX_AHEAD_SECONDS:
            raise AudioError(f"{ahead:.0f} s more sound than time has passed; send it in real time")
        size = self._gate.frame_samples
        self._raw.append(samples)
        self._raw_length += len(samples)
        if self._raw_length * RATE < (size - len(self._rest)) * self._resampler.source_rate:
            # Not a frame yet. On a core that is idle otherwise every call costs its cold caches.
            return
        new = self._resampler.push(np.concatenate(self._raw))
        self._raw, self._raw_length = [], 0
        sound = np.concatenate([self._rest, new])
        whole = len(sound) - len(sound) % size
        self._rest = sound[whole:]
        for start in range(0, whole, size):
            frame = sound[start : start + size]
            chunk = AudioChunk(frame, RATE, self._position, now)
            self._position += size
            yield self._judged(chunk)

    def _judged(self, chunk: AudioChunk) -> AudioFrame:
        frame = chunk.samples
        quiet = max(float(frame.max()), -float(frame.min())) < INAUDIBLE
        probability = 0.0 if quiet else self._gate.probability(frame)
        echo = self._echoed(chunk, probability)
        if echo > NOTHING_ELSE:
            # It would be recognised as the caller's words, in the pre-roll of what he says next.
            chunk = replace(chunk, samples=np.zeros_like(frame))
        return AudioFrame(chunk, probability * (1.0 - echo))

    def _echoed(self, chunk: AudioChunk, probability: float) -> float:
        if self._echo is None:
            return 0.0
        if probability > NO_SPEECH:
            self._echo_share = self._echo.likelihood(chunk)
        elif not self._echo.skip(chunk):
            self._echo_share = 0.0
        return self._echo_share

    def note_playback(self, samples: Samples, rate: int, now: float) -> None:
        """The caller will hear this next; the microphone may, too."""
        if self._echo is not None:
            at = max(now, self._silent_from)
            self._echo.played(samples, rate, at)
            self._silent_from = at + len(samples) / rate

    def note_playback_stopped(self, now: float) -> None:
        """What was to be played is dropped."""
        if self._echo is not None:
            self._echo.stopped(now)
            self._silent_from = now
