"""Asterisk's AudioSocket: frames on TCP. It has no marks and no clear; sent audio is played.

A frame is a kind (1 byte), the length of the payload (2 bytes, big-endian) and the payload.
(docs.asterisk.org, "AudioSocket"; res/res_audiosocket.c)
"""

from __future__ import annotations

import struct
import uuid
from enum import IntEnum

from agent.audio.samples import Samples, to_pcm16
from agent.telephony.dialects.base import (
    AudioReceived,
    Capabilities,
    Complaint,
    DialectError,
    Dtmf,
    PeerEvent,
    Started,
    Stopped,
    WireMessage,
)
from agent.telephony.dialects.encodings import Encoding, check_rate


class FrameKind(IntEnum):
    """Kinds of frames other than audio."""

    HANG_UP = 0x00
    UUID = 0x01
    DTMF = 0x03
    ERROR = 0xFF


RATES = {
    0x10: 8000,
    0x11: 12_000,
    0x12: 16_000,
    0x13: 24_000,
    0x14: 32_000,
    0x15: 44_100,
    0x16: 48_000,
}
"""Samples per second by kind of audio frame."""
_HEAD = struct.Struct(">BH")
LEAD = 0.06
"""Seconds of audio sent ahead: little, because sent audio cannot be dropped."""


class FrameReader:
    """Cuts a byte stream into frames; holds at most one incomplete frame."""

    def __init__(self) -> None:
        self._rest = b""

    def push(self, data: bytes) -> list[bytes]:
        """Take the next bytes of the stream; returns the complete frames, each with its head."""
        buffer = self._rest + data
        frames = []
        at = 0
        while len(buffer) - at >= _HEAD.size:
            _, length = _HEAD.unpack_from(buffer, at)
            end = at + _HEAD.size + length
            if end > len(buffer):
                break
            frames.append(buffer[at:end])
            at = end
        self._rest = buffer[at:]
        return frames


class AudioSocketStream:
    """One call: a UUID first, then audio of one kind."""

    def __init__(self) -> None:
        self.capabilities = Capabilities(marks=False, max_lead=LEAD, steady=False)
        self._uuid: str | None = None
        self._kind: int | None = None

    def read(self, message: WireMessage) -> list[PeerEvent]:
        """The events of one whole frame, given with its head."""
        if isinstance(message, str) or len(message) < _HEAD.size:
            raise DialectError("this is no AudioSocket frame")
        kind, length = _HEAD.unpack_from(message)
        payload = message[_HEAD.size :]
        if len(payload) != length:
            raise DialectError("an AudioSocket frame of the wrong length")
        match kind:
            case _ if kind in RATES:
                return self._sound_of(kind, payload)
            case FrameKind.UUID:
                return self._take_uuid(payload)
            case FrameKind.DTMF:
                return [Dtmf(payload[:1].decode("latin-1"))]
            case FrameKind.HANG_UP:
                return [Stopped("the caller hung up")]
            case FrameKind.ERROR:
                return [Complaint(f"AudioSocket error {payload[:8].hex()}")]
            case _:
                return []

    def _take_uuid(self, payload: bytes) -> list[PeerEvent]:
        if len(payload) != 16 or self._uuid is not None:
            raise DialectError("an AudioSocket call is named once, by 16 bytes")
        self._uuid = str(uuid.UUID(bytes=payload))
        return []

    def _sound_of(self, kind: int, payload: bytes) -> list[PeerEvent]:
        if self._uuid is None:
            raise DialectError("sound came before the UUID of the call")
        if self._kind is None:
            # The first frame (20 ms) tells the rate; its audio is dropped.
            self._kind = kind
            return [Started(self._uuid, self._uuid, check_rate(RATES[kind]))]
        if kind != self._kind:
            raise DialectError("the rate of the sound changed during the call")
        return [AudioReceived(Encoding.L16.decode(payload))]

    def sound(self, samples: Samples) -> list[WireMessage]:
        if self._kind is None:
            raise DialectError("no sound came yet that would tell the rate")
        return [_frame(self._kind, to_pcm16(samples))]

    def mark(self, name: str) -> list[WireMessage]:
        return []

    def clear(self) -> list[WireMessage]:
        return []

    def hang_up(self) -> list[WireMessage]:
        return [_frame(FrameKind.HANG_UP)]


def _frame(kind: int, payload: bytes = b"") -> bytes:
    return _HEAD.pack(kind, len(payload)) + payload
