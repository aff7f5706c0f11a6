"""The OpenAI Realtime protocol over a websocket: this server and every other that speaks it."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from agent.audio.samples import Samples, from_pcm16, to_pcm16
from agent.errors import CallError
from agent.latency.wire import (
    Arrival,
    Fault,
    Hush,
    ReplyBegan,
    ReplyEnded,
    ServerSpans,
    Sound,
    SpeechStarted,
    SpeechStopped,
    WordsHeard,
)
from agent.protocol import WIRE_RATE

OPEN_SECONDS = 10.0
MAX_MESSAGE = 16 * 2**20

Event = dict[str, Any]


class RealtimeWire:
    """One call over a websocket.

    Args:
        url: ``ws://host:port/v1/realtime``, or any other endpoint of the protocol.
        key: sent as bearer token; the server here needs none.
        session: body of a ``session.update`` that is sent first, as an endpoint may need
            to name a voice or a model that writes transcripts.
        on_event: told every event of the server.
    """

    rate = WIRE_RATE
    tells_replies = True
    resends = True

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        session: Mapping[str, Any] | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self._url = url
        self._key = key
        self._session = session
        self._on_event = on_event
        self._connection: ClientConnection | None = None

    async def dial(self) -> None:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else None
        self._connection = await open_socket(self._url, headers)
        if self._session is not None:
            await self._tell({"type": "session.update", "session": dict(self._session)})

    async def send(self, frame: Samples) -> None:
        audio = base64.b64encode(to_pcm16(frame)).decode("ascii")
        await self._tell({"type": "input_audio_buffer.append", "audio": audio})

    async def _tell(self, event: Event) -> None:
        assert self._connection is not None, "dial first"
        try:
            await self._connection.send(json.dumps(event))
        except ConnectionClosed as error:
            raise lost(error) from None

    async def receive(self) -> AsyncIterator[Arrival]:
        assert self._connection is not None, "dial first"
        try:
            async for message in self._connection:
                event = json.loads(message)
                if self._on_event is not None:
                    self._on_event(event)
                for arrival in arrivals(event):
                    yield arrival
        except ConnectionClosed as error:
            raise lost(error) from None
        raise hung_up(self._connection.close_reason)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()


def arrivals(event: Event) -> Iterator[Arrival]:
    """What an event of the server means to a caller; nothing, for most of them."""
    match event["type"]:
        case "input_audio_buffer.speech_started":
            yield SpeechStarted()
            # What every client of this protocol does: the caller speaks, so be silent.
            yield Hush()
        case "input_audio_buffer.speech_stopped":
            yield SpeechStopped()
        case "conversation.item.input_audio_transcription.completed":
            yield WordsHeard(event["transcript"])
        case "response.created":
            yield ReplyBegan()
        case "response.output_audio.delta":
            yield Sound(from_pcm16(base64.b64decode(event["delta"])))
        case "onebreath.turn.timings":
            yield ServerSpans(event["spans_ms"], event["speech_end_ms"], event)
        case "response.done":
            yield _reply(event["response"])
        case "error":
            yield Fault(event["error"]["message"])


def _reply(response: Event) -> ReplyEnded:
    parts = [part for item in response["output"] for part in item.get("content", [])]
    text = " ".join(part.get("transcript") or "" for part in parts).strip()
    error = None
    if response["status"] == "failed":
        details = response.get("status_details") or {}
        told = (details.get("error") or {}).get("message")
        error = told or details.get("reason") or "failed"
    return ReplyEnded(text, response.get("onebreath", {}), error)


async def open_socket(
    url: str, headers: Mapping[str, str] | None = None, sock: socket.socket | None = None
) -> ClientConnection:
    """Connect a websocket, over ``sock`` if that is connected already.

    Raises:
        CallError: in one sentence, what is wrong and what to do.
    """
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
        raise CallError(f"{url}: no websocket address; give ws://host:port/v1/realtime") from None
    except TimeoutError:
        raise CallError(f"{url}: no answer within {OPEN_SECONDS:.0f} s") from None
    except InvalidStatus as error:
        raise CallError(f"{url}: {_refusal(error.response.status_code)}") from None
    except (OSError, InvalidHandshake) as error:
        raise CallError(
            f"{url}: nobody answers there ({error}); is `onebreath serve` running?"
        ) from None


def _refusal(status: int) -> str:
    hints = {
        401: "the key is missing or wrong; give it with --key or ONEBREATH_KEY",
        403: "this caller is not let in; is the key right, and the host allowed?",
        404: "there is no such path; is it the right endpoint?",
        429: "too many calls for this key; lower --calls, or wait",
        503: "no line is free; lower --calls, or raise server.max_calls",
    }
    return f"refused with HTTP {status}: {hints.get(status, 'look at its log')}"


def lost(error: ConnectionClosed) -> CallError:
    """Why a connection ended, in words for the user of a caller."""
    if error.rcvd is not None:
        return hung_up(error.rcvd.reason)
    return CallError(f"the connection was lost: {error}")


def hung_up(reason: str | None) -> CallError:
    """The agent closed the connection."""
    return CallError(f"the agent hung up: {reason or 'no reason given'}")
