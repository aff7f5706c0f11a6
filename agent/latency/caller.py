"""A headless caller: plays recordings in real time over a real wire and listens.

Latency is measured at the caller's ear, from the stereo recording of the call.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agent.errors import CallError
from agent.latency import measure
from agent.latency.line import Line
from agent.latency.measure import Utterance
from agent.latency.question import Question
from agent.latency.results import TurnResult
from agent.latency.turn import Turn
from agent.latency.turn_log import SETTLE_SECONDS, TurnLog
from agent.latency.wire import Wire

FRAMES_PER_SECOND = 50
"""20 ms of sound per message, as a microphone delivers them."""
REPLY_TIMEOUT = 20.0
GAP_SECONDS = 0.3
"""Pause between the end of a reply and the next question."""
HANG_UP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Interruption:
    """What the caller says into the reply."""

    question: Question
    after: float
    """Seconds of the reply that are heard before."""


class Caller:
    """One call. Use ``turns`` once, or ``silence`` once and ``ask`` inside it.

    Args:
        wire: to the agent.
        reply_timeout: seconds from the end of a question until it counts as unanswered.
    """

    def __init__(self, wire: Wire, *, reply_timeout: float = REPLY_TIMEOUT) -> None:
        self._wire = wire
        self._reply_timeout = reply_timeout
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._began = 0.0
        self.line = Line(wire.rate)
        self._log = TurnLog(self.line)

    async def turns(self, questions: Sequence[Question]) -> AsyncIterator[TurnResult]:
        """Ask one question after the other and yield each turn when its reply was heard.

        Raises:
            CallError: nobody answers, or the connection is lost.
        """
        async with self.silence():
            for number, question in enumerate(questions, 1):
                yield await self.ask(number, question)

    @asynccontextmanager
    async def silence(self) -> AsyncIterator[None]:
        """Be on the line and say nothing.

        Raises:
            CallError: nobody answers.
        """
        await self._wire.dial()
        self._began = asyncio.get_running_loop().time()
        self._tasks = [asyncio.create_task(self._speak()), asyncio.create_task(self._listen())]
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            # A server that stopped does not answer the farewell either.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HANG_UP_SECONDS):
                    await self._wire.close()

    @property
    def now(self) -> float:
        """Seconds since the call began."""
        return asyncio.get_running_loop().time() - self._began

    async def ask(
        self,
        number: int,
        question: Question,
        *,
        due: float | None = None,
        interruption: Interruption | None = None,
    ) -> TurnResult:
        """Ask, listen to the end of the reply, measure.

        Args:
            due: second of the call at which the question should begin; None: at once.

        Raises:
            CallError: the connection is lost.
        """
        self._log = TurnLog(self.line)
        samples = question.at(self.line.rate)
        said = Utterance.placed(samples, self.line.say(samples, due or 0.0))
        turn = Turn(number, question, said, self._log)
        if due is not None:
            turn.late = max(0.0, said.begins / self.line.rate - due)
        turn.error = await self._until(
            lambda: self._over(said) or self._may_interrupt(said, interruption)
        )
        turn.timed_out = self.now > said.ends / self.line.rate + self._reply_timeout
        if interruption is not None and self._may_interrupt(said, interruption):
            await self._interrupt(turn, interruption)
        return turn.result(self.now)

    async def listen(self, seconds: float) -> None:
        """Let the agent speak first: wait ``seconds``, and until it is silent.

        Raises:
            CallError: the connection is lost.
        """
        self._log = TurnLog(self.line)
        await self._until(
            lambda: self.now > max(seconds, self.line.audible_until() + GAP_SECONDS), seconds
        )

    async def _speak(self) -> None:
        """The microphone: a frame is sent at the moment its last sample was spoken.

        A late frame does not shift those after it: each is due by its place in the sound.
        """
        size = self.line.rate // FRAMES_PER_SECOND
        spoken = 0
        while True:
            spoken += size
            await asyncio.sleep(max(0.0, spoken / self.line.rate - self.now))
            late = self.now - spoken / self.line.rate
            self._log.frame_late = max(self._log.frame_late, late)
            await self._wire.send(self.line.next_frame(size))
            self._changed.set()

    async def _listen(self) -> None:
        async for arrival in self._wire.receive():
            self._log.take(arrival, self.now)
            self._changed.set()

    async def _interrupt(self, turn: Turn, interruption: Interruption) -> None:
        """Speak into the reply, and wait for the reply to that."""
        log = self._log
        # The end of the reply that is interrupted is not the reply to the interruption.
        awaited = log.replies + 1 + log.replying
        samples = interruption.question.at(self.line.rate)
        said = Utterance.placed(samples, self.line.say(samples, self.now))
        turn.cut_in = said
        turn.error = await self._until(lambda: self._over(said, awaited))

    async def _until(self, over: Callable[[], bool], extra: float = 0.0) -> str | None:
        """Wait until ``over``; what went wrong, in words."""
        deadline: float | None = None
        while not over():
            if deadline is None and not self.line.saying:
                deadline = self.now + self._reply_timeout + extra
            if deadline is not None and self.now > deadline:
                return f"no reply within {self._reply_timeout:.0f} s"
            for task in self._tasks:
                if task.done():
                    raise _why(task)
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await self._changed.wait()
        return "; ".join(self._log.errors) or None

    def _over(self, said: Utterance, replies: int = 1) -> bool:
        log = self._log
        if self.line.saying or log.speaking or log.replying:
            return False
        if self._wire.tells_replies:
            return log.replies >= replies and self.now > self.line.audible_until() + GAP_SECONDS
        heard = measure.audible_from(self.line, said.ends) is not None
        return heard and self.now > self.line.audible_until() + SETTLE_SECONDS

    def _may_interrupt(self, said: Utterance, interruption: Interruption | None) -> bool:
        """Whether so much of the reply was heard by now, and it goes on."""
        if interruption is None:
            return False
        audible = measure.audible_from(self.line, said.ends)
        if audible is None or self.now < audible / self.line.rate + interruption.after:
            return False
        return self._log.replying or self.line.audible_until() > self.now


def _why(task: asyncio.Task[None]) -> Exception:
    error = task.exception()
    return error if isinstance(error, Exception) else CallError("the call ended")
