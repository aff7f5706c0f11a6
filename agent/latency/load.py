"""A load test: callers place calls by a plan, and every planned turn becomes a row."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agent.audio.samples import write_wav
from agent.errors import CallError
from agent.latency.caller import REPLY_TIMEOUT, Caller, PlannedInterruption
from agent.latency.connection import AgentConnection
from agent.latency.plan import LoadPlan, PlannedTurn
from agent.latency.question import SpokenQuestion
from agent.latency.results import TurnResult

REDIAL_SECONDS = 1.0
"""Pause between a lost call and the next one, in seconds."""


@dataclass(frozen=True, slots=True)
class CallerBehaviour:
    """Behaviour of the callers in a call. Times are in seconds.

    Attributes:
        reply_timeout: time from the end of a question until it counts as unanswered.
        listen_first: time at the start of a call that is left to the agent's greeting.
        interrupt_after: length of reply after which the next question interrupts it; None: replies
            are not interrupted.
    """

    reply_timeout: float = REPLY_TIMEOUT
    listen_first: float = 0.0
    interrupt_after: float | None = None


class LoadTest:
    """One run of a load test.

    Args:
        plan: turns of each caller and when they are due.
        questions: recordings to play; the plan chooses by index.
        new_connection: makes the connection of one more call.
        take: called with the result of each turn as the turn ends.
        behaviour: behaviour of the callers.
        record: directory for one stereo WAV file per call; None: calls are not recorded.
    """

    def __init__(
        self,
        plan: LoadPlan,
        questions: Sequence[SpokenQuestion],
        new_connection: Callable[[], AgentConnection],
        take: Callable[[TurnResult], None],
        behaviour: CallerBehaviour | None = None,
        record: Path | None = None,
    ) -> None:
        self._plan = plan
        self._questions = questions
        self._new_connection = new_connection
        self._take = take
        self._behaviour = behaviour or CallerBehaviour()
        self._record = record
        self._calls = itertools.count(1)
        self._answered = False

    async def run(self) -> None:
        """Ask every planned question. A turn whose call is lost becomes a row with the error.

        Raises:
            CallError: a call failed before any call was answered.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for caller in range(self._plan.callers):
                    group.create_task(self._place_calls(caller))
        except* CallError as errors:
            first = errors.exceptions[0]
        else:
            return
        raise first

    async def _place_calls(self, caller: int) -> None:
        """Place the calls of one caller, one after the other."""
        turns = self._plan.turns_of(caller, len(self._questions))
        waiting: deque[PlannedTurn] = deque()
        began: float | None = None
        while waiting or (waiting := deque(itertools.islice(turns, self._plan.turns_per_call))):
            if self._is_over(waiting[0], began):
                return
            began = await self._call(waiting, began)

    async def _call(self, waiting: deque[PlannedTurn], began: float | None) -> float:
        """Ask the waiting turns until the call ends; return when the caller's first call began."""
        clock = asyncio.get_running_loop()
        number = next(self._calls)
        caller = Caller(self._new_connection(), reply_timeout=self._behaviour.reply_timeout)
        try:
            async with caller.silence():
                self._answered = True
                began = clock.time() if began is None else began
                await caller.listen(self._behaviour.listen_first)
                while waiting and not self._is_over(waiting[0], began):
                    row = await self._ask(caller, waiting[0], began)
                    self._take(replace(row, call=number, warmup=waiting.popleft().warmup))
        except CallError as error:
            if not self._answered:
                raise
            began = clock.time() if began is None else began
            self._take(self._lost(waiting.popleft(), number, str(error)))
            await asyncio.sleep(REDIAL_SECONDS)
        finally:
            self._save(caller, number)
        return began

    async def _ask(self, caller: Caller, turn: PlannedTurn, began: float) -> TurnResult:
        due = None
        if turn.due is not None:
            due = caller.now + began + turn.due - asyncio.get_running_loop().time()
        interruption = None
        if self._behaviour.interrupt_after is not None:
            following = self._questions[(turn.question + 1) % len(self._questions)]
            interruption = PlannedInterruption(following, self._behaviour.interrupt_after)
        question = self._questions[turn.question]
        return await caller.ask(turn.number, question, due=due, interruption=interruption)

    def _is_over(self, turn: PlannedTurn, began: float | None) -> bool:
        """Whether ``turn`` would begin after the end of the run."""
        if self._plan.duration is None or began is None:
            return False
        elapsed = asyncio.get_running_loop().time() - began
        return max(elapsed, turn.due or 0.0) >= self._plan.duration

    def _lost(self, turn: PlannedTurn, call: int, error: str) -> TurnResult:
        question = self._questions[turn.question]
        return TurnResult(
            turn=turn.number,
            file=question.name,
            heard="",
            answered="",
            voice_to_voice_ms=None,
            error=error,
            expected=question.text,
            call=call,
            warmup=turn.warmup,
        )

    def _save(self, caller: Caller, number: int) -> None:
        if self._record is not None:
            path = self._record / f"call-{number:04}.wav"
            write_wav(path, [caller.audio.mouth, caller.audio.ear], caller.audio.rate)
