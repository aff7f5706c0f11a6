"""The refusal of a websocket, told over plain HTTP: pages cannot read the answer to a handshake."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.runtime.calls import CallRefused, CallRegistry
from agent.server.access import Access, Refused
from agent.server.fair_share import AddressRates, address_of
from agent.server.forwarding import Forwarding
from agent.server.resumption import RESUME, NoSession, Resumption

QUESTIONS = 1.0
"""Questions that one address may ask each second; ``SPARE_QUESTIONS`` may come at once."""
SPARE_QUESTIONS = 32
NO_CONTENT = 204


class Handshakes:
    """Answers ``GET /v1/realtime`` as a websocket with the same query would be answered.

    Browsers show a page the code 1006 for every websocket that is refused, whatever the reason.

    Args:
        access: decides who may call.
        calls: of the server.
        resumption: the calls that clients can come back to.
        forwarding: finds the sessions of other processes.
    """

    def __init__(
        self, access: Access, calls: CallRegistry, resumption: Resumption, forwarding: Forwarding
    ) -> None:
        self._access = access
        self._calls = calls
        self._resumption = resumption
        self._forwarding = forwarding
        self._rates = AddressRates(QUESTIONS, SPARE_QUESTIONS)

    def route(self) -> Route:
        """The route."""
        return Route("/v1/realtime", self._tell)

    async def _tell(self, request: Request) -> Response:
        address, token = address_of(request), request.query_params.get(RESUME)
        try:
            if not self._rates.allow(address):
                raise Refused(429, "too_many_requests", "too many calls from this address")
            if token is None:
                self._access.admit(request.headers)
                self._calls.check_room()
            else:
                caller = self._resumption.caller(self._access, token, address, request.headers)
                holder = self._resumption.holder(token)
                if (target := self._forwarding.sibling(holder, request)) is not None:
                    return await self._forwarding.forward(target, request, NoSession())
                with self._resumption.redeeming(token, caller, address):
                    pass
        except Refused as refused:
            return refused.response()
        except CallRefused as refused:
            return Refused(refused.status, refused.code, str(refused)).response()
        return Response(status_code=NO_CONTENT, headers={"Cache-Control": "no-store"})
