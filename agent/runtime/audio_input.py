"""Audio input of a call: the transport's sound as frames with the caller's speech probability."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from agent.audio.caller_level import CallerLevel, level_of
from agent.audio.echo import EchoDetector
from agent.audio.samples import AudioChunk, Samples, StreamResampler
from agent.audio.vad import SpeechGate
from agent.errors import AudioError
from agent.session.events import AudioFrame
from asr.engine import RATE

MAX_AHEAD_SECONDS = 60.0
"""Seconds of sound that may arrive ahead of real time; more is refused."""
INAUDIBLE = 10 ** (-75 / 20)
"""Peak of a muted line (-75 dBFS): quieter frames skip the VAD network, the largest cost of a
quiet call."""

DC_SHARE = 0.1
"""Share by which the estimated offset of the line follows the mean of each frame."""

NO_SPEECH = 0.1
"""Speech probability up to which a frame contains no speech and its echo is not measured."""
NOTHING_ELSE = 0.9
"""Share of echo in a frame above which its sound is replaced by silence."""


class CallerAudio:
    """Resamples one caller's sound, cuts it into frames and judges each by VAD and echo.

    Args:
        gate: the voice activity detector of this call.
        source_rate: samples per second of the transport's sound.
        started_at: monotonic second at which the call began.
        echo: finds the agent's own voice in the sound; None to take all speech for the caller's.
        level: tells voices far away from the caller's; None to take all voices for the caller's.
    """

    def __init__(
        self,
        gate: SpeechGate,
        source_rate: int,
        started_at: float,
        echo: EchoDetector | None = None,
        level: CallerLevel | None = None,
    ) -> None:
        self._gate = gate
        self._echo = echo
        self._level = level
        self._offset = 0.0
        """The line's DC offset, which would be taken for loudness."""
        self._silent_from = 0.0
        """Monotonic second at which all noted playback has been heard."""
        self._echo_share = 0.0
        """Echo share of the last frame with speech; it stands for the frames up to the next."""
        self._resampler = StreamResampler(source_rate, RATE)
        self._started_at = started_at
        self._raw: list[Samples] = []
        self._raw_length = 0
        self._rest: Samples = np.zeros(0, np.float32)
        self._position = 0

    def push(self, samples: Samples, now: float) -> Iterator[AudioFrame]:
        """Add sound, float32 mono at the source rate; yields the frames that it completes.

        Raises:
            AudioError: the sound is more than `MAX_AHEAD_SECONDS` ahead of real time.
        """
        ahead = self._position / RATE - (now - self._started_at)
        if ahead > MAX_AHEAD_SECONDS:
            raise AudioError(f"{ahead:.0f} s more sound than time has passed; send it in real time")
        size = self._gate.frame_samples
        self._raw.append(samples)
        self._raw_length += len(samples)
        if self._raw_length * RATE < (size - len(self._rest)) * self._resampler.source_rate:
            # Not a frame yet. On an idle core every small resampling would start with cold caches.
            return
        new = self._resampler.push(np.concatenate(self._raw))
        self._raw, self._raw_length = [], 0
        sound = np.concatenate([self._rest, new])
        whole = len(sound) - len(sound) % size
        self._rest = sound[whole:]
        for start in range(0, whole, size):
            frame = self._without_offset(sound[start : start + size])
            chunk = AudioChunk(frame, RATE, self._position, now)
            self._position += size
            yield self._judged(chunk)

    def _without_offset(self, frame: Samples) -> Samples:
        before = self._offset
        self._offset += DC_SHARE * (float(frame.mean()) - before)
        # A ramp from the old offset to the new one: a step would click.
        ramp = np.linspace(before, self._offset, len(frame), dtype=np.float32)
        return frame - ramp

    def _judged(self, chunk: AudioChunk) -> AudioFrame:
        frame = chunk.samples
        quiet = max(float(frame.max()), -float(frame.min())) < INAUDIBLE
        probability = 0.0 if quiet else self._gate.probability(frame)
        echo = self._echoed(chunk, probability)
        if echo > NOTHING_ELSE:
            # The echo would be recognised as the caller's words, in the pre-roll of his next turn.
            chunk = replace(chunk, samples=np.zeros_like(frame))
        probability *= 1.0 - echo
        over_agent = chunk.captured_at < self._silent_from
        if self._level is not None and not self._level.is_caller(
            level_of(frame), probability, over_agent
        ):
            probability = 0.0
        return AudioFrame(chunk, probability)

    def _echoed(self, chunk: AudioChunk, probability: float) -> float:
        if self._echo is None:
            return 0.0
        if probability > NO_SPEECH:
            self._echo_share = self._echo.likelihood(chunk)
        elif not self._echo.skip(chunk):
            self._echo_share = 0.0
        return self._echo_share

    def reconnected(self, source_rate: int, now: float) -> None:
        """Go on with the sound of another connection, right after that of the old one.

        Args:
            source_rate: samples per second of its sound.
        """
        self._resampler = StreamResampler(source_rate, RATE)
        self._raw, self._raw_length = [], 0
        self.note_playback_stopped(now)

    def note_playback(self, samples: Samples, rate: int, now: float) -> None:
        """Note sound that was sent to the caller, for the detection of its echo."""
        at = max(now, self._silent_from)
        if self._echo is not None:
            self._echo.played(samples, rate, at)
        self._silent_from = at + len(samples) / rate

    def note_playback_stopped(self, now: float) -> None:
        """Note that the playback of all sent sound was stopped."""
        if self._echo is not None:
            self._echo.stopped(now)
        self._silent_from = now
