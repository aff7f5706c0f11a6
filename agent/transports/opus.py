"""Opus, 48 kHz mono, one frame of 20 ms at a time.

Both directions cost less than a tenth of a millisecond per frame, less than handing the work
to a thread would, so they run on the event loop.
"""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from agent.audio.samples import Samples, from_pcm16, to_mono, to_pcm16
from agent.errors import AudioError

RATE = 48_000
FRAME = RATE // 50
"""Samples of one sent frame: 20 ms."""
MAX_PACKET = RATE * 120 // 1000
"""Samples of one packet, at most: 120 ms."""
CONCEALED = RATE // 10
"""Samples of a gap that the codec conceals from the audio before it; the rest is silence."""
CLOCK = Fraction(1, RATE)


def packet_duration(payload: bytes) -> int:
    """Number of samples at 48 kHz in an Opus packet (RFC 6716, section 3.1).

    Raises:
        AudioError: the payload is not an Opus packet.
    """
    if not payload:
        raise AudioError("an Opus packet has at least one byte")
    config, code = payload[0] >> 3, payload[0] & 3
    if config < 12:
        frame = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:
        frame = (480, 960)[config & 1]
    else:
        frame = (120, 240, 480, 960)[config & 3]
    frames = (1, 2, 2)[code] if code < 3 else payload[1] & 0x3F if len(payload) > 1 else 0
    if not 0 < frames * frame <= MAX_PACKET:
        raise AudioError(f"an Opus packet of {frames} frames of {frame} samples")
    return frames * frame


class OpusEncoder:
    """Encodes frames as packets.

    Args:
        bitrate: bits per second.
        expected_loss: percent of the packets that are expected to be lost; above 0, packets hold
            the sound of the one before them, too (in-band FEC, of which a decoder makes use if it
            can; `OpusDecoder` cannot).
    """

    def __init__(self, bitrate: int, expected_loss: int = 0) -> None:
        self._codec = av.AudioCodecContext.create("libopus", "w")
        self._codec.bit_rate = bitrate
        self._codec.format = "s16"
        self._codec.layout = "mono"
        self._codec.sample_rate = RATE
        self._codec.time_base = CLOCK
        self._codec.options = {"frame_duration": "20", **_application(expected_loss)}

    def encode(self, samples: Samples) -> bytes:
        """Encode ``FRAME`` samples of float32 mono as one packet."""
        frame = av.AudioFrame(format="s16", layout="mono", samples=FRAME)
        frame.planes[0].update(to_pcm16(samples))
        frame.sample_rate = RATE
        (packet,) = self._codec.encode(frame)
        return bytes(packet)


def _application(expected_loss: int) -> dict[str, str]:
    """Options of libopus: only its coding of speech has FEC."""
    if not expected_loss:
        return {"application": "audio"}
    return {"application": "voip", "fec": "1", "packet_loss": str(expected_loss)}


class OpusDecoder:
    """Decodes packets, and conceals gaps."""

    def __init__(self) -> None:
        self._codec = av.AudioCodecContext.create("libopus", "r")
        self._codec.format = "s16"
        # Mixed here: the codec's own mix of channels of opposite polarity is silence.
        self._codec.layout = "stereo"
        self._codec.sample_rate = RATE
        self._last: bytes | None = None
        self._concealed = 0

    def decode(self, payload: bytes) -> Samples:
        """Decode a packet to float32 mono of ``packet_duration`` samples.

        Raises:
            AudioError: the packet is damaged.
        """
        try:
            frames = self._codec.decode(av.Packet(payload))
        except av.FFmpegError as error:
            raise AudioError(f"an Opus packet cannot be decoded: {error}") from None
        if not frames:
            raise AudioError("an Opus packet without sound")
        # The first byte alone, with the code for one frame, is an empty frame: a decoder conceals
        # it from the audio before (RFC 6716, section 3.2.1, "DTX").
        self._last, self._concealed = bytes([payload[0] & 0xFC]), 0
        return np.concatenate([_samples(frame) for frame in frames])

    def conceal(self, duration: int) -> Samples:
        """float32 mono in place of ``duration`` lost samples."""
        sound = np.zeros(duration, np.float32)
        if self._last is None:
            return sound
        frame = packet_duration(self._last)
        for start in range(0, duration - frame + 1, frame):
            if self._concealed >= CONCEALED:
                break
            (made,) = self._codec.decode(av.Packet(self._last))
            sound[start : start + frame] = _samples(made)
            self._concealed += frame
        return sound


def _samples(frame: av.AudioFrame) -> Samples:
    channels = from_pcm16(bytes(frame.planes[0])[: 4 * frame.samples]).reshape(-1, 2)
    return to_mono(channels.T)
