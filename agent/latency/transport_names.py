"""Names of the transports that a test caller supports.

This module imports nothing heavy, because the command line needs it for its help.
"""

from __future__ import annotations

from enum import StrEnum


class TransportName(StrEnum):
    """Transport and protocol between caller and agent.

    Attributes:
        REALTIME: OpenAI Realtime events over a websocket.
        WEBRTC: OpenAI Realtime events over a data channel, audio over RTP.
        TWILIO: Twilio Media Streams over a websocket.
        ASTERISK: Asterisk chan_websocket.
    """

    REALTIME = "realtime"
    WEBRTC = "webrtc"
    TWILIO = "twilio"
    ASTERISK = "asterisk"
