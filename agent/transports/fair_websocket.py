"""Uvicorn's websocket with a fair share of the event loop.

Uvicorn parses whatever one read brought, up to 256 KiB, in one go: thousands of frames of two
bytes, or of pings, hold up everybody. Here they are parsed in slices, and a connection that takes
more of the loop than its share is read more slowly. A handshake that the package websockets cannot
read is answered, too: uvicorn would keep such a connection open for ever, without a word. Uses the
attributes ``transport``, ``conn``, ``handshake_initiated`` and ``loop`` of uvicorn's class, which
are not public; the tests fail when they go.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets import http11
from websockets.frames import CloseCode, Frame

from agent.rates import TokenBucket

log = logging.getLogger("onebreath.websocket")

SLICE = 1024
"""Bytes that are parsed between two looks at the clock."""
SLICE_SECONDS = 0.002
"""Seconds of parsing after which the event loop gets its turn."""
SHARE = 0.1
"""Share of the loop's processor time that one connection may take for parsing."""
BURST_SECONDS = 0.25
CLOSED_SECONDS = 0.02
"""Seconds of parsing after our close frame, in search of the peer's; a flood can have filled the
buffers of the operating system with a million frames."""
WRITE_BYTES = 8192
"""Bytes that may wait in this process for a slow client; what follows them waits in the call,
which drops the sound of a reply that was interrupted."""
MAX_FRAGMENTS = 4096
"""Fragments of one message; what they hold has bounds of its own, and they may hold nothing."""
MAX_HEADER = 32_768
"""Bytes of one header of a handshake: a client secret may have half of that (``seal.py``)."""
BAD_HANDSHAKE = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\nContent-Length: 40\r\n\r\nThis handshake of a websocket is no good"
)

http11.MAX_LINE_LENGTH = MAX_HEADER


class _Valve:
    """A transport whose reading the connection stops while it has unparsed bytes."""

    def __init__(self, transport: Any, changed: Any) -> None:
        self._transport = transport
        self._changed = changed
        self.full = False
        """Whether messages wait for the application."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def pause_reading(self) -> None:
        self.full = True

    def resume_reading(self) -> None:
        self.full = False
        self._changed()


class FairWebsocket(WebSocketsSansIOProtocol):
    """Parses what arrives in slices, within its share of the event loop."""

    _unparsed: bytearray
    _work: TokenBucket
    _timer: asyncio.TimerHandle | None = None
    _paused = False
    _after_close = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._unparsed = bytearray()
        self._work = TokenBucket(SHARE, BURST_SECONDS, self.loop.time())
        cast("asyncio.Transport", transport).set_write_buffer_limits(WRITE_BYTES)
        self.transport = cast("asyncio.Transport", _Valve(transport, self._go_on))

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) < MAX_FRAGMENTS:
            super().handle_cont(event)
        else:
            self._refuse(CloseCode.MESSAGE_TOO_BIG, f"more than {MAX_FRAGMENTS} fragments")

    def send_receive_event_to_app(self) -> None:
        self.frames = [b"".join(self.frames)]
        try:
            if self.curr_msg_data_type == "text":
                self.frames[0].decode()
        except UnicodeDecodeError:  # uvicorn logs a traceback for it
            self._refuse(CloseCode.INVALID_DATA, "a text message that is not UTF-8")
        else:
            super().send_receive_event_to_app()

    def _refuse(self, code: CloseCode, reason: str) -> None:
        log.info("closed a websocket of %s: %s", self.client and self.client[0], reason)
        self.frames = []
        self.conn.fail(code, reason)
        if self.conn.close_sent is not None:  # else it is closing already
            self.handle_parser_exception()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._unparsed.clear()
        if self.conn.close_rcvd is None and self.conn.close_sent is None:
            # Uvicorn reports 1005, as for a close frame without a code, which is a hang-up.
            self.queue.put_nowait(
                {"type": "websocket.disconnect", "code": CloseCode.ABNORMAL_CLOSURE}
            )
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unparsed += data
        if self._timer is None:
            self._parse()

    def _go_on(self) -> None:
        """Parse on, soon: the application took its last message."""
        if self._timer is None:
            self._timer = self.loop.call_later(0, self._parse)

    def _parse(self) -> None:
        self._timer = None
        began = time.thread_time()
        while self._unparsed and not self._valve.full:
            piece = bytes(self._unparsed[:SLICE])
            del self._unparsed[:SLICE]
            if not self._taken(piece):
                return
            if time.thread_time() - began > SLICE_SECONDS:
                break
        took = time.thread_time() - began
        if self.close_sent:
            self._after_close += took
            if self._after_close > CLOSED_SECONDS:
                self.transport.abort()
                return
        owed = self._work.spend(took, self.loop.time())
        if (self._unparsed and not self._valve.full) or owed:
            self._timer = self.loop.call_later(owed, self._parse)
        self._set_reading(not self._unparsed and not self._valve.full and not owed)

    def _taken(self, piece: bytes) -> bool:
        """Whether uvicorn could make something of ``piece``; if not, the connection is closed."""
        try:
            super().data_received(piece)
        except Exception as error:  # odd headers of a handshake raise several kinds
            if self.handshake_initiated:
                raise
            log.info("closed a websocket of %s: %r", self.client and self.client[0], error)
            self.transport.abort()
            return False
        if self.handshake_initiated or self.conn.handshake_exc is None:
            return True
        log.info("refused a handshake of %s", self.client and self.client[0])
        self.transport.write(BAD_HANDSHAKE)
        self.transport.close()
        return False

    def _set_reading(self, wanted: bool) -> None:
        if wanted is not self._paused or self.transport.is_closing():
            return
        self._paused = not wanted
        real = self._valve._transport
        if wanted:
            real.resume_reading()
        else:
            real.pause_reading()

    @property
    def _valve(self) -> _Valve:
        return cast("_Valve", self.transport)
