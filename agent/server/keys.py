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
"""Client secrets of one key that are remembered; its oldest go first."""
MAX_SESSIONS = 16_777_216
"""Characters of the sessions in them."""


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
        size: characters of ``session``.
    """

    value: str
    expires_at: int
    session: Mapping[str, Any]
    caller: Caller
    size: int = 0


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that may go on.

    Attributes:
        caller: who asks.
        session: the session object that a client secret is bound to; None: it came with a key.
    """

    caller: Caller
    session: Mapping[str, Any] | None = None

    @property
    def by_secret(self) -> bool:
        """Whether the request came with a client secret."""
        return self.session is not None


class Keys:
    """The keys of one server, and the client secrets that it has given out.

    Args:
        keys: the settings of each key, by name.
        wall_clock: seconds since 1970.
        places: counts the calls of each key.
        seal: makes client secrets that other servers accept too; None: they are remembered here.

    Attributes:
        needed: whether requests need a key.
        anybody: the caller of a server that needs none.
    """

    def __init__(
        self,
        keys: Mapping[str, ApiKeySettings],
        wall_clock: Callable[[], float] = time.time,
        places: Places | None = None,
        seal: Seal | None = None,
    ) -> None:
        self._keys: dict[str, ApiKeySettings] = {}
        self._clock = wall_clock
        self._seal = seal
        self._places = Places() if places is None else places
        self._callers: dict[str, Caller] = {}
        self._secrets: dict[str, ClientSecret] = {}
        self.anybody = Caller()
        self.needed = False
        self.take(keys)

    def take(self, keys: Mapping[str, ApiKeySettings]) -> None:
        """Use ``keys`` from now on.

        Calls that are up go on and count for the key of their name. Secrets of a key that is gone
        or has another hash are forgotten. A server that had keys never goes without: where none
        is left, nobody is admitted.
        """
        gone = {name for name, old in self._keys.items() if _hash(keys, name) != old.hash}
        if keys and not self.needed:
            gone.add(self.anybody.name)
        self._secrets = {d: s for d, s in self._secrets.items() if s.caller.name not in gone}
        for name, key in keys.items():
            caller = self._callers.setdefault(name, Caller(name, places=self._places))
            caller.max_calls, caller.events.per_minute = key.max_calls, key.events_per_minute
        self._keys = dict(keys)
        self.needed = self.needed or bool(keys)

    def admit(self, token: str | None) -> Admission | None:
        """The admission of a request with this key or client secret; None if it is refused."""
        if token is not None and token.startswith(SECRET_PREFIX):
            secret = self._known(token)
            if secret is not None and self._lives(secret):
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
        if not sealed.key:
            caller = None if self.needed else self.anybody
        else:  # by its hash, so that it dies with the key
            names = [name for name, key in self._keys.items() if key.hash == sealed.key]
            caller = self._callers[names[0]] if names else None
        if caller is None:
            return None
        return ClientSecret(token, sealed.expires_at, sealed.session, caller)

    def _owner(self, token: str) -> Caller | None:
        digest, found = key_hash(token), None
        for name, key in self._keys.items():  # all of them: the time tells nothing
            if hmac.compare_digest(digest, key.hash):
                found = name
        return None if found is None or self._expired(found) else self._callers[found]

    def lives(self, name: str) -> bool:
        """Whether calls of the key with this name may go on; of a server without keys, all may."""
        return name in self._keys and not self._expired(name) if self.needed else True

    def _lives(self, secret: ClientSecret) -> bool:
        """Whether a secret still admits; one of a key that has expired does not."""
        return secret.expires_at > self._clock() and not self._expired(secret.caller.name)

    def _expired(self, name: str) -> bool:
        key = self._keys.get(name)
        expires = None if key is None else key.expires
        return expires is not None and expires.timestamp() <= self._clock()

    def make_secret(
        self, caller: Caller, session: Mapping[str, Any], seconds: int = SECRET_SECONDS
    ) -> ClientSecret:
        """A new client secret, bound to ``session``.

        Raises:
            SealTooLong: servers share a key, and the session is too long to travel in the secret.
        """
        now = self._clock()
        if self._seal is not None:
            made_by = _hash(self._keys, caller.name) or ""
            sealed = Sealed(made_by, session, int(now) + seconds)
            value = SECRET_PREFIX + self._seal.close(sealed)
            return ClientSecret(value, sealed.expires_at, session, caller)
        for digest in [d for d, known in self._secrets.items() if known.expires_at <= now]:
            del self._secrets[digest]
        mine = [d for d, known in self._secrets.items() if known.caller.name == caller.name]
        size = sum(self._secrets[digest].size for digest in mine) + len(str(session))
        while mine and (len(mine) >= MAX_SECRETS or size > MAX_SESSIONS):
            # Its own oldest: nobody pushes out the secrets of another key.
            size -= self._secrets.pop(mine.pop(0)).size
        value = SECRET_PREFIX + secrets.token_urlsafe(32)
        secret = ClientSecret(value, int(now) + seconds, session, caller, len(str(session)))
        self._secrets[_digest(value)] = secret
        return secret


def _hash(keys: Mapping[str, ApiKeySettings], name: str) -> str | None:
    return keys[name].hash if name in keys else None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
