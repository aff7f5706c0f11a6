"""Tokens by which clients come back to their sessions over another connection.

A token is ``rs_`` and base64url of: the worker (2 bytes), 24 random bytes, the first 16 bytes of
their HMAC-SHA256 under a key that the workers of a machine share. A worker that is sent a token of
another one verifies it and hands the request on (``Resumption.holder``). The server remembers the
SHA-256 of each token only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.datastructures import Headers

from agent.runtime.calls import AdmittedCall
from agent.runtime.connection_slot import CallOver, ConnectionSlot, NextConnection
from agent.server.access import Access, Refused
from agent.server.fair_share import AddressRates
from agent.server.keys import Caller
from agent.server.sessions import OpenedSession
from agent.session.playback import Delivery
from agent.transports.base import Transport, WayBack

PREFIX = "rs_"
NONCE_BYTES = 24
MAC_BYTES = 16
RESUMABLE = "resumable"
"""The query parameter by which a client asks for a token."""
RESUME = "resume"
"""The query parameter with the token of a client that comes back."""
FAILURES = 0.5
"""Tokens in vain that one address may send each second; ``SPARE_FAILURES`` may come at once."""
SPARE_FAILURES = 20
UNPROVEN_SECONDS = 3.0
"""Seconds after which a token can be used again if its client was not heard over the connection
that it opened: the answer with the next token may not have arrived."""
_LENGTH = 2 + NONCE_BYTES + MAC_BYTES
_IN_LOGS = re.compile(r"(\bresume=)[^&\s\"]+")


class NoSession(Refused):
    """A token that opens nothing, whatever the reason."""

    def __init__(self) -> None:
        super().__init__(404, "session_not_found", "no session waits for this token")


@dataclass(slots=True)
class ResumableCall:
    """A call that its client may come back to.

    Attributes:
        opened: its session.
        slot: its connection.
        caller: whose key it was begun with.
        by_secret: whether by a client secret of that key, which may have expired since.
        taken: whether a connection is being made for it.
        digests: of its newest token and, before it, of the one that was used last.
        used_at: monotonic second at which that was.
    """

    call: AdmittedCall
    opened: OpenedSession
    slot: ConnectionSlot
    caller: Caller
    by_secret: bool = False
    taken: bool = False
    digests: list[bytes] = field(default_factory=list)
    used_at: float = 0.0

    def delivery(self, rtc: bool) -> Delivery:
        """The way of a reply's sound over a connection of this kind."""
        if rtc:
            return Delivery.TRACK
        return Delivery.PACED if self.opened.paced else Delivery.AT_ONCE


class Resumption:
    """The calls of a server that can be resumed, by token.

    Args:
        seconds: for which a call waits for its client.
        worker: number of this process, from 0 to 65535.
        clock: monotonic seconds.
        key: signs tokens, for processes that share it; None: a random key of this process.
    """

    def __init__(
        self,
        seconds: float,
        worker: int = 0,
        clock: Callable[[], float] = time.monotonic,
        key: bytes | None = None,
    ) -> None:
        self.seconds = seconds
        self._worker = worker
        self._clock = clock
        self._key = key or secrets.token_bytes(32)
        self._calls: dict[bytes, ResumableCall] = {}
        self._failures = AddressRates(FAILURES, SPARE_FAILURES, clock)
        logging.getLogger("uvicorn.error").addFilter(hide_tokens)

    def __len__(self) -> int:
        return len(self._calls)

    def wanted(self, query: Mapping[str, str]) -> bool:
        """Whether a request asks for a session that can be resumed, and may have one."""
        return self.seconds > 0 and query.get(RESUMABLE, "") in ("1", "true")

    def holder(self, token: str) -> int | None:
        """The worker, if it is another one, that gave out ``token``; None for a forged one."""
        worker = worker_of(token) if self._genuine(token) else None
        return None if worker == self._worker else worker

    def register(
        self,
        call: AdmittedCall,
        opened: OpenedSession,
        caller: Caller,
        transport: Transport,
        by_secret: bool = False,
    ) -> tuple[ConnectionSlot, WayBack]:
        """Make a new call resumable until it ends; returns its slot and its first token."""
        slot = ConnectionSlot(transport, self.seconds)
        slot.observe()
        resumable = ResumableCall(call, opened, slot, caller, by_secret)
        before = call.on_end

        def forget() -> None:
            for digest in resumable.digests:
                self._calls.pop(digest, None)
            slot.observers.end()
            if before is not None:
                before()

        call.on_end = forget
        return slot, (self._new_token(resumable), self.seconds)

    def _new_token(self, resumable: ResumableCall, used: bytes | None = None) -> str:
        """The next token of a call, in place of all but the one that was ``used`` now."""
        content = self._worker.to_bytes(2, "big") + secrets.token_bytes(NONCE_BYTES)
        token = PREFIX + base64.urlsafe_b64encode(content + self._mac(content)).decode()
        for old in resumable.digests:
            if old != used:
                del self._calls[old]
        resumable.digests = [*([] if used is None else [used]), _digest(token)]
        self._calls[resumable.digests[-1]] = resumable
        return token

    def _mac(self, content: bytes) -> bytes:
        return hmac.digest(self._key, content, "sha256")[:MAC_BYTES]

    def caller(
        self,
        access: Access,
        token: str,
        address: str,
        headers: Headers,
        subprotocols: Sequence[str] = (),
    ) -> Caller | None:
        """Whose request it is that comes with a token.

        A client secret lives for a minute, and the session that it began for longer: for that
        session the token suffices, as long as the key that made the secret is good. Of all other
        sessions nothing is told to one without a key.

        Returns:
            None: the request has no credentials that are good, and its token does without.

        Raises:
            Refused: the request may not go on.
        """
        try:
            return access.admit(headers, subprotocols).caller
        except Refused as refused:
            if refused.status != 401:
                raise
            resumable = self._find(token, None)
            if resumable is not None and access.keys.lives(resumable.caller.name):
                return None
            if self.holder(token) is not None:  # that worker decides
                return None
            self._note_failure(address)
            if access.has_secret(headers, subprotocols):
                raise NoSession from None
            raise

    @contextmanager
    def redeeming(self, token: str, caller: Caller | None, address: str) -> Iterator[ResumableCall]:
        """A context in which the connection for a token is made; leaving it gives the call back.

        Args:
            caller: whose request it is, by `caller`.

        Raises:
            Refused: the token opens nothing; somebody else is using it; or too many were tried.
        """
        resumable = self._find(token, caller)
        if resumable is None:
            self._note_failure(address)
            raise NoSession
        if resumable.taken:
            reason = "this session is being resumed over another connection already"
            raise Refused(409, "resumption_under_way", reason)
        resumable.taken = True
        try:
            yield resumable
        finally:
            resumable.taken = False

    def _note_failure(self, address: str) -> None:
        if not self._failures.allow(address):
            reason = "too many tokens in vain from this address; wait a little"
            raise Refused(429, "too_many_tokens", reason)

    def _find(self, token: str, caller: Caller | None) -> ResumableCall | None:
        if not self._genuine(token):
            return None
        digest = _digest(token)
        resumable = self._calls.get(digest)
        if resumable is None:
            return None
        good = resumable.by_secret if caller is None else resumable.caller.name == caller.name
        if not good:
            return None
        newest = hmac.compare_digest(digest, resumable.digests[-1])
        unproven = self._clock() - resumable.used_at >= UNPROVEN_SECONDS
        return resumable if newest or (unproven and not resumable.slot.heard) else None

    def _genuine(self, token: str) -> bool:
        content = _content(token)
        if content is None:
            return False
        signed, mac = content[:-MAC_BYTES], content[-MAC_BYTES:]
        return hmac.compare_digest(mac, self._mac(signed))

    def hand_over(
        self,
        resumable: ResumableCall,
        used: str,
        transport: Transport,
        query: Mapping[str, str],
        rtc: bool,
    ) -> None:
        """Give a call its next connection, which gets the next token.

        Args:
            used: the token by which the client came.
            query: of the request; ``item_id`` and ``audio_end_ms`` say how much of a reply was
                played.

        Raises:
            NoSession: the call has ended meanwhile.
        """
        slot = resumable.slot
        if self._calls.get(_digest(used)) is not resumable:
            raise NoSession  # it ended while the connection was being made
        token = self._new_token(resumable, _digest(used))
        another = NextConnection(transport, resumable.delivery(rtc), token, _played(query))
        try:
            slot.replace(another)
        except CallOver:
            raise NoSession from None
        slot.move(transport)
        resumable.used_at = self._clock()
        resumable.call.kind = "webrtc" if rtc else "websocket"


def worker_of(token: str) -> int | None:
    """The number of the process that gave out ``token``; None for what is no token."""
    content = _content(token)
    return None if content is None else int.from_bytes(content[:2], "big")


def hide_tokens(record: logging.LogRecord) -> bool:
    """Filter of a log: addresses of requests keep no token."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            _IN_LOGS.sub(r"\1...", each) if isinstance(each, str) else each for each in record.args
        )
    return True


def _content(token: str) -> bytes | None:
    if not token.startswith(PREFIX) or len(token) > 100:
        return None
    try:
        content = base64.b64decode(token[len(PREFIX) :], altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return content if len(content) == _LENGTH else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _played(query: Mapping[str, str]) -> tuple[str, float] | None:
    """What the client says of its playback; nonsense counts as nothing said."""
    ms = query.get("audio_end_ms", "")
    if not query.get("item_id") or not ms.isdecimal() or len(ms) > 9:
        return None
    return query["item_id"], int(ms) / 1000
