"""The dialects by the name of the provider, as it stands in the socket's address."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.telephony.dialect import Dialect
from agent.telephony.twilio import ExotelStream, MediaStream

DIALECTS: Mapping[str, Callable[[], Dialect]] = {
    "twilio": MediaStream,
    "signalwire": MediaStream,
    "exotel": ExotelStream,
}
