"""A headless caller: plays recordings to an agent in real time and records the replies.

Latency is measured at the caller's ear, in the stereo recording of the call.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agent.errors import CallError
from agent.latency import measure
from agent.latency.call_audio import CallAudio
from agent.latency.connection import AgentConnection
from agent.latency.measure import SpeechInterval
from agent.latency.measured_turn import MeasuredTurn
from agent.latency.question import SpokenQuestion
from agent.latency.results import TurnResult
from agent.latency.turn_log import SETTLE_SECONDS, TurnLog

FRAMES_PER_SECOND = 50
"""20 ms of sound per message, as a microphone delivers them."""
REPLY_TIMEOUT = 20.0
"""Default number of seconds from the end of a question until it counts as unanswered."""
GAP_SECONDS = 0.3
"""Pause between the end of a reply and the next question, in seconds."""
HANG_UP_SECONDS = 5.0
"""Time limit for the closing handshake, in seconds."""


@dataclass(frozen=True, slots=True)
class PlannedInterruption:
    """An interruption that the caller makes during the reply.

    Attributes:
        question: recording that is played into the reply.
        after: seconds of audible reply before the interruption begins.
    """

    question: SpokenQuestion
    after: float


class Caller:
    """One call. Use ``turns`` once, or ``silence`` once and ``ask`` inside it.

    Args:
        connection: connection to the agent, not yet opened.
        reply_timeout: seconds from the end of a question until it counts as unanswered.
    """

    def __init__(
        self, connection: AgentConnection, *, reply_timeout: float = REPLY_TIMEOUT
    ) -> None:
        self._connection = connection
        self._reply_timeout = reply_timeout
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._began = 0.0
        self.audio = CallAudio(connection.rate)
        self._log = TurnLog(self.audio)

    async def turns(self, questions: Sequence[SpokenQuestion]) -> AsyncIterator[TurnResult]:
        """Ask the questions one by one; yield each turn after its reply has ended at the ear.

        Raises:
            CallError: the agent does not answer the call, or the connection is lost.
        """
        async with self.silence():
            for number, question in enumerate(questions, 1):
                yield await self.ask(number, question)

    @asynccontextmanager
    async def silence(self) -> AsyncIterator[None]:
        """Connect, send silence while the context is open, and hang up at its end.

        Raises:
            CallError: the agent does not answer the call.
        """
        await self._connection.connect()
        self._began = asyncio.get_running_loop().time()
        self._tasks = [asyncio.create_task(self._speak()), asyncio.create_task(self._listen())]
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            # A server that has stopped does not answer the closing handshake.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HANG_UP_SECONDS):
                    await self._connection.close()

    @property
    def now(self) -> float:
        """Seconds since the call began."""
        return asyncio.get_running_loop().time() - self._began

    @property
    def frame_late(self) -> float:
        """Most seconds by which a frame was sent late since the last question."""
        return self._log.frame_late

    def check(self) -> None:
        """Raise the error of a lost connection.

        Raises:
            CallError: the connection is lost.
        """
        for task in self._tasks:
            if task.done():
                raise _why(task)

    async def ask(
        self,
        number: int,
        question: SpokenQuestion,
        *,
        due: float | None = None,
        interruption: PlannedInterruption | None = None,
    ) -> TurnResult:
        """Play one question, wait for the end of the reply, and measure the turn.

        Args:
            number: number of the turn, kept in the result.
            due: second of the call at which the question should begin; None: at once.
            interruption: interruption to make during the reply, if any.

        Raises:
            CallError: the connection is lost.
        """
        self._log = TurnLog(self.audio)
        samples = question.at(self.audio.rate)
        said = SpeechInterval.placed(samples, self.audio.say(samples, due or 0.0))
        turn = MeasuredTurn(number, question, said, self._log)
        if due is not None:
            turn.late = max(0.0, said.begins / self.audio.rate - due)
        turn.error = await self._until(
            lambda: self._over(said) or self._may_interrupt(said, interruption)
        )
        turn.timed_out = self.now > said.ends / self.audio.rate + self._reply_timeout
        if interruption is not None and self._may_interrupt(said, interruption):
            await self._interrupt(turn, interruption)
        return turn.result(self.now)

    async def listen(self, seconds: float) -> None:
        """Wait ``seconds`` for the agent's greeting, and longer while the agent is audible.

        Raises:
            CallError: the connection is lost.
        """
        self._log = TurnLog(self.audio)
        await self._until(
            lambda: self.now > max(seconds, self.audio.audible_until() + GAP_SECONDS), seconds
        )

    async def _speak(self) -> None:
        """Send the microphone's frames, each when its last sample has been spoken.

        A late frame does not delay the next ones: a frame is due by its position in the audio.
        """
        size = self.audio.rate // FRAMES_PER_SECOND
        spoken = 0
        while True:
            spoken += size
            await asyncio.sleep(max(0.0, spoken / self.audio.rate - self.now))
            late = self.now - spoken / self.audio.rate
            self._log.frame_late = max(self._log.frame_late, late)
            await self._connection.send(self.audio.next_frame(size))
            self._changed.set()

    async def _listen(self) -> None:
        async for received in self._connection.receive():
            self._log.take(received, self.now)
            self._changed.set()

    async def _interrupt(self, turn: MeasuredTurn, interruption: PlannedInterruption) -> None:
        """Play the interruption into the reply and wait for the reply to the interruption."""
        log = self._log
        # The end of the interrupted reply must not count as the reply to the interruption.
        awaited = log.replies + 1 + log.replying
        samples = interruption.question.at(self.audio.rate)
        said = SpeechInterval.placed(samples, self.audio.say(samples, self.now))
        turn.interruption = said
        turn.error = await self._until(lambda: self._over(said, awaited))

    async def _until(self, over: Callable[[], bool], extra: float = 0.0) -> str | None:
        """Wait until ``over()`` is true; return the errors of the turn as text, if any."""
        deadline: float | None = None
        while not over():
            if deadline is None and not self.audio.saying:
                deadline = self.now + self._reply_timeout + extra
            if deadline is not None and self.now > deadline:
                return f"no reply within {self._reply_timeout:.0f} s"
            self.check()
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await self._changed.wait()
        return "; ".join(self._log.errors) or None

    def _over(self, said: SpeechInterval, replies: int = 1) -> bool:
        log = self._log
        if self.audio.saying or log.speaking or log.replying:
            return False
        if self._connection.reports_replies:
            return log.replies >= replies and self.now > self.audio.audible_until() + GAP_SECONDS
        heard = measure.audible_from(self.audio, said.ends) is not None
        return heard and self.now > self.audio.audible_until() + SETTLE_SECONDS

    def _may_interrupt(
        self, said: SpeechInterval, interruption: PlannedInterruption | None
    ) -> bool:
        """Whether ``interruption.after`` seconds of the reply were heard and the reply goes on."""
        if interruption is None:
            return False
        audible = measure.audible_from(self.audio, said.ends)
        if audible is None or self.now < audible / self.audio.rate + interruption.after:
            return False
        return self._log.replying or self.audio.audible_until() > self.now


def _why(task: asyncio.Task[None]) -> Exception:
    error = task.exception()
    return error if isinstance(error, Exception) else CallError("the call ended")
