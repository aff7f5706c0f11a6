"""The server on one port: the page, the Realtime protocol, telephony, health and metrics."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from agent.close_codes import TRY_AGAIN_LATER
from agent.config.settings import Settings
from agent.errors import ConfigError, PortInUse
from agent.protocol.older_events import HEADER, asks_for_beta
from agent.runtime.call import CallRunner
from agent.runtime.calls import CallEnd, CallRefused, CallRegistry
from agent.runtime.engine_tasks import Engines
from agent.runtime.watchdog import Watchdog
from agent.server.access import Access, Refused
from agent.server.client_secrets import ClientSecrets
from agent.server.cors import Cors
from agent.server.fair_share import AddressRates, BoundedRequests, address_of
from agent.server.health import Health
from agent.server.http_deadlines import HttpWithDeadlines
from agent.server.keys import Keys
from agent.server.pages import ClientPages
from agent.server.sessions import OpenedSession, Sessions, model_name
from agent.server.sideband import Sideband
from agent.server.stopping import Stopping
from agent.server.tls import ReloadedCertificate
from agent.server.webrtc_offers import WebRtcOffers
from agent.session.notices import Trouble
from agent.session.playback import Delivery
from agent.telephony.access.tokens import Tokens
from agent.telephony.access.webhooks import Webhooks
from agent.telephony.media.endpoint import TelephonyEndpoint
from agent.telephony.media.websocket import MediaAwareProtocol
from agent.transports.base import Disconnected, Transport
from agent.transports.pace import Paces
from agent.transports.websocket import WebsocketTransport

log = logging.getLogger("onebreath.server")

HARD_MESSAGE_LIMIT = 16 * 1_048_576
"""Bytes at which the connection is closed unread; smaller oversized events get an answer."""
OPENINGS = 1.0
"""Websocket calls that one address may open each second; as many as there are lines, and
``SPARE_OPENINGS`` more, may come at once."""
SPARE_OPENINGS = 16
SPARE_CONNECTIONS = 64
"""Connections besides calls (pages, health, refusals); more are answered with 503."""


class AgentServer:
    """The routes, and the registry of the calls that they serve."""

    def __init__(self, settings: Settings, engines: Engines) -> None:
        self.settings = settings
        self.engines = engines
        self.calls = CallRegistry(
            settings.server.max_calls,
            max_calls_per_address=settings.server.max_calls_per_address,
        )
        self._paces = Paces()
        self._openings = AddressRates(OPENINGS, settings.server.max_calls + SPARE_OPENINGS)
        self.watchdog = Watchdog()
        self.health = Health(self.calls, engines, self.watchdog)
        self.access = Access(settings.server, Keys(settings.server.api_keys))
        self.sessions = Sessions(settings, engines)
        self._secrets = ClientSecrets(self.access, self.sessions)
        self._sideband = Sideband(self.calls)
        self._offers = WebRtcOffers(
            settings, self.calls, self.access, self.sessions.open, self._converse, self._paces
        )
        self.tokens = Tokens()
        self.telephony = TelephonyEndpoint(settings, engines, self.calls, self.tokens)

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                *self.health.routes(),
                WebSocketRoute("/v1/realtime", self._realtime),
                *self._offers.routes(),
                *self._secrets.routes(),
                *self.telephony.routes(),
                *self._webhooks().routes(),
                Route("/about.json", self._about),
                Mount("/", ClientPages()),  # last: it takes every path
            ],
            middleware=[
                Middleware(
                    BoundedRequests, limit=self.settings.server.max_calls + SPARE_CONNECTIONS
                ),
                Middleware(Cors, access=self.access),
            ],
            lifespan=self._lifespan,
        )

    def _webhooks(self) -> Webhooks:
        wanted = "transfer" in self.settings.tools.built_in
        transfers = self.telephony.transfers if wanted else None
        return Webhooks(self.settings.telephony, self.tokens, transfers=transfers)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self.watchdog.start()
        try:
            async with self.engines.tools.running():
                yield
                await self.calls.end_all()
        finally:
            self.watchdog.stop()

    async def _about(self, request: Request) -> Response:
        """Which engines hear, answer and speak, for the page before a call."""
        settings = self.settings
        return JSONResponse(
            {
                "recogniser": model_name(settings.asr.engine, "whisper", settings.asr.model),
                "responder": model_name(
                    settings.responder.engine, "diffusion", settings.responder.model
                ),
                "voice": model_name(settings.tts.engine, "piper", settings.tts.voice),
            }
        )

    def take(self, settings: Settings) -> None:
        """Use ``settings`` for calls that begin from now on."""
        self.settings = settings
        self.calls.bound(settings.server.max_calls, settings.server.max_calls_per_address)
        self._offers.settings = settings
        self.access.take(settings.server)
        self.sessions.settings = settings
        self.telephony.settings = settings

    async def _realtime(self, websocket: WebSocket) -> None:
        protocols = websocket.scope.get("subprotocols", [])
        address = address_of(websocket)
        if not self._openings.allow(address):
            await websocket.close()  # before accept, so that it costs next to nothing
            return
        try:
            admission = self.access.admit(websocket.headers, protocols)
            if (call_id := websocket.query_params.get("call_id")) is not None:
                await self._sideband.attach(websocket, call_id)
                return
            beta = asks_for_beta(websocket.headers.get(HEADER), protocols)
            opened = self.sessions.open(websocket.query_params, admission.session, beta=beta)
        except Refused as refused:
            await websocket.send_denial_response(refused.response())
            return
        await websocket.accept("realtime" if "realtime" in protocols else None)
        transport = WebsocketTransport(
            websocket,
            opened.writer,
            self.settings.server,
            opened.reading,
            self._paces.of(address),
        )
        transport.reader.allowance = admission.caller.events
        try:
            with admission.caller.line():
                call = self.calls.admit("websocket", "ws", address)
                await call.run(transport, lambda: self._greet_and_converse(transport, opened))
        except CallRefused as refusal:
            await self._refuse(transport, refusal)

    async def _greet_and_converse(
        self, transport: WebsocketTransport, opened: OpenedSession
    ) -> CallEnd:
        await transport.open()
        paced = Delivery.PACED if opened.paced else Delivery.AT_ONCE
        return await self._converse(transport, opened, paced)

    async def _converse(
        self, transport: Transport, opened: OpenedSession, delivery: Delivery
    ) -> CallEnd:
        runner = CallRunner(
            self.engines,
            self.settings,
            transport,
            time.monotonic,
            self.calls,
            delivery,
            opened.initial,
        )
        return await runner.run()

    async def _refuse(self, transport: WebsocketTransport, refusal: CallRefused) -> None:
        with suppress(Disconnected):
            await transport.send(Trouble(refusal.code, str(refusal), kind="server_error"))
            await transport.close(TRY_AGAIN_LATER, str(refusal))


def listen(host: str, port: int) -> socket.socket:
    """Bind the port, before any model is loaded, so that a taken port is known at once.

    Raises:
        PortInUse: another program listens there.
        ConfigError: the address is not of this machine, or needs other rights.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(64)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(host, port) from None
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return sock


async def serve(
    settings: Settings,
    engines: Engines,
    sock: socket.socket,
    started: Callable[[], Awaitable[None] | None] | None = None,
    *,
    health: socket.socket | None = None,
    reload: Callable[[Settings], Settings] | None = None,
) -> int:
    """Serve until the task is cancelled, or the process gets a signal to stop.

    Args:
        sock: a listening socket (``listen``).
        started: called, and awaited if it returns an awaitable, once calls are accepted.
        health: a listening socket for health alone.
        reload: makes new settings from the old ones at SIGHUP. None: signals are left alone.

    Returns:
        The exit code of the process.
    """
    agent = AgentServer(settings, engines)
    server = _server(agent)

    def stop() -> None:
        server.should_exit = True

    def take_new_settings() -> None:
        if reload is not None:
            agent.take(reload(agent.settings))

    def drain() -> Awaitable[None]:
        return agent.calls.drain(agent.settings.server.drain_seconds)

    stopping = Stopping(drain, stop, take_new_settings)
    with agent.health.serving(health), stopping.listening() if reload else nullcontext():
        async with agent.telephony.listening():
            await _serve(server, sock, started)
    return stopping.exit_code


class _Server(uvicorn.Server):
    """A server whose signals ``Stopping`` takes, or asyncio."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(agent: AgentServer) -> _Server:
    config = uvicorn.Config(
        agent.app(),
        http=HttpWithDeadlines,
        ws=MediaAwareProtocol,
        ws_max_size=HARD_MESSAGE_LIMIT,
        ws_per_message_deflate=False,
        log_config=None,
        timeout_graceful_shutdown=3,
        access_log=False,
        ssl_certfile=agent.settings.server.certificate,
        ssl_keyfile=agent.settings.server.key,
    )
    ReloadedCertificate.watch(config, agent.settings.server)
    return _Server(config)


async def _serve(
    server: _Server,
    sock: socket.socket,
    started: Callable[[], Awaitable[None] | None] | None,
) -> None:
    running = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        # uvicorn has no event for it
        while not server.started and not running.done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if started is not None and (pending := started()) is not None:
            await pending
        await asyncio.shield(running)
    except asyncio.CancelledError:
        server.should_exit = True
        await running
        raise
