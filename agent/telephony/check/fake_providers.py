"""The provider's end of each dialect: makes its messages, and reads the audio in ours.

For ``onebreath telephony-check`` and for tests. It shares no code with the dialects, so that the
same mistake is not made twice; the messages are those of the providers' documentation.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import numpy as np

from agent.audio.g711 import decode_mulaw, encode_mulaw
from agent.audio.samples import Samples, from_pcm16, to_pcm16

ProviderMessage = str | bytes
SILENCE = np.zeros(0, np.float32)


class Provider(Protocol):
    """The provider's end of one call."""

    rate: int
    """Samples per second, both ways."""

    def opening(self) -> list[ProviderMessage]:
        """The messages before any audio."""

    def sound(self, samples: Samples) -> ProviderMessage:
        """The message with 20 ms of the caller's audio, float32 mono."""

    def key(self, digit: str) -> ProviderMessage:
        """The message of a pressed key."""

    def audio_of(self, message: ProviderMessage) -> Samples:
        """The audio in a message of ours; empty if it is of another kind."""


@dataclass
class Twilio:
    """Twilio Media Streams and SignalWire: JSON, mu-law, camel case, numbers as strings."""

    call_id: str
    token: str
    rate: int = 8000
    _sent: int = 0
    _frames: int = 0

    def opening(self) -> list[ProviderMessage]:
        start = {
            "accountSid": "AC0",
            "streamSid": "MZ0",
            "callSid": self.call_id,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"token": self.token},
        }
        connected = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
        return [json.dumps(connected), self._event("start", {"start": start})]

    def sound(self, samples: Samples) -> ProviderMessage:
        media = {
            "track": "inbound",
            "chunk": str(self._frames + 1),
            "timestamp": str(20 * self._frames),
            "payload": _base64(encode_mulaw(samples)),
        }
        self._frames += 1
        return self._event("media", {"media": media})

    def key(self, digit: str) -> ProviderMessage:
        return self._event("dtmf", {"dtmf": {"track": "inbound_track", "digit": digit}})

    def mark(self, name: str) -> ProviderMessage:
        """The message that a mark was reached."""
        return self._event("mark", {"mark": {"name": name}})

    def audio_of(self, message: ProviderMessage) -> Samples:
        media = _payload(message, "media")
        return SILENCE if media is None else decode_mulaw(media)

    def _event(self, name: str, body: dict[str, Any]) -> str:
        self._sent += 1
        numbered = {"event": name, "sequenceNumber": str(self._sent), **body, "streamSid": "MZ0"}
        return json.dumps(numbered)


@dataclass
class Exotel:
    """JSON in snake case, 16-bit samples."""

    call_id: str
    token: str
    rate: int = 8000
    _sent: int = 0

    def opening(self) -> list[ProviderMessage]:
        start = {
            "stream_sid": "EX0",
            "call_sid": self.call_id,
            "account_sid": "acme",
            "from": "+15550100",
            "to": "+15550101",
            "custom_parameters": {"token": self.token},
            "media_format": {
                "encoding": "audio/x-raw",
                "sample_rate": str(self.rate),
                "bit_rate": "16",
            },
        }
        return [json.dumps({"event": "connected"}), self._event("start", {"start": start})]

    def sound(self, samples: Samples) -> ProviderMessage:
        media = {
            "chunk": str(self._sent),
            "timestamp": str(20 * (self._sent - 1)),
            "payload": _base64(to_pcm16(samples)),
        }
        return self._event("media", {"media": media})

    def key(self, digit: str) -> ProviderMessage:
        return self._event("dtmf", {"dtmf": {"digit": digit, "duration": "100"}})

    def audio_of(self, message: ProviderMessage) -> Samples:
        media = _payload(message, "media")
        return SILENCE if media is None else from_pcm16(media)

    def _event(self, name: str, body: dict[str, Any]) -> str:
        self._sent += 1
        numbered = {"event": name, "sequence_number": str(self._sent), "stream_sid": "EX0"}
        return json.dumps(numbered | body)


@dataclass
class Telnyx:
    """JSON in snake case, mu-law."""

    call_id: str
    token: str
    rate: int = 8000
    _sent: int = 0

    def opening(self) -> list[ProviderMessage]:
        start = {
            "user_id": "u",
            "call_control_id": self.call_id,
            "call_session_id": "s",
            "from": "+15550100",
            "to": "+15550101",
            "tags": [],
            "client_state": "",
            "custom_parameters": {"token": self.token},
            "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
        }
        connected = json.dumps({"event": "connected", "version": "1.0.0"})
        return [connected, self._event("start", {"start": start})]

    def sound(self, samples: Samples) -> ProviderMessage:
        media = {
            "track": "inbound",
            "chunk": str(self._sent),
            "timestamp": str(20 * self._sent),
            "payload": _base64(encode_mulaw(samples)),
        }
        return self._event("media", {"media": media})

    def key(self, digit: str) -> ProviderMessage:
        return self._event("dtmf", {"dtmf": {"digit": digit}})

    def audio_of(self, message: ProviderMessage) -> Samples:
        media = _payload(message, "media")
        return SILENCE if media is None else decode_mulaw(media)

    def _event(self, name: str, body: dict[str, Any]) -> str:
        self._sent += 1
        return json.dumps(
            {"event": name, "sequence_number": str(self._sent), "stream_id": "32DE0DEA", **body}
        )


@dataclass
class Plivo:
    """JSON, 16-bit samples, numbers as numbers; nothing before ``start``."""

    call_id: str
    token: str
    rate: int = 16_000
    _sent: int = 0

    def opening(self) -> list[ProviderMessage]:
        start = {
            "callId": self.call_id,
            "streamId": "st-0",
            "accountId": "MA0",
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-l16", "sampleRate": self.rate},
        }
        return [self._event("start", {"start": start})]

    def sound(self, samples: Samples) -> ProviderMessage:
        media = {
            "track": "inbound",
            "timestamp": str(1_790_000_000_000 + 20 * self._sent),
            "chunk": self._sent,
            "payload": _base64(to_pcm16(samples)),
        }
        return self._event("media", {"streamId": "st-0", "media": media})

    def key(self, digit: str) -> ProviderMessage:
        return self._event("dtmf", {"streamId": "st-0", "dtmf": {"digit": digit}})

    def audio_of(self, message: ProviderMessage) -> Samples:
        media = _payload(message, "playAudio")
        return SILENCE if media is None else from_pcm16(media)

    def _event(self, name: str, body: dict[str, Any]) -> str:
        self._sent += 1
        extra = {"extra_headers": f"token={self.token}"}
        return json.dumps({"event": name, "sequenceNumber": self._sent, **body, **extra})


@dataclass
class Binary:
    """Audio in binary messages, all else as JSON: Vonage, jambonz, Asterisk."""

    first: dict[str, Any]
    pressed: dict[str, Any]
    """The message of a pressed key, without the digit."""
    rate: int = 16_000

    def opening(self) -> list[ProviderMessage]:
        return [json.dumps(self.first)]

    def sound(self, samples: Samples) -> ProviderMessage:
        return to_pcm16(samples)

    def key(self, digit: str) -> ProviderMessage:
        return json.dumps({**self.pressed, "digit": digit})

    def audio_of(self, message: ProviderMessage) -> Samples:
        return from_pcm16(message) if isinstance(message, bytes) else SILENCE


@dataclass
class AudioSocket:
    """Asterisk's AudioSocket at 8 kHz: kind, length, payload."""

    uuid: UUID
    rate: int = 8000

    def opening(self) -> list[ProviderMessage]:
        return [self._frame(0x01, self.uuid.bytes)]

    def sound(self, samples: Samples) -> ProviderMessage:
        return self._frame(0x10, to_pcm16(samples))

    def key(self, digit: str) -> ProviderMessage:
        return self._frame(0x03, digit.encode())

    def audio_of(self, message: ProviderMessage) -> Samples:
        if isinstance(message, bytes) and message[0] == 0x10:
            return from_pcm16(message[3:])
        return SILENCE

    def _frame(self, kind: int, payload: bytes) -> bytes:
        return struct.pack(">BH", kind, len(payload)) + payload


def vonage(call_id: str, token: str, rate: int = 16_000) -> Binary:
    """Vonage Voice: the headers of the NCCO come in the first message."""
    first = {"event": "websocket:connected", "content-type": f"audio/l16;rate={rate}"}
    headers = {"token": token, "uuid": call_id}
    return Binary(first | headers, {"event": "websocket:dtmf", "duration": 260}, rate)


def jambonz(call_id: str, token: str, rate: int = 16_000) -> Binary:
    """jambonz ``listen``: attributes of the call and the metadata of the verb."""
    first = {
        "callSid": call_id,
        "from": "+15550100",
        "to": "+15550101",
        "callStatus": "in-progress",
    }
    shape = {"sampleRate": rate, "mixType": "mono", "metadata": {"token": token}}
    return Binary(first | shape, {"event": "dtmf", "duration": 1600}, rate)


def asterisk(call_id: str) -> Binary:
    """chan_websocket with JSON control messages and 16 kHz."""
    first = {
        "event": "MEDIA_START",
        "connection_id": "agent",
        "channel": "WebSocket/agent/0x1",
        "channel_id": call_id,
        "format": "slin16",
        "optimal_frame_size": 640,
        "ptime": 20,
        "channel_variables": {},
    }
    return Binary(first, {"event": "DTMF_END", "channel_id": call_id})


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _payload(message: ProviderMessage, event: str) -> bytes | None:
    body = json.loads(message)
    return base64.b64decode(body["media"]["payload"]) if body["event"] == event else None
