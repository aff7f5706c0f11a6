"""The first messages of a media connection: they tell the provider and start the call."""

from __future__ import annotations

from dataclasses import dataclass

from agent.telephony.dialects.audiosocket import AudioSocketStream
from agent.telephony.dialects.base import Dialect, DialectError, Started, WireMessage
from agent.telephony.dialects.registry import AUTO, DIALECTS, provider_of
from agent.telephony.media.connection import MediaConnection

MAX_MESSAGES = 64
"""Messages within which the call must be named; Asterisk's audio may come before."""
MAX_UNDECIDED = 4
"""Text messages within which the provider must be recognised."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """The result of the first messages; whether the call is admitted is decided later.

    Attributes:
        provider: name of the provider.
        dialect: its protocol, which has read the start message.
        started: the call and the form of its audio.
    """

    provider: str
    dialect: Dialect
    started: Started


async def read_handshake(connection: MediaConnection, provider: str) -> Handshake:
    """Read up to the message that starts the call.

    Raises:
        Disconnected: the peer left.
        DialectError: its messages start no call.
    """
    if provider == AUTO:
        return await _detect(connection)
    dialect = AudioSocketStream() if provider == "audiosocket" else DIALECTS[provider]()
    return await _read_until_started(connection, provider, dialect, [])


async def _detect(connection: MediaConnection) -> Handshake:
    """Keep the messages until they show the provider; its dialect then reads them again."""
    said: list[WireMessage] = []
    for _ in range(MAX_MESSAGES):
        message = await connection.receive()
        provider = provider_of(message)
        if isinstance(message, str):
            said.append(message)
        if provider is not None:
            return await _read_until_started(connection, provider, DIALECTS[provider](), said)
        if len(said) >= MAX_UNDECIDED:
            break
    raise DialectError("the first messages do not show the provider")


async def _read_until_started(
    connection: MediaConnection, provider: str, dialect: Dialect, said: list[WireMessage]
) -> Handshake:
    for _ in range(MAX_MESSAGES):
        message = said.pop(0) if said else await connection.receive()
        for event in dialect.read(message):
            if isinstance(event, Started):
                return Handshake(provider, dialect, event)
    raise DialectError(f"the call was not named in {MAX_MESSAGES} messages")
