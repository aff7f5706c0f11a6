"""Bodies of requests, within bounds of size and time whatever their headers announce."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

SECONDS = 5.0
"""Seconds for a whole body."""


class BodyRefused(Exception):
    """A body that is too large, too slow, or broke off.

    Args:
        status: HTTP status of the answer.
        code: the refusal as a word for programs.
        message: one sentence.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


async def read_body(request: Request, limit: int, seconds: float = SECONDS) -> bytes:
    """Read the body of ``request``, at most ``limit`` bytes within ``seconds``.

    Raises:
        BodyRefused: it is longer, slower, or the client left.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for piece in _pieces(request):
                body += piece
                if len(body) > limit:
                    raise BodyRefused(
                        413, "body_too_large", f"the body has more than {limit} bytes"
                    )
    except TimeoutError:
        raise BodyRefused(
            408, "body_too_slow", f"the body did not come within {seconds:.0f} s"
        ) from None
    except ClientDisconnect:
        raise BodyRefused(
            400, "body_incomplete", "the client left before its body was here"
        ) from None
    return bytes(body)


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    async for piece in request.stream():
        yield piece


def with_body(request: Request, body: bytes) -> Request:
    """The same request with a body that is read already, for what parses bodies."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(request.scope, receive)
