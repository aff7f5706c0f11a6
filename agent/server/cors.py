"""CORS: which pages of other origins may read answers, by the settings as they are now."""

from __future__ import annotations

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from agent.server.access import Access


class Cors:
    """Lets pages of allowed origins read the answers to their requests.

    Where a key is needed, those are the pages of any origin: no cookie admits a page that knows no
    key. Keys and origins may change while the server runs, hence no fixed ``CORSMiddleware``.

    Args:
        app: the application behind it.
        access: of the server.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        access = self._access
        middleware = CORSMiddleware(
            self._app,
            allow_origins=["*"] if access.keys.needed else access.settings.allowed_origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=["location"],
        )
        await middleware(scope, receive, send)
