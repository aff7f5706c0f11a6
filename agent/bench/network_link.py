"""Bad networks as a model: when each packet of a direction arrives, or that it does not. Pure.

Losses come in bursts by the chain of Gilbert and Elliott: a good state without loss and a bad one
in which every packet is lost (E. N. Gilbert, "Capacity of a burst-noise channel", 1960). The same
seed gives the same network.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agent.latency.impairment import RETRANSMISSION_SECONDS

SEGMENT_BYTES: Final = 1448
"""Bytes of a TCP segment on Ethernet."""
HEADER_BYTES: Final = 28
"""Bytes of the headers of IP and UDP, which a link carries too."""
STREAM_HEADER_BYTES: Final = 52
"""Bytes of the headers of IP and TCP, with time stamps."""
QUEUE_SECONDS: Final = 0.5
"""Seconds of data that the queue in front of a slow link holds; more datagrams are dropped."""
STALL_EVERY: Final = 15.0
"""Seconds from the beginning of one stall to that of the next."""
FIRST_STALL: Final = 8.0
"""Seconds after the first packet at which the first stall begins."""
OVERTAKEN_SECONDS: Final = 0.03
"""Seconds by which a packet that others overtake is late: one and a half frames."""
APART_SECONDS: Final = 1e-6
"""Least time between two arrivals: an event loop mixes up timers of the same second."""
MAX_BACKOFF: Final = 60.0
"""Seconds between two retransmissions of one segment, at most (RFC 6298)."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One bad network; both directions are alike.

    Attributes:
        name: name in options and tables.
        loss: share of the packets that is lost, from 0 to below 1.
        burst: mean number of packets that are lost in a row.
        delay: seconds from end to end, without anything else.
        jitter: most seconds of random delay beside it; packets keep their order.
        overtaken: share of the packets that arrive after their successors.
        duplicated: share of the packets that arrive twice.
        rate: bits per second; None: no limit.
        stall: seconds for which nothing arrives, every ``STALL_EVERY`` seconds; what was sent
            meanwhile arrives afterwards.
    """

    name: str
    loss: float = 0.0
    burst: float = 3.0
    delay: float = 0.02
    jitter: float = 0.0
    overtaken: float = 0.0
    duplicated: float = 0.0
    rate: float | None = None
    stall: float = 0.0

    def stalled_until(self, second: float) -> float:
        """The end of the stall in which ``second`` of the link's life falls, or ``second``."""
        into = (second - FIRST_STALL) % STALL_EVERY
        if not self.stall or second < FIRST_STALL or into >= self.stall:
            return second
        return second - into + self.stall

    def stalls(self, begin: float, end: float) -> bool:
        """Whether a stall falls into the time between two seconds of the link's life."""
        if not self.stall or end < FIRST_STALL:
            return False
        newest = end - (end - FIRST_STALL) % STALL_EVERY
        return newest + self.stall > begin


CLEAN: Final = Condition("clean")
CONDITIONS: Final = (
    CLEAN,
    Condition("loss-1", loss=0.01),
    Condition("loss-5", loss=0.05),
    Condition("loss-10", loss=0.10),
    Condition("loss-20", loss=0.20),
    Condition("jitter-20", jitter=0.02),
    Condition("jitter-60", jitter=0.06),
    Condition("jitter-200", jitter=0.2),
    Condition("reordered", overtaken=0.1),
    Condition("duplicates", duplicated=0.1),
    Condition("128-kbit", rate=128_000),
    Condition("64-kbit", rate=64_000),
    Condition("stall-3s", stall=3.0),
)
"""The conditions of ``onebreath bench network``."""


class BurstLoss:
    """Losses in bursts.

    Args:
        loss: share of the packets that is lost, from 0 to below 1.
        burst: mean number of packets that are lost in a row, at least 1.
        chance: random generator.
    """

    def __init__(self, loss: float, burst: float, chance: random.Random) -> None:
        self._ends = 1 / burst
        # In the long run a chain that leaves the bad state at rate r and enters it at rate p is in
        # it for p / (p + r) of the time.
        self._begins = min(1.0, loss / (1 - loss) * self._ends)
        self._chance = chance
        self._bad = False

    def lost(self) -> bool:
        """Whether the next packet is lost."""
        self._bad = self._chance.random() < (1 - self._ends if self._bad else self._begins)
        return self._bad


class _Line:
    """Delay, jitter, rate and stalls of one direction, for packets that keep their order."""

    def __init__(self, condition: Condition, chance: random.Random) -> None:
        self._condition = condition
        self._chance = chance
        self._free_at = 0.0
        self._last = 0.0

    def waits(self, now: float) -> float:
        """Seconds until the link has sent everything that waits for it."""
        return max(0.0, self._free_at - now)

    def carry(self, size: int, now: float, extra: float = 0.0) -> float:
        """The second at which ``size`` bytes that are sent ``now`` arrive."""
        condition = self._condition
        sent = condition.stalled_until(now)
        if condition.rate is not None:
            sent = self._free_at = max(sent, self._free_at) + 8 * size / condition.rate
        arrives = sent + condition.delay + self._chance.uniform(0.0, condition.jitter) + extra
        self._last = max(self._last + APART_SECONDS, condition.stalled_until(arrives))
        return self._last


class _Direction:
    """One direction of a network.

    Args:
        condition: the network.
        seed: of losses and delays.
    """

    def __init__(self, condition: Condition, seed: str) -> None:
        self._condition = condition
        self._chance = random.Random(seed)
        self._losses = BurstLoss(condition.loss, condition.burst, self._chance)
        self._line = _Line(condition, self._chance)


class DatagramLink(_Direction):
    """One direction of a network for datagrams, as UDP and RTP see it."""

    def arrivals(self, size: int, now: float) -> Sequence[float]:
        """The seconds at which a datagram of ``size`` bytes that is sent ``now`` arrives.

        Returns:
            No second for a lost one, two for one that comes twice.
        """
        if self._losses.lost() or self._line.waits(now) > QUEUE_SECONDS:
            return ()
        late = OVERTAKEN_SECONDS if self._drawn(self._condition.overtaken) else 0.0
        at = self._line.carry(size + HEADER_BYTES, now) + late
        return (at, at) if self._drawn(self._condition.duplicated) else (at,)

    def _drawn(self, share: float) -> bool:
        return share > 0 and self._chance.random() < share


class StreamLink(_Direction):
    """One direction of a network for a stream, as TCP makes it: in order, nothing lost, but late.

    A lost segment is retransmitted after ``RETRANSMISSION_SECONDS`` (more on a long way), twice
    that the next time, and holds up everything behind it. Of duplicates a stream sees nothing.
    """

    def arrival(self, size: int, now: float) -> float:
        """The second at which the last of ``size`` bytes that are sent ``now`` arrives."""
        segments = max(1, math.ceil(size / SEGMENT_BYTES))
        late = sum(self._retransmissions() for _ in range(segments))
        return self._line.carry(size + segments * STREAM_HEADER_BYTES, now, late)

    def _retransmissions(self) -> float:
        """Seconds until a segment has got through, of those after its first transmission."""
        condition = self._condition
        if condition.overtaken and self._chance.random() < condition.overtaken:
            return OVERTAKEN_SECONDS
        wait, late = max(RETRANSMISSION_SECONDS, 2 * condition.delay), 0.0
        lost = self._losses.lost()
        while lost:
            late += wait
            wait = min(2 * wait, MAX_BACKOFF)
            # By then the burst is over: what is lost again is lost for itself.
            lost = self._chance.random() < condition.loss
        return late
