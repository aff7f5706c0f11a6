"""The first messages of a socket: who calls, and what the call is named."""

from __future__ import annotations

from dataclasses import dataclass

from agent.telephony.dialects.audiosocket import AudioSocketStream
from agent.telephony.dialects.base import Dialect, DialectError, Started, WireMessage
from agent.telephony.dialects.registry import AUTO, DIALECTS, provider_of
from agent.telephony.media.connection import MediaConnection

MAX_MESSAGES = 64
"""In which the call must be named; Asterisk's sound may come before."""
MAX_UNDECIDED = 4
"""Text messages after which a provider must be told apart."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """A call that has a name, not yet a right to be answered."""

    provider: str
    dialect: Dialect
    started: Started


async def read_handshake(line: MediaConnection, provider: str) -> Handshake:
    """Read up to the message that names the call.

    Raises:
        Disconnected: the peer left.
        DialectError: it says something else.
    """
    if provider == AUTO:
        return await _detect(line)
    dialect = AudioSocketStream() if provider == "audiosocket" else DIALECTS[provider]()
    return await _read_until_started(line, provider, dialect, [])


async def _detect(line: MediaConnection) -> Handshake:
    """Keep what was said until it shows who says it; then let that dialect read it again."""
    said: list[WireMessage] = []
    for _ in range(MAX_MESSAGES):
        message = await line.receive()
        provider = provider_of(message)
        if isinstance(message, str):
            said.append(message)
        if provider is not None:
            return await _read_until_started(line, provider, DIALECTS[provider](), said)
        if len(said) >= MAX_UNDECIDED:
            break
    raise DialectError("the first messages do not show who calls")


async def _read_until_started(
    line: MediaConnection, provider: str, dialect: Dialect, said: list[WireMessage]
) -> Handshake:
    for _ in range(MAX_MESSAGES):
        message = said.pop(0) if said else await line.receive()
        for event in dialect.read(message):
            if isinstance(event, Started):
                return Handshake(provider, dialect, event)
    raise DialectError(f"the call was not named in {MAX_MESSAGES} messages")
