"""What is told at addresses of OpenAI's API that this server does not have."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from agent.server.access import Refused

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
SHOWN = 64
"""Characters of the asked path that the answer repeats."""


def not_offered() -> Route:
    """The route behind all others under ``/v1/``: 404 with an error as the API's clients read it,
    or 405 where the address takes other methods.

    Without it such a request reaches the page's files, which answer a POST with 405 and no reason.
    """
    return Route("/v1/{path:path}", _tell, methods=METHODS)


def _methods_there(request: Request) -> set[str]:
    """The methods of the addresses that this server does have at the asked path."""
    return {
        method
        for route in request.app.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is Match.PARTIAL
        for method in route.methods or ()
    }


async def _tell(request: Request) -> Response:
    if methods := ", ".join(sorted(_methods_there(request))):
        message = f"{request.url.path[:SHOWN]} takes no {request.method}; it takes {methods}"
        response = Refused(405, "method_not_allowed", message).response()
        response.headers["Allow"] = methods
        return response
    message = (
        f"{request.method} {request.url.path[:SHOWN]} is not offered here: this server speaks the "
        "Realtime API (/v1/realtime) and lists its models (/v1/models); see docs/protocol.md"
    )
    return Refused(404, "not_offered", message).response()
