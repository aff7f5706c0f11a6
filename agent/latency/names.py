"""What an agent may speak, by name. Light: the command line shows it in its help."""

from __future__ import annotations

from enum import StrEnum


class WireName(StrEnum):
    """A protocol between caller and agent."""

    REALTIME = "realtime"
    """OpenAI's events over a websocket."""
    WEBRTC = "webrtc"
    """The same events over a data channel, sound over RTP."""
    TWILIO = "twilio"
    """Media Streams, as the telephone provider speaks to an agent."""
    ASTERISK = "asterisk"
    """chan_websocket, as an exchange of one's own speaks to an agent."""
