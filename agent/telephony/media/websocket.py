"""Uvicorn's websocket with the limits of media sockets, which hold from the first byte.

Uvicorn knows one limit and one ping for all paths, and waits for ever for a peer that reads
nothing. This class uses its attributes ``conn``, ``ping_interval``, ``handshake_complete``,
``writable`` and ``transport``, which are not public; the tests fail when they go.
"""

from __future__ import annotations

from urllib.parse import unquote

from uvicorn._types import ASGISendEvent
from websockets.http11 import Request

from agent.telephony.dialects.json_fields import MAX_MESSAGE
from agent.transports.fair_websocket import FairWebsocket

MEDIA = "/telephony/"
CLOSE_SECONDS = 12.0
"""Seconds from our close frame to the end of the connection: uvicorn gives the peer 10 s to answer
(``close_timeout``); unread data is dropped."""
MAX_UNREAD_BYTES = 1_048_576
"""Bytes that may wait for a peer that pings; a peer some seconds of audio behind is only slow."""
WITHOUT_PINGS = "/telephony/asterisk"
"""Path without pings: Asterisk of 2025 hangs up when it is pinged (its issue 1722)."""


class MediaAwareProtocol(FairWebsocket):
    """Reads no media message of more than ``MAX_MESSAGE`` bytes: the rest gets close code 1009."""

    def handle_connect(self, event: Request) -> None:
        path = unquote(event.path)  # as the routes see it
        if path.startswith(MEDIA):
            self.conn.max_size = MAX_MESSAGE
        if path.startswith(WITHOUT_PINGS):
            self.ping_interval = None
        super().handle_connect(event)

    def handle_ping(self) -> None:
        if self.transport.get_write_buffer_size() <= MAX_UNREAD_BYTES:
            super().handle_ping()
        else:
            self.transport.abort()  # or the pongs to a peer that reads nothing would pile up

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.transport.abort()  # closing waits for a peer that reads

    async def send(self, message: ASGISendEvent) -> None:
        closing = message["type"] == "websocket.close"
        if closing and not self.writable.is_set():
            # A peer that reads nothing takes no close frame; waiting for it would keep the call.
            self.transport.abort()
        await super().send(message)
        if closing:
            self.loop.call_later(CLOSE_SECONDS, self.transport.abort)
        refused = message["type"] == "websocket.http.response.body"
        if refused and not message.get("more_body", False):
            # Uvicorn sends the refusal, but logs it as a fault of the application.
            self.handshake_complete = True
