"""A watchdog that notices a blocked event loop and says which call blocks it, and where."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from types import FrameType

from prometheus_client import Counter, Histogram

log = logging.getLogger("onebreath.watchdog")

BEAT_SECONDS = 0.1
"""Seconds between two signs of life of the loop."""
BLOCKED_SECONDS = 1.0
"""Seconds without one after which the loop counts as blocked."""
RECOVERY_SECONDS = 10.0
"""Seconds after a block for which the server is still not ready."""
MAX_FRAMES = 12

LAG = Histogram(
    "onebreath_event_loop_lag_seconds",
    "By how much the event loop was late for a timer.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0),
)
BLOCKED = Counter("onebreath_event_loop_blocked", "Times that the event loop was blocked.")


class Watchdog:
    """Watches the running event loop from a thread of its own, between ``start`` and ``stop``.

    Args:
        blocked_seconds: seconds without a sign of life after which the loop is blocked.
    """

    def __init__(self, blocked_seconds: float = BLOCKED_SECONDS) -> None:
        self._limit = blocked_seconds
        self._beat_at = time.monotonic()
        self._blocked_at = -RECOVERY_SECONDS
        self._stopped = threading.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._watcher: threading.Thread | None = None
        self._loop_thread = 0

    @property
    def trouble(self) -> str | None:
        """Why calls should not come here now: the loop is blocked, or was a moment ago."""
        now = time.monotonic()
        if now - self._beat_at > self._limit:
            return f"the event loop has been blocked for {now - self._beat_at:.1f} s"
        if now - self._blocked_at < RECOVERY_SECONDS:
            return "the event loop was blocked a moment ago"
        return None

    def start(self) -> None:
        """Begin to watch; called in the loop."""
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._due = self._beat_at = time.monotonic()
        self._beat()
        self._watcher = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Stop watching; may be called twice."""
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            self._watcher.join()

    def _beat(self) -> None:
        self._beat_at = time.monotonic()
        LAG.observe(max(0.0, self._beat_at - self._due))
        self._due = self._beat_at + BEAT_SECONDS
        self._timer = self._loop.call_later(BEAT_SECONDS, self._beat)

    def _watch(self) -> None:
        told = False
        while not self._stopped.wait(self._limit / 4):
            late = time.monotonic() - self._beat_at
            if late <= self._limit:
                told = False
                continue
            self._blocked_at = time.monotonic()
            if not told:
                told = True
                BLOCKED.inc()
                self._tell(late)

    def _tell(self, late: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        call = _call_in(frame)
        stack = "".join(traceback.format_stack(frame)[-MAX_FRAMES:]) if frame else ""
        log.error(
            "the event loop is blocked for %.1f s by %s, in:\n%s", late, call or "no call", stack
        )


def _call_in(frame: FrameType | None) -> str:
    """The id of the call on whose behalf a frame, or one below it, runs; empty if there is none."""
    while frame is not None:
        owner = frame.f_locals.get("self")
        call_id = getattr(owner, "call_id", "")
        if isinstance(call_id, str) and call_id:
            return f"call {call_id}"
        frame = frame.f_back
    return ""
