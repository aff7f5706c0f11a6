"""The models of this server, as clients of the API list them to check an address and a key."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent.server.access import Access, Refused
from agent.server.sessions import Sessions


class ModelList:
    """The routes that tell the models: the one that answers, and the one that hears."""

    def __init__(self, access: Access, sessions: Sessions) -> None:
        self._access = access
        self._sessions = sessions
        self._created = int(time.time())

    def routes(self) -> list[Route]:
        """The list, and each model by its name, which may have slashes."""
        return [
            Route("/v1/models", self._list),
            Route("/v1/models/{name:path}", self._one),
        ]

    def _models(self) -> list[dict[str, Any]]:
        abilities = self._sessions.abilities
        names = dict.fromkeys((abilities.model, abilities.recogniser))
        common = {"object": "model", "created": self._created, "owned_by": "onebreath"}
        return [{"id": name, **common} for name in names]

    async def _list(self, request: Request) -> Response:
        try:
            self._access.admit(request.headers)
        except Refused as refused:
            return refused.response()
        return JSONResponse({"object": "list", "data": self._models()})

    async def _one(self, request: Request) -> Response:
        try:
            self._access.admit(request.headers)
            return JSONResponse(self._named(request.path_params["name"]))
        except Refused as refused:
            return refused.response()

    def _named(self, name: str) -> dict[str, Any]:
        models = self._models()
        for model in models:
            if model["id"] == name:
                return model
        served = " and ".join(model["id"] for model in models)
        message = f"there is no model {name[:64]!r} here; served: {served}"
        raise Refused(404, "model_not_found", message)
