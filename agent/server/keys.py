"""API keys and ephemeral client secrets: who may call, within which limits."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from agent.config.settings import ApiKeySettings
from agent.runtime.calls import CallRefused
from agent.runtime.places import Places
from agent.server.seal import Seal, Sealed

KEY_PREFIX = "ob_"
SECRET_PREFIX = "ek_"
SECRET_SECONDS = 60
"""Seconds within which a client secret must be used, unless its maker wants another time."""
LONGEST_SECRET_SECONDS = 7200
MAX_SECRETS = 4096
"""Client secrets that are remembered; the oldest go first."""


def new_key() -> tuple[str, str]:
    """(a new API key, its hash for the settings)."""
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    return key, key_hash(key)


def key_hash(key: str) -> str:
    """The hash that the settings hold in place of a key, whose 256 random bits need no salt."""
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


@dataclass(slots=True)
class Allowance:
    """A rate: so many events a minute, a minute's worth at once.

    Attributes:
        per_minute: events a minute; None for no limit.
    """

    per_minute: int | None
    clock: Callable[[], float] = time.monotonic
    _left: float = 0.0
    _at: float | None = None

    def take(self) -> bool:
        """Count one event; returns whether it is within the rate."""
        if self.per_minute is None:
            return True
        now = self.clock()
        passed = 60.0 if self._at is None else now - self._at
        self._left = min(self.per_minute, self._left + passed * self.per_minute / 60)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass(slots=True)
class Caller:
    """The holder of a key.

    Attributes:
        name: name of the key; empty where none is needed.
        places: counts its calls.
        max_calls: calls at once; None for no limit of its own.
        events: rate of events of all its calls together.
    """

    name: str = ""
    max_calls: int | None = None
    events: Allowance = field(default_factory=lambda: Allowance(None))
    places: Places = field(default_factory=Places)

    @contextmanager
    def line(self) -> Iterator[None]:
        """A context for one call.

        Raises:
            CallRefused: the key has as many calls up as it may.
        """
        if self.max_calls is None:
            yield
            return
        free = self.places.take(f"key {self.name}", self.max_calls)
        if free is None:
            reason = f"this key has {self.max_calls} calls up already, its limit; try again later"
            raise CallRefused(reason, 429, "rate_limit_exceeded")
        try:
            yield
        finally:
            free()


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """An ephemeral secret for one client.

    Attributes:
        value: the secret.
        expires_at: second since 1970 until which a call can begin.
        session: the session object that its calls begin with.
        caller: whose key made it.
    """

    value: str
    expires_at: int
    session: Mapping[str, Any]
    caller: Caller


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that may go on.

    Attributes:
        caller: who asks.
        session: the session object that a client secret is bound to.
    """

    caller: Caller
    session: Mapping[str, Any] | None = None


class Keys:
    """The keys of one server, and the client secrets that it has given out.

    Args:
        keys: the settings of each key, by name.
        wall_clock: seconds since 1970.
        places: counts the calls of each key.
        seal: makes client secrets that other servers accept too; None: they are remembered here.
    """

    def __init__(
        self,
        keys: Mapping[str, ApiKeySettings],
        wall_clock: Callable[[], float] = time.time,
        places: Places | None = None,
        seal: Seal | None = None,
    ) -> None:
        self._keys = dict(keys)
        self._clock = wall_clock
        self._seal = seal
        counted = Places() if places is None else places
        self._callers = {
            name: Caller(name, key.max_calls, Allowance(key.events_per_minute), counted)
            for name, key in keys.items()
        }
        self._secrets: dict[str, ClientSecret] = {}
        self.anybody = Caller()

    @property
    def needed(self) -> bool:
        """Whether requests need a key."""
        return bool(self._keys)

    def admit(self, token: str | None) -> Admission | None:
        """The admission of a request with this key or client secret; None if it is refused."""
        if token is not None and token.startswith(SECRET_PREFIX):
            secret = self._known(token)
            if secret is not None and secret.expires_at > self._clock():
                return Admission(secret.caller, secret.session)
        if not self.needed:
            return Admission(self.anybody)
        caller = None if token is None else self._owner(token)
        return None if caller is None else Admission(caller)

    def _known(self, token: str) -> ClientSecret | None:
        """A client secret of this server, or of one that shares its key."""
        if self._seal is None:
            return self._secrets.get(_digest(token))
        sealed = self._seal.open(token.removeprefix(SECRET_PREFIX))
        if sealed is None:
            return None
        caller = self._callers.get(sealed.caller) if sealed.caller else self.anybody
        if caller is None or (not sealed.caller and self.needed):
            return None  # of a key that is not valid any more
        return ClientSecret(token, sealed.expires_at, sealed.session, caller)

    def _owner(self, token: str) -> Caller | None:
        digest, found = key_hash(token), None
        for name, key in self._keys.items():  # all of them: the time tells nothing
            if hmac.compare_digest(digest, key.hash):
                found = name
        if found is None:
            return None
        expires = self._keys[found].expires
        if expires is not None and expires.timestamp() <= self._clock():
            return None
        return self._callers[found]

    def make_secret(
        self, caller: Caller, session: Mapping[str, Any], seconds: int = SECRET_SECONDS
    ) -> ClientSecret:
        """A new client secret, bound to ``session``.

        Raises:
            SealTooLong: servers share a key, and the session is too long to travel in the secret.
        """
        now = self._clock()
        if self._seal is not None:
            sealed = Sealed(caller.name, session, int(now) + seconds)
            value = SECRET_PREFIX + self._seal.close(sealed)
            return ClientSecret(value, sealed.expires_at, session, caller)
        for digest in [d for d, known in self._secrets.items() if known.expires_at <= now]:
            del self._secrets[digest]
        while len(self._secrets) >= MAX_SECRETS:
            del self._secrets[next(iter(self._secrets))]
        value = SECRET_PREFIX + secrets.token_urlsafe(32)
        secret = ClientSecret(value, int(now) + seconds, session, caller)
        self._secrets[_digest(value)] = secret
        return secret


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
