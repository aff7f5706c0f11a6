"""Who may call: keys where the settings have some, else pages of the server's own and programs."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response

from agent.config.settings import ServerSettings
from agent.server.keys import SECRET_PREFIX, Admission, Keys

log = logging.getLogger("onebreath.access")

SUBPROTOCOL = "openai-insecure-api-key."
"""The websocket subprotocol by which browsers send a key, as they can set no headers."""
HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "5"}}
"""Headers of refusals, by status."""


class Refused(Exception):
    """A request that may not go on.

    Args:
        status: HTTP status.
        code: the refusal as a word for programs.
        message: one sentence for the developer of the client.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    def response(self) -> Response:
        """The answer, as JSON."""
        kind = "authentication_error" if self.status == 401 else "invalid_request_error"
        error = {"type": kind, "code": self.code, "message": str(self), "param": None}
        headers = HEADERS.get(self.status)
        return JSONResponse({"error": error}, self.status, headers)


class Access:
    """Decides on requests by their headers.

    Args:
        settings: of the server.
        keys: its keys.
    """

    def __init__(self, settings: ServerSettings, keys: Keys) -> None:
        self.settings = settings
        self.keys = keys

    def take(self, settings: ServerSettings) -> None:
        """Use ``settings``, with their keys, for requests from now on."""
        before, now = set(self.settings.api_keys), set(settings.api_keys)
        if before != now:
            added, removed = sorted(now - before), sorted(before - now)
            log.warning("API keys added: %s; removed: %s", _names(added), _names(removed))
        if before and not now:
            log.warning("no API key is left: nobody can call until there is one, or a restart")
        self.settings = settings
        self.keys.take(settings.api_keys)

    def admit(self, headers: Headers, subprotocols: Iterable[str] = ()) -> Admission:
        """The admission of a request.

        With a valid key or client secret the page that a request comes from does not matter:
        another site's page does not know one. Without keys, pages of other sites and DNS
        rebinding are refused.

        Raises:
            Refused: the request may not go on.
        """
        token = _token(headers, subprotocols)
        admission = self.keys.admit(token)
        if admission is None:
            given = "is not valid here, or has expired" if token else "is missing"
            message = f"the API key {given}: send Authorization: Bearer KEY"
            raise Refused(401, "invalid_api_key", message)
        if not self.keys.needed and not self._welcome(headers):
            raise Refused(403, "forbidden", "this page or host name may not call this server")
        return admission

    @staticmethod
    def has_secret(headers: Headers, subprotocols: Iterable[str] = ()) -> bool:
        """Whether a request names a client secret, good or not."""
        return (_token(headers, subprotocols) or "").startswith(SECRET_PREFIX)

    def _welcome(self, headers: Headers) -> bool:
        """Whether a request without a key is welcome by its page and the server's name."""
        host = _host_name(f"//{headers.get('host', '')}")
        server = self.settings
        names = {
            "localhost",
            server.host,
            _host_name(server.advertise or ""),
            *server.allowed_hosts,
        }
        if not (_is_address(host) or host in names):
            log.warning("refused a call for the host name %r; see server.allowed_hosts", host)
            return False
        origin = headers.get("origin")
        if origin is None or origin in server.allowed_origins:
            return True
        if _network_location(origin) == headers.get("host"):
            return True
        log.warning("refused a call from the page %r; see server.allowed_origins", origin)
        return False


def _names(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _token(headers: Headers, subprotocols: Iterable[str]) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    for name in subprotocols:
        if name.startswith(SUBPROTOCOL):
            return name.removeprefix(SUBPROTOCOL)
    return None


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _network_location(url: str) -> str | None:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
