"""Many calls by a plan, each turn a row: what was due is never lost."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agent.audio.samples import write_wav
from agent.errors import CallError
from agent.latency.caller import REPLY_TIMEOUT, Caller, Interruption
from agent.latency.plan import DueTurn, Plan
from agent.latency.question import Question
from agent.latency.results import TurnResult
from agent.latency.wire import Wire

REDIAL_SECONDS = 1.0
"""Pause after a call that was lost."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How these callers behave."""

    reply_timeout: float = REPLY_TIMEOUT
    listen_first: float = 0.0
    """Seconds at the start of a call in which the agent may speak."""
    interrupt_after: float | None = None
    """Seconds of each reply after which the next question is spoken into it."""


class Load:
    """A run.

    Args:
        dial: makes the wire of one more call.
        take: told each row, as soon as there is one.
        record: directory for one stereo WAV file per call.
    """

    def __init__(
        self,
        plan: Plan,
        questions: Sequence[Question],
        dial: Callable[[], Wire],
        take: Callable[[TurnResult], None],
        habits: Habits | None = None,
        record: Path | None = None,
    ) -> None:
        self._plan = plan
        self._questions = questions
        self._dial = dial
        self._take = take
        self._habits = habits or Habits()
        self._record = record
        self._calls = itertools.count(1)
        self._answered = False

    async def run(self) -> None:
        """Ask everything. A turn whose call is lost becomes a row with the error.

        Raises:
            CallError: a call was refused before any was answered.
        """
        try:
            async with asyncio.TaskGroup() as lines:
                for line in range(self._plan.lines):
                    lines.create_task(self._line(line))
        except* CallError as group:
            first = group.exceptions[0]
        else:
            return
        raise first

    async def _line(self, line: int) -> None:
        turns = self._plan.line(line, len(self._questions))
        waiting: deque[DueTurn] = deque()
        began: float | None = None
        while waiting or (waiting := deque(itertools.islice(turns, self._plan.turns_per_call))):
            if self._is_over(waiting[0], began):
                return
            began = await self._call(waiting, began)

    async def _call(self, waiting: deque[DueTurn], began: float | None) -> float:
        """Ask what waits until the call ends; gives the second at which the line began."""
        clock = asyncio.get_running_loop()
        number = next(self._calls)
        caller = Caller(self._dial(), reply_timeout=self._habits.reply_timeout)
        try:
            async with caller.silence():
                self._answered = True
                began = clock.time() if began is None else began
                await caller.listen(self._habits.listen_first)
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

    async def _ask(self, caller: Caller, turn: DueTurn, began: float) -> TurnResult:
        due = None
        if turn.due is not None:
            due = caller.now + began + turn.due - asyncio.get_running_loop().time()
        interruption = None
        if self._habits.interrupt_after is not None:
            following = self._questions[(turn.question + 1) % len(self._questions)]
            interruption = Interruption(following, self._habits.interrupt_after)
        question = self._questions[turn.question]
        return await caller.ask(turn.number, question, due=due, interruption=interruption)

    def _is_over(self, turn: DueTurn, began: float | None) -> bool:
        """Whether ``turn`` would begin after the end of the run."""
        if self._plan.duration is None or began is None:
            return False
        elapsed = asyncio.get_running_loop().time() - began
        return max(elapsed, turn.due or 0.0) >= self._plan.duration

    def _lost(self, turn: DueTurn, call: int, error: str) -> TurnResult:
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
            write_wav(path, [caller.line.mouth, caller.line.ear], caller.line.rate)
