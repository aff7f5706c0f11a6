"""Token buckets: bounds on rates that allow bursts."""

from __future__ import annotations


class TokenBucket:
    """Holds tokens up to a burst, and gets new ones at a steady rate. Pure: times come in.

    Args:
        rate: tokens per second.
        burst: tokens that it holds at most, and at first.
        now: monotonic seconds at which it begins.
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now

    def _fill(self, now: float) -> None:
        elapsed = max(0.0, now - self._at)
        self._tokens = min(self._burst, self._tokens + elapsed * self._rate)
        self._at = max(now, self._at)

    def take(self, count: float, now: float) -> bool:
        """Take ``count`` tokens if they are there; returns whether they were."""
        self._fill(now)
        if self._tokens < count:
            return False
        self._tokens -= count
        return True

    def spend(self, count: float, now: float) -> float:
        """Take ``count`` tokens in any case; returns the seconds until the debt is paid."""
        self._fill(now)
        self._tokens -= count
        return max(0.0, -self._tokens / self._rate)

    def full(self, now: float) -> bool:
        """Whether nothing was taken lately, so that a new bucket would be no different."""
        self._fill(now)
        return self._tokens >= self._burst
