"""Durations and outcomes of the replies of each arm, for Prometheus.

A reply that was abandoned (the caller went on speaking) counts under its outcome; its times do
not count, for it was cut before they could become long.
"""

from __future__ import annotations

from time import monotonic
from types import TracebackType
from typing import Self

from prometheus_client import Counter, Histogram

from agent.responders.base import ReplyDone, ReplyPiece, ReplyText

SECONDS = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 1.6, 2.4, 5.0, 10.0)

REPLIES = Counter(
    "onebreath_arm_replies",
    "Replies by arm and outcome: complete, abandoned, failed.",
    ["arm", "outcome"],
)
FIRST_TEXT = Histogram(
    "onebreath_arm_first_text_seconds",
    "From the request to the first words of a reply.",
    ["arm"],
    buckets=SECONDS,
)
WHOLE = Histogram(
    "onebreath_arm_reply_seconds",
    "From the request to the end of a complete reply.",
    ["arm"],
    buckets=SECONDS,
)


class ArmMeter:
    """Context manager around one reply that counts its outcome and its times.

    The times are those of the caller: they include waiting for the compute thread.
    """

    def __init__(self, arm: str) -> None:
        self._arm = arm
        self._began = monotonic()
        self._first: float | None = None
        self._whole: float | None = None

    def see(self, piece: ReplyPiece) -> None:
        """Note the arrival of a piece."""
        now = monotonic() - self._began
        if isinstance(piece, ReplyText) and self._first is None:
            self._first = now
        elif isinstance(piece, ReplyDone):
            self._whole = now

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._whole is not None:
            REPLIES.labels(self._arm, "complete").inc()
            WHOLE.labels(self._arm).observe(self._whole)
            if self._first is not None:
                FIRST_TEXT.labels(self._arm).observe(self._first)
        else:
            failed = isinstance(error, Exception)
            REPLIES.labels(self._arm, "failed" if failed else "abandoned").inc()
