"""The server on one port: the page, the Realtime protocol, telephony, health and metrics."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, nullcontext, suppress

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from agent.close_codes import POLICY_VIOLATION, TRY_AGAIN_LATER
from agent.config.settings import Settings
from agent.protocol.older_events import HEADER, asks_for_beta
from agent.runtime.call import CallRunner
from agent.runtime.calls import GOODBYE_SECONDS, CallEnd, CallRefused, CallRegistry
from agent.runtime.connection_slot import ConnectionSlot
from agent.runtime.engine_tasks import Engines
from agent.runtime.traces import open_traces
from agent.runtime.watchdog import Watchdog
from agent.server.access import Access, Refused
from agent.server.azure import AzureAddresses, is_preview
from agent.server.client_secrets import ClientSecrets
from agent.server.cors import Cors
from agent.server.fair_share import AddressRates, BoundedRequests, address_of
from agent.server.forwarding import Forwarding
from agent.server.handshakes import Handshakes
from agent.server.health import Health
from agent.server.http_server import HARD_MESSAGE_LIMIT as HARD_MESSAGE_LIMIT
from agent.server.http_server import HttpServer
from agent.server.identity import Identity
from agent.server.keys import Admission, Caller, Keys
from agent.server.model_list import ModelList
from agent.server.not_offered import not_offered
from agent.server.pages import ClientPages
from agent.server.ports import listen as listen
from agent.server.resumption import RESUME, NoSession, Resumption
from agent.server.sessions import OpenedSession, Sessions, model_name
from agent.server.sideband import Sideband
from agent.server.stopping import Stopping
from agent.server.webrtc_offers import WebRtcOffers
from agent.session.notices import Trouble
from agent.session.playback import Delivery
from agent.telephony.access.webhooks import Webhooks
from agent.telephony.media.endpoint import TelephonyEndpoint
from agent.transports.base import Disconnected, Transport, WayBack
from agent.transports.pace import Paces
from agent.transports.websocket import WebsocketTransport

log = logging.getLogger("onebreath.server")

OPENINGS = 1.0
"""Websocket calls that one address may open each second; as many as there are lines, and
``SPARE_OPENINGS`` more, may come at once."""
SPARE_OPENINGS = 16
RESUMPTIONS = 2.0
"""Sessions that one address may resume each second; ``SPARE_RESUMPTIONS`` may come at once."""
SPARE_RESUMPTIONS = 60
SPARE_CONNECTIONS = 64
"""Connections besides calls (pages, health, refusals); more are answered with 503."""


class AgentServer:
    """The routes, and the registry of the calls that they serve."""

    def __init__(
        self, settings: Settings, engines: Engines, identity: Identity | None = None
    ) -> None:
        identity = identity or Identity.of(settings.server)
        self.settings = settings
        self.engines = engines
        self.calls = CallRegistry(
            settings.server.max_calls,
            max_calls_per_address=settings.server.max_calls_per_address,
            places=identity.places(),
        )
        self._paces = Paces()
        self._openings = AddressRates(OPENINGS, settings.server.max_calls + SPARE_OPENINGS)
        self._resumptions = AddressRates(RESUMPTIONS, SPARE_RESUMPTIONS)
        self.watchdog = Watchdog()
        self.health = Health(self.calls, engines, self.watchdog, identity.folder)
        keys = Keys(settings.server.api_keys, places=self.calls.places, seal=identity.seal())
        self.access = Access(settings.server, keys)
        self.sessions = Sessions(settings, engines)
        self._secrets = ClientSecrets(self.access, self.sessions)
        self._models = ModelList(self.access, self.sessions)
        self.forwarding = Forwarding(identity)
        self._sideband = Sideband(self.calls, self.forwarding)
        self.resumption = Resumption(
            settings.server.resume_seconds, identity.worker or 0, key=identity.resumption_key()
        )
        self._offers = WebRtcOffers(
            settings,
            self.calls,
            self.access,
            self.sessions.open,
            self._converse,
            self._paces,
            identity,
            self.resumption,
        )
        self._handshakes = Handshakes(self.access, self.calls, self.resumption, self.forwarding)
        self.tokens, clock = identity.tokens(), identity.token_clock
        self.telephony = TelephonyEndpoint(
            settings,
            engines,
            self.calls,
            self.tokens,
            token_clock=clock,
            transfers=identity.transfers(),
        )
        self._identity = identity

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                *self.health.routes(),
                WebSocketRoute("/v1/realtime", self._realtime),
                self._handshakes.route(),
                *self._offers.routes(),
                *self._secrets.routes(),
                *self._models.routes(),
                *self.telephony.routes(),
                *self._webhooks().routes(),
                Route("/about.json", self._about),
                not_offered(),  # after every other address under /v1/
                Mount("/", ClientPages()),  # last: it takes every path
            ],
            middleware=[
                Middleware(
                    BoundedRequests, limit=self.settings.server.max_calls + SPARE_CONNECTIONS
                ),
                Middleware(Cors, access=self.access),
                Middleware(AzureAddresses),
            ],
            lifespan=self._lifespan,
        )

    def _webhooks(self) -> Webhooks:
        decided = any(action.do == "transfer" for action in self.settings.decisions.actions)
        wanted = decided or "transfer" in self.settings.tools.built_in
        transfers = self.telephony.transfers if wanted else None
        identity = self._identity
        return Webhooks(
            self.settings.telephony,
            self.tokens,
            identity.token_clock,
            own_address=identity.machine,
            transfers=transfers,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self.watchdog.start()
        try:
            async with self.engines.tools.running(), self._traced():
                yield
                await self.calls.end_all()
        finally:
            self.watchdog.stop()

    @asynccontextmanager
    async def _traced(self) -> AsyncIterator[None]:
        """Trace calls meanwhile, where the settings say so."""
        self.calls.tracing = traces = open_traces(self.settings)
        self.calls.traced_words = self.settings.log.words
        try:
            yield
        finally:
            self.calls.tracing = None
            if traces is not None:
                await asyncio.to_thread(traces.close)

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
        self.calls.traced_words = settings.log.words
        self._offers.settings = settings
        self.access.take(settings.server)
        self.sessions.settings = settings
        self.telephony.settings = settings
        self.resumption.seconds = settings.server.resume_seconds

    async def _realtime(self, websocket: WebSocket) -> None:
        protocols = websocket.scope.get("subprotocols", [])
        address = address_of(websocket)
        token = websocket.query_params.get(RESUME)
        rates = self._openings if token is None else self._resumptions
        call_id = websocket.query_params.get("call_id")
        try:
            if not rates.allow(address):
                raise Refused(429, "too_many_requests", "too many calls from this address")
            if token is not None and call_id is None:
                headers = websocket.headers
                caller = self.resumption.caller(self.access, token, address, headers, protocols)
                await self._resume(websocket, token, caller)
                return
            admission = self.access.admit(websocket.headers, protocols)
            if call_id is not None:
                await self._sideband.attach(websocket, call_id, admission.caller.name)
                return
            beta = asks_for_beta(websocket.headers.get(HEADER), protocols)
            opened = self.sessions.open(
                websocket.query_params,
                admission.session,
                beta=beta,
                preview=is_preview(websocket.scope),
            )
        except Refused as refused:
            await websocket.send_denial_response(refused.response())
            return
        await websocket.accept("realtime" if "realtime" in protocols else None)
        transport = self._transport(websocket, opened, admission.caller)
        try:
            await self._call(transport, opened, admission, websocket)
        except CallRefused as refusal:
            await self._refuse(transport, refusal)

    def _transport(
        self, websocket: WebSocket, opened: OpenedSession, caller: Caller
    ) -> WebsocketTransport:
        transport = WebsocketTransport(
            websocket,
            opened.writer,
            self.settings.server,
            opened.reading,
            self._paces.of(address_of(websocket)),
        )
        transport.reader.allowance = caller.events
        return transport

    async def _call(
        self,
        transport: WebsocketTransport,
        opened: OpenedSession,
        admission: Admission,
        websocket: WebSocket,
    ) -> None:
        """Carry on the call of an accepted websocket: to its end, or to that of the websocket."""
        with ExitStack() as line:
            line.enter_context(admission.caller.line())
            call = self.calls.admit("websocket", "ws", address_of(websocket))
            call.on_end = line.pop_all().close
        if not self.resumption.wanted(websocket.query_params):
            await call.run(transport, lambda: self._greet_and_converse(transport, opened))
            return
        slot, way_back = self.resumption.register(
            call, opened, admission.caller, transport, admission.by_secret
        )
        call.start(slot, lambda: self._greet_and_converse(transport, opened, slot, way_back))
        await transport.released.wait()

    async def _resume(self, websocket: WebSocket, token: str, caller: Caller | None) -> None:
        """Go on with a session over this websocket, here or in the worker that holds it.

        Args:
            caller: whose request it is; None: the token tells.

        Raises:
            Refused: the token opens nothing.
        """
        holder = self.resumption.holder(token)
        if (target := self.forwarding.sibling(holder, websocket)) is not None:
            await self.forwarding.websocket(target, websocket, NoSession())
            return
        address, protocols = address_of(websocket), websocket.scope.get("subprotocols", [])
        with self.resumption.redeeming(token, caller, address) as resumable:
            await websocket.accept("realtime" if "realtime" in protocols else None)
            transport = self._transport(websocket, resumable.opened, resumable.caller)
            try:
                query = websocket.query_params
                self.resumption.hand_over(resumable, token, transport, query, rtc=False)
            except Refused as refused:
                await transport.close(POLICY_VIOLATION, str(refused))
        await transport.released.wait()

    async def _greet_and_converse(
        self,
        transport: WebsocketTransport,
        opened: OpenedSession,
        slot: ConnectionSlot | None = None,
        way_back: WayBack | None = None,
    ) -> CallEnd:
        await transport.open(way_back)
        paced = Delivery.PACED if opened.paced else Delivery.AT_ONCE
        return await self._converse(transport, opened, paced, slot)

    async def _converse(
        self,
        transport: Transport,
        opened: OpenedSession,
        delivery: Delivery,
        slot: ConnectionSlot | None = None,
    ) -> CallEnd:
        runner = CallRunner(
            self.engines,
            self.settings,
            transport,
            time.monotonic,
            self.calls,
            delivery,
            opened.initial,
            slot,
        )
        return await runner.run()

    async def _refuse(self, transport: WebsocketTransport, refusal: CallRefused) -> None:
        with suppress(Disconnected):
            await transport.send(Trouble(refusal.code, str(refusal), kind="server_error"))
            await transport.close(TRY_AGAIN_LATER, str(refusal))


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
    server = HttpServer(agent.app(), settings.server)
    stopping = stopping_of(agent, server, reload)
    with agent.health.serving(health), stopping.listening() if reload else nullcontext():
        async with agent.telephony.listening():
            await server.until_stopped([sock], started)
    return stopping.exit_code


def stopping_of(
    agent: AgentServer, server: HttpServer, reload: Callable[[Settings], Settings] | None
) -> Stopping:
    """What signals do to a server."""

    def take_new_settings() -> None:
        if reload is not None:
            agent.take(reload(agent.settings))
        if server.certificate is not None:
            server.certificate.reload()

    async def drain() -> None:
        seconds = agent.settings.server.drain_seconds
        carried = agent.forwarding.drained(seconds + GOODBYE_SECONDS)
        await asyncio.gather(agent.calls.drain(seconds), carried)

    return Stopping(drain, server.stop, take_new_settings)
