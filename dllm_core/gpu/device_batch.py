"""Batch of sequences that share rounds on the device; they join and leave between rounds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import torch

from dllm_core.decode.canvas import CanvasView
from dllm_core.decode.requests import Requests, Ticket
from dllm_core.decode.schedule import CostModel
from dllm_core.errors import DllmError
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


@dataclass(slots=True)
class CanvasRequest:
    """One canvas to denoise, and its share of the time.

    Attributes:
        job: the canvas.
        deadline: when the last step of the reply should be done, in seconds on the batch's clock.
        canvases: canvases among which the time until then is shared, this one included.
        views: the canvas after every step so far, and the milliseconds that the step took.
    """

    job: CanvasJob
    deadline: float | None = None
    canvases: int = 1
    views: list[tuple[CanvasView, float]] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return self.job.done


CanvasTicket = Ticket[CanvasRequest]


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
        self._clock = clock
        self._requests: Requests[CanvasRequest] = Requests(
            size=size, queue=queue, patience=patience, clock=clock
        )
        self._rounds: OrderedDict[tuple[RoundShape, RoundOptions], DeviceRound] = OrderedDict()

    def submit(
        self,
        job: CanvasJob,
        due: float | None = None,
        deadline: float | None = None,
        canvases: int = 1,
    ) -> CanvasTicket:
        """Ask for a canvas; `due` and `deadline` are on the batch's clock, in seconds.

        Without a due time it is the deadline that says who goes first.

        Raises:
            QueueFullError: too many wait already.
        """
        request = CanvasRequest(job, deadline, canvases)
        return self._requests.submit(request, deadline if due is None else due)

    @torch.inference_mode()
    def step(self, first: CanvasTicket | None = None) -> list[CanvasTicket]:
        """Run a round for all that are under way; returns those that are over with it.

        With `first`, only for those that can share its round: nobody waits for another size.
        """
        self._requests.admit()
        begun = list(self._requests.active)
        groups = _alike(begun)
        for group in [group for group in groups if first in group] or groups:
            self._round(group)
        self._requests.drop_over()
        return [ticket for ticket in begun if ticket.over]

    def _round(self, tickets: Sequence[CanvasTicket]) -> None:
        ready = [ticket for ticket in tickets if self._prepared(ticket, len(tickets))]
        if not ready:
            return
        jobs = [ticket.work.job for ticket in ready]
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
            views = ticket.work.job.absorb(outcome)
            ticket.work.views += [(view, ms / len(views)) for view in views]

    def _prepared(self, ticket: CanvasTicket, company: int = 1) -> bool:
        try:
            ticket.work.job.prepare()
        except DllmError as error:
            # The prompt of one sequence may not fit: the others go on.
            ticket.error = error
            return False
        self._pace(ticket, company)
        return True

    def _pace(self, ticket: CanvasTicket, company: int) -> None:
        """Give a job with a deadline the most steps that are captured and fit, among so many."""
        job = ticket.work.job
        if ticket.work.deadline is None or job.steps_left is None:
            return
        left = max(0.0, ticket.work.deadline - self._clock()) * 1e3 / ticket.work.canvases
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
        return self._requests.idle


def _alike(tickets: Sequence[CanvasTicket]) -> list[list[CanvasTicket]]:
    """Tickets that can share a round: rules, layers and size of the canvas are the same."""
    groups: dict[tuple[RoundOptions, int], list[CanvasTicket]] = {}
    for ticket in tickets:
        groups.setdefault((ticket.work.job.round_options, ticket.work.job.columns), []).append(
            ticket
        )
    return list(groups.values())
