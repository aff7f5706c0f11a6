"""The media sockets: ``/telephony/{provider}`` and ``/telephony/auto``."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from starlette.responses import PlainTextResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from agent.config import Settings
from agent.runner import CallRunner
from agent.telephony.announce import announce
from agent.telephony.dialect import Dialect, DialectError, Started
from agent.telephony.dialects import DIALECTS
from agent.telephony.door import Door, Refused, TokenCheck
from agent.telephony.line import Line, WebsocketLine
from agent.telephony.template import fill_in
from agent.telephony.transport import PROTOCOL_ERROR, TelephoneTransport
from agent.transports.base import Disconnected
from agent.work import Engines

log = logging.getLogger("onebreath.telephony")

NORMAL_CLOSURE = 1000
POLICY_VIOLATION = 1008
INTERNAL_ERROR = 1011
MAX_OPENING = 64
"""Messages in which the peer must name the call."""
SUBPROTOCOLS = ("media", "audio.jambonz.org", "audio.drachtio.org")


class PhoneEndpoint:
    """Telephone calls of one server.

    Args:
        calls: all calls of the server, telephone or not.
        tokens: shared with the webhooks that issue them.
    """

    def __init__(
        self,
        settings: Settings,
        engines: Engines,
        calls: set[asyncio.Task[None]],
        tokens: TokenCheck,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._engines = engines
        self._calls = calls
        self._clock = clock
        self._door = Door(settings.telephony, tokens, clock)

    def routes(self) -> list[WebSocketRoute]:
        return [WebSocketRoute("/telephony/{provider}", self._answer)]

    async def _answer(self, socket: WebSocket) -> None:
        provider = socket.path_params["provider"]
        address = socket.client.host if socket.client else ""
        try:
            if provider not in DIALECTS:
                raise Refused("no such provider", 404)
            self._door.check_provider(provider, address, socket.headers)
            with self._door.place(address):
                self._check_room()
                await self._accepted(socket, provider, address)
        except Refused as refused:
            log.warning("refused a socket of %s: %s", address, refused)
            await _deny(socket, refused.status)

    def _check_room(self) -> None:
        limit = self._settings.server.max_calls
        if len(self._calls) >= limit:
            raise Refused(f"all {limit} lines are busy", 503)

    async def _accepted(self, socket: WebSocket, provider: str, address: str) -> None:
        offered = socket.scope.get("subprotocols", [])
        await socket.accept(next((name for name in SUBPROTOCOLS if name in offered), None))
        line = WebsocketLine(socket)
        try:
            async with asyncio.timeout(self._settings.telephony.start_seconds):
                dialect, started = await _opened(line, DIALECTS[provider]())
            query = socket.query_params.get("token", "")
            self._door.check_call(provider, started, address, socket.headers, query)
            self._check_room()
        except Disconnected:
            return
        except TimeoutError:
            log.warning("%s opened a socket and named no call", address)
            await line.close(POLICY_VIOLATION, "the call was not named in time")
        except DialectError as error:
            log.warning("%s does not speak the dialect of %s: %s", address, provider, error)
            await line.close(PROTOCOL_ERROR, str(error))
        except Refused as refused:
            log.warning("refused a call of %s: %s", address, refused)
            await line.close(POLICY_VIOLATION, "this call is not let in")
        else:
            await self._call(line, dialect, started, provider)

    async def _call(self, line: Line, dialect: Dialect, started: Started, provider: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        telephony = self._settings.telephony
        instructions = self._instructions(started, provider)
        transport = TelephoneTransport(
            line, dialect, started, telephony.lead, instructions, self._clock
        )
        serving = asyncio.create_task(transport.serve())
        try:
            await self._converse(transport)
            await transport.close(NORMAL_CLOSURE, "the call is over")
        except Disconnected:
            log.info("the caller left at once")
        except Exception:  # a fault in one call must not end the others
            log.exception("the call failed")
            await transport.close(INTERNAL_ERROR, "internal error")
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            self._calls.discard(task)

    async def _converse(self, transport: TelephoneTransport) -> None:
        greeting = self._settings.telephony.greeting
        runner = CallRunner(self._engines, self._settings, transport, self._clock)
        async with asyncio.TaskGroup() as group:
            if greeting:
                spoken = group.create_task(announce(greeting, self._engines, transport))
            await runner.run()
            if greeting:
                spoken.cancel()

    def _instructions(self, started: Started, provider: str) -> str | None:
        telephony = self._settings.telephony
        parts = [self._settings.responder.instructions]
        if telephony.instructions_template:
            fields = {
                "caller": started.caller,
                "called": started.called,
                "provider": provider,
                "call_id": started.call_id,
            }
            parts.append(fill_in(telephony.instructions_template, fields, started.parameters))
        if telephony.greeting:
            parts.append(f'You have greeted the caller with: "{telephony.greeting}"')
        return "\n".join(parts) if len(parts) > 1 else None


async def _opened(line: Line, dialect: Dialect) -> tuple[Dialect, Started]:
    """Read up to the message that names the call."""
    for _ in range(MAX_OPENING):
        for event in dialect.read(await line.receive()):
            if isinstance(event, Started):
                return dialect, event
    raise DialectError(f"the call was not named in {MAX_OPENING} messages")


async def _deny(socket: WebSocket, status: int) -> None:
    try:
        await socket.send_denial_response(PlainTextResponse("not let in\n", status))
    except (WebSocketDisconnect, RuntimeError):
        return  # the peer was faster
