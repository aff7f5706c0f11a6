"""A call within this process: the server's own runner behind a socket without a network."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import psutil
from starlette.websockets import WebSocket, WebSocketState

from agent.audio.samples import Samples, to_pcm16
from agent.bench.figures import Progress
from agent.bench.virtual_time import CpuClock, MeasuredCompute, MeasuredVoices
from agent.compute import Compute
from agent.config.settings import Settings
from agent.errors import CallError
from agent.latency.connection import ReceivedEvent
from agent.latency.realtime import received_events
from agent.protocol import WIRE_RATE
from agent.runtime.call import CallRunner
from agent.runtime.calls import CallEnd
from agent.runtime.engine_tasks import Engines
from agent.runtime.engines import close_engines, load_engines
from agent.server.app import AgentServer
from agent.transports.pace import Paces
from agent.transports.websocket import WebsocketTransport


@contextmanager
def measured_engines(settings: Settings, progress: Progress) -> Iterator[Engines]:
    """Load the engines of the settings, on one thread each, with the costs of their CPU time.

    Raises:
        OnebreathError, AsrError, ResponderError, TtsError: an engine cannot be loaded.
    """
    engines, _ = load_engines(single_threaded(settings), progress)
    try:
        yield measured(engines, engines.compute)
    finally:
        close_engines(engines)


def measured(engines: Engines, thread: Compute) -> Engines:
    """The engines with the costs of their CPU time, for the calls of one virtual clock.

    What is under way when a clock ends is never done on another one, so each run of
    `in_virtual_time` takes engines of its own.

    Args:
        thread: the compute thread, where they were loaded.
    """
    voices = MeasuredVoices(CpuClock(_children))
    return replace(engines, compute=MeasuredCompute(thread), voices=voices)


def on_new_clock(engines: Engines) -> Engines:
    """Measured engines for the calls of another virtual clock; they are loaded once."""
    assert isinstance(engines.compute, MeasuredCompute), "measured engines only"
    return measured(engines, engines.compute.thread)


def _children() -> list[int]:
    """Numbers of the processes that this one started, such as the voice's."""
    return [child.pid for child in psutil.Process().children(recursive=True)]


def single_threaded(settings: Settings) -> Settings:
    """The settings with one thread for each engine: its CPU time is then the time it takes."""
    one = {"threads": 1}
    return settings.model_copy(
        update={
            "asr": settings.asr.model_copy(update=one),
            "responder": settings.responder.model_copy(update=one),
            "tts": settings.tts.model_copy(update=one),
        }
    )


class _LoopbackSocket:
    """A websocket as far as the transport needs one; texts go from queue to queue."""

    def __init__(self) -> None:
        self.application_state = WebSocketState.CONNECTED
        self.to_server: asyncio.Queue[str | None] = asyncio.Queue()
        self.to_client: asyncio.Queue[str | None] = asyncio.Queue()

    async def receive(self) -> dict[str, str]:
        text = await self.to_server.get()
        if text is None:
            return {"type": "websocket.disconnect"}
        return {"type": "websocket.receive", "text": text}

    async def send_text(self, text: str) -> None:
        self.to_client.put_nowait(text)

    async def close(self, code: int, reason: str) -> None:
        self.application_state = WebSocketState.DISCONNECTED
        self.to_client.put_nowait(None)


class VirtualConnection:
    """One call to a server in this process, on the clock of the running loop.

    Args:
        engines: loaded engines.
        settings: settings of the server.
        server: the server that the call belongs to, with its registry of calls; None: one of its
            own, without one.
    """

    rate = WIRE_RATE
    reports_replies = True
    resends = True

    def __init__(
        self, engines: Engines, settings: Settings, server: AgentServer | None = None
    ) -> None:
        self._engines = engines
        self._settings = settings
        self._server = server
        self._socket = _LoopbackSocket()
        self._call: asyncio.Task[Any] | None = None

    async def connect(self) -> None:
        server = self._server or AgentServer(self._settings, self._engines)
        admitted = None if self._server is None else self._server.calls.admit("websocket")
        opened = server.sessions.open({"onebreath": "1"})
        pace = Paces(asyncio.get_running_loop().time).of("")
        transport = WebsocketTransport(
            cast(WebSocket, self._socket),
            opened.writer,
            self._settings.server,
            opened.reading,
            pace,
        )
        await transport.open()

        async def converse() -> CallEnd:
            calls = None if admitted is None else server.calls
            return await CallRunner(self._engines, self._settings, transport, calls=calls).run()

        if admitted is None:
            self._call = asyncio.create_task(converse())
        else:
            admitted.start(transport, converse)
            self._call = admitted.task

    async def send(self, frame: Samples) -> None:
        audio = base64.b64encode(to_pcm16(frame)).decode("ascii")
        event = {"type": "input_audio_buffer.append", "audio": audio}
        self._socket.to_server.put_nowait(json.dumps(event))

    async def receive(self) -> AsyncIterator[ReceivedEvent]:
        while (text := await self._socket.to_client.get()) is not None:
            for received in received_events(json.loads(text)):
                yield received
        raise CallError("the agent hung up")

    async def close(self) -> None:
        self._socket.to_server.put_nowait(None)
        if self._call is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._call
