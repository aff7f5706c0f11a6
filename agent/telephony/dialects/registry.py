"""The dialects by provider, as named in the path of the media socket."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.telephony.dialects.asterisk import AsteriskStream
from agent.telephony.dialects.base import Dialect, DialectError, WireMessage
from agent.telephony.dialects.json_fields import read_object
from agent.telephony.dialects.plivo import PlivoStream
from agent.telephony.dialects.telnyx import TelnyxStream
from agent.telephony.dialects.twilio import ExotelStream, TwilioStream
from agent.telephony.dialects.vonage import JambonzStream, VonageStream

DIALECTS: Mapping[str, Callable[[], Dialect]] = {
    "twilio": TwilioStream,
    "signalwire": TwilioStream,
    "exotel": ExotelStream,
    "telnyx": TelnyxStream,
    "plivo": PlivoStream,
    "vonage": VonageStream,
    "jambonz": JambonzStream,
    "asterisk": AsteriskStream,
}
"""Dialects over a websocket."""
AUTO = "auto"
"""In place of a provider's name: the first messages show the provider."""


def provider_of(message: WireMessage) -> str | None:
    """The provider that begins a call with this message; None where later messages decide.

    Raises:
        DialectError: no known provider does.
    """
    if isinstance(message, bytes):
        return None  # Asterisk's audio may overtake its start message
    if message.startswith("MEDIA_START "):
        return "asterisk"
    fields = read_object(message)
    event = fields.text("event", "")
    if event == "MEDIA_START":
        return "asterisk"
    if event == "websocket:connected":
        return "vonage"
    if event == "connected":
        return None
    if event == "start":
        start = fields.section("start")
        for name, mark in _MARKS.items():
            if start.has(mark):
                return name
    if not event and fields.has("callSid") and fields.has("sampleRate"):
        return "jambonz"
    raise DialectError("no provider that is known here begins a call like this")


_MARKS = {
    "telnyx": "call_control_id",
    "plivo": "callId",
    "exotel": "call_sid",
    "twilio": "callSid",
}
"""The field of the start message that identifies the provider; SignalWire's is Twilio's."""
