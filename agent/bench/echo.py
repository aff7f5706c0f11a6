"""``onebreath bench echo``: calls on a loudspeaker, in virtual time.

The recogniser, the VAD and the voice are real; the replies are scripted, so that they are long and
the same in every run.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Final

from agent.bench.echo_caller import LoudspeakerConnection
from agent.bench.echo_path import EchoRoom, spread
from agent.bench.figures import Progress
from agent.bench.questions import STOP, spoken
from agent.bench.virtual_call import VirtualConnection, measured_engines, on_new_clock
from agent.bench.virtual_time import in_virtual_time
from agent.config.settings import Settings
from agent.errors import CallError
from agent.latency.caller import Caller, PlannedInterruption
from agent.latency.connection import AgentConnection
from agent.latency.question import SpokenQuestion
from agent.responders.scripted import ScriptedResponder
from agent.runtime.engines import load_tts, thread_plan

REQUESTS: Final = ("Tell me a story about a dog.", "Tell me all that you know about Paris.")
"""Questions with the two long replies."""
STORIES: Final = (
    "There was once an old brown dog who lived beside a harbour. Every morning he walked along the "
    "wall and counted the boats. One day a boat was missing, and nobody but the dog had noticed. "
    "He barked until the baker came out, and the baker called the coast guard. They found the "
    "fisherman before dark, cold but well. Since that evening there is always a warm place for the "
    "dog beside the oven, and a fresh bun on Sundays.",
    "Paris is the capital of France and lies on the river Seine. About two million people live in "
    "the city itself, and more than ten million around it. The tower that all know was built "
    "for a fair, and was meant to stand for twenty years. The museum in the old palace holds more "
    "paintings than anyone can see in a week. In summer there are chairs and sand on the banks of "
    "the river, and music in the parks until late in the evening.",
)
SHORT: Final = "That makes five."
"""Reply to the interruption."""
REPLY_SECONDS: Final = 60.0
"""Time limit of a reply."""
AFTER: Final = (1.0, 2.3, 4.1, 6.2)
"""Seconds of a reply before it is interrupted, in turn."""
MORE_SECONDS: Final = 0.4
"""Seconds by which the agent may yield later than to a caller on headphones."""
SECONDS_A_ROOM: Final = 20.0
"""Seconds of agent's speech for which a room is worth a call."""
FALSE_TARGET: Final = 0.05
YIELD_TARGET: Final = 0.98


def script(words: str) -> str:
    """The reply to the caller's words."""
    lowered = words.lower()
    if "plus" in lowered or "stop" in lowered:
        return SHORT
    # A request that was misheard has a long reply, too: "pairs" for Paris is not the echo's fault.
    return STORIES[0] if "dog" in lowered else STORIES[1]


@dataclass(slots=True)
class EchoCall:
    """The call in one room.

    Attributes:
        room: the room; None: on headphones.
        alone: seconds for which the agent spoke while the caller was silent.
        cuts: replies that it broke off then.
        turns: turns that it took its own words, or noise, for.
        yields: seconds from the beginning of each interruption to the agent's silence; None: the
            reply that was to be interrupted was over, or the agent did not yield.
        error: reason for which the call ended early; None: it did not.
    """

    room: EchoRoom | None
    alone: float = 0.0
    cuts: int = 0
    turns: int = 0
    yields: list[float | None] = field(default_factory=list)
    error: str | None = None

    def yielded(self, quiet: Sequence[float | None]) -> int:
        """Number of interruptions to which the agent yielded in time.

        Args:
            quiet: seconds that it took on headphones, by the place in ``AFTER``.
        """
        known = [seconds for seconds in quiet if seconds is not None]
        usual = statistics.median(known) if known else 0.0
        count = 0
        for place, seconds in enumerate(self.yields):
            base = quiet[place % len(AFTER)] if place % len(AFTER) < len(quiet) else None
            limit = (usual if base is None else base) + MORE_SECONDS
            count += seconds is not None and seconds <= limit
        return count

    def row(self, quiet: Sequence[float | None]) -> dict[str, Any]:
        """The figures of the call."""
        yielded = [1000 * seconds for seconds in self.yields if seconds is not None]
        return {
            "room": "headphones" if self.room is None else self.room.name,
            "alone_s": round(self.alone, 1),
            "false_interruptions": self.cuts,
            "false_turns": self.turns,
            "interruptions": len(self.yields),
            "yielded": self.yielded(quiet),
            "yield_p50_ms": round(statistics.median(yielded)) if yielded else None,
            "yield_max_ms": round(max(yielded)) if yielded else None,
            "error": self.error,
        }


def summary(calls: Sequence[EchoCall], quiet: Sequence[float | None]) -> dict[str, Any]:
    """The row of all rooms, beside its targets."""
    minutes = sum(call.alone for call in calls) / 60
    made = sum(len(call.yields) for call in calls)
    false = sum(call.cuts for call in calls)
    rate = round(false / minutes, 3) if minutes else None
    share = round(sum(call.yielded(quiet) for call in calls) / made, 3) if made else None
    return {
        "room": "all",
        "alone_min": round(minutes, 2),
        "false_a_minute": rate,
        "false_target": FALSE_TARGET,
        "yielded_share": share,
        "yield_target": YIELD_TARGET,
        "met": rate is not None
        and rate <= FALSE_TARGET
        and (share is None or share >= YIELD_TARGET)
        and not any(call.error for call in calls),
    }


def run_echo_bench(
    settings: Settings, minutes: float, interruptions: int, progress: Progress
) -> Iterator[dict[str, Any]]:
    """Hold calls on a loudspeaker; yield a row for each room, then one for all.

    Args:
        settings: of the server; the responder is replaced by the script.
        minutes: of agent's speech without a caller, over all rooms.
        interruptions: over all rooms; each moment of ``AFTER`` is tried on headphones as well.
        progress: called with a description of each step.

    Raises:
        OnebreathError, AsrError, TtsError: an engine cannot be loaded.
    """
    progress("speaking the caller's part")
    with closing(load_tts(settings, thread_plan(settings).tts, progress)) as voice:
        requests = [spoken(voice, text) for text in REQUESTS]
        stop = spoken(voice, STOP)
    scripted = settings.responder.model_copy(update={"engine": "scripted"})
    used = settings.model_copy(update={"responder": scripted})
    with measured_engines(used, progress) as loaded:
        engines = replace(loaded, responder=ScriptedResponder(script))

        def connect() -> AgentConnection:
            return VirtualConnection(on_new_clock(engines), used)

        yield from measured(connect, minutes, interruptions, requests, stop, progress)


def measured(
    connect: Callable[[], AgentConnection],
    minutes: float,
    interruptions: int,
    requests: Sequence[SpokenQuestion],
    stop: SpokenQuestion,
    progress: Progress,
) -> Iterator[dict[str, Any]]:
    """The rows of `run_echo_bench`, with an agent behind ``connect``."""
    rooms = spread(max(1, int(60 * minutes / SECONDS_A_ROOM)))
    progress("on headphones")
    tried = min(interruptions, len(AFTER))
    base = in_virtual_time(hold_call(connect(), None, 0.0, tried, requests, stop))
    quiet, calls = base.yields, []
    yield base.row(quiet)
    for place, room in enumerate(rooms):
        progress(room.name)
        seconds = 60 * minutes / len(rooms)
        count = interruptions // len(rooms) + (place < interruptions % len(rooms))
        call = in_virtual_time(hold_call(connect(), room, seconds, count, requests, stop))
        calls.append(call)
        yield call.row(quiet)
    yield summary(calls, quiet)


async def hold_call(
    connection: AgentConnection,
    room: EchoRoom | None,
    seconds: float,
    interruptions: int,
    requests: Sequence[SpokenQuestion],
    stop: SpokenQuestion,
) -> EchoCall:
    """Let the agent speak for ``seconds``, then interrupt it a number of times, in one call."""
    loud = LoudspeakerConnection(connection, room)
    call, caller = EchoCall(room), Caller(loud, reply_timeout=REPLY_SECONDS)
    try:
        async with caller.silence():
            number = 0
            while call.alone < seconds:
                number += 1
                await _listen(caller, loud, call, requests[number % len(requests)], number)
            for place in range(interruptions):
                number += 1
                planned = PlannedInterruption(stop, AFTER[place % len(AFTER)])
                asked = requests[number % len(requests)]
                result = await caller.ask(number, asked, interruption=planned)
                waited = result.interrupt_ms
                call.yields.append(None if waited is None else waited / 1000)
    except CallError as error:
        call.error = str(error)
    return call


async def _listen(
    caller: Caller,
    loud: LoudspeakerConnection,
    call: EchoCall,
    question: SpokenQuestion,
    number: int,
) -> None:
    """Ask for a long reply and listen to it.

    Raises:
        CallError: the connection is lost, or the agent said nothing.
    """
    loud.cuts, loud.transcripts, before = 0, [], loud.spoken
    await caller.ask(number, question)
    if loud.spoken == before:
        raise CallError("the agent said nothing")
    call.alone += loud.spoken - before
    call.cuts += loud.cuts
    call.turns += max(0, len(loud.transcripts) - 1)
