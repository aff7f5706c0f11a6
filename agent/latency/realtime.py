"""A caller's connection over the OpenAI Realtime protocol, to this server or any other."""

from __future__ import annotations

import base64
import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from agent.audio.samples import Samples, from_pcm16, to_pcm16
from agent.errors import CallError
from agent.latency.connection import (
    ReceivedAudio,
    ReceivedClear,
    ReceivedError,
    ReceivedEvent,
    ReceivedReplyEnd,
    ReceivedReplyStart,
    ReceivedSpeechStart,
    ReceivedSpeechStop,
    ReceivedTimings,
    ReceivedTranscript,
)
from agent.protocol import WIRE_RATE

OPEN_SECONDS = 10.0
"""Time limit for opening a connection, in seconds."""
MAX_MESSAGE = 16 * 2**20
"""Largest message that is accepted, in bytes."""

Event = dict[str, Any]
PATH = "/v1/realtime"
_HOST = r"(?:[\w.-]+|\[[\da-fA-F:.]+\])"
_PAGE = re.compile(rf"(?:(https?)://({_HOST}(?::\d+)?)|({_HOST}:\d+))(/\S*)?")
"""The address of a page, or a host with its port."""


class RealtimeConnection:
    """One call over a websocket.

    Args:
        url: ``ws://host:port/v1/realtime``, or any other endpoint of the protocol.
        key: bearer token; a local onebreath server needs no key.
        session: body of a ``session.update`` to send first, for example to choose a voice or a
            transcription model.
        on_event: called with every event of the server.
        address: address of a caller behind a proxy, which the server is told; None: there is none.
    """

    rate = WIRE_RATE
    reports_replies = True
    resends = True

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        session: Mapping[str, Any] | None = None,
        on_event: Callable[[Event], None] | None = None,
        address: str | None = None,
    ) -> None:
        self._url = url
        self._key = key
        self._session = session
        self._on_event = on_event
        self._address = address
        self._websocket: ClientConnection | None = None

    async def connect(self) -> None:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        if self._address is not None:
            headers["X-Forwarded-For"] = self._address
        address = websocket_address(self._url)
        self._websocket = await open_socket(_with_own_events(address), headers, shown=self._url)
        if self._session is not None:
            await self._tell({"type": "session.update", "session": dict(self._session)})

    async def send(self, frame: Samples) -> None:
        audio = base64.b64encode(to_pcm16(frame)).decode("ascii")
        await self._tell({"type": "input_audio_buffer.append", "audio": audio})

    async def _tell(self, event: Event) -> None:
        assert self._websocket is not None, "connect first"
        try:
            await self._websocket.send(json.dumps(event))
        except ConnectionClosed as error:
            raise lost(error) from None

    async def receive(self) -> AsyncIterator[ReceivedEvent]:
        assert self._websocket is not None, "connect first"
        try:
            async for message in self._websocket:
                event = json.loads(message)
                if self._on_event is not None:
                    self._on_event(event)
                for received in received_events(await self._taken(event)):
                    yield received
        except ConnectionClosed as error:
            raise lost(error) from None
        raise hung_up(self._websocket.close_reason)

    async def _taken(self, event: Event) -> Event:
        """An event of the server as its meaning is read; callers with habits act on it here."""
        return event

    async def close(self) -> None:
        if self._websocket is not None:
            await self._websocket.close()


def received_events(event: Event) -> Iterator[ReceivedEvent]:
    """Yield the meaning of a server event for a caller; most events have none."""
    match event["type"]:
        case "input_audio_buffer.speech_started":
            yield ReceivedSpeechStart()
            # Every client of this protocol stops playback when the caller speaks.
            yield ReceivedClear()
        case "input_audio_buffer.speech_stopped":
            yield ReceivedSpeechStop()
        case "conversation.item.input_audio_transcription.completed":
            yield ReceivedTranscript(event["transcript"])
        case "response.created":
            yield ReceivedReplyStart()
        case "response.output_audio.delta":
            yield ReceivedAudio(from_pcm16(base64.b64decode(event["delta"])))
        case "onebreath.turn.timings":
            yield ReceivedTimings(event["spans_ms"], event["speech_end_ms"], event)
        case "response.done":
            yield _reply(event["response"])
        case "error":
            yield ReceivedError(event["error"]["message"])


def _reply(response: Event) -> ReceivedReplyEnd:
    parts = [part for item in response["output"] for part in item.get("content", [])]
    text = " ".join(part.get("transcript") or "" for part in parts).strip()
    error = None
    if response["status"] == "failed":
        details = response.get("status_details") or {}
        message = (details.get("error") or {}).get("message")
        error = message or details.get("reason") or "failed"
    cut = response["status"] == "cancelled"
    return ReceivedReplyEnd(text, response.get("onebreath", {}), error, cut)


def websocket_address(url: str) -> str:
    """The websocket of the agent whose page, or host and port, is at ``url``; else ``url``."""
    found = _PAGE.fullmatch(url)
    if found is None:
        return url
    scheme, host, bare, path = found.groups()
    place = PATH if path in (None, "/") else path
    return f"{'wss' if scheme == 'https' else 'ws'}://{host or bare}{place}"


def _with_own_events(url: str) -> str:
    """The address that asks for this project's own events; other servers ignore the parameter."""
    return f"{url}{'&' if '?' in url else '?'}onebreath=1"


async def open_socket(
    url: str,
    headers: Mapping[str, str] | None = None,
    sock: socket.socket | None = None,
    shown: str | None = None,
) -> ClientConnection:
    """Open a websocket.

    Args:
        url: address of the endpoint.
        headers: additional headers of the request.
        sock: connected socket to use; None: a new one is opened.
        shown: the address as its user wrote it, for errors; None: ``url``.

    Raises:
        CallError: the address is malformed, or the server does not answer or refuses.
    """
    name = shown or url
    try:
        return await connect(
            url,
            additional_headers=headers,
            compression=None,
            max_size=MAX_MESSAGE,
            open_timeout=OPEN_SECONDS,
            sock=sock,
        )
    except (InvalidURI, ValueError):
        raise CallError(f"{name}: no websocket address; give ws://host:port/v1/realtime") from None
    except TimeoutError:
        raise CallError(f"{name}: no answer within {OPEN_SECONDS:.0f} s") from None
    except InvalidStatus as error:
        raise CallError(f"{name}: {_refusal(error.response.status_code)}") from None
    except InvalidHandshake as error:
        raise CallError(f"{name}: what answers there is no websocket server ({error})") from None
    except OSError as error:
        raise CallError(
            f"{name}: nobody answers there ({error}); is `onebreath serve` running?"
        ) from None


def _refusal(status: int) -> str:
    hints = {
        401: "the key is missing or wrong; give it with --key or ONEBREATH_KEY",
        403: "this caller is not let in; check the key and server.allowed_hosts",
        404: "there is no such path; check the endpoint",
        429: "too many calls for this key; lower --calls, or wait",
        503: "all calls are in use; lower --calls, or raise server.max_calls",
    }
    return f"refused with HTTP {status}: {hints.get(status, 'look at the log of the server')}"


def lost(error: ConnectionClosed) -> CallError:
    """The error for a closed connection, with the reason that the server gave."""
    if error.rcvd is not None:
        return hung_up(error.rcvd.reason)
    return CallError(f"the connection was lost: {error}")


def hung_up(reason: str | None) -> CallError:
    """The error for a call that the agent ended."""
    return CallError(f"the agent hung up: {reason or 'no reason given'}")
