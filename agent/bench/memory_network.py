"""Networks in memory and virtual time: nothing depends on when a kernel delivers a packet."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from agent.audio.samples import Samples
from agent.bench.network_link import Condition, StreamLink
from agent.bench.network_relay import WINDOW_BYTES, Waiting
from agent.bench.page_sound import Event, PageSound, as_text
from agent.bench.virtual_call import VirtualConnection
from agent.bench.virtual_time import VirtualLoop
from agent.config.settings import Settings
from agent.errors import CallError
from agent.latency.connection import ReceivedEvent
from agent.latency.realtime import received_events
from agent.runtime.engine_tasks import Engines

T = TypeVar("T")
Address = tuple[str, int]


class _Datagrams(asyncio.DatagramTransport):
    """One socket of a `MemoryLoop`."""

    def __init__(self, loop: MemoryLoop, protocol: Any, address: Address) -> None:
        super().__init__({"sockname": address})
        self.protocol = protocol
        self._loop = loop
        self._address = address

    def sendto(self, data: Any, addr: Any = None) -> None:
        self._loop.call_soon(self._loop.deliver, bytes(data), addr, self._address)

    def close(self) -> None:
        if self._loop.sockets.pop(self._address, None) is not None:
            self._loop.call_soon(self.protocol.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self._address not in self._loop.sockets


class MemoryLoop(VirtualLoop):
    """Virtual time, with datagrams that go from queue to queue of this process."""

    def __init__(self) -> None:
        super().__init__()
        self.sockets: dict[Address, _Datagrams] = {}
        self._ports = itertools.count(40_000)

    async def create_datagram_endpoint(  # type: ignore[override]
        self, protocol_factory: Callable[[], Any], local_addr: Any = None, **more: Any
    ) -> tuple[asyncio.DatagramTransport, Any]:
        address = (local_addr[0], local_addr[1] or next(self._ports))
        protocol = protocol_factory()
        transport = self.sockets[address] = _Datagrams(self, protocol, address)
        protocol.connection_made(transport)
        return transport, protocol

    def deliver(self, data: bytes, to: Address, sender: Address) -> None:
        if (socket := self.sockets.get((to[0], to[1]))) is not None:
            socket.protocol.datagram_received(data, sender)


def in_memory(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end in virtual time, on a network in memory.

    Meanwhile `time.time` and `time.monotonic` of this process are the loop's, for transports and
    aiortc read them.
    """
    with asyncio.Runner(loop_factory=MemoryLoop) as runner, _clocks_of(runner.get_loop()):
        return runner.run(work)


@contextmanager
def _clocks_of(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    real, began = (time.time, time.monotonic), time.time()
    time.monotonic = loop.time
    time.time = lambda: began + loop.time()
    try:
        yield
    finally:
        time.time, time.monotonic = real


class _Way(asyncio.Queue[str | None]):
    """One direction of a stream, whose sender waits while a window of bytes is under way."""

    def __init__(self, condition: Condition, seed: str) -> None:
        super().__init__()
        self._link = StreamLink(condition, seed)
        self._room = asyncio.Event()
        self._room.set()
        self.waiting = Waiting()

    def put_nowait(self, item: str | None) -> None:
        loop, size = asyncio.get_running_loop(), len(item or "")
        self.waiting.add(size)
        if self.waiting.bytes >= WINDOW_BYTES:
            self._room.clear()
        loop.call_at(self._link.arrival(size, loop.time()), self._arrive, item, size)

    async def room(self) -> None:
        await self._room.wait()

    def _arrive(self, item: str | None, size: int) -> None:
        self.waiting.bytes -= size
        if self.waiting.bytes < WINDOW_BYTES:
            self._room.set()
        super().put_nowait(item)


@dataclass(frozen=True, slots=True)
class StreamNetwork:
    """The network of a `StreamCall`, as a bench looks at it.

    Attributes:
        up: bytes on the way to the server.
        down: bytes on the way to the client.
    """

    up: Waiting
    down: Waiting

    @property
    def age(self) -> float:
        """Seconds since the virtual clock began."""
        return asyncio.get_running_loop().time()


class StreamCall(VirtualConnection):
    """A websocket call within this process over a bad network, with the habits of the page.

    Args:
        engines, settings: as for `VirtualConnection`.
        condition: the network in each direction.
        seed: of losses and delays.

    Attributes:
        relay: the network.
        page: the page's rules about sound.
        came: second and content of every event of the server.
    """

    def __init__(
        self, engines: Engines, settings: Settings, condition: Condition, seed: int | str = ""
    ) -> None:
        super().__init__(engines, settings)
        self._up, self._down = _Way(condition, f"{seed}up"), _Way(condition, f"{seed}dn")
        self.relay = StreamNetwork(self._up.waiting, self._down.waiting)
        self.page = PageSound(0.0)
        self.came: list[tuple[float, Event]] = []
        self._socket.to_server, self._socket.to_client = self._up, self._down
        self._socket.send_text = self._send_text  # type: ignore[method-assign]

    async def _send_text(self, text: str) -> None:
        await self._down.room()
        self._down.put_nowait(text)

    async def send(self, frame: Samples) -> None:
        waiting = max(0, self._up.waiting.bytes - WINDOW_BYTES)
        for event in self.page.frame(frame, waiting, asyncio.get_running_loop().time()):
            self._up.put_nowait(as_text(event))

    async def receive(self) -> AsyncIterator[ReceivedEvent]:
        now = asyncio.get_running_loop().time
        while (text := await self._down.get()) is not None:
            event = json.loads(text)
            self.came.append((now(), event))
            for answer in self.page.take(event, now()):
                self._up.put_nowait(as_text(answer))
            for received in received_events(self.page.decode(event)):
                yield received
        raise CallError("the agent hung up")
