"""``onebreath bench network``: calls over bad networks, by condition and transport."""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from agent.bench.figures import Progress
from agent.bench.network_caller import NetworkCaller, WebRtcCaller, WebsocketCaller
from agent.bench.network_link import CONDITIONS, Condition
from agent.bench.questions import spoken_questions
from agent.bench.server_process import resident, running_server
from agent.errors import CallError, ConfigError
from agent.latency.caller import REPLY_TIMEOUT, Caller
from agent.latency.question import SpokenQuestion
from agent.latency.results import TurnResult
from agent.latency.transport_names import TransportName
from agent.latency.word_errors import word_error_rate

CALLERS: Final[dict[TransportName, Callable[[int, Condition, int], NetworkCaller]]] = {
    TransportName.WEBRTC: WebRtcCaller,
    TransportName.REALTIME: WebsocketCaller,
}
"""Callers by transport."""
QUESTION_SECONDS: Final = 6.0
"""Seconds that a question and its reply take, as a first guess."""
SETTLE_SECONDS: Final = 1.0
"""Seconds after the last reply at which nothing may wait any more."""
VARIABLES: Final = {
    "ONEBREATH_LOG_LEVEL": "error",
    "ONEBREATH_WEBRTC__ICE_HOSTS": '["127.0.0.1"]',
}


@dataclass(frozen=True, slots=True)
class NetworkTurn:
    """One question over a bad network.

    Attributes:
        result: the measured turn.
        stalled: whether a stall of the network fell into it.
        after_stall: whether it is the first whole turn after a stall.
    """

    result: TurnResult
    stalled: bool
    after_stall: bool

    @property
    def right(self) -> bool:
        """Whether the agent understood every word of the question."""
        expected = self.result.expected or ""
        return bool(self.result.heard) and word_error_rate([(expected, self.result.heard)]) == 0


@dataclass(slots=True)
class NetworkCall:
    """The call of one condition.

    Attributes:
        transport: transport of the call.
        condition: the network.
        asked: number of questions that were to be asked.
        turns: those that were.
        glitches: interruptions of audible sound at the caller's ear.
        most_waiting: most bytes that waited in the relay, in either direction.
        left: bytes that still wait there ``SETTLE_SECONDS`` after the last reply.
        behind: seconds of received sound that the caller has not heard by then.
        dropped: packets that the network has dropped.
        memory: gigabytes of the server at the end.
        error: reason for which the call ended early; None: it did not.
    """

    transport: TransportName
    condition: Condition
    asked: int
    turns: list[NetworkTurn] = field(default_factory=list)
    glitches: int = 0
    most_waiting: int = 0
    left: int = 0
    behind: float = 0.0
    dropped: int = 0
    memory: float | None = None
    error: str | None = None

    def row(self) -> dict[str, Any]:
        """The figures of the call; times in milliseconds."""
        waits = [t.result.voice_to_voice_ms for t in self.turns]
        heard = [wait for wait in waits if wait is not None]
        after = [t.result.voice_to_voice_ms for t in self.turns if t.after_stall]
        fresh = [wait for wait in after if wait is not None]
        minutes = sum(t.result.reply_seconds for t in self.turns) / 60
        return {
            "transport": str(self.transport),
            "condition": self.condition.name,
            "questions": self.asked,
            "words_right": round(sum(t.right for t in self.turns) / self.asked, 3),
            "unanswered": self.asked - len(heard),
            "v2v_p50_ms": round(statistics.median(heard)) if heard else None,
            "v2v_p95_ms": round(float(np.percentile(heard, 95))) if heard else None,
            "v2v_after_stall_ms": round(statistics.median(fresh)) if fresh else None,
            "glitches_a_minute": round(self.glitches / minutes, 2) if minutes else None,
            "most_waiting_kb": round(self.most_waiting / 1000, 1),
            "left_waiting_kb": round(self.left / 1000, 1),
            "behind_ms": round(1000 * self.behind),
            "server_mb": None if self.memory is None else round(1000 * self.memory),
            "error": self.error,
        }


def conditions_of(names: Sequence[str]) -> list[Condition]:
    """The conditions with these names, in the order of the table; without names, all.

    Raises:
        ConfigError: there is no condition of such a name.
    """
    known = [condition.name for condition in CONDITIONS]
    for name in names:
        if name not in known:
            raise ConfigError(f"--conditions: {name!r} is unknown; choose from {', '.join(known)}")
    return [condition for condition in CONDITIONS if not names or condition.name in names]


def network_questions(count: int) -> list[SpokenQuestion]:
    """The first ``count`` questions of the benchmarks, with their words.

    Raises:
        TtsError, AudioError: the voice cannot be loaded, or a recording cannot be read.
    """
    asked, _, _ = spoken_questions(count)
    return [
        SpokenQuestion(each.name, each.samples, each.text or re.sub(r" *\{[^}]*\}", "", each.name))
        for each in asked
    ]


PlannedCall = tuple[TransportName, Condition]


class TimeLeft:
    """Estimates how long the rest of a bench takes.

    Args:
        calls: number of calls of the bench.
        seconds: guess for one call, until the first is over.
        clock: monotonic seconds.
    """

    def __init__(
        self, calls: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._calls = calls
        self._guess = seconds
        self._clock = clock
        self._began = clock()
        self._done = 0

    def finish(self) -> None:
        """Note that one more call is over."""
        self._done += 1

    def __str__(self) -> str:
        taken = self._clock() - self._began
        each = taken / self._done if self._done else self._guess
        minutes = max(1, round((self._calls - self._done) * each / 60))
        return f"{self._done + 1} of {self._calls}, about {minutes} min left"


def run_network_bench(
    calls: Sequence[PlannedCall],
    questions: int,
    seed: int,
    config: Path | None,
    progress: Progress,
) -> Iterator[NetworkCall]:
    """Hold calls with a server in a process of its own, those of one transport after another.

    Args:
        calls: transport and network of each: `TransportName.WEBRTC` or `TransportName.REALTIME`.
        questions: number of spoken questions of each call.
        seed: of losses and delays.
        config: settings file of the server.
        progress: called with a description of each step.

    Raises:
        CallError: the server does not start.
        ConfigError: the word error rate cannot be computed.
    """
    word_error_rate([("warm", "up")])  # before minutes of measuring
    progress("speaking the questions")
    asked = network_questions(questions)
    with running_server(progress, config=config, variables=VARIABLES) as (port, process):
        warm: set[TransportName] = set()
        left = TimeLeft(len(calls), SETTLE_SECONDS + QUESTION_SECONDS * len(asked))
        for transport, condition in calls:
            if transport not in warm:
                progress(f"{transport}: warming up")
                asyncio.run(hold_call(transport, port, CONDITIONS[0], asked[:1], seed))
                warm.add(transport)
            progress(f"{transport}: {condition.name} ({left})")
            yield asyncio.run(hold_call(transport, port, condition, asked, seed, process))
            left.finish()


async def hold_call(
    transport: TransportName,
    port: int,
    condition: Condition,
    questions: Sequence[SpokenQuestion],
    seed: int,
    process: psutil.Process | None = None,
) -> NetworkCall:
    """Ask the questions in one call over a bad network.

    Args:
        port: of the server on this machine.
        process: the server's process; None: its memory is not read.
    """
    connection = CALLERS[transport](port, condition, seed)
    call = NetworkCall(transport, condition, len(questions))
    await converse(connection, questions, call)
    call.memory = None if process is None else resident(process)
    return call


async def converse(
    connection: NetworkCaller,
    questions: Sequence[SpokenQuestion],
    call: NetworkCall,
    *,
    reply_timeout: float = REPLY_TIMEOUT,
) -> None:
    """Ask the questions over a connection, and write the measurements into ``call``."""
    caller = Caller(connection, reply_timeout=reply_timeout)
    try:
        async with caller.silence():
            await _ask_all(caller, connection, questions, call)
            await asyncio.sleep(SETTLE_SECONDS)
            call.behind = connection.behind
            call.left = connection.relay.up.bytes + connection.relay.down.bytes
    except CallError as error:
        call.error = str(error)
    ways = (connection.relay.up, connection.relay.down)
    call.glitches = connection.glitches
    call.most_waiting = max(way.most for way in ways)
    call.dropped = sum(way.dropped for way in ways)


async def _ask_all(
    caller: Caller,
    connection: NetworkCaller,
    questions: Sequence[SpokenQuestion],
    call: NetworkCall,
) -> None:
    stalled_before = False
    for number, question in enumerate(questions, 1):
        began = connection.relay.age
        result = await caller.ask(number, question)
        stalled = call.condition.stalls(began, connection.relay.age)
        call.turns.append(NetworkTurn(result, stalled, stalled_before and not stalled))
        stalled_before = stalled
