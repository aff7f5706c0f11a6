"""How a WebRTC call comes about: an offer is answered over HTTP, the rest goes by itself."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent.config.settings import Settings
from agent.protocol import BadEvent, ClientMessage, EventWriter, Pinged, parse
from agent.transports.base import Disconnected
from agent.transports.rtc_peer import BadOffer, check_offer
from agent.transports.webrtc import WebRtcTransport

log = logging.getLogger("onebreath.server")

CALLS = "/v1/realtime/calls"
MAX_BODY = 131_072
"""Bytes of an offer with its session."""
PENDING_SECONDS = 10.0
"""An answered offer that does not become a connection is dropped after this."""
INTERNAL_ERROR = 1011


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    def response(self) -> Response:
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        error = {"type": kind, "code": self.code, "message": str(self), "param": None}
        headers = {"Retry-After": "5"} if self.status == 503 else {}
        return JSONResponse({"error": error}, self.status, headers)


class JsonOffer(BaseModel):
    """The body of an offer as JSON."""

    model_config = ConfigDict(extra="forbid")

    sdp: str
    session: dict[str, Any] | None = None
    type: Literal["offer"] = "offer"


@dataclass(frozen=True, slots=True)
class Offer:
    sdp: str
    session: Sequence[ClientMessage]
    """The settings that came with it."""
    as_json: bool


class Signalling:
    """The HTTP half of WebRTC calls.

    Args:
        calls: the tasks of all calls that are up or about to be.
        welcome: whether a request with these headers may call.
        converse: carries on a conversation over an open line, to its end.
    """

    def __init__(
        self,
        settings: Settings,
        calls: set[asyncio.Task[None]],
        welcome: Callable[[Headers], bool],
        new_writer: Callable[[], EventWriter],
        converse: Callable[[WebRtcTransport], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._calls = calls
        self._welcome = welcome
        self._new_writer = new_writer
        self._converse = converse
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def routes(self) -> list[Route]:
        """What the server serves for it."""
        return [
            Route("/v1/realtime/ice", self._ice),
            Route(CALLS, self._create, methods=["POST"]),
            Route(CALLS + "/{call_id}/hangup", self._hang_up, methods=["POST"]),
        ]

    async def _ice(self, request: Request) -> Response:
        if not self._welcome(request.headers):
            return _forbidden().response()
        servers = [s.model_dump(exclude_none=True) for s in self._settings.webrtc.ice_servers]
        return JSONResponse({"iceServers": servers}, headers={"Cache-Control": "no-store"})

    async def _create(self, request: Request) -> Response:
        try:
            if not self._welcome(request.headers):
                raise _forbidden()
            offer = await _read_offer(request)
            call_id, answer = await self._open_line(offer)
        except Refused as refusal:
            return refusal.response()
        headers = {"Location": f"{CALLS}/{call_id}"}
        if offer.as_json:
            return JSONResponse({"sdp": answer, "call_id": call_id}, 201, headers)
        return Response(answer, 201, headers, media_type="application/sdp")

    async def _hang_up(self, request: Request) -> Response:
        if not self._welcome(request.headers):
            return _forbidden().response()
        task = self._tasks.get(request.path_params["call_id"])
        if task is None:
            return Refused(404, "call_not_found", "there is no call with this id").response()
        task.cancel()
        return Response()

    async def _open_line(self, offer: Offer) -> tuple[str, str]:
        """Start a call; returns its id and the answer to the offer."""
        limit = self._settings.server.max_calls
        if len(self._calls) >= limit:
            raise Refused(503, "server_full", f"all {limit} lines are busy; try again later")
        transport = WebRtcTransport(self._new_writer(), self._settings.webrtc, offer.session)
        answering = asyncio.current_task()
        assert answering is not None
        self._calls.add(answering)  # the line is taken before the call is up
        try:
            answer = await transport.answer(offer.sdp)
        except BaseException as error:
            await transport.hang_up()
            if isinstance(error, BadOffer):
                raise Refused(400, "invalid_offer", str(error)) from None
            raise
        finally:
            self._calls.discard(answering)
        return self._start(transport), answer

    def _start(self, transport: WebRtcTransport) -> str:
        call_id = f"rtc_{secrets.token_hex(12)}"
        task = asyncio.create_task(self._call(transport), name=call_id)
        self._calls.add(task)
        self._tasks[call_id] = task
        task.add_done_callback(self._forget)
        return call_id

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        del self._tasks[task.get_name()]

    async def _call(self, transport: WebRtcTransport) -> None:
        """The life of one call after its answer."""
        try:
            if await _opened(transport):
                await self._converse(transport)
        except Disconnected:
            log.info("the client left at once")
        except Exception:  # a fault in one call must not end the others
            log.exception("the call failed")
            await transport.close(INTERNAL_ERROR, "internal error; the server's log says more")
        finally:
            await transport.hang_up()


async def _opened(transport: WebRtcTransport) -> bool:
    """Whether the answered offer became a connection in time."""
    try:
        async with asyncio.timeout(PENDING_SECONDS):
            await transport.open()
    except TimeoutError:
        log.info("no connection within %.0f s of the answer", PENDING_SECONDS)
        return False
    return True


def _forbidden() -> Refused:
    return Refused(403, "forbidden", "this page or host name may not call this server")


async def _read_offer(request: Request) -> Offer:
    """The offer in whichever form it comes."""
    _check_length(request.headers.get("content-length"))
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    match kind:
        case "application/sdp":
            return _offer((await request.body()).decode("utf-8", "replace"), None, False)
        case "application/json":
            try:
                body = JsonOffer.model_validate_json(await request.body())
            except ValidationError as error:
                problem = error.errors(include_url=False)[0]
                where = ".".join(str(part) for part in problem["loc"])
                raise Refused(400, "invalid_value", f"{where}: {problem['msg']}") from None
            return _offer(body.sdp, body.session, True)
        case "multipart/form-data":
            return await _read_form(request)
        case _:
            raise Refused(
                415,
                "unsupported_content_type",
                f"{kind or 'no content type'}: send the offer as application/sdp, "
                "application/json or multipart/form-data",
            )


def _check_length(length: str | None) -> None:
    """The HTTP layer sees to it that no more is read than was announced."""
    if length is None or not length.isdigit():
        raise Refused(411, "length_required", "send the offer with a Content-Length")
    if int(length) > MAX_BODY:
        raise Refused(413, "body_too_large", f"{length} bytes; an offer has at most {MAX_BODY}")


async def _read_form(request: Request) -> Offer:
    try:
        async with request.form(max_files=2, max_fields=2, max_part_size=MAX_BODY) as form:
            fields = {name: await _text(value) for name, value in form.items()}
    except HTTPException as error:
        raise Refused(400, "invalid_value", str(error.detail)) from None
    if "sdp" not in fields:
        raise Refused(400, "invalid_value", "sdp: the form lacks it")
    try:
        session = json.loads(fields.get("session", "null"))
    except (ValueError, RecursionError):
        raise Refused(400, "invalid_value", "session: not JSON") from None
    return _offer(fields["sdp"], session, False)


async def _text(value: UploadFile | str) -> str:
    if isinstance(value, str):
        return value
    return (await value.read()).decode("utf-8", "replace")


def _offer(sdp: str, session: Any, as_json: bool) -> Offer:
    try:
        check_offer(sdp)
        if session is None:
            return Offer(sdp, (), as_json)
        update = parse(json.dumps({"type": "session.update", "session": session}))
    except BadOffer as error:
        raise Refused(400, "invalid_offer", str(error)) from None
    except BadEvent as error:
        raise Refused(400, error.trouble.code, error.trouble.message) from None
    return Offer(sdp, [m for m in update if not isinstance(m, Pinged)], as_json)
