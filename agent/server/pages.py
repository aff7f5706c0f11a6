"""Serves the browser client: static files, revalidated on each visit, locked down by headers."""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

import web_client

HOST = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}")

LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$")


class ClientPages(StaticFiles):
    """The files of ``web_client``; mounted under ``/`` after all other routes.

    Files are small and come from the same machine, so they are never taken from the browser's
    cache without asking (``no-cache`` with an ETag): an update of the server updates the page.
    """

    def __init__(self) -> None:
        super().__init__(directory=web_client.static_files(), html=True)

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        host = Headers(scope=scope).get("host", "")
        if scope["scheme"] == "https" or LOOPBACK.match(host):
            # Of other addresses browsers ignore it, and complain.
            response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        response.headers.update(
            {
                "Cache-Control": "no-cache",
                "Content-Security-Policy": content_policy(host),
                "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
            }
        )
        return response


def content_policy(host: str) -> str:
    """The page's Content-Security-Policy: own files and sockets only, no inline code, no frames.

    Args:
        host: the request's ``Host``; named for sockets because not every browser
            counts ``ws://`` among ``'self'``. A value other than a host name is left out.
    """
    sockets = f" ws://{host} wss://{host}" if HOST.fullmatch(host) else ""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"media-src 'self' blob:; connect-src 'self'{sockets}; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
