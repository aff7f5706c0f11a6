"""The place of a call's connection: another connection of the same client may take it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from agent.errors import CallError
from agent.protocol import ClientMessage
from agent.session.notices import Trouble
from agent.session.playback import Delivery
from agent.transports.base import Transport
from agent.transports.observers import Observable, Observers


class CallOver(CallError):
    """A call that cannot be gone on with: it is over, or ending."""


@dataclass(frozen=True, slots=True)
class NextConnection:
    """A connection over which a running call goes on.

    Attributes:
        transport: open, but for the first events.
        delivery: the way of a reply's sound over it.
        token: the secret by which the client may come back once more.
        played: item and seconds of the reply that the client was playing, where it tells.
    """

    transport: Transport
    delivery: Delivery
    token: str = field(repr=False)
    played: tuple[str, float] | None = None


def _not_running(_: NextConnection) -> None:
    raise CallOver("the call does not run")


@dataclass(slots=True)
class ConnectionSlot:
    """Holds the connection of a call, for its runner, its end and its client's return.

    Attributes:
        transport: the present connection; of a lost one, the last.
        patience: seconds for which the call goes on without a connection.
        heard: whether the client was heard over the present connection.
        coming: another connection that is being made; None: there is none.
        replace: gives the call another connection; raises ``CallOver``.
        steer: takes a message of one that controls the call beside its client.
        observers: of the call; they stay over all its connections.
    """

    transport: Transport
    patience: float
    heard: bool = False
    coming: Transport | None = None
    replace: Callable[[NextConnection], None] = _not_running
    steer: Callable[[ClientMessage | Trouble], None] = lambda message: None
    observers: Observers = field(default_factory=Observers)
    _closing: set[asyncio.Task[None]] = field(default_factory=set)
    """Old connections that are being closed."""

    def observe(self) -> None:
        """Show the observers of the call what goes over the present connection."""
        if isinstance(self.transport, Observable):
            self.transport.observers = self.observers

    def move(self, transport: Transport) -> None:
        """Put another connection in the place of the present one; observers come with it."""
        if isinstance(self.transport, Observable):
            self.transport.observers = Observers()  # its goodbye is its own
        self.transport, self.heard = transport, False
        self.observe()

    def release(self, closing: Coroutine[Any, Any, None]) -> None:
        """Close an old connection in a task that the end of the call waits for."""
        task = asyncio.create_task(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self, code: int, reason: str) -> None:
        """Close the connections, old and coming ones too; closing twice is harmless."""
        self.replace = _not_running
        if self.coming is not None:
            await self.coming.close(code, reason)
        await self.transport.close(code, reason)
        if self._closing:
            await asyncio.wait(self._closing)
