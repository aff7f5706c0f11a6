"""Calls over bad networks in virtual time: the server, its engines and the caller are real.

A call over WebRTC is set up on a good network, which then becomes the bad one: OpenSSL repeats a
lost handshake by a clock of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from agent.bench.figures import Progress
from agent.bench.memory_network import StreamCall, in_memory
from agent.bench.network import NetworkCall, PlannedCall, converse, network_questions
from agent.bench.network_caller import NetworkCaller, StreamEar, WebRtcCaller
from agent.bench.network_link import CLEAN, Condition
from agent.bench.network_relay import HERE
from agent.bench.virtual_call import measured_engines, on_new_clock
from agent.config.settings import Settings
from agent.latency.connection import ReceivedEvent
from agent.latency.question import SpokenQuestion
from agent.latency.transport_names import TransportName
from agent.runtime.call import CallRunner
from agent.runtime.engine_tasks import Engines
from agent.server.app import AgentServer
from agent.session.playback import Delivery
from agent.transports.webrtc import WebRtcTransport


class VirtualWebRtcCaller(WebRtcCaller):
    """A caller over WebRTC and a server in this process.

    Args:
        engines: loaded engines, or others that keep the running loop's time.
        settings: settings of the server.
        condition: the network, from the moment at which the call is set up.
        seed: of losses and delays.
    """

    def __init__(
        self, engines: Engines, settings: Settings, condition: Condition, seed: int = 1
    ) -> None:
        super().__init__(0, CLEAN, seed)
        opened = AgentServer(settings, engines).sessions.open({"onebreath": "1"})
        transport = WebRtcTransport(opened.writer, settings.webrtc, reading=opened.reading)
        self._engines, self._settings, self._transport = engines, settings, transport
        self._condition = condition
        self._caller.signal = self._answer  # type: ignore[method-assign]
        self._call: asyncio.Task[Any] | None = None

    async def connect(self) -> None:
        await super().connect()
        if self._condition is not CLEAN:
            self.relay.change(self._condition)

    async def close(self) -> None:
        await super().close()
        await self._transport.hang_up()
        if self._call is not None:
            await asyncio.gather(self._call, return_exceptions=True)

    async def _answer(self, sdp: str, session: Mapping[str, Any] | None) -> dict[str, Any]:
        answer = await self._transport.answer(sdp)
        self._call = asyncio.create_task(self._converse())
        return {"sdp": answer, "call_id": "rtc"}

    async def _converse(self) -> None:
        await self._transport.open()
        track = Delivery.TRACK
        await CallRunner(self._engines, self._settings, self._transport, delivery=track).run()


class VirtualWebsocketCaller(StreamCall):
    """A caller over a websocket, with the habits of the page, and a server in this process.

    Args:
        engines, settings, condition, seed: as for `VirtualWebRtcCaller`.
    """

    def __init__(
        self, engines: Engines, settings: Settings, condition: Condition, seed: int = 1
    ) -> None:
        super().__init__(engines, settings, condition, f"{seed} ")
        self._ear = StreamEar(self.rate)

    @property
    def glitches(self) -> int:
        return self._ear.glitches

    @property
    def behind(self) -> float:
        return self._ear.behind(asyncio.get_running_loop().time())

    async def receive(self) -> AsyncIterator[ReceivedEvent]:
        async for received in super().receive():
            self._ear.listen(received, asyncio.get_running_loop().time())
            yield received


VIRTUAL: Final[
    dict[TransportName, Callable[[Engines, Settings, Condition, int], NetworkCaller]]
] = {
    TransportName.WEBRTC: VirtualWebRtcCaller,
    TransportName.REALTIME: VirtualWebsocketCaller,
}
"""Callers by transport."""


def run_virtually(
    calls: Sequence[PlannedCall],
    questions: int,
    seed: int,
    settings: Settings,
    progress: Progress,
) -> Iterator[NetworkCall]:
    """Hold calls one after another, each on a virtual clock of its own. Linux only.

    Args:
        calls: transport and network of each: `TransportName.WEBRTC` or `TransportName.REALTIME`.
        questions: number of spoken questions of each call.
        seed: of losses and delays.
        settings: settings of the server.
        progress: called with a description of each step.

    Raises:
        OnebreathError, AsrError, ResponderError, TtsError: an engine cannot be loaded.
    """
    progress("speaking the questions")
    asked = network_questions(questions)
    here = settings.webrtc.model_copy(update={"ice_hosts": [HERE]})
    settings = settings.model_copy(update={"webrtc": here})
    with measured_engines(settings, progress) as engines:
        for number, (transport, condition) in enumerate(calls, 1):
            progress(f"{transport}: {condition.name} ({number} of {len(calls)})")
            call = NetworkCall(transport, condition, len(asked))
            yield in_memory(_held(call, on_new_clock(engines), settings, asked, seed))


async def _held(
    call: NetworkCall,
    engines: Engines,
    settings: Settings,
    questions: Sequence[SpokenQuestion],
    seed: int,
) -> NetworkCall:
    caller = VIRTUAL[call.transport](engines, settings, call.condition, seed)
    await converse(caller, questions, call)
    return call
