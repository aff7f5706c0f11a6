"""The webhooks ``/telephony/{provider}/answer``, which providers ask about incoming calls.

At ``/telephony/{provider}/next`` they ask what comes after the stream, where transfers are on.

A request is read up to a bound, its signature is verified, and only then is a token issued. The
token is checked at the media socket (``agent.telephony.access.admission``).
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from agent.config.telephony import TelephonySettings
from agent.telephony.access.answers import ENDED, WebhookAnswer
from agent.telephony.access.providers import (
    ProviderWebhook,
    exchange_hook,
    provider_webhooks,
)
from agent.telephony.access.signatures import SignatureError, SignedRequest
from agent.telephony.access.tokens import Tokens
from agent.telephony.access.transfers import Transfers

log = logging.getLogger("onebreath.telephony")

MAX_BODY = 65_536
"""Bytes of a webhook's body, at most; providers send about a thousand."""
BODY_SECONDS = 5.0
"""Seconds within which the body must have come."""
MAX_CALL_ID = 200
"""Characters of a call's id."""


class WebhookRefused(Exception):
    """A webhook that is answered with an HTTP error; the message is its body."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Webhooks:
    """Routes of the webhooks of all providers that have a section in the settings.

    Args:
        tokens: shared with the media sockets.
        clock: monotonic seconds, as for taking tokens back.
        wall: clock in seconds since 1970, for signed times.
        transfers: shared with the calls; None where the agent transfers nobody.
    """

    def __init__(
        self,
        settings: TelephonySettings,
        tokens: Tokens,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        transfers: Transfers | None = None,
    ) -> None:
        self._public_url = settings.public_url
        self._tokens = tokens
        self._clock = clock
        self._transfers = transfers
        self._hooks = provider_webhooks(settings, wall)
        exchange = settings.asterisk
        self._next = {**self._hooks}
        if exchange is not None:
            self._next["asterisk"] = exchange_hook(exchange)

    def routes(self) -> list[Route]:
        """The routes; empty where no provider is set up."""
        methods = ["GET", "POST"]
        routes = []
        if self._transfers is not None and self._next:
            routes.append(Route("/telephony/{provider}/next", self._go_on, methods=methods))
        if self._hooks:
            routes.append(Route(ENDED, _ended, methods=["POST"]))
            routes.append(Route("/telephony/{provider}/answer", self._answer, methods=methods))
        return routes

    async def _answer(self, request: Request) -> Response:
        return await self._answered(request, self._decide)

    async def _go_on(self, request: Request) -> Response:
        return await self._answered(request, self._what_is_next)

    async def _answered(
        self, request: Request, decide: Callable[[str, Request], Awaitable[WebhookAnswer]]
    ) -> Response:
        provider = request.path_params["provider"]
        try:
            answer = await decide(provider, request)
        except WebhookRefused as refused:
            log.warning("refused a webhook of %.20r: %s", provider, refused)
            return PlainTextResponse(f"{refused}\n", refused.status)
        except ClientDisconnect:
            return Response(status_code=400)
        return Response(answer.body, media_type=answer.media_type)

    async def _decide(self, provider: str, request: Request) -> WebhookAnswer:
        hook, call_id = await self._verified(self._hooks, provider, request)
        token = self._tokens.issue(call_id, self._clock(), provider)
        here = f"{self._public_url}/telephony/{provider}"
        after = None if self._transfers is None else f"{here}/next"
        return hook.answer(here.replace("http", "ws", 1), token, call_id, after)

    async def _what_is_next(self, provider: str, request: Request) -> WebhookAnswer:
        """The answer to the question what comes after the stream of a call."""
        hook, call_id = await self._verified(self._next, provider, request)
        if hook.next is None or self._transfers is None:
            raise WebhookRefused(404, f"{provider} is told nothing after the stream")
        destination = self._transfers.take(provider, call_id)
        if destination is not None:
            log.info("%s connects a caller to another party", provider)
        return hook.next(destination)

    async def _verified(
        self, hooks: Mapping[str, ProviderWebhook], provider: str, request: Request
    ) -> tuple[ProviderWebhook, str]:
        """(the provider's webhook, the call's id) of a request that the provider signed."""
        hook = hooks.get(provider)
        if hook is None:
            raise WebhookRefused(
                404, f"no [telephony.{provider:.20}] in the settings of this server"
            )
        signed = SignedRequest(
            request.method,
            self._public_url_of(request),
            dict(request.headers),
            await _body(request),
        )
        try:
            hook.verify(signed)
            return hook, _call_id(signed, hook.call_id)
        except SignatureError as error:
            raise WebhookRefused(403, str(error)) from None

    def _public_url_of(self, request: Request) -> str:
        """The URL as the provider knows it, byte for byte."""
        path = request.scope.get("raw_path") or request.url.path.encode()
        query = request.scope["query_string"]
        return f"{self._public_url}{path.decode('latin-1')}" + (
            f"?{query.decode('latin-1')}" if query else ""
        )


async def _ended(request: Request) -> Response:
    return JSONResponse([])


async def _body(request: Request) -> bytes:
    """Read the body, within a bound in size and time."""
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise WebhookRefused(413, f"the body has more than {MAX_BODY} bytes")
    except TimeoutError:
        raise WebhookRefused(408, f"the body did not come within {BODY_SECONDS:.0f} s") from None
    return body


def _call_id(request: SignedRequest, name: str) -> str:
    """The call's id from query, form or JSON body."""
    fields: dict[str, object] = dict(request.query() + request.form())
    if not request.is_form and request.body:
        fields |= _json_object(request.body)
    call_id = fields.get(name)
    if not isinstance(call_id, str) or not 1 <= len(call_id) <= MAX_CALL_ID:
        raise WebhookRefused(
            400, f"no {name} in the request: set this address as the one that is asked for a call"
        )
    return call_id


def _json_object(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise WebhookRefused(400, "the body is neither a form nor a JSON object")
    return value
