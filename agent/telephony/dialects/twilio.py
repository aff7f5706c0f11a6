"""Twilio Media Streams, and two providers that took the protocol over: SignalWire and Exotel.

JSON text both ways, audio as base64. (twilio.com/docs/voice/media-streams/websocket-messages;
developer.exotel.com, "Stream and Voicebot applet")
"""

from __future__ import annotations

from agent.audio.samples import Samples
from agent.telephony.dialects.base import AudioReceived, Capabilities, PeerEvent
from agent.telephony.dialects.encodings import Encoding
from agent.telephony.dialects.json_fields import JsonFields
from agent.telephony.dialects.json_stream import SNAKE_CASE, JsonStream


class TwilioStream(JsonStream):
    """One stream, whose timestamps count the milliseconds of audio."""

    def _received(self, samples: Samples, media: JsonFields) -> list[PeerEvent]:
        at = media.integer("timestamp") / 1000 if media.has("timestamp") else None
        return [AudioReceived(samples, at)]


class ExotelStream(TwilioStream):
    """Exotel: snake case, and 16-bit audio in pieces of at least 3200 bytes."""

    capabilities = Capabilities(frame_samples=1600)
    names = SNAKE_CASE

    def _encoding_of(self, form: JsonFields) -> Encoding:
        return Encoding.L16  # whatever Exotel calls it
