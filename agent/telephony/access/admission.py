"""Admission of media sockets: passwords, tokens, and the number of sockets.

A call is set up only after its token was taken back; until then there is a socket with a time
limit, which counts.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from agent.config.telephony import ASK_BY_WEBHOOK, AsteriskSettings, TelephonySettings
from agent.errors import ProtocolError
from agent.runtime.calls import CallRefused
from agent.telephony.dialects.base import Started

TELNYX_HEADER = "x-telnyx-streaming-auth-token"


@dataclass(frozen=True, slots=True)
class SocketRequest:
    """The request that opens a media socket.

    Attributes:
        address: IP address of the peer; empty where it is gone already.
        headers: HTTP headers, names in lower case.
        token: ``token`` in the query of the URL; empty where there is none.
        call: ``call`` in it, by which a dialplan may name its call.
    """

    address: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    token: str = field(default="", repr=False)
    call: str = ""


class TokenCheck(Protocol):
    """Takes tokens back; the webhooks issue them."""

    def spend(self, token: str, call_id: str | None, now: float, provider: str) -> None:
        """Take back ``token``, of a call of ``provider``, at second ``now``.

        Raises:
            ProtocolError: the token is not valid for this call.
        """


class Admission:
    """Decides which media sockets are admitted.

    Args:
        tokens: takes tokens back.
        clock: monotonic seconds, the clock by which tokens were issued.
    """

    def __init__(
        self, settings: TelephonySettings, tokens: TokenCheck, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._clock = clock
        self._sockets: Counter[str] = Counter()

    @contextmanager
    def hold_socket(self, address: str) -> Iterator[None]:
        """Count one socket from ``address`` while the context lasts.

        Raises:
            CallRefused: there are too many sockets, of all peers or of this address.
        """
        settings = self._settings
        if self._sockets.total() >= settings.max_calls:
            raise CallRefused(f"all {settings.max_calls} telephony lines are busy", 503)
        if self._sockets[address] >= settings.max_calls_per_address:
            raise CallRefused(
                f"{address} holds {settings.max_calls_per_address} sockets already", 503
            )
        self._sockets[address] += 1
        try:
            yield
        finally:
            self._sockets[address] -= 1
            if not self._sockets[address]:
                del self._sockets[address]

    def check_provider(self, provider: str, request: SocketRequest) -> None:
        """Check the opening request, before any message.

        Raises:
            CallRefused: the provider is not set up, or Asterisk gave a wrong password.
        """
        if self._is_trusted(request) or provider == "audiosocket":
            return
        if provider == "auto":
            self._check_auto(request)
            return
        if getattr(self._settings, provider, None) is None:
            raise CallRefused(f"there is no [telephony.{provider}] in the settings", 404)
        if provider == "asterisk":
            self._check_password(request.headers)

    def _check_auto(self, request: SocketRequest) -> None:
        if not any(getattr(self._settings, name) for name in ASK_BY_WEBHOOK):
            raise CallRefused("there is no provider in the settings", 404)
        if "origin" in request.headers:
            raise CallRefused("a page in a browser is no provider")

    def check_call(self, provider: str, started: Started, request: SocketRequest) -> None:
        """Take back the token of a started call, from its messages, its URL or a header.

        Raises:
            CallRefused: there is no token, or it is not valid for this call.
        """
        if self._is_trusted(request):
            return
        self.check_provider(provider, request)
        if provider == "asterisk":
            return
        if provider == "audiosocket":
            self._check_uuid(started.call_id)
        else:
            self._check_token(provider, started, request)

    def _check_token(self, provider: str, started: Started, request: SocketRequest) -> None:
        token = started.token or request.token or request.headers.get(TELNYX_HEADER)
        if not token:
            raise CallRefused("the call came without a token")
        try:
            self._tokens.spend(token, started.call_id, self._clock(), provider)
        except ProtocolError as error:
            raise CallRefused(str(error)) from None

    def _check_uuid(self, given: str) -> None:
        if not hmac.compare_digest(given, str(self._settings.audiosocket_uuid)):
            raise CallRefused("AudioSocket named another UUID than telephony.audiosocket_uuid")

    def _is_trusted(self, request: SocketRequest) -> bool:
        """Whether the settings admit this peer without a token: a local program, not a web page."""
        if self._settings.require_token or "origin" in request.headers:
            return False
        return _is_loopback(request.address)

    def _check_password(self, headers: Mapping[str, str]) -> None:
        section = self._settings.asterisk
        assert section is not None  # ``check_provider`` found it
        if not hmac.compare_digest(_basic(headers.get("authorization", "")), _expected(section)):
            raise CallRefused("Asterisk gave a wrong user name or password", 401)


def _basic(header: str) -> bytes:
    scheme, _, coded = header.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(coded, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _expected(section: AsteriskSettings) -> bytes:
    return f"{section.username}:{section.password.get_secret_value()}".encode()


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
