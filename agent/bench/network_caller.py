"""Callers behind a bad network, who count the glitches in what they hear."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator
from typing import Final, Protocol

from agent.audio.samples import Samples
from agent.bench.network_link import Condition
from agent.bench.network_relay import HERE, WINDOW_BYTES, TcpRelay, UdpRelay, Waiting
from agent.bench.page_sound import PageSound
from agent.errors import CallError
from agent.latency.connection import (
    AgentConnection,
    ReceivedAudio,
    ReceivedClear,
    ReceivedEvent,
    ReceivedReplyEnd,
    ReceivedReplyStart,
)
from agent.latency.playout_buffer import FRAME_SECONDS, PlayoutBuffer
from agent.latency.realtime import Event, RealtimeConnection
from agent.latency.rtc_caller import BROWSER_CODING
from agent.latency.turn_log import MIN_GAP
from agent.latency.webrtc import WebRtcConnection

TAIL_SECONDS: Final = 0.2
"""Seconds by which the event of a reply's end may be ahead of its last sound."""


class Network(Protocol):
    """What is between a caller and the agent."""

    @property
    def up(self) -> Waiting:
        """Bytes on the way to the server."""

    @property
    def down(self) -> Waiting:
        """Bytes on the way to the client."""

    @property
    def age(self) -> float:
        """Seconds since the first packet."""


class NetworkCaller(AgentConnection, Protocol):
    """A connection over a bad network."""

    @property
    def glitches(self) -> int:
        """Interruptions of the agent's sound at the ear so far."""

    @property
    def relay(self) -> Network:
        """The network."""

    @property
    def behind(self) -> float:
        """Seconds of received sound that wait to be heard."""


class StreamEar:
    """Hears the sound of a websocket as it comes, after what still plays.

    Args:
        rate: sampling rate of the sound, in Hz.

    Attributes:
        glitches: gaps within replies so far.
    """

    def __init__(self, rate: int) -> None:
        self.glitches = 0
        self._rate = rate
        self._heard_until = 0.0
        self._within_reply = False

    def behind(self, now: float) -> float:
        """Seconds of received sound that wait to be heard."""
        return max(0.0, self._heard_until - now)

    def listen(self, received: ReceivedEvent, now: float) -> None:
        match received:
            case ReceivedReplyStart():
                self._within_reply = False
            case ReceivedClear():
                self._within_reply, self._heard_until = False, min(self._heard_until, now)
            case ReceivedAudio(samples):
                if self._within_reply and now - self._heard_until > MIN_GAP:
                    self.glitches += 1
                self._within_reply = True
                self._heard_until = max(self._heard_until, now) + len(samples) / self._rate


class WebsocketCaller(RealtimeConnection):
    """A caller over a websocket, with the habits of the page.

    Sound is heard as it comes, after what still plays; a gap within a reply is a glitch. On a slow
    network sound goes as G.711, and the microphone's is left out where it would be late.

    Args:
        port: of the server on this machine.
        condition: the network.
        seed: of losses and delays.
    """

    def __init__(self, port: int, condition: Condition, seed: int) -> None:
        super().__init__("")
        self.relay = TcpRelay(port, condition, seed)
        self._page = PageSound(0.0)
        self._ear = StreamEar(self.rate)

    @property
    def glitches(self) -> int:
        return self._ear.glitches

    @property
    def behind(self) -> float:
        return self._ear.behind(_now())

    async def connect(self) -> None:
        await self.relay.open()
        self._url = f"ws://{HERE}:{self.relay.port}/v1/realtime"
        try:
            await super().connect()
        except CallError:
            await self.relay.close()
            raise
        self._page = PageSound(_now())
        assert self._websocket is not None
        sock = self._websocket.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WINDOW_BYTES)

    async def send(self, frame: Samples) -> None:
        assert self._websocket is not None, "connect first"
        waiting = self._websocket.transport.get_write_buffer_size()
        for event in self._page.frame(frame, waiting, _now()):
            await self._tell(event)

    async def _taken(self, event: Event) -> Event:
        for answer in self._page.take(event, _now()):
            await self._tell(answer)
        return self._page.decode(event)

    async def receive(self) -> AsyncIterator[ReceivedEvent]:
        async for received in super().receive():
            self._ear.listen(received, _now())
            yield received

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            await self.relay.close()


class WebRtcCaller(WebRtcConnection):
    """A caller over WebRTC, who hears through a buffer as a browser does.

    Args:
        port: of the server on this machine.
        condition: the network.
        seed: of losses and delays.
    """

    def __init__(self, port: int, condition: Condition, seed: int) -> None:
        self.relay = UdpRelay(condition, seed)
        super().__init__(f"http://{HERE}:{port}", (HERE,), self.relay, BROWSER_CODING)
        self._buffer = PlayoutBuffer(self.rate)
        self._made_up = 0
        self._ends: deque[tuple[float, ReceivedReplyEnd]] = deque()

    @property
    def glitches(self) -> int:
        return self._buffer.glitches

    @property
    def behind(self) -> float:
        return self._buffer.seconds

    async def connect(self) -> None:
        await self.relay.open()
        try:
            await super().connect()
        except CallError:
            await self.close()
            raise
        self._tasks.append(asyncio.create_task(self._play()))

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            self.relay.close()

    def _hear(self, samples: Samples, at: float) -> None:
        made_up, self._made_up = self._made_up, self._caller.concealed
        self._buffer.push(samples, self._made_up > made_up)

    async def receive(self) -> AsyncIterator[ReceivedEvent]:
        async for received in super().receive():
            while self._ends and (
                isinstance(received, ReceivedReplyStart) or self._ends[0][0] <= _now()
            ):
                yield self._ends.popleft()[1]
            if isinstance(received, ReceivedReplyEnd):
                self._ends.append((_now() + self.behind + TAIL_SECONDS, received))
            else:
                yield received

    async def _play(self) -> None:
        """Hear one frame after the other, and the end of a reply once its sound was heard."""
        due = _now()
        while True:
            due += FRAME_SECONDS
            await asyncio.sleep(max(0.0, due - _now()))
            self._incoming.put_nowait(ReceivedAudio(self._buffer.pull()))


def _now() -> float:
    return asyncio.get_running_loop().time()
