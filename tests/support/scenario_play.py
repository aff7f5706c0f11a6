"""Plays a scenario: in virtual time, or for real through the server."""

from __future__ import annotations

import asyncio
import json

from starlette.websockets import WebSocketDisconnect, WebSocketState
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from agent.config.settings import Settings
from agent.runtime.call import CallRunner
from agent.runtime.engine_tasks import Engines
from agent.server.app import AgentServer, serve
from agent.server.ports import listen
from agent.transports.pace import Paces
from agent.transports.websocket import WebsocketTransport
from support.fakes import in_virtual_time
from support.scenario import Scenario
from support.scenario_director import Director
from support.scenario_engines import live_engines, virtual_engines
from support.scenario_judge import judge
from support.scenario_phone import Phone

LIVE_SLACK_MS = 400.0
"""For a machine that does other things, too."""


# ---- in virtual time ---------------------------------------------------------------


class VirtualSocket:
    """A websocket without a network, as far as the transport needs one."""

    def __init__(self) -> None:
        self.phone: Phone | None = None
        self.application_state = WebSocketState.CONNECTED
        self._inbox: asyncio.Queue[str | None] = asyncio.Queue()

    async def to_server(self, text: str) -> None:
        self._inbox.put_nowait(text)

    def hang_up(self) -> None:
        self._inbox.put_nowait(None)

    async def receive(self) -> dict[str, str]:
        text = await self._inbox.get()
        if text is None:
            return {"type": "websocket.disconnect"}
        return {"type": "websocket.receive", "text": text}

    async def send_text(self, text: str) -> None:
        assert self.phone is not None
        if self.phone.over:
            raise WebSocketDisconnect
        if not self.phone.reads:
            await asyncio.Event().wait()
        self.phone.take(json.loads(text))

    async def close(self, code: int, reason: str) -> None:
        assert self.phone is not None
        self.application_state = WebSocketState.DISCONNECTED
        self.phone.close_code = code
        self.phone.end()


def settings_of(scenario: Scenario) -> Settings:
    """The scenario's settings; the delays are the ones that the scripts are written for."""
    delays = {"complete_delay": 0.2, "endpoint_delay": 0.5, "incomplete_delay": 1.5}
    sections = dict(scenario.settings)
    return Settings(**sections | {"turns": delays | sections.get("turns", {})})


def play_virtually(scenario: Scenario) -> None:
    """Run a scenario in virtual time.

    Raises:
        AssertionError: the caller experienced something else.
    """
    in_virtual_time(_virtual_call(scenario))


async def _virtual_call(scenario: Scenario) -> None:
    engines = virtual_engines(scenario)
    calls = [_virtual_caller(scenario, engines) for _ in range(scenario.callers)]
    for result in await asyncio.gather(*calls, return_exceptions=True):
        if result is not None:
            raise result
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"left behind: {left}"


async def _virtual_caller(scenario: Scenario, engines: Engines) -> None:
    settings = settings_of(scenario)
    socket = VirtualSocket()
    phone = socket.phone = Phone(socket.to_server, engines.tts.tongue, scenario.echo)
    director = Director(scenario, phone, engines)
    # Everything is the real server's but its clock.
    opened = AgentServer(settings, engines).sessions.open({"onebreath": "1"})
    pace = Paces(asyncio.get_running_loop().time).of("")
    transport = WebsocketTransport(socket, opened.writer, settings.server, opened.reading, pace)
    await transport.open()
    call = asyncio.create_task(CallRunner(engines, settings, transport).run())
    call.add_done_callback(lambda _: phone.end())
    mouth = asyncio.create_task(phone.speak())
    await director.perform()
    socket.hang_up()
    async with asyncio.timeout(30):
        await call
    mouth.cancel()
    await asyncio.gather(mouth, return_exceptions=True)
    judge(director)


# ---- in real time ------------------------------------------------------------------


async def play_live(scenario: Scenario) -> None:
    """Run a scenario through a server on a real socket; takes as long as the conversation.

    Raises:
        AssertionError: the caller experienced something else.
    """
    settings = settings_of(scenario)
    engines = live_engines(scenario)
    sock = listen("127.0.0.1", 0)
    ready = asyncio.Event()
    serving = asyncio.create_task(serve(settings, engines, sock, ready.set))
    url = f"ws://127.0.0.1:{sock.getsockname()[1]}/v1/realtime?onebreath=1"
    try:
        async with asyncio.timeout(10):
            await ready.wait()
        async with connect(url, compression=None) as connection:
            await _live_call(scenario, engines, connection)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        engines.compute.close()
        engines.voices.shutdown()


async def _live_call(scenario: Scenario, engines: Engines, connection: ClientConnection) -> None:
    phone = Phone(connection.send, engines.tts.tongue, scenario.echo)
    director = Director(scenario, phone, engines, LIVE_SLACK_MS)
    tasks = [
        asyncio.create_task(_listen(phone, connection)),
        asyncio.create_task(phone.speak()),
    ]
    try:
        await director.perform()
    finally:
        phone.end()
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception) and not isinstance(error, ConnectionClosed):
            raise error
    judge(director)


async def _listen(phone: Phone, connection: ClientConnection) -> None:
    async for message in connection:
        phone.take(json.loads(message))
    phone.close_code = connection.close_code
    phone.end()
