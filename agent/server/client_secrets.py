"""Ephemeral client secrets: a page or an app calls without ever seeing the API key."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent.protocol import BadEvent
from agent.protocol.client_schema import Lenient
from agent.protocol.json_text import read_json
from agent.protocol.older_events import beta_session
from agent.protocol.problems import bad_value, checked
from agent.server.access import Access, Refused
from agent.server.keys import LONGEST_SECRET_SECONDS, SECRET_PREFIX, SECRET_SECONDS, ClientSecret
from agent.server.seal import SealTooLong
from agent.server.sessions import Sessions

MAX_BODY = 1_048_576
"""Bytes of a request, at most."""


class ExpiresAfter(Lenient):
    """The life of a secret."""

    seconds: int = Field(SECRET_SECONDS, ge=10, le=LONGEST_SECRET_SECONDS)


class SecretRequest(Lenient):
    """The body of a request for a secret."""

    expires_after: ExpiresAfter | None = None
    session: dict[str, Any] | None = None


class ClientSecrets:
    """The routes that make client secrets."""

    def __init__(self, access: Access, sessions: Sessions) -> None:
        self._access = access
        self._sessions = sessions

    def routes(self) -> list[Route]:
        """The API's route, and that of its beta."""
        return [
            Route("/v1/realtime/client_secrets", self._client_secrets, methods=["POST"]),
            Route("/v1/realtime/sessions", self._of_beta, methods=["POST"]),
            Route("/v1/realtime/transcription_sessions", self._of_beta, methods=["POST"]),
        ]

    async def _client_secrets(self, request: Request) -> Response:
        try:
            body = checked(SecretRequest, await self._body(request))
            seconds = (body.expires_after or ExpiresAfter()).seconds
            secret, session = self._make(request, body.session or {}, seconds)
        except (BadEvent, Refused) as error:
            return _refusal(error)
        shown = {"value": secret.value, "expires_at": secret.expires_at, "session": session}
        return JSONResponse(shown, headers={"Cache-Control": "no-store"})

    async def _of_beta(self, request: Request) -> Response:
        try:
            given = await self._body(request)
            if request.url.path.endswith("transcription_sessions"):
                given = {"type": "transcription", **given}
            secret, session = self._make(request, given, SECRET_SECONDS)
        except (BadEvent, Refused) as error:
            return _refusal(error)
        value = {"value": secret.value, "expires_at": secret.expires_at}
        shown = {**session, **beta_session(session), "client_secret": value}
        return JSONResponse(shown, headers={"Cache-Control": "no-store"})

    def _make(
        self, request: Request, session: dict[str, Any], seconds: int
    ) -> tuple[ClientSecret, dict[str, Any]]:
        admission = self._access.admit(request.headers)
        if admission.session is not None:
            message = f"a client secret ({SECRET_PREFIX}...) makes no others; use the API key"
            raise Refused(403, "forbidden", message)
        opened = self._sessions.open({}, session)
        try:
            secret = self._access.keys.make_secret(admission.caller, session, seconds)
        except SealTooLong as error:
            raise Refused(413, "session_too_large", str(error)) from None
        return secret, opened.writer.session

    async def _body(self, request: Request) -> dict[str, Any]:
        self._access.admit(request.headers)  # a stranger's body is not read
        length = request.headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY:
            raise Refused(413, "body_too_large", f"at most {MAX_BODY} bytes are read")
        content = bytearray()
        async for piece in request.stream():
            content += piece
            if len(content) > MAX_BODY:
                raise Refused(413, "body_too_large", f"at most {MAX_BODY} bytes are read")
        return _parsed(bytes(content))


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        body = read_json(content or b"{}")
    except ValueError as error:
        raise bad_value("", f"the body must be a JSON object: {error}", "invalid_json") from None
    if not isinstance(body, dict):
        raise bad_value("", "the body must be a JSON object", "invalid_json")
    return body


def _refusal(error: BadEvent | Refused) -> Response:
    if isinstance(error, Refused):
        return error.response()
    trouble = error.trouble
    refused = {"type": trouble.kind, "code": trouble.code, "message": trouble.message}
    return JSONResponse({"error": {**refused, "param": trouble.param}}, 400)
