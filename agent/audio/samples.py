"""Sound within the agent: chunks, levels, PCM bytes, resampling, sound files."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from agent.audio.polyphase import Polyphase, is_small
from agent.errors import AudioError

Samples = NDArray[np.float32]

AUDIBLE_DBFS = -40.0
"""Level of the first sample that begins a reply, in dBFS (docs/latency.md)."""
NOISE_FLOOR_DBFS = -50.0
"""Level of the last sample that belongs to the caller's speech, in dBFS (docs/latency.md)."""
MAX_FILE_SECONDS = 600.0
"""Longest sound file that is read."""


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """Consecutive samples of a call and their position in it.

    Attributes:
        samples: float32 mono ``[n]`` in [-1, 1].
        rate: samples per second.
        start: index of the first sample since the call began, at ``rate``.
        captured_at: monotonic second at which the last sample arrived.
    """

    samples: Samples
    rate: int
    start: int
    captured_at: float

    @property
    def end(self) -> int:
        """Index of the sample after the last."""
        return self.start + len(self.samples)

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / self.rate


def from_pcm16(data: bytes) -> Samples:
    """Convert little-endian 16-bit mono PCM to float32 in [-1, 1).

    Raises:
        AudioError: an odd number of bytes.
    """
    if len(data) % 2:
        raise AudioError(f"16-bit PCM needs an even number of bytes, got {len(data)}")
    return np.frombuffer(data, dtype="<i2").astype(np.float32) / 32768.0


def to_pcm16(samples: Samples) -> bytes:
    """Convert float32 in [-1, 1] to little-endian 16-bit PCM; louder samples are clipped."""
    return (np.clip(samples, -1.0, 32767 / 32768) * 32768.0).astype("<i2").tobytes()


ANTIPHASE: Final = 0.1
"""Share of the channels' mean power below which their sum has cancelled itself out."""


def to_mono(channels: Samples) -> Samples:
    """Mix float32 ``[channels, n]`` to mono ``[n]``.

    Channels of opposite polarity, such as those of a balanced line that was taken for stereo,
    would cancel each other: then the first channel stands for all.
    """
    mixed: Samples = channels.mean(axis=0, dtype=np.float32)
    if len(channels) == 1:
        return mixed
    power = float(np.mean(np.square(channels)))
    cancelled = float(np.mean(np.square(mixed))) < ANTIPHASE * power
    return channels[0].astype(np.float32) if cancelled and _opposed(channels) else mixed


def _opposed(channels: Samples) -> bool:
    """Whether the first two channels are each other's negative, more or less."""
    first, second = channels[0], channels[1]
    both = float(np.sqrt(np.sum(np.square(first)) * np.sum(np.square(second))))
    return both > 0 and float(np.dot(first, second)) / both < -OPPOSED


OPPOSED: Final = 0.7
"""Correlation of two channels, negated, from which on they are of opposite polarity."""


def first_above(samples: Samples, level_dbfs: float) -> int | None:
    """Index of the first sample louder than ``level_dbfs``; None if there is none."""
    loud = np.flatnonzero(np.abs(samples) > 10 ** (level_dbfs / 20))
    return int(loud[0]) if len(loud) else None


def last_above(samples: Samples, level_dbfs: float) -> int | None:
    """Index of the last sample louder than ``level_dbfs``; None if there is none."""
    loud = np.flatnonzero(np.abs(samples) > 10 ** (level_dbfs / 20))
    return int(loud[-1]) if len(loud) else None


class StreamResampler:
    """Band-limited rate conversion of a mono stream.

    Rates of a small ratio are converted by `Polyphase`, others by libswresample. Both delay the
    stream by 1-2 ms; the streaming mode of soxr delays it by up to 115 ms (ADR 18).
    """

    def __init__(self, source_rate: int, target_rate: int) -> None:
        self.source_rate = source_rate
        self.target_rate = target_rate
        self._converter: Polyphase | _Swresample | None = None
        if source_rate != target_rate:
            small = is_small(source_rate, target_rate)
            self._converter = (Polyphase if small else _Swresample)(source_rate, target_rate)

    def push(self, samples: Samples) -> Samples:
        """Convert the next samples of the stream."""
        return samples if self._converter is None else self._converter.push(samples)

    def flush(self) -> Samples:
        """End the stream; returns the samples that were held back."""
        return np.zeros(0, np.float32) if self._converter is None else self._converter.flush()


class _Swresample:
    """Rate conversion of one stream by libswresample."""

    def __init__(self, source_rate: int, target_rate: int) -> None:
        self._rate = source_rate
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=target_rate)

    def push(self, samples: Samples) -> Samples:
        if not len(samples):
            return np.zeros(0, np.float32)
        frame = av.AudioFrame(format="flt", layout="mono", samples=len(samples))
        frame.planes[0].update(samples.astype(np.float32, copy=False).tobytes())
        frame.sample_rate = self._rate
        return _joined(self._resampler.resample(frame))

    def flush(self) -> Samples:
        return _joined(self._resampler.resample(None))


def _joined(frames: list[av.AudioFrame]) -> Samples:
    pieces = [np.frombuffer(bytes(frame.planes[0]), np.float32, frame.samples) for frame in frames]
    return pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros(0, np.float32), *pieces])


def resample(samples: Samples, source_rate: int, target_rate: int) -> Samples:
    """Convert a whole recording."""
    resampler = StreamResampler(source_rate, target_rate)
    seconds = range(0, len(samples), source_rate)
    pieces = [resampler.push(samples[at : at + source_rate]) for at in seconds]
    return np.concatenate([*pieces, resampler.flush()])


@dataclass(frozen=True, slots=True)
class SoundFile:
    """A decoded sound file.

    Attributes:
        samples: float32 mono ``[n]`` in [-1, 1].
        rate: samples per second.
        notes: sentences for the user on conversions that lose quality.
    """

    samples: Samples
    rate: int
    notes: tuple[str, ...] = ()


def read_sound_file(path: Path, rate: int) -> SoundFile:
    """Decode a sound file to mono at ``rate``.

    Raises:
        AudioError: the file is missing, empty, too long, not a sound file, or its rate is unusable.
    """
    if not path.is_file():
        raise AudioError(f"{path}: no such file")
    try:
        with av.open(str(path), mode="r") as container:
            return _decode(path, container, rate)
    except av.FFmpegError as error:
        raise AudioError(
            f"{path}: this is not a sound file that can be read ({error.strerror}); "
            "give a WAV file, best 16-bit mono"
        ) from None


def _decode(path: Path, container: av.container.InputContainer, rate: int) -> SoundFile:
    if not container.streams.audio:
        raise AudioError(f"{path}: no sound in this file; give a WAV file, best 16-bit mono")
    stream = container.streams.audio[0]
    source_rate, channels = stream.rate, stream.channels
    if not 8_000 <= source_rate <= 192_000:
        raise AudioError(f"{path}: {source_rate} Hz; use a rate between 8000 and 192000 Hz")
    # Only the sample format is converted here: libswresample adds channels up to +3 dB.
    converter = av.AudioResampler(format="fltp")
    pieces: list[Samples] = []
    total = 0
    for frame in [*container.decode(stream), None]:
        for converted in converter.resample(frame):
            pieces.append(to_mono(converted.to_ndarray().astype(np.float32)))
            total += len(pieces[-1])
        if total > MAX_FILE_SECONDS * source_rate:
            raise AudioError(f"{path}: longer than {MAX_FILE_SECONDS:.0f} s; cut it")
    if not total:
        raise AudioError(f"{path}: the file holds no samples")
    samples = resample(np.concatenate(pieces), source_rate, rate)
    return SoundFile(samples, rate, tuple(_notes(path, stream.codec.name, source_rate, channels)))


def _notes(path: Path, codec: str, rate: int, channels: int) -> Iterator[str]:
    if channels > 1:
        yield f"{path}: {channels} channels were mixed to one"
    if codec == "pcm_u8":
        yield f"{path}: 8-bit sound is noisy; 16-bit is heard better"
    if rate < 16_000:
        yield f"{path}: {rate} Hz is telephone quality; 16000 Hz and more is heard better"


def write_wav(path: Path, channels: list[Samples], rate: int) -> None:
    """Write a 16-bit PCM WAV file; shorter channels are padded with silence.

    Raises:
        AudioError: the file cannot be written.
    """
    length = max(len(channel) for channel in channels)
    padded = [np.pad(channel, (0, length - len(channel))) for channel in channels]
    try:
        with path.open("wb") as raw, wave.open(raw, "wb") as file:
            file.setnchannels(len(channels))
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(to_pcm16(np.stack(padded, axis=1).reshape(-1)))
    except OSError as error:
        raise AudioError(f"{path}: cannot be written: {error.strerror}") from error
