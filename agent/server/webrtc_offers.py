"""Set-up of WebRTC calls: an offer is answered over HTTP, then the peers connect by themselves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent.config.settings import IceServer, Settings
from agent.protocol import BadEvent
from agent.protocol.json_text import read_json
from agent.protocol.older_events import HEADER, asks_for_beta
from agent.runtime.calls import CallEnd, CallRefused, CallRegistry
from agent.runtime.connection_slot import ConnectionSlot
from agent.server.access import Access, Refused
from agent.server.bodies import BodyRefused, read_body, with_body
from agent.server.call_resource import CALLS, KIND, CallResource
from agent.server.fair_share import AddressRates, address_of
from agent.server.forwarding import Forwarding, Target
from agent.server.identity import Identity
from agent.server.keys import Admission, Caller
from agent.server.resumption import RESUME, NoSession, ResumableCall, Resumption
from agent.server.sessions import OpenedSession
from agent.session.playback import Delivery
from agent.transports.base import Disconnected, WayBack
from agent.transports.pace import Paces
from agent.transports.rtc_peer import BadOffer, check_offer
from agent.transports.turn import credentials
from agent.transports.webrtc import WebRtcTransport

MAX_BODY = 131_072
"""Bytes of an offer with its session, at most."""
PENDING_SECONDS = 10.0
"""Seconds within which an answered offer must become a connection."""


log = logging.getLogger("onebreath.webrtc")


Converse = Callable[..., Awaitable[CallEnd]]
"""Carries on a conversation to its end, given its transport, session and delivery, and the
``ConnectionSlot`` of one that can be resumed."""


class OfferRefused(Exception):
    """An offer, or another request about calls, that is answered with an error.

    Args:
        status: HTTP status.
        code: the error as a word for programs (docs/protocol.md).
        message: one sentence for the developer of the client.
        param: path of the field that is wrong; None for no field.
    """

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.status = status
        self.code = code

    def response(self) -> Response:
        """The answer, as JSON."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        error = {"type": kind, "code": self.code, "message": str(self), "param": self.param}
        headers = {"Retry-After": "5"} if self.status in {429, 503} else {}
        return JSONResponse({"error": error}, self.status, headers)


class JsonOffer(BaseModel):
    """The body of an offer as JSON."""

    model_config = ConfigDict(extra="ignore")

    sdp: str
    session: dict[str, Any] | None = None
    type: Literal["offer"] = "offer"


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer that was read and checked.

    Attributes:
        sdp: the offer itself.
        session: the session settings that came with it.
        as_json: whether it came as JSON, which the answer then is too.
    """

    sdp: str
    session: dict[str, Any] | None
    as_json: bool


class WebRtcOffers:
    """The HTTP half of WebRTC calls.

    Args:
        calls: the server's calls, of every transport.
        access: decides who may call.
        open_session: makes a session; see ``Sessions.open``.
        converse: carries on a conversation over an open transport, to its end.
        paces: how fast the events of each client may come.
        identity: of this server among others.
        resumption: the calls that clients can come back to.
    """

    def __init__(
        self,
        settings: Settings,
        calls: CallRegistry,
        access: Access,
        open_session: Callable[..., OpenedSession],
        converse: Converse,
        paces: Paces | None = None,
        identity: Identity | None = None,
        resumption: Resumption | None = None,
    ) -> None:
        self._resumption = Resumption(0.0) if resumption is None else resumption
        self._resuming: set[asyncio.Task[None]] = set()
        identity = identity or Identity()
        self._suffix = identity.call_suffix()
        self._forwarding = Forwarding(identity)
        self._paces = paces or Paces()
        minute = settings.server.offers_per_minute
        self._rates = AddressRates(minute / 60, max(8, 2 * settings.server.max_calls, minute / 4))
        self.settings = settings
        self._calls = calls
        self._resource = CallResource(calls, access, self._forwarding)
        self._access = access
        self._open_session = open_session
        self._converse = converse

    def routes(self) -> list[Route]:
        """The routes of offers, of the calls that they begin, and of ICE servers."""
        return [
            Route("/v1/realtime/ice", self._ice),
            Route(CALLS, self._create, methods=["POST"]),
            Route("/v1/realtime", self._create, methods=["POST"]),  # the address of the beta
            *self._resource.routes(),
        ]

    async def _ice(self, request: Request) -> Response:
        try:
            self._access.admit(request.headers)
        except Refused as refused:
            return refused.response()
        servers = [_for_browsers(server) for server in self.settings.webrtc.ice_servers]
        return JSONResponse({"iceServers": servers}, headers={"Cache-Control": "no-store"})

    async def _create(self, request: Request) -> Response:
        address, token = address_of(request), request.query_params.get(RESUME)
        try:
            if token is None:
                admission = self._access.admit(request.headers)
            else:
                caller = self._resumption.caller(self._access, token, address, request.headers)
            if not self._rates.allow(address):
                raise _too_many()
            if (target := self._elsewhere(token, request)) is not None:
                return await self._pass_on(target, request)
            offer = await _read_offer(request)
            if token is not None:
                call_id, answer = await self._resume(request, offer, token, caller)
            else:
                opened = self._opened(request, offer, admission)
                resumable = self._resumption.wanted(request.query_params)
                call_id, answer = await self._set_up(offer, opened, admission, address, resumable)
        except (OfferRefused, Refused) as refusal:
            return refusal.response()
        except BodyRefused as refused:
            return OfferRefused(refused.status, refused.code, str(refused)).response()
        headers = {"Location": f"{CALLS}/{call_id}"}
        if offer.as_json:
            return JSONResponse({"sdp": answer, "call_id": call_id}, 201, headers)
        return Response(answer, 201, headers, media_type="application/sdp")

    def _opened(self, request: Request, offer: Offer, admission: Admission) -> OpenedSession:
        session = {**(admission.session or {}), **(offer.session or {})}
        try:
            beta = asks_for_beta(request.headers.get(HEADER))
            return self._open_session(request.query_params, session or None, beta=beta)
        except BadEvent as error:
            trouble = error.trouble
            raise OfferRefused(400, trouble.code, trouble.message, trouble.param) from None

    async def _set_up(
        self,
        offer: Offer,
        opened: OpenedSession,
        admission: Admission,
        address: str,
        resumable: bool = False,
    ) -> tuple[str, str]:
        """Start a call; returns its id and the answer to the offer."""
        caller = admission.caller
        try:
            with ExitStack() as line:
                line.enter_context(caller.line())
                # The place is taken before the call is up.
                call = self._calls.admit(KIND, "rtc", address, self._suffix)
                call.key, call.on_end = caller.name, line.pop_all().close
        except CallRefused as refusal:
            raise OfferRefused(refusal.status, refusal.code, str(refusal)) from None
        with call.setting_up():
            transport = self._transport(opened, caller, address)
            answer = await _answered(transport, offer.sdp)
        if not resumable:
            call.start(transport, lambda: self._connect_and_converse(transport, opened))
            return call.id, answer
        by_secret = admission.by_secret
        slot, way_back = self._resumption.register(call, opened, caller, transport, by_secret)
        call.start(slot, lambda: self._connect_and_converse(transport, opened, slot, way_back))
        return call.id, answer

    def _transport(self, opened: OpenedSession, caller: Caller, address: str) -> WebRtcTransport:
        transport = WebRtcTransport(
            opened.writer,
            self.settings.webrtc,
            reading=opened.reading,
            pace=self._paces.of(address),
        )
        transport.reader.allowance = caller.events
        return transport

    async def _connect_and_converse(
        self,
        transport: WebRtcTransport,
        opened: OpenedSession,
        slot: ConnectionSlot | None = None,
        way_back: WayBack | None = None,
    ) -> CallEnd:
        """The conversation, once the answered offer has become a connection."""
        try:
            async with asyncio.timeout(PENDING_SECONDS):
                await transport.open(way_back)
        except TimeoutError:
            reason = f"no connection within {PENDING_SECONDS:.0f} s of the answer"
            raise Disconnected(reason) from None
        more = () if slot is None else (slot,)
        return await self._converse(transport, opened, Delivery.TRACK, *more)

    # ---- coming back -----------------------------------------------------------------

    def _elsewhere(self, token: str | None, request: Request) -> Target | None:
        """The worker that holds the session of a token; None where it is this one, or none."""
        holder = None if token is None else self._resumption.holder(token)
        return self._forwarding.sibling(holder, request)

    async def _pass_on(self, target: Target, request: Request) -> Response:
        """Let another worker answer an offer, which it reads and checks itself."""
        _check_length(request.headers)
        body = await read_body(request, MAX_BODY)
        return await self._forwarding.forward(target, request, NoSession(), body)

    async def _resume(
        self, request: Request, offer: Offer, token: str, caller: Caller | None
    ) -> tuple[str, str]:
        """Answer an offer that goes on with a call; returns its id and the answer."""
        address = address_of(request)
        with ExitStack() as stack:
            resumable = stack.enter_context(self._resumption.redeeming(token, caller, address))
            transport = self._transport(resumable.opened, resumable.caller, address)
            transport.expect_return()
            answer = await _answered(transport, offer.sdp)
            resumable.slot.coming = transport
            redeeming = stack.pop_all()
        resuming = asyncio.create_task(
            self._hand_over(transport, resumable, token, request.query_params, redeeming)
        )
        self._resuming.add(resuming)
        resuming.add_done_callback(self._resuming.discard)
        return resumable.call.id, answer

    async def _hand_over(
        self,
        transport: WebRtcTransport,
        resumable: ResumableCall,
        token: str,
        query: Mapping[str, str],
        redeeming: ExitStack,
    ) -> None:
        """Give the call its connection once that is there; else the token can be used again."""
        with redeeming:
            try:
                async with asyncio.timeout(PENDING_SECONDS):
                    await transport.connected()
                self._resumption.hand_over(resumable, token, transport, query, rtc=True)
            except (TimeoutError, Disconnected, Refused) as error:
                log.info("a call was not resumed: %s", error or "no connection in time")
                await transport.hang_up()
            finally:
                resumable.slot.coming = None


async def _answered(transport: WebRtcTransport, sdp: str) -> str:
    """The answer to an offer; the transport is released where there is none."""
    try:
        return await transport.answer(sdp)
    except BaseException as error:
        await transport.hang_up()
        if isinstance(error, BadOffer):
            raise OfferRefused(400, "invalid_offer", str(error)) from None
        raise


def _for_browsers(server: IceServer) -> dict[str, str]:
    """One of RTCPeerConnection's ``iceServers``; the page needs the credential in the clear."""
    username, credential = credentials(server)
    fields = {"urls": server.urls, "username": username, "credential": credential}
    return {name: value for name, value in fields.items() if value is not None}


def _too_many() -> OfferRefused:
    return OfferRefused(429, "too_many_offers", "too many offers from this address; wait a little")


async def _read_offer(request: Request) -> Offer:
    """Read the offer, in any of its three forms."""
    _check_length(request.headers)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    match kind:
        case "application/sdp":
            return _offer(
                (await read_body(request, MAX_BODY)).decode("utf-8", "replace"), None, False
            )
        case "application/json":
            content = await read_body(request, MAX_BODY)
            try:
                body = JsonOffer.model_validate(read_json(content))
            except ValidationError as error:
                problem = error.errors(include_url=False)[0]
                where = ".".join(str(part) for part in problem["loc"])
                raise OfferRefused(400, "invalid_value", f"{where}: {problem['msg']}") from None
            except ValueError as error:
                raise OfferRefused(400, "invalid_json", f"the body is no JSON: {error}") from None
            return _offer(body.sdp, body.session, True)
        case "multipart/form-data":
            return await _read_form(request)
        case _:
            raise OfferRefused(
                415,
                "unsupported_content_type",
                f"{kind or 'no content type'}: send the offer as application/sdp, "
                "application/json or multipart/form-data",
            )


def _check_length(headers: Headers) -> None:
    """Check the announced length, so that a body in vain is not sent; it may be a lie."""
    length = headers.get("content-length", "")
    if not length.isdecimal() or "transfer-encoding" in headers:
        raise OfferRefused(411, "length_required", "send the offer with a Content-Length")
    if len(length) > 9 or int(length) > MAX_BODY:
        raise OfferRefused(
            413, "body_too_large", f"{length:.20} bytes; an offer has at most {MAX_BODY}"
        )


async def _read_form(request: Request) -> Offer:
    request = with_body(request, await read_body(request, MAX_BODY))
    try:
        async with request.form(max_files=2, max_fields=2, max_part_size=MAX_BODY) as form:
            fields = {name: await _text(value) for name, value in form.items()}
    except HTTPException as error:
        raise OfferRefused(400, "invalid_value", str(error.detail)) from None
    if "sdp" not in fields:
        raise OfferRefused(400, "invalid_value", "sdp: the form lacks it")
    try:
        session = read_json(fields.get("session", "null"))
    except ValueError:
        raise OfferRefused(400, "invalid_value", "session: not JSON") from None
    return _offer(fields["sdp"], session, False)


async def _text(value: UploadFile | str) -> str:
    if isinstance(value, str):
        return value
    return (await value.read()).decode("utf-8", "replace")


def _offer(sdp: str, session: Any, as_json: bool) -> Offer:
    try:
        check_offer(sdp)
    except BadOffer as error:
        raise OfferRefused(400, "invalid_offer", str(error)) from None
    if not isinstance(session, dict | None):
        raise OfferRefused(400, "invalid_type", "session: this must be an object")
    return Offer(sdp, session, as_json)
