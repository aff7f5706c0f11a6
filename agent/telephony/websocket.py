"""Uvicorn's websocket with the limits of media sockets, which must hold before anyone is let in.

Uvicorn knows one limit and one ping for all paths. This stands on its attributes ``conn`` and
``ping_interval``, which no promise covers; the tests fail when they go.
"""

from __future__ import annotations

from urllib.parse import unquote

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from agent.telephony.envelope import MAX_MESSAGE

MEDIA = "/telephony/"
WITHOUT_PINGS = "/telephony/asterisk"
"""Asterisk of 2025 hangs up the call when it is pinged (asterisk/asterisk issue 1722)."""


class MediaAwareProtocol(WebSocketsSansIOProtocol):
    """Reads no media message of more than ``MAX_MESSAGE`` bytes: the rest gets close code 1009."""

    def handle_connect(self, event: Request) -> None:
        path = unquote(event.path)  # as the routes see it
        if path.startswith(MEDIA):
            self.conn.max_size = MAX_MESSAGE
        if path.startswith(WITHOUT_PINGS):
            self.ping_interval = None
        super().handle_connect(event)
