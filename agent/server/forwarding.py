"""Requests about a call that another process or machine has: they are forwarded to it."""

from __future__ import annotations

import asyncio
import http.client
import logging
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from agent.server.access import Refused
from agent.server.identity import Identity

log = logging.getLogger("onebreath.server")

FORWARDED = "x-onebreath-forwarded"
"""Header that counts the hops of a request: to its machine, there to its process."""
MAX_HOPS = 2
SECONDS = 5.0
"""Longest wait for the owner's answer."""
MAX_MESSAGE = 1_048_576
MAX_ANSWER = 4 * 1_048_576
"""Bytes of an answer that are passed on."""
PASSED_ON = ("authorization", "origin", "host", "openai-safety-identifier")
"""Headers by which the owner decides whether a request may go on."""


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

    def target(self, call_id: str, request: HTTPConnection) -> Target | None:
        """Where a request about a call belongs; None if it is here, or nowhere."""
        owner = self._identity.owner(call_id)
        if owner is None or _hops(request.headers) >= MAX_HOPS:
            return None
        if owner.machine:
            return Target(owner.machine) if not _hops(request.headers) else None
        unix = self._identity.socket_of(owner.worker)
        return None if unix is None else Target("http://worker", unix)

    async def post(self, target: Target, request: Request) -> Response:
        """Hand on a POST without a body; its answer."""
        try:
            answer = await asyncio.to_thread(
                ask, target, "POST", quote(request.url.path), _headers(request.headers)
            )
        except OSError as error:
            log.warning("cannot forward to %s: %s", target.url, error)
            raise Refused(404, "call_not_found", "there is no call with this id") from None
        return Response(answer.body, answer.status, media_type=answer.media_type)

    async def websocket(self, target: Target, websocket: WebSocket) -> None:
        """Hand on a websocket, and carry its messages both ways until either side ends.

        Raises:
            Refused: the owner is gone, or refused it.
        """
        protocols = websocket.scope.get("subprotocols", [])
        try:
            there = await _dial(target, websocket, protocols)
        except InvalidStatus as refused:
            raise _as_refused(refused) from None
        except (OSError, WebSocketException, TimeoutError) as error:
            log.warning("cannot forward to %s: %s", target.url, error)
            raise Refused(404, "call_not_found", "the server of this call is gone") from None
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
        with suppress(RuntimeError, WebSocketDisconnect):
            await websocket.close(there.close_code or 1000, there.close_reason or "")


async def _dial(target: Target, websocket: WebSocket, protocols: list[str]) -> ClientConnection:
    asked = f"{quote(websocket.url.path)}?{websocket.url.query}"
    headers = _headers(websocket.headers)
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
        max_size=MAX_MESSAGE,
        compression=None,
        proxy=None,
        **local,
    )


async def _to_owner(websocket: WebSocket, there: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        while (message := await websocket.receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            await there.send(message["bytes"] if text is None else text)


async def _to_client(websocket: WebSocket, there: ClientConnection) -> None:
    with suppress(RuntimeError, WebSocketDisconnect):
        async for message in there:
            if isinstance(message, str):
                await websocket.send_text(message)
            else:
                await websocket.send_bytes(message)


def _as_refused(error: InvalidStatus) -> Refused:
    status = error.response.status_code
    code = {401: "invalid_api_key", 403: "forbidden", 429: "too_many_observers"}
    return Refused(status, code.get(status, "call_not_found"), "the call's own server refused this")


def _hops(headers: Headers) -> int:
    said = headers.get(FORWARDED, "0")
    return int(said) if said.isascii() and said.isdecimal() and len(said) < 3 else MAX_HOPS


def _headers(headers: Headers) -> dict[str, str]:
    passed = {name: headers[name] for name in PASSED_ON if name in headers}
    return {**passed, FORWARDED: str(_hops(headers) + 1)}


# ---- HTTP, also over unix sockets ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a forwarded request."""

    status: int
    media_type: str
    body: bytes


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SECONDS)
        self.sock.connect(str(self._path))


def ask(target: Target, method: str, path: str, headers: dict[str, str] | None = None) -> Answer:
    """Make one small request; blocks for ``SECONDS`` at most per step.

    Raises:
        OSError: the server cannot be reached, or does not speak HTTP.
    """
    connection = _connection(target)
    given = dict(headers or {})
    if target.unix is None:
        given.pop("host", None)
    try:
        connection.request(method, path, headers=given)
        response = connection.getresponse()
        kind = response.getheader("content-type") or "application/json"
        return Answer(response.status, kind, response.read(MAX_ANSWER))
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
