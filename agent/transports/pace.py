"""The pace of a client: events, bytes, turns and work that it may ask for, with room for bursts.

A client over its rates is read more slowly, so that TCP holds it back, or its events are refused
where nothing can hold it back (a data channel). Others do not notice. A new connection does not
begin anew: its address has rates too, four times those of a connection.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from agent.rates import TokenBucket
from agent.session.notices import Trouble

Clock = Callable[[], float]

ADDRESS_FACTOR = 4.0
"""Rates of an address, in those of a connection."""
MAX_ADDRESSES = 4096
"""Addresses that are remembered; beyond it the one that was seen longest ago is forgotten."""
MAX_DEBT = 15.0
"""Seconds that a client may be ahead of its rates; one that is further ahead is ended."""
TELL_SECONDS = 10.0
"""Seconds between two remarks to a client that is too fast."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A steady rate a second, and the burst that may come at once."""

    steady: float
    burst: float

    def bucket(self, now: float, factor: float = 1.0) -> TokenBucket:
        """A full bucket of ``factor`` times this rate."""
        return TokenBucket(self.steady * factor, self.burst * factor, now)


EVENTS = Rate(200.0, 1000.0)
"""Events; sound in pieces of 20 ms is 50 a second."""
BYTES = Rate(131_072.0, 2 * 1_048_576.0)
"""Bytes of events; sound in base64 is 64 KB a second, so half a minute of it may come at once."""
TURNS = Rate(2.0, 20.0)
"""Events that set engines to work: typed words, commits, replies that are asked for, settings."""
WORK = Rate(0.15, 0.3)
"""Seconds of the event loop's processor time."""
CONNECTION = (EVENTS, BYTES, TURNS, WORK)

TOO_FAST = Trouble(
    "rate_limit_exceeded",
    f"events come faster than {EVENTS.steady:.0f} a second, {BYTES.steady / 1024:.0f} KiB a second "
    f"or {TURNS.steady:.0f} turns a second; they are read more slowly, or refused over WebRTC",
)


class Pace:
    """The pace of one connection, and of its address.

    Args:
        shared: the buckets of the address, in the order of ``CONNECTION``.
        clock: monotonic seconds.
    """

    def __init__(self, shared: tuple[TokenBucket, ...], clock: Clock = time.monotonic) -> None:
        self._clock = clock
        now = clock()
        self._own = tuple(rate.bucket(now) for rate in CONNECTION)
        self._shared = shared
        self._told_at = -TELL_SECONDS
        self._debt = 0.0
        self._began = time.thread_time()

    def note(self, size: int = 0, turns: int = 0) -> None:
        """Note an event of ``size`` bytes that begins ``turns`` turns; ``rest`` waits for it."""
        for index, count in enumerate((1, size, turns)):
            self._spend(index, count)

    def allow(self, size: int = 0, turns: int = 0) -> bool:
        """Note an event where nothing can wait; returns whether it may be carried out."""
        self._debt = 0.0
        self.note(size, turns)
        return self._debt == 0.0

    def _spend(self, index: int, count: float) -> None:
        if count:
            now = self._clock()
            own = self._own[index].spend(count, now)
            self._debt = max(self._debt, own, self._shared[index].spend(count, now))

    def begin(self) -> None:
        """Note that work on what this connection sent begins now."""
        self._began = time.thread_time()

    @property
    def exceeded(self) -> bool:
        """Whether the client is so far ahead that waiting for it would hold a line in vain."""
        return self._debt > MAX_DEBT

    async def rest(self) -> None:
        """Charge the work since ``begin``, let others work, and wait while anything is owed."""
        self._spend(3, time.thread_time() - self._began)
        debt, self._debt = self._debt, 0.0
        await asyncio.sleep(debt)
        self.begin()

    def remark(self) -> Trouble | None:
        """The remark that the client is too fast, if that is so and it was not told lately."""
        now = self._clock()
        if self._debt == 0.0 or now < self._told_at + TELL_SECONDS:
            return None
        self._told_at = now
        return TOO_FAST


class Paces:
    """The paces of all connections of a server.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._addresses: OrderedDict[str, tuple[TokenBucket, ...]] = OrderedDict()

    def of(self, address: str) -> Pace:
        """The pace of a new connection from ``address``."""
        now = self._clock()
        if address not in self._addresses:
            buckets = tuple(rate.bucket(now, ADDRESS_FACTOR) for rate in CONNECTION)
            self._addresses[address] = buckets
        self._addresses.move_to_end(address)
        if len(self._addresses) > MAX_ADDRESSES:
            self._addresses.popitem(last=False)
        return Pace(self._addresses[address], self._clock)
