"""The calls of one server: their admission, the life of each, and their common end.

A transport asks for a place (``CallRegistry.admit``) before a call is set up, and runs the call
in it (``AdmittedCall.run``). Counting, logging and closing are the same for every transport.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from agent.close_codes import INTERNAL_ERROR, NORMAL_CLOSURE, SERVICE_RESTART
from agent.errors import CallError
from agent.runtime.call_log import CALLS, REFUSED, RUNNING, line
from agent.runtime.call_trace import CallTrace, current_trace
from agent.runtime.logs import current_call
from agent.runtime.places import Free, Places
from agent.transports.base import Disconnected

log = logging.getLogger("onebreath.calls")

GOODBYE_SECONDS = 12.0
"""Seconds for the goodbyes when a server is stopped; a goodbye takes at most 10."""
LINES = "lines"
"""Name of the places that ``max_calls`` bounds."""
CLOSE_SECONDS = 5.0
"""Seconds that a transport has to close; then the place is freed in any case."""


class CallRefused(CallError):
    """A call, or the socket for one, is not admitted.

    Args:
        reason: one sentence.
        status: the HTTP status of the refusal, where a request is refused.
        code: the refusal as a word for programs, such as ``server_full``.
    """

    def __init__(self, reason: str, status: int = 403, code: str = "forbidden") -> None:
        super().__init__(reason)
        self.code = code
        self.status = status


class Outcome(StrEnum):
    """The outcome of a call, as a word for logs.

    Attributes:
        COMPLETED: the conversation came to its end: the caller or the agent hung up.
        DISCONNECTED: the connection was lost, or never came about, or its client fell silent.
        ENDED: the server ended the call: a request to hang up, shut-down, a rule that was broken.
        FAILED: a fault of the server.
    """

    COMPLETED = "completed"
    DISCONNECTED = "disconnected"
    ENDED = "ended"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The end of a call, for its client and the log.

    Attributes:
        outcome: the outcome of the call.
        code: the close code that its transport is given (``agent.close_codes``).
        reason: one sentence.
    """

    outcome: Outcome
    code: int
    reason: str


HUNG_UP = CallEnd(Outcome.COMPLETED, NORMAL_CLOSURE, "the client hung up")
SHUT_DOWN = CallEnd(Outcome.ENDED, SERVICE_RESTART, "the server is being stopped")
FAULT = CallEnd(Outcome.FAILED, INTERNAL_ERROR, "internal error; the server's log says more")


class Tracing(Protocol):
    """The part of ``agent.runtime.traces`` that the registry needs."""

    def call(self, call_id: str, kind: str, now: float, *, words: bool) -> CallTrace:
        """Begin the trace of a call at monotonic second ``now``."""


class Closable(Protocol):
    """The part of a transport that the end of a call needs."""

    async def close(self, code: int, reason: str) -> None:
        """Close the connection and release its resources; closing twice is harmless."""


Conversation = Callable[[], Awaitable[CallEnd]]
"""Carries a call on to its end, which it returns.

Raises ``Disconnected`` if the connection is lost or never comes about.
"""


class AdmittedCall:
    """One call and its place among the calls of a server, which it holds until it ends.

    Attributes:
        id: random id, which cannot be guessed; its prefix names the transport.
        kind: the transport or the telephony provider, such as ``websocket`` or ``twilio``.
        address: IP address of the client; empty where its calls are not counted by address.
        transport: the connection to its client; None while the call is being set up.
        key: name of the key that it was begun with; empty where none was needed.
        on_end: called once when the place becomes free.
        places: free what the call holds.
        about: further fields of the line that tells of its start.
    """

    def __init__(self, registry: CallRegistry, call_id: str, kind: str, address: str = "") -> None:
        self.id = call_id
        self.kind = kind
        self.address = address
        self.transport: Closable | None = None
        self.key = ""
        self.on_end: Callable[[], None] | None = None
        self.places: list[Free] = []
        self.about: dict[str, str] = {}
        self._registry = registry
        self._task: asyncio.Task[CallEnd] | asyncio.Task[None] | None = None
        self._conversing = False
        self._requested: CallEnd | None = None

    @property
    def task(self) -> asyncio.Task[CallEnd] | asyncio.Task[None] | None:
        """The task that runs the call; None while the call is being set up."""
        return self._task

    @contextmanager
    def setting_up(self) -> Iterator[None]:
        """A context for setting up the call; an exception in it frees the place."""
        try:
            yield
        except BaseException:
            self._registry.remove(self)
            raise

    def end(self, end: CallEnd) -> None:
        """Ask the call to end; its transport is then closed with the code and reason of ``end``.

        A call that is still being set up ends as soon as it is run. Later requests are ignored.
        """
        if self._requested is None:
            self._requested = end
            if self._task is not None and self._conversing:
                self._task.cancel()

    def start(self, transport: Closable, conversation: Conversation) -> None:
        """Run the call in a task of its own, which the registry holds."""
        self.transport = transport
        self._task = asyncio.create_task(self.run(transport, conversation), name=self.id)

    async def run(self, transport: Closable, conversation: Conversation) -> CallEnd:
        """Carry the call on to its end in the current task.

        Whatever happens, the start and the end are logged, the transport is closed with the code
        of the end, and the place is free afterwards. A fault in the conversation is logged and
        ends this call only.

        Raises:
            asyncio.CancelledError: the task was cancelled, other than by ``end``.
        """
        self.transport = transport
        self._task, began = asyncio.current_task(), self._registry.clock()
        current_call.set(self.id)
        current_trace.set(trace := self._registry.trace(self, began))
        RUNNING.inc()
        known = {"call": self.id, "kind": self.kind, "address": self.address}
        line("call started", known | self.about)
        end = SHUT_DOWN
        try:
            end = await self._ended(conversation)
        except asyncio.CancelledError:
            if self._requested is None:
                raise
            _uncancel()
            end = self._requested
        finally:
            await self._close(transport, end, began, trace)
        return end

    async def _ended(self, conversation: Conversation) -> CallEnd:
        if self._requested is not None:
            return self._requested
        self._conversing = True
        try:
            return await conversation()
        except Disconnected as gone:
            reason = str(gone) or "the client left at once"
            return CallEnd(Outcome.DISCONNECTED, NORMAL_CLOSURE, reason)
        except Exception:  # a fault in one call must not end the others
            log.exception("call %s failed", self.id)
            return FAULT
        finally:
            self._conversing = False  # closing is not cancelled

    async def _close(
        self, transport: Closable, end: CallEnd, began: float, trace: CallTrace | None
    ) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await transport.close(end.code, end.reason)
        except (Disconnected, TimeoutError):
            log.info("call %s: the client did not take the close", self.id)
        except Exception:  # the place must become free
            log.exception("call %s could not be closed", self.id)
        finally:
            self._registry.remove(self)
            seconds = self._registry.clock() - began
            RUNNING.dec()
            CALLS.labels(self.kind, end.outcome).inc()
            about = {"call": self.id, "kind": self.kind, "outcome": str(end.outcome)}
            how = {"seconds": round(seconds, 1), "code": end.code, "reason": end.reason}
            line("call ended", {**about, **how})
            if trace is not None:
                failed = end.outcome is Outcome.FAILED
                trace.end(began + seconds, end.outcome, end.code, failed=failed)


class CallRegistry:
    """The calls of one server that are up or being set up.

    ``len`` counts them.

    Args:
        max_calls: calls at once, over all transports.
        clock: monotonic seconds.
        max_calls_per_address: calls at once from one address. None: half of ``max_calls``, and as
            many as there are lines from this machine itself.
        places: counts the calls, for several processes too; None: in this process.
    """

    def __init__(
        self,
        max_calls: int,
        clock: Callable[[], float] = time.monotonic,
        max_calls_per_address: int | None = None,
        places: Places | None = None,
    ) -> None:
        self.places = Places() if places is None else places
        self.max_calls = max_calls
        self.clock = clock
        self._per_address = max_calls_per_address
        self._calls: dict[str, AdmittedCall] = {}
        self._closed = False
        self.leavers: set[Callable[[str], None]] = set()
        """What asks each call that is up to end after a goodbye."""
        self.tracing: Tracing | None = None
        """Traces the calls; None: they are not traced."""
        self.traced_words = False
        """Whether the traces of calls that begin from now on hold what was said."""

    def bound(self, max_calls: int, max_calls_per_address: int | None) -> None:
        """Change the bounds; calls beyond them go on."""
        self.max_calls = max_calls
        self._per_address = max_calls_per_address

    def __len__(self) -> int:
        return len(self._calls)

    def trace(self, call: AdmittedCall, now: float) -> CallTrace | None:
        """Begin the trace of a call; None where calls are not traced, or this one cannot be."""
        if self.tracing is None:
            return None
        try:
            return self.tracing.call(call.id, call.kind, now, words=self.traced_words)
        except Exception:  # a trace is worth no call
            log.exception("call %s is not traced", call.id)
            return None

    def refusal(self) -> CallRefused | None:
        """The refusal that ``admit`` would raise now; None where it would admit a call."""
        if self._closed:
            return _no_room("server_stopping", SHUT_DOWN.reason)
        if self.places.full(LINES, self.max_calls):
            return self._no_line()
        return None

    def _no_line(self) -> CallRefused:
        reason = f"all {self.max_calls} lines are busy; try again later"
        return _no_room("server_full", reason)

    def check_room(self) -> None:
        """Check that a call would be admitted now.

        Raises:
            CallRefused: all places are taken, or the server is being stopped.
        """
        if (refusal := self.refusal()) is not None:
            raise refusal

    def admit(
        self, kind: str, prefix: str = "call", address: str = "", suffix: str = ""
    ) -> AdmittedCall:
        """Admit a new call, which is then set up and run.

        Args:
            kind: the transport or the telephony provider, for the log.
            prefix: of the call's id.
            address: IP address of the client; empty: it is not counted by its address.
            suffix: of the call's id.

        Raises:
            CallRefused: all places, or those of this address, are taken, or the server is being
                stopped.
        """
        try:
            places = self._take_places(address)
        except CallRefused as refusal:
            REFUSED.labels(refusal.code).inc()
            why = {"code": refusal.code, "reason": str(refusal)}
            line("call refused", {"kind": kind, "address": address} | why)
            raise
        call = AdmittedCall(self, f"{prefix}_{secrets.token_hex(12)}{suffix}", kind, address)
        call.places = places
        for outcome in Outcome:
            CALLS.labels(kind, outcome)  # begins at 0 before the first call ends
        self._calls[call.id] = call
        return call

    def _take_places(self, address: str) -> list[Free]:
        """Take a line, and a place of the address."""
        if self._closed:
            raise _no_room("server_stopping", SHUT_DOWN.reason)
        if (line := self.places.take(LINES, self.max_calls)) is None:
            raise self._no_line()
        if not address:
            return [line]
        bound = self._per_address
        if bound is None:
            bound = self.max_calls if _is_here(address) else -(-self.max_calls // 2)
        if (of_address := self.places.take(f"address {address}", bound)) is None:
            line()
            reason = f"{bound} calls from this address are up; end one, or try again later"
            raise CallRefused(reason, 429, "too_many_calls")
        return [line, of_address]

    def find(self, call_id: str) -> AdmittedCall | None:
        """The call with this id, if it is up or being set up."""
        return self._calls.get(call_id)

    def remove(self, call: AdmittedCall) -> None:
        """Free the place of ``call``; called by the call itself."""
        if self._calls.pop(call.id, None) is None:
            return
        for free in call.places:
            free()
        if call.on_end is not None:
            call.on_end()

    @property
    def draining(self) -> bool:
        """Whether no call is admitted any more."""
        return self._closed

    async def drain(self, seconds: float) -> None:
        """Admit no call any more, and wait until those that are up have ended.

        Args:
            seconds: how long they may go on; then the agent says goodbye in each.
        """
        self._closed = True
        if not await self._all_ended(seconds):
            for leave in list(self.leavers):
                leave(SHUT_DOWN.reason)
            await self._all_ended(GOODBYE_SECONDS)

    async def _all_ended(self, seconds: float) -> bool:
        """Wait until no call is up; False where that takes longer than ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                while tasks := [call.task for call in self._calls.values() if call.task]:
                    await asyncio.wait(tasks)
                    await asyncio.sleep(0)
        except TimeoutError:
            return False
        return True

    async def end_all(self, end: CallEnd = SHUT_DOWN) -> None:
        """Admit no call any more, ask all calls to end, and wait until their tasks have ended."""
        self._closed = True
        calls = list(self._calls.values())
        tasks = [call.task for call in calls if call.task is not None]
        for call in calls:
            call.end(end)
        await asyncio.gather(*tasks, return_exceptions=True)


def _no_room(code: str, reason: str) -> CallRefused:
    return CallRefused(reason, 503, code)


def _is_here(address: str) -> bool:
    """Whether an IP address is of this machine, where a proxy or tests may be."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _uncancel() -> None:
    """Withdraw the cancellation of the current task, which came from ``AdmittedCall.end``."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()
