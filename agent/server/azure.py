"""Azure's addresses of the API, and its header for a key, as those of the API itself.

Clients of Azure OpenAI and of its Voice Live are told an endpoint and add these paths to it.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

API = "/v1/realtime"
PREVIEWS = ("/openai/realtime", "/voice-live/realtime")
"""The addresses whose events have the form of the API's beta."""
ADDRESSES = ("/openai/v1/realtime", *PREVIEWS)
KEY = "api-key"
_PREVIEW = "onebreath.preview"


class AzureAddresses:
    """Serves requests to Azure's addresses like those to ``/v1/realtime``.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] in ("http", "websocket"):
            _translate(scope)
        await self._app(scope, receive, send)


def is_preview(scope: Scope) -> bool:
    """Whether a request came to an address whose events have the form of the API's beta."""
    return bool(scope.get(_PREVIEW))


def _translate(scope: Scope) -> None:
    path = scope["path"]
    for address in ADDRESSES:
        if path == address or path.startswith(address + "/"):
            scope["path"] = API + path.removeprefix(address)
            scope["raw_path"] = scope["path"].encode()
            scope[_PREVIEW] = address in PREVIEWS
            break
    if not scope["path"].startswith(API):
        return
    key = Headers(scope=scope).get(KEY, "").strip()
    if key and "authorization" not in Headers(scope=scope):
        MutableHeaders(scope=scope)["authorization"] = f"Bearer {key}"
