"""Reader of the sound in events: base64 of any common form, and streams cut anywhere."""

from __future__ import annotations

from agent.audio.base64_text import from_base64
from agent.audio.samples import Samples, StreamResampler
from agent.audio.wire_format import WireFormat
from agent.errors import AudioError
from agent.protocol.problems import bad_value

SAMPLE_BYTES = 2
"""Bytes of one sample of PCM."""
NAMES = {"pcm": "16-bit little-endian mono PCM", "pcmu": "mu-law", "pcma": "A-law"}


class SoundReader:
    """Reads the caller's sound event by event.

    An event may end in the middle of a sample; the rest of it begins the next event.

    Args:
        rate: samples per second of what is read.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._format: WireFormat | None = None
        self._resampler: StreamResampler | None = None
        self._half = b""

    def read(self, audio: str, given: WireFormat) -> Samples:
        """float32 in [-1, 1] at the reader's rate.

        Args:
            audio: base64 of sound in the format ``given``.

        Raises:
            BadEvent: it is no base64.
        """
        if given != self._format:
            self._format, self._half = given, b""
            same = given.rate == self._rate
            self._resampler = None if same else StreamResampler(given.rate, self._rate)
        try:
            samples = given.decode(self._whole(from_base64(audio), given))
        except (ValueError, AudioError):
            message = f"this must be base64 of {NAMES[given.kind]} at {given.rate} Hz"
            raise bad_value("audio", message, "invalid_audio") from None
        return samples if self._resampler is None else self._resampler.push(samples)

    def forget(self) -> None:
        """Drop the half of a sample: the sound that begins now is another."""
        self._half = b""

    def _whole(self, data: bytes, given: WireFormat) -> bytes:
        """The whole samples; half of one is kept for the next event."""
        if given.kind != "pcm":
            return data
        data = self._half + data
        whole = len(data) // SAMPLE_BYTES * SAMPLE_BYTES
        self._half = data[whole:]
        return data[:whole]
