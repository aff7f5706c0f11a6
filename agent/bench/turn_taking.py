"""``onebreath bench turns``: turn taking with and without speculation, and interruptions.

Two servers run, one with and one without speculation; only one of them is called at a time. The
questions are asked in blocks of five in alternating order, so that changes in the speed of the
machine affect both servers.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agent.bench.figures import Progress
from agent.bench.questions import spoken_questions
from agent.bench.server_process import running_server
from agent.errors import CallError
from agent.latency.caller import Caller
from agent.latency.question import SpokenQuestion
from agent.latency.realtime import RealtimeConnection
from agent.latency.results import TurnResult
from agent.protocol import WIRE_RATE

Event = dict[str, Any]

BLOCK = 5
"""Questions asked of one server before the other."""
INTERRUPT_AFTER = 0.8
"""Seconds of a reply before it is interrupted."""
EVENT_TIMEOUT = 20.0
"""Longest wait for an event, in seconds."""


@dataclass(frozen=True, slots=True)
class AskedTurn:
    """One question with its result.

    Attributes:
        speculation: whether the server speculates.
        result: measured result of the turn.
        hit: whether a reply that was begun before the end of the turn was used; None: unknown.
        cut_off: whether the agent ended the turn before the caller had finished.
    """

    speculation: bool
    result: TurnResult
    hit: bool | None
    cut_off: bool

    def to_row(self) -> dict[str, Any]:
        """The turn as a JSON row."""
        kind = {"what": "turn", "speculation": self.speculation}
        return {**kind, **asdict(self.result), "hit": self.hit, "cut_off": self.cut_off}


@dataclass(frozen=True, slots=True)
class InterruptedReply:
    """One interrupted reply. Times are in milliseconds.

    Attributes:
        to_silence_ms: time from the caller's first sample to the last audio of the reply.
        after_decision_ms: time from the event that stops playback to the last audio of the reply;
            0: no audio came after the event.
    """

    to_silence_ms: float
    after_decision_ms: float

    def to_row(self) -> dict[str, Any]:
        """The interruption as a JSON row."""
        return {"what": "interruption", **asdict(self)}


@dataclass(slots=True)
class TurnFigures:
    """All turns and interruptions of a benchmark."""

    turns: list[AskedTurn] = field(default_factory=list)
    interruptions: list[InterruptedReply] = field(default_factory=list)

    def rows(self) -> list[dict[str, Any]]:
        """All turns and interruptions as JSON rows."""
        turns = [turn.to_row() for turn in self.turns]
        return turns + [interruption.to_row() for interruption in self.interruptions]

    def summary(self) -> dict[str, Any]:
        """Summarise the turns; figures without speculation are in ``without_speculation``."""
        on, off = self._kind(True), self._kind(False)
        known = [turn.hit for turn in self.turns if turn.speculation and turn.hit is not None]
        on["speculation_hit_rate"] = _rate(known)
        silence = [i.after_decision_ms for i in self.interruptions]
        heard = [i.to_silence_ms for i in self.interruptions]
        on["silence_after_interrupt_ms"] = max(silence, default=None)
        on["interrupt_to_silence_p50_ms"] = round(statistics.median(heard), 1) if heard else None
        return {**on, "without_speculation": off, "n": len(self.turns) // 2}

    def _kind(self, speculation: bool) -> dict[str, Any]:
        turns = [turn for turn in self.turns if turn.speculation is speculation]
        heard = [turn.result.voice_to_voice_ms for turn in turns]
        times = [ms for ms in heard if ms is not None]
        p50, p95 = np.percentile(times, [50, 95]) if times else (None, None)
        return {
            "voice_to_voice_p50_ms": p50 if p50 is None else round(float(p50), 1),
            "voice_to_voice_p95_ms": p95 if p95 is None else round(float(p95), 1),
            "false_cutoff_rate": _rate([turn.cut_off for turn in turns]),
            "unanswered": sum(turn.result.error is not None for turn in turns),
        }


def _rate(outcomes: Sequence[bool]) -> float | None:
    return round(sum(outcomes) / len(outcomes), 4) if outcomes else None


def run_turns(
    config: Path | None, questions: int, interruptions: int, progress: Progress
) -> TurnFigures:
    """Ask both servers ``questions`` questions and interrupt replies; about 12 s per question.

    Args:
        config: settings file of the servers; None: the default one.
        questions: number of spoken questions.
        interruptions: number of replies to interrupt.
        progress: called with a description of each step.

    Raises:
        CallError: a server does not start, or a connection is lost.
    """
    progress("synthesizing the questions")
    asked, stories, stop = spoken_questions(questions)
    with ExitStack() as servers:
        urls = {}
        for speculation in (True, False):
            variables = {"ONEBREATH_TURNS__SPECULATION": str(speculation).lower()}
            port, _ = servers.enter_context(
                running_server(progress, config=config, variables=variables)
            )
            urls[speculation] = f"ws://127.0.0.1:{port}/v1/realtime"
        return asyncio.run(_measure(urls, asked, (stories, stop, interruptions), progress))


async def _measure(
    urls: dict[bool, str],
    asked: Sequence[SpokenQuestion],
    interrupting: tuple[Sequence[SpokenQuestion], SpokenQuestion, int],
    progress: Progress,
) -> TurnFigures:
    figures = TurnFigures()
    for speculation, url in urls.items():
        await _ask(url, asked[:1], speculation)  # warms up
    blocks = [asked[at : at + BLOCK] for at in range(0, len(asked), BLOCK)]
    for number, block in enumerate(blocks):
        for speculation in (True, False) if number % 2 == 0 else (False, True):
            kind = "with" if speculation else "without"
            progress(f"block {number + 1} of {len(blocks)}, {kind} speculation")
            figures.turns += await _ask(urls[speculation], block, speculation)
    stories, stop, count = interrupting
    for number in range(count):
        progress(f"interruption {number + 1} of {count}")
        found = await _interrupt(urls[True], stories[number % len(stories)], stop)
        figures.interruptions += [] if found is None else [found]
    return figures


async def _ask(url: str, questions: Sequence[SpokenQuestion], speculation: bool) -> list[AskedTurn]:
    """Ask the questions in one call."""
    events: list[Event] = []
    caller = Caller(RealtimeConnection(url, on_event=events.append))
    turns = []
    async for result in caller.turns(questions):
        turns.append(_turn(speculation, result, events))
        events.clear()
    return turns


def _turn(speculation: bool, result: TurnResult, events: Sequence[Event]) -> AskedTurn:
    kinds = [event["type"] for event in events]
    timed = [event for event in events if event["type"] == "onebreath.turn.timings"]
    timings = timed[-1] if timed else {}
    tried = timings.get("speculation")
    hit = bool(tried and tried["hit"]) if "speculation" in timings else None
    # Each question is one turn; several commits mean that the agent cut the caller off.
    return AskedTurn(speculation, result, hit, kinds.count("input_audio_buffer.committed") > 1)


async def _interrupt(
    url: str, story: SpokenQuestion, stop: SpokenQuestion
) -> InterruptedReply | None:
    """Interrupt one reply; None if the reply had ended before."""
    events: list[tuple[float, Event]] = []
    connection = RealtimeConnection(url, on_event=lambda event: events.append((caller.now, event)))
    caller = Caller(connection)
    async with caller.silence():
        caller.audio.say(story.samples)
        first = await _first(events, "response.output_audio.delta")
        await asyncio.sleep(INTERRUPT_AFTER)
        interrupted, asked = first[1]["response_id"], len(events)
        begins = caller.audio.say(stop.samples) / WIRE_RATE
        ended = await _first(events, "response.done", asked)
        if ended[1]["response"]["status"] != "cancelled":
            return None
        await asyncio.sleep(1.0)  # wait for late audio
    return _silenced(events[asked:], interrupted, begins)


def _silenced(
    events: Sequence[tuple[float, Event]], interrupted: str, begins: float
) -> InterruptedReply:
    """Measure how the reply with id ``interrupted`` stopped after second ``begins``."""
    stops = ("onebreath.playback.stop", "input_audio_buffer.speech_started")
    stopped = next(at for at, event in events if event["type"] in stops)
    sound = [
        at
        for at, event in events
        if event["type"] == "response.output_audio.delta" and event["response_id"] == interrupted
    ]
    silent = max([stopped, *sound])
    return InterruptedReply(round((silent - begins) * 1000, 1), round((silent - stopped) * 1000, 1))


async def _first(
    events: list[tuple[float, Event]], kind: str, start: int = 0
) -> tuple[float, Event]:
    try:
        async with asyncio.timeout(EVENT_TIMEOUT):
            while True:
                for at, event in events[start:]:
                    if event["type"] == kind:
                        return at, event
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise CallError(f"no {kind} within {EVENT_TIMEOUT:.0f} s") from None
