"""Batch of sequences that share rounds on the device; they join and leave between rounds."""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import torch

from dllm_core.decode.canvas import CanvasView
from dllm_core.decode.schedule import CostModel
from dllm_core.errors import DllmError, QueueFullError
from dllm_core.gpu.device_job import CanvasJob
from dllm_core.gpu.device_round import DeviceRound, RoundOptions, RoundShape
from dllm_core.gpu.graphs import Graphs
from dllm_core.gpu.paged_model import PagedModel
from dllm_core.model.pages import pages_for
from dllm_core.ops import PAGE

MOST_SEQUENCES = 64
_KEPT_ROUNDS = 16
"""Number of shapes without a graph whose buffers are kept."""
STEPS_OF_A_ROUND = 8
"""Steps of a round where the rule decides how many steps a canvas takes and there is no graph."""


@dataclass(order=True, slots=True)
class Ticket:
    """One canvas to denoise; served by earliest due time, then in order of arrival."""

    due: float
    number: int
    job: CanvasJob = field(compare=False)
    deadline: float | None = field(default=None, compare=False)
    """When the last step of the reply should be done."""
    canvases: int = field(default=1, compare=False)
    """Canvases among which the time until then is shared, this one included."""
    views: list[tuple[CanvasView, float]] = field(default_factory=list, compare=False)
    """The canvas after every step so far, and the milliseconds that the step took."""
    cancelled: bool = field(default=False, compare=False)
    error: DllmError | None = field(default=None, compare=False)

    def cancel(self) -> None:
        """Leave the batch at the next border of a round, or the queue."""
        self.cancelled = True

    @property
    def over(self) -> bool:
        return self.job.done or self.cancelled or self.error is not None


class DeviceBatch:
    """At most `size` sequences are under way and `queue` wait.

    Whoever waits for its ticket calls `step`, which runs a round for all. A ticket without a due
    time is due `patience` seconds after it came. Not thread-safe: its owner has a lock.
    """

    def __init__(
        self,
        model: PagedModel,
        graphs: Graphs,
        cost: CostModel,
        *,
        size: int = MOST_SEQUENCES,
        queue: int = 64,
        patience: float = 5.0,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._model, self._graphs, self.cost = model, graphs, cost
        self._size, self._queue, self._patience, self._clock = size, queue, patience, clock
        self._numbers = itertools.count()
        self._waiting: list[Ticket] = []
        self._active: list[Ticket] = []
        self._rounds: OrderedDict[tuple[RoundShape, RoundOptions], DeviceRound] = OrderedDict()

    def submit(
        self,
        job: CanvasJob,
        due: float | None = None,
        deadline: float | None = None,
        canvases: int = 1,
    ) -> Ticket:
        """Ask for a canvas; `due` and `deadline` are on the batch's clock, in seconds.

        Without a due time it is the deadline that says who goes first.

        Raises:
            QueueFullError: too many wait already.
        """
        self._waiting = [ticket for ticket in self._waiting if not ticket.over]
        heapq.heapify(self._waiting)
        if len(self._waiting) >= self._queue:
            raise QueueFullError(f"{self._queue} requests wait already: try again later.")
        if due is None:
            due = self._clock() + self._patience if deadline is None else deadline
        ticket = Ticket(due, next(self._numbers), job, deadline, canvases)
        heapq.heappush(self._waiting, ticket)
        return ticket

    @torch.inference_mode()
    def step(self, first: Ticket | None = None) -> list[Ticket]:
        """Run a round for all that are under way; returns those that are over with it.

        With `first`, only for those that can share its round: nobody waits for another size.
        """
        self._admit()
        begun = list(self._active)
        groups = _alike(begun)
        for group in [group for group in groups if first in group] or groups:
            self._round(group)
        self._active = [ticket for ticket in self._active if not ticket.over]
        return [ticket for ticket in begun if ticket.over]

    def _admit(self) -> None:
        self._active = [ticket for ticket in self._active if not ticket.over]
        while self._waiting and len(self._active) < self._size:
            ticket = heapq.heappop(self._waiting)
            if not ticket.over:
                self._active.append(ticket)

    def _round(self, tickets: Sequence[Ticket]) -> None:
        ready = [ticket for ticket in tickets if self._prepared(ticket, len(tickets))]
        if not ready:
            return
        jobs = [ticket.job for ticket in ready]
        entries = [job.entry() for job in jobs]
        begin = perf_counter()
        canvas = max(job.columns for job in jobs)
        pages = max(pages_for(entry.visible, PAGE) for entry in entries)
        steps = [job.steps_left for job in jobs]
        needed = None if None in steps else max(step for step in steps if step is not None)
        round_options = jobs[0].round_options
        shape = RoundShape(len(jobs), canvas, pages, needed or STEPS_OF_A_ROUND)
        graph = self._graphs.find(shape, round_options, enough=needed is not None)
        work = self._buffers(shape, round_options) if graph is None else graph.round
        work.write(entries)
        self._graphs.runner(work)()
        outcomes = work.read(entries)
        ms = (perf_counter() - begin) * 1e3
        visible = max(entry.visible for entry in entries)
        self.cost.observe(work.rows, visible, ms / work.shape.steps)
        for ticket, outcome in zip(ready, outcomes, strict=True):
            views = ticket.job.absorb(outcome)
            ticket.views += [(view, ms / len(views)) for view in views]

    def _prepared(self, ticket: Ticket, company: int = 1) -> bool:
        try:
            ticket.job.prepare()
        except DllmError as error:
            # The prompt of one sequence may not fit: the others go on.
            ticket.error = error
            return False
        self._pace(ticket, company)
        return True

    def _pace(self, ticket: Ticket, company: int) -> None:
        """Give a job with a deadline the most steps that are captured and fit, among so many."""
        job = ticket.job
        if ticket.deadline is None or job.steps_left is None:
            return
        left = max(0.0, ticket.deadline - self._clock()) * 1e3 / ticket.canvases
        visible = job.entry().visible
        fitting = int(left / job.blocks_left / self.cost.predict(company * job.columns, visible))
        captured = self._graphs.steps(job.columns, job.round_options)
        smaller = [steps for steps in captured if steps <= fitting]
        job.pace(max(1, min(smaller[-1] if smaller else fitting, job.columns)))

    def _buffers(self, shape: RoundShape, round_options: RoundOptions) -> DeviceRound:
        key = (shape, round_options)
        found = self._rounds.pop(key, None) or DeviceRound(self._model, shape, round_options)
        self._rounds[key] = found
        if len(self._rounds) > _KEPT_ROUNDS:
            self._rounds.popitem(last=False)
        return found

    @property
    def idle(self) -> bool:
        return all(ticket.over for ticket in (*self._active, *self._waiting))


def _alike(tickets: Sequence[Ticket]) -> list[list[Ticket]]:
    """Groups of tickets that can share a round: equal rules, layers and canvas size."""
    groups: dict[tuple[RoundOptions, int], list[Ticket]] = {}
    for ticket in tickets:
        groups.setdefault((ticket.job.round_options, ticket.job.columns), []).append(ticket)
    return list(groups.values())
