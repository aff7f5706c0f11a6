"""The media sockets: ``/telephony/{provider}`` and ``/telephony/auto``."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from agent.close_codes import POLICY_VIOLATION, PROTOCOL_ERROR, TRY_AGAIN_LATER
from agent.config.settings import Settings
from agent.config.telephony_template import fill_in
from agent.errors import ConfigError
from agent.runtime.call import CallRunner
from agent.runtime.calls import AdmittedCall, CallEnd, CallRefused, CallRegistry
from agent.runtime.engine_tasks import Engines
from agent.runtime.logs import current_call
from agent.telephony.access.admission import Admission, SocketRequest, TokenCheck
from agent.telephony.access.transfers import Transfers
from agent.telephony.dialects.base import DialectError
from agent.telephony.dialects.registry import AUTO, DIALECTS
from agent.telephony.media.announce import announce_alone
from agent.telephony.media.connection import (
    AudioSocketConnection,
    MediaConnection,
    WebsocketConnection,
)
from agent.telephony.media.handshake import Handshake, read_handshake
from agent.telephony.media.recorder import StereoTrack, write_recording
from agent.telephony.media.transport import TelephonyTransport
from agent.transports.base import Disconnected

log = logging.getLogger("onebreath.telephony")

ASK_WHAT_IS_NEXT = ("twilio", "signalwire", "telnyx", "plivo", "vonage", "jambonz", "asterisk")
"""Providers that ask what comes after the stream, and can be told to dial."""
SUBPROTOCOLS = ("media", "audio.jambonz.org", "audio.drachtio.org")


class TelephonyEndpoint:
    """The telephony calls of one server.

    Args:
        calls: the calls of the server, of every transport.
        tokens: shared with the webhooks that issue them.
        clock: monotonic seconds.
        token_clock: the clock by which tokens are issued; None: ``clock``.
        transfers: shared with the webhooks that tell of them; None: of this endpoint alone.

    Attributes:
        transports: the running calls by the provider's id.
        transfers: the callers who are to be connected to another party.
        audiosocket_port: the TCP port of AudioSocket calls while ``listening``.
    """

    def __init__(
        self,
        settings: Settings,
        engines: Engines,
        calls: CallRegistry,
        tokens: TokenCheck,
        clock: Callable[[], float] = time.monotonic,
        token_clock: Callable[[], float] | None = None,
        transfers: Transfers | None = None,
    ) -> None:
        self.settings = settings
        self._engines = engines
        self._calls = calls
        self._clock = clock
        self._admission = Admission(settings.telephony, tokens, token_clock or clock)
        self.transfers = Transfers(clock) if transfers is None else transfers
        self.transports: dict[str, TelephonyTransport] = {}
        self.audiosocket_port: int | None = None

    def routes(self) -> list[WebSocketRoute]:
        return [WebSocketRoute("/telephony/{provider}", self._websocket)]

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Accept AudioSocket calls meanwhile, if the settings name a port.

        Raises:
            ConfigError: the port cannot be bound.
        """
        telephony = self.settings.telephony
        if telephony.audiosocket_port is None:
            yield
            return
        host, port = telephony.audiosocket_host, telephony.audiosocket_port
        try:
            server = await asyncio.start_server(self.audiosocket, host, port)
        except OSError as error:
            raise ConfigError(
                f"telephony.audiosocket_port: cannot listen on {host}:{port}: {error.strerror}"
            ) from None
        async with server:
            self.audiosocket_port = server.sockets[0].getsockname()[1]
            log.info("AudioSocket on %s:%d", host, self.audiosocket_port)
            yield

    async def _websocket(self, socket: WebSocket) -> None:
        provider = socket.path_params["provider"]
        address = socket.client.host if socket.client else ""
        query = socket.query_params
        request = SocketRequest(
            address, socket.headers, query.get("token", ""), query.get("call", "")
        )
        try:
            if provider not in DIALECTS and provider != AUTO:
                raise CallRefused("no such provider", 404)
            self._admission.check_provider(provider, request)
            with self._admission.hold_socket(address):
                self._calls.check_room()
                offered = socket.scope.get("subprotocols", [])
                await socket.accept(next((name for name in SUBPROTOCOLS if name in offered), None))
                await self._answer(WebsocketConnection(socket), provider, request)
        except CallRefused as refused:
            log.warning("refused a socket of %s: %s", address, refused)
            await _deny(socket, refused.status)

    async def audiosocket(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of AudioSocket to its end."""
        peer = writer.get_extra_info("peername")  # None if it is gone already
        request = SocketRequest(peer[0] if peer else "")
        try:
            with self._admission.hold_socket(request.address):
                self._calls.check_room()
                await self._answer(AudioSocketConnection(reader, writer), "audiosocket", request)
        except CallRefused as refused:
            log.warning("refused a socket of %s: %s", request.address, refused)
        finally:
            writer.close()

    async def _answer(
        self, connection: MediaConnection, provider: str, request: SocketRequest
    ) -> None:
        """Read the handshake, take the token back, and run the call."""
        try:
            async with asyncio.timeout(self.settings.telephony.start_seconds):
                handshake = await read_handshake(connection, provider)
            self._admission.check_call(handshake.provider, handshake.started, request)
            call = self._calls.admit(handshake.provider, "tel")
        except Disconnected:
            return
        except TimeoutError:
            log.warning("%s opened a socket and started no call", request.address)
            await connection.close(POLICY_VIOLATION, "the call was not named in time")
        except DialectError as error:
            log.warning("%s does not speak as %s: %s", request.address, provider, error)
            await connection.close(PROTOCOL_ERROR, str(error))
        except CallRefused as refused:
            log.warning("refused a call of %s: %s", request.address, refused)
            code = TRY_AGAIN_LATER if refused.status == 503 else POLICY_VIOLATION
            await connection.close(code, "this call is not let in")
        else:
            with call.setting_up():
                transport = self._transport(connection, handshake, request)
            call.about = _about(handshake, request)
            await self._run(call, transport, handshake.started.call_id)

    def _transport(
        self, connection: MediaConnection, handshake: Handshake, request: SocketRequest
    ) -> TelephonyTransport:
        lead, instructions = self.settings.telephony.lead, self._instructions(handshake)
        connect_to = self._connects(handshake, request)
        return TelephonyTransport(
            connection, handshake, lead, instructions, self._clock, connect_to
        )

    def _connects(
        self, handshake: Handshake, request: SocketRequest
    ) -> Callable[[str], None] | None:
        """What notes a transfer of this call; None where the provider will not ask for one.

        A dialplan asks by an id of its own, which it gives in the address of the socket.
        """
        provider, call_id = handshake.provider, handshake.started.call_id
        if provider == "asterisk":
            call_id = request.call
        if provider not in ASK_WHAT_IS_NEXT or not call_id:
            return None
        return lambda destination: self.transfers.expect(provider, call_id, destination)

    async def _run(self, call: AdmittedCall, transport: TelephonyTransport, call_id: str) -> None:
        """Run the call while its transport moves the sound.

        Args:
            call_id: the provider's id of the call.
        """
        self.transports[call_id] = transport
        current_call.set(call.id)  # for the lines of the log that the transport writes
        serving = asyncio.create_task(transport.serve())
        try:
            await call.run(transport, lambda: self._converse(transport))
        finally:
            serving.cancel()
            (fault,) = await asyncio.gather(serving, return_exceptions=True)
            if isinstance(fault, Exception):
                log.error("the connection of call %s failed", call.id, exc_info=fault)
            if self.transports.get(call_id) is transport:
                del self.transports[call_id]

    async def _converse(self, transport: TelephonyTransport) -> CallEnd:
        telephony, engines = self.settings.telephony, self._engines
        writing: asyncio.Task[None] | None = None
        if telephony.record and await announce_alone(
            telephony.announce_recording, engines, transport
        ):
            track = StereoTrack(transport.rate, self._clock())
            transport.record(track)
            writing = asyncio.create_task(write_recording(telephony.record, track, self._clock))
        try:
            runner = CallRunner(engines, self.settings, transport, self._clock, self._calls)
            return await runner.run()
        finally:
            if writing is not None:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)

    def _instructions(self, handshake: Handshake) -> str | None:
        started = handshake.started
        telephony = self.settings.telephony
        if not telephony.instructions_template:
            return None
        fields = {
            "caller": started.caller,
            "called": started.called,
            "provider": handshake.provider,
            "call_id": started.call_id,
        }
        about = fill_in(telephony.instructions_template, fields, started.parameters)
        return f"{self.settings.responder.instructions}\n{about}"


def _about(handshake: Handshake, request: SocketRequest) -> dict[str, str]:
    """What the log tells of a call: who brought it, and its id there, unless that is a secret."""
    about = {"address": request.address}
    if handshake.provider != "audiosocket":
        about["provider_call"] = handshake.started.call_id
    return about


async def _deny(socket: WebSocket, status: int) -> None:
    try:
        await socket.send_denial_response(PlainTextResponse("not let in\n", status))
    except (WebSocketDisconnect, RuntimeError):
        return  # the peer closed first
