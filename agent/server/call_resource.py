"""The address of one WebRTC call: late candidates (``PATCH``), and its end (``DELETE``).

The verbs are those of WHIP (RFC 9725); ``POST .../hangup`` is that of OpenAI's API.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.close_codes import NORMAL_CLOSURE
from agent.runtime.calls import AdmittedCall, CallEnd, CallRegistry, Outcome
from agent.runtime.connection_slot import ConnectionSlot
from agent.server.access import Access, Refused
from agent.server.bodies import BodyRefused, read_body
from agent.server.fair_share import AddressRates, address_of
from agent.server.forwarding import Forwarding
from agent.transports.ice_fragment import BadFragment, IceFragment
from agent.transports.rtc_peer import MAX_SDP, BadOffer
from agent.transports.webrtc import WebRtcTransport

KIND = "webrtc"
CALLS = "/v1/realtime/calls"
FRAGMENT = "application/trickle-ice-sdpfrag"
PATCHES = 10.0
"""Fragments that one address may send each second; ``SPARE_PATCHES`` may come at once."""
SPARE_PATCHES = 100
NO_CONTENT = 204
RESTART = (
    "an ICE restart takes a new offer: POST it to /v1/realtime/calls?resume=TOKEN with the token "
    "of onebreath.session.resumable"
)
ASKED_TO_HANG_UP = CallEnd(Outcome.ENDED, NORMAL_CLOSURE, "a request to hang up")


class CallResource:
    """Requests about WebRTC calls that are up or being set up, by their ids.

    Args:
        calls: of the server.
        access: decides who may call.
        forwarding: finds the calls of other processes and machines.
    """

    def __init__(self, calls: CallRegistry, access: Access, forwarding: Forwarding) -> None:
        self._calls = calls
        self._access = access
        self._forwarding = forwarding
        self._rates = AddressRates(PATCHES, SPARE_PATCHES)

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route(CALLS + "/{call_id}", self._answer, methods=["PATCH", "DELETE"]),
            Route(CALLS + "/{call_id}/hangup", self._answer, methods=["POST"]),
        ]

    async def _answer(self, request: Request) -> Response:
        try:
            # With keys the id admits, which cannot be guessed: a page that is left sends no header.
            if not self._access.keys.needed:
                self._access.admit(request.headers)
            patch = request.method == "PATCH"
            body = await self._fragment(request) if patch else b""
            call_id = request.path_params["call_id"]
            call = self._calls.find(call_id)
            if call is None and (target := self._forwarding.target(call_id, request)) is not None:
                return await self._forwarding.forward(target, request, _no_call(), body)
            if call is None:
                raise _no_call()
            if patch:
                await _add(call, body.decode("utf-8", "replace"))
            elif call.kind == KIND or _connections(call):  # it may be on its way from a websocket
                call.end(ASKED_TO_HANG_UP)
            else:
                raise _no_call()
        except Refused as refused:
            return refused.response()
        except BodyRefused as refused:
            return Refused(refused.status, refused.code, str(refused)).response()
        return Response(status_code=NO_CONTENT if patch else 200)

    async def _fragment(self, request: Request) -> bytes:
        if not self._rates.allow(address_of(request)):
            raise Refused(429, "too_many_requests", "too many candidates from this address")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != FRAGMENT:
            reason = f"{kind or 'no content type'}: send candidates as {FRAGMENT}"
            raise Refused(415, "unsupported_content_type", reason)
        return await read_body(request, MAX_SDP)


async def _add(call: AdmittedCall, text: str) -> None:
    """Give late candidates to the connection of a call for which they are."""
    connections = _connections(call)
    if not connections:
        raise _no_call()
    try:
        fragment = IceFragment.parse(text)
        meant = [each for each in connections if fragment.username in {None, each.ice_username}]
        if not meant:
            raise Refused(422, "ice_restart_unsupported", RESTART)
        await meant[0].add_candidates(fragment)
    except (BadFragment, BadOffer) as error:
        raise Refused(400, "invalid_candidates", str(error)) from None


def _connections(call: AdmittedCall) -> list[WebRtcTransport]:
    """The connections of a call by WebRTC, one that is being made first."""
    place = call.transport
    both = (place.coming, place.transport) if isinstance(place, ConnectionSlot) else (place,)
    return [each for each in both if isinstance(each, WebRtcTransport)]


def _no_call() -> Refused:
    return Refused(404, "call_not_found", "there is no call with this id")
