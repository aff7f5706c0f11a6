"""A simulated call of a provider: opens the media socket, plays a question, awaits speech."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Protocol, cast

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from agent.audio.samples import Samples
from agent.errors import CallError
from agent.telephony.check.fake_providers import Provider, ProviderMessage

FRAMES_PER_SECOND = 50
OPEN_SECONDS = 10.0
AUDIBLE = 0.01
"""Amplitude above which a sample counts as audible."""
ENOUGH_SECONDS = 0.1
"""Seconds of audible samples that count as an answer; a click is shorter."""


@dataclass(frozen=True, slots=True)
class AudibleReply:
    """The agent's answer in a simulated call.

    Attributes:
        seconds: audible audio until it counted as an answer.
        delay: seconds from the last sample of the question to the first audible sample that
            arrived; negative where the agent spoke before the question was over.
    """

    seconds: float
    delay: float


async def simulate(
    url: str,
    provider: Provider,
    question: Samples,
    *,
    headers: Mapping[str, str] | None = None,
    subprotocol: str | None = None,
    patience: float = 20.0,
) -> AudibleReply:
    """Open a call, play ``question`` in real time, and wait for the agent to speak.

    Args:
        question: float32 mono at the provider's rate.
        patience: seconds of silence after the question until the call counts as unanswered.

    Raises:
        CallError: the socket is refused or closed, or the agent does not speak.
    """
    try:
        async with connect(
            url,
            additional_headers=headers,
            subprotocols=[cast(Subprotocol, subprotocol)] if subprotocol else None,
            compression=None,
            open_timeout=OPEN_SECONDS,
            close_timeout=1.0,
        ) as connection:
            return await _converse(connection, provider, question, patience)
    except (OSError, InvalidHandshake, InvalidURI) as error:  # TimeoutError is an OSError
        raise CallError(f"the media socket cannot be opened: {error}") from None
    except ConnectionClosed as closed:
        reason = closed.rcvd.reason if closed.rcvd else "the connection broke off"
        raise CallError(f"the server closed the media socket: {reason or closed}") from None


async def simulate_audiosocket(
    host: str, port: int, provider: Provider, question: Samples, *, patience: float = 20.0
) -> AudibleReply:
    """``simulate`` over TCP, as Asterisk's AudioSocket.

    Raises:
        CallError: the port is closed, the call is ended, or the agent does not speak.
    """
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
    except OSError as error:  # TimeoutError is one
        raise CallError(f"nobody takes AudioSocket calls on {host}:{port}: {error}") from None
    try:
        return await _converse(_Frames(reader, writer), provider, question, patience)
    except (OSError, asyncio.IncompleteReadError):
        raise CallError("the server closed the AudioSocket") from None
    finally:
        writer.close()


class _Connection(Protocol):
    """The part of a websocket or TCP connection that a call needs."""

    async def send(self, message: ProviderMessage) -> None: ...

    def __aiter__(self) -> AsyncIterator[ProviderMessage]: ...


@dataclass
class _Frames:
    """AudioSocket's frames, each with its head."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, message: ProviderMessage) -> None:
        assert isinstance(message, bytes)
        self.writer.write(message)
        await self.writer.drain()

    async def __aiter__(self) -> AsyncIterator[ProviderMessage]:
        while head := await self.reader.readexactly(3):
            yield head + await self.reader.readexactly(int.from_bytes(head[1:], "big"))


async def _converse(
    connection: _Connection, provider: Provider, question: Samples, patience: float
) -> AudibleReply:
    for message in provider.opening():
        await connection.send(message)
    loop = asyncio.get_running_loop()
    asked = loop.time() + len(question) / provider.rate
    speaking = asyncio.create_task(_speak(connection, provider, question))
    listening = asyncio.create_task(_listen(connection, provider))
    try:
        async with asyncio.timeout_at(asked + patience):
            first, seconds = await listening
    except TimeoutError:
        raise CallError(f"nothing was heard within {patience:.0f} s of the question") from None
    finally:
        speaking.cancel()
        listening.cancel()
        await asyncio.gather(speaking, listening, return_exceptions=True)
    return AudibleReply(seconds, first - asked)


async def _speak(connection: _Connection, provider: Provider, question: Samples) -> None:
    """Play the question, then silence, in real time."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    size = provider.rate // FRAMES_PER_SECOND
    silence = np.zeros(size, np.float32)
    for number in count():
        await asyncio.sleep(max(0.0, start + (number + 1) / FRAMES_PER_SECOND - loop.time()))
        frame = question[number * size : (number + 1) * size]
        await connection.send(provider.sound(frame if len(frame) == size else silence))


async def _listen(connection: _Connection, provider: Provider) -> tuple[float, float]:
    """Await the answer; returns the arrival of its first audible sample and its seconds."""
    loop = asyncio.get_running_loop()
    first: float | None = None
    audible = 0
    async for message in connection:
        loud = int((np.abs(provider.audio_of(message)) > AUDIBLE).sum())
        if loud and first is None:
            first = loop.time()
        audible += loud
        if first is not None and audible >= ENOUGH_SECONDS * provider.rate:
            return first, audible / provider.rate
    raise CallError("the server hung up before it had spoken")
