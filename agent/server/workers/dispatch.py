"""Which worker gets the next connection: a pure rule over what the workers told last."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

SETTLING = 1.0
"""Seconds after which a connection has become a call that its worker tells of, or will not."""
SILENT = 3.0
"""Seconds without a word from a worker after which others are preferred: its loop is blocked."""


@dataclass(slots=True)
class WorkerState:
    """What the parent knows of a worker that serves.

    Attributes:
        index: number of the worker.
        calls: calls that are up.
        max_calls: calls at once of all workers.
        status: ``ready``, or why no new call should come here.
        reason: one sentence for a status that is not ready.
        heard: second at which it last told of itself.
        handed: seconds of the connections that were handed to it lately.
    """

    index: int
    calls: int = 0
    max_calls: int = 0
    status: str = "ready"
    reason: str = ""
    heard: float = 0.0
    handed: deque[float] = field(default_factory=deque)

    def expected(self, now: float) -> int:
        """Calls, and connections that may become some."""
        while self.handed and now - self.handed[0] > SETTLING:
            self.handed.popleft()
        return self.calls + len(self.handed)

    def trouble(self, now: float) -> tuple[str, str] | None:
        """A word and a sentence for why no new call should come here; None where it may."""
        if now - self.heard > SILENT:
            return "blocked", f"worker {self.index} has been silent for {now - self.heard:.0f} s"
        if self.status != "ready":
            return self.status, self.reason
        return None


def ranked(workers: Iterable[WorkerState], now: float) -> list[WorkerState]:
    """The workers in the order in which they should get the next connection.

    Workers that are ready come first, the least loaded of them first. The others follow, since
    somebody has to answer: a full worker refuses a call with a reason, and still hangs calls up.
    """

    def rank(worker: WorkerState) -> tuple[bool, bool, int, int]:
        silent = now - worker.heard > SILENT
        return worker.trouble(now) is not None, silent, worker.expected(now), worker.index

    return sorted(workers, key=rank)
