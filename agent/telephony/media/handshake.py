"""The first messages of a socket: who calls, and what the call is named."""

from __future__ import annotations

from dataclasses import dataclass

from agent.telephony.dialects.audiosocket import AudioSocketStream
from agent.telephony.dialects.base import Dialect, DialectError, Started, Wire
from agent.telephony.dialects.registry import AUTO, DIALECTS, provider_of
from agent.telephony.media.connection import Line

MAX_MESSAGES = 64
"""In which the call must be named; Asterisk's sound may come before."""
MAX_UNDECIDED = 4
"""Text messages after which a provider must be told apart."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A call that has a name, not yet a right to be answered."""

    provider: str
    dialect: Dialect
    started: Started


async def open_call(line: Line, provider: str) -> Opened:
    """Read up to the message that names the call.

    Raises:
        Disconnected: the peer left.
        DialectError: it says something else.
    """
    if provider == AUTO:
        return await _find_out(line)
    dialect = AudioSocketStream() if provider == "audiosocket" else DIALECTS[provider]()
    return await _named(line, provider, dialect, [])


async def _find_out(line: Line) -> Opened:
    """Keep what was said until it shows who says it; then let that dialect read it again."""
    said: list[Wire] = []
    for _ in range(MAX_MESSAGES):
        message = await line.receive()
        provider = provider_of(message)
        if isinstance(message, str):
            said.append(message)
        if provider is not None:
            return await _named(line, provider, DIALECTS[provider](), said)
        if len(said) >= MAX_UNDECIDED:
            break
    raise DialectError("the first messages do not show who calls")


async def _named(line: Line, provider: str, dialect: Dialect, said: list[Wire]) -> Opened:
    for _ in range(MAX_MESSAGES):
        message = said.pop(0) if said else await line.receive()
        for event in dialect.read(message):
            if isinstance(event, Started):
                return Opened(provider, dialect, event)
    raise DialectError(f"the call was not named in {MAX_MESSAGES} messages")
