"""Requests about a call or session that another process or machine has: they are forwarded to it.

Processes of a machine tell each other whose request it is, over unix sockets that nobody else
reaches: rates of an address are the same whichever process it comes to.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from agent.close_codes import GOING_AWAY, HANG_UPS, INTERNAL_ERROR, NORMAL_CLOSURE
from agent.server.access import Refused
from agent.server.fair_share import address_of
from agent.server.http_server import HARD_MESSAGE_LIMIT
from agent.server.identity import Identity

log = logging.getLogger("onebreath.server")

FORWARDED = "x-onebreath-forwarded"
"""Header that counts the hops of a request: to its machine, there to its process."""
MAX_HOPS = 2
CLIENT = "x-onebreath-client"
"""Header with the address of the client, between processes of a machine."""
SECONDS = 5.0
"""Longest wait for the owner."""
OFFER_SECONDS = 10.0
"""Longest wait for its answer to an offer, which takes up to 5 s (``rtc_peer.py``)."""
MAX_ANSWER = 4 * 1_048_576
"""Bytes of an answer that are passed on."""
PASSED_ON = ("authorization", "origin", "host", "openai-safety-identifier", "content-type")
"""Headers by which the owner decides whether a request may go on, and reads it."""
PASSED_BACK = ("location", "retry-after")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request is forwarded to.

    Attributes:
        url: with scheme and host; no path.
        unix: socket of a process of this machine; None: the host of ``url`` is dialled.
    """

    url: str
    unix: Path | None = None


class Forwarding:
    """Finds the owners of calls, and hands requests on to them."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._carried: set[asyncio.Task[Any]] = set()
        """Tasks of websockets that are carried to processes of this machine."""

    def sibling(self, worker: int | None, request: HTTPConnection) -> Target | None:
        """The other process of this machine with a number; None if there is none, or if the
        request was forwarded before."""
        unix = self._identity.socket_of(worker)
        return None if unix is None or _hops(request.headers) else Target("http://worker", unix)

    async def drained(self, seconds: float) -> None:
        """Wait, for ``seconds`` at most, until the websockets of other processes have ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._carried:
                    await asyncio.wait(self._carried)

    def target(self, call_id: str, request: HTTPConnection) -> Target | None:
        """Where a request about a call belongs; None if it is here, or nowhere."""
        owner = self._identity.owner(call_id)
        if owner is None or _hops(request.headers) >= MAX_HOPS:
            return None
        if owner.machine:
            return Target(owner.machine) if not _hops(request.headers) else None
        unix = self._identity.socket_of(owner.worker)
        return None if unix is None else Target("http://worker", unix)

    async def forward(
        self, target: Target, request: Request, gone: Refused, body: bytes = b""
    ) -> Response:
        """Hand on a request of HTTP; its answer.

        Args:
            gone: raised where the owner cannot be reached.
        """
        path = f"{quote(request.url.path)}?{request.url.query}"
        headers = _headers(request, target)
        try:
            answer = await asyncio.to_thread(ask, target, request.method, path, headers, body)
        except OSError as error:
            log.warning("cannot forward to %s: %s", target.url, error)
            raise gone from None
        return answer.response()

    async def websocket(self, target: Target, websocket: WebSocket, gone: Refused) -> None:
        """Hand on a websocket, and carry its messages both ways until either side ends.

        Args:
            gone: raised where the owner cannot be reached.

        Raises:
            Refused: the owner refused it.
        """
        try:
            there = await _dial(target, websocket)
        except InvalidStatus as refused:
            raise _as_refused(refused) from None
        except (OSError, ValueError, WebSocketException) as error:
            log.warning("cannot forward to %s: %s", target.url, error)
            raise gone from None
        carrying = asyncio.create_task(_carry(websocket, there))
        if target.unix is not None:
            self._carried.add(carrying)
            carrying.add_done_callback(self._carried.discard)
        await carrying


async def _carry(websocket: WebSocket, there: ClientConnection) -> None:
    async with there:
        await websocket.accept(there.subprotocol)
        ways = {
            asyncio.create_task(_to_owner(websocket, there)),
            asyncio.create_task(_to_client(websocket, there)),
        }
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
    code, reason = there.close_code, there.close_reason or ""
    if code in {None, 1006}:  # of which no close frame can tell
        code, reason = INTERNAL_ERROR, "the process of this call is gone"
    with suppress(RuntimeError, WebSocketDisconnect):
        await websocket.close(NORMAL_CLOSURE if code in HANG_UPS else code, reason)


async def _dial(target: Target, websocket: WebSocket) -> ClientConnection:
    asked = f"{quote(websocket.url.path)}?{websocket.url.query}"
    protocols = websocket.scope.get("subprotocols", [])
    headers = _headers(websocket, target)
    host = headers.pop("host", "worker")
    local: dict[str, Any] = {}
    address = target.url.replace("http", "ws", 1)
    if target.unix is not None:
        address, local = f"ws://{host}", {"unix": True, "path": str(target.unix)}
    return await connect(
        address + asked,
        subprotocols=[Subprotocol(name) for name in protocols] or None,
        additional_headers=headers,
        open_timeout=SECONDS,
        max_size=HARD_MESSAGE_LIMIT,
        compression=None,
        proxy=None,
        **local,
    )


async def _to_owner(websocket: WebSocket, there: ClientConnection) -> None:
    """Carry the client's messages, and its end: a loss must not become a hang-up."""
    with suppress(ConnectionClosed):
        while (message := await websocket.receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            await there.send(message["bytes"] if text is None else text)
        hung_up = message.get("code") in HANG_UPS
        await there.close(NORMAL_CLOSURE if hung_up else GOING_AWAY)


async def _to_client(websocket: WebSocket, there: ClientConnection) -> None:
    """Carry the owner's messages; how a client ended that takes none, the other way learns."""
    async for message in there:
        with suppress(RuntimeError, WebSocketDisconnect):
            if isinstance(message, str):
                await websocket.send_text(message)
            else:
                await websocket.send_bytes(message)


def _as_refused(error: InvalidStatus) -> Refused:
    """The owner's refusal, in its own words where it gave some."""
    status = error.response.status_code
    try:
        told = json.loads(error.response.body or b"")["error"]
        return Refused(status, str(told["code"]), str(told["message"]))
    except (ValueError, LookupError, TypeError):
        return Refused(status, "forbidden", "the call's own server refused this")


def _hops(headers: Headers) -> int:
    said = headers.get(FORWARDED, "0")
    return int(said) if said.isascii() and said.isdecimal() and len(said) < 3 else MAX_HOPS


def _headers(request: HTTPConnection, target: Target) -> dict[str, str]:
    headers = request.headers
    passed = {name: headers[name] for name in PASSED_ON if name in headers}
    if target.unix is not None:
        passed[CLIENT] = address_of(request)
    return {**passed, FORWARDED: str(_hops(headers) + 1)}


class FromSibling:
    """Application behind the socket of the other processes: who forwards names the client."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and (address := Headers(scope=scope).get(CLIENT)):
            scope["client"] = address, 0
        await self._app(scope, receive, send)


# ---- HTTP, also over unix sockets ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a forwarded request."""

    status: int
    media_type: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """The same for the client."""
        return Response(self.body, self.status, self.headers, self.media_type)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SECONDS)
        self.sock.connect(str(self._path))


def ask(
    target: Target,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
) -> Answer:
    """Make one small request; blocks for ``SECONDS`` at most per step, ``OFFER_SECONDS`` for the
    answer to a body.

    Raises:
        OSError: the server cannot be reached, or does not speak HTTP.
    """
    connection = _connection(target)
    given = dict(headers or {})
    if target.unix is None:
        given.pop("host", None)
    try:
        connection.request(method, path, body, given)
        if body:
            connection.sock.settimeout(OFFER_SECONDS)
        response = connection.getresponse()
        kind = response.getheader("content-type") or "application/json"
        back = {name: response.getheader(name, "") for name in PASSED_BACK}
        back = {name: value for name, value in back.items() if value}
        return Answer(response.status, kind, response.read(MAX_ANSWER), back)
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP: {error!r}") from None
    finally:
        connection.close()


def _connection(target: Target) -> http.client.HTTPConnection:
    if target.unix is not None:
        return _UnixConnection(target.unix)
    parts = urlsplit(target.url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port, timeout=SECONDS, context=context)
    return http.client.HTTPConnection(host, parts.port, timeout=SECONDS)
