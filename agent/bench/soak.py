"""``onebreath bench soak``: many short calls to one server; does a turn get stuck, does it grow.

The server's own sessions and engines run in this process, in virtual time (ADR 32): a call takes
the CPU time of its engines and no more.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import psutil

from agent.audio.samples import Samples
from agent.bench.figures import Progress
from agent.bench.panel_caller import PanelCaller
from agent.bench.panel_scores import score
from agent.bench.panel_script import Half, conversations
from agent.bench.panel_voices import PanelVoices, SpokenConversation
from agent.bench.soak_script import CallDraw, SoakCall, requests
from agent.bench.virtual_call import VirtualConnection
from agent.config.settings import Settings
from agent.errors import CallError
from agent.latency.connection import (
    AgentConnection,
    AroundConnection,
    ReceivedError,
    ReceivedEvent,
    ReceivedReplyEnd,
    ReceivedReplyStart,
    ReceivedSpeechStop,
)
from agent.runtime.engine_tasks import Engines
from agent.runtime.engines import load_tts, thread_plan
from agent.server.app import AgentServer

SPOKEN: Final = 4
"""Conversations of the panel whose acts are spoken once and drawn from."""
LONGEST_CALL: Final = 300.0
"""Seconds of a call, on its own clock, after which it counts as stuck."""
WARM_CALLS: Final = 100
"""Calls after which growth is counted, or half of all calls if they are fewer than twice that."""
MOST_GROWTH: Final = 0.02
"""Share by which the resident memory may grow from there to the last call."""
TOOL: Final = "agent.bench.soak_tool:opening_hours"


def soak_settings(settings: Settings) -> Settings:
    """The settings with the function that callers ask for."""
    functions = (*settings.tools.functions, TOOL)
    return settings.model_copy(
        update={"tools": settings.tools.model_copy(update={"functions": functions})}
    )


def speak_acts(settings: Settings, progress: Progress) -> list[SpokenConversation]:
    """The conversations whose acts are drawn, as sound.

    Raises:
        OnebreathError, TtsError: a voice is missing.
    """
    with closing(load_tts(settings, thread_plan(settings).tts, progress)) as piper:
        voices = PanelVoices(piper)
        scripts = [*conversations(Half.BUILD, SPOKEN), requests()]
        spoken = []
        for number, script in enumerate(scripts, 1):
            progress(f"speaking the callers' acts, {number} of {len(scripts)}")
            spoken.append(voices.speak(script))
        return spoken


@dataclass(frozen=True, slots=True)
class Usage:
    """What the server holds after some calls, with none running.

    Attributes:
        calls: calls that were held.
        resident_mb: resident memory of this process, in MB (10^6 bytes), without what is free.
        mapped_mb: the part of it that belongs to files, such as weights: pages that calls have
            touched, which the system drops when it needs the memory.
        voice_mb: that of the voice's process.
        threads, files: threads and open files of this process.
        tasks: tasks of the event loop.
        sessions: calls that the server has not let go, and their parts in its lists.
        objects: objects that Python's garbage collector knows.
    """

    calls: int
    resident_mb: float
    mapped_mb: float
    voice_mb: float
    threads: int
    files: int
    tasks: int
    sessions: int
    objects: int

    @property
    def own_mb(self) -> float:
        """Resident memory that only the end of the process gives back, in MB."""
        return self.resident_mb - self.mapped_mb

    @classmethod
    def now(cls, calls: int, server: AgentServer) -> Usage:
        gc.collect()
        _give_back()
        process = psutil.Process()
        memory = process.memory_info()
        voices = sum(child.memory_info().rss for child in process.children(recursive=True))
        return cls(
            calls,
            round(memory.rss / 1e6, 1),
            round(getattr(memory, "shared", 0) / 1e6, 1),  # Linux tells it
            round(voices / 1e6, 1),
            threading.active_count(),
            process.num_fds(),
            len(asyncio.all_tasks()),
            len(server.calls) + len(server.calls.leavers),
            len(gc.get_objects()),
        )


def _give_back() -> None:
    """Let the allocator return what is free: glibc keeps it, in pieces, for the next calls."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@dataclass(slots=True)
class HeldCall:
    """One call and what became of it.

    Attributes:
        drawn: the call.
        seconds: seconds that it took, on its own clock.
        cpu_seconds: CPU seconds of this process in the meantime; other calls' with several at once.
        turns: ends of turns that the agent reported.
        replies, cut, failed: replies that began, were interrupted, and failed.
        unanswered: turns that wanted a reply and were not answered within 8 s.
        told: errors that the agent reported.
        stuck: why the call counts as stuck; None: it does not.
        error: why the call was lost; None: it was not.
    """

    drawn: SoakCall
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    turns: int = 0
    replies: int = 0
    cut: int = 0
    failed: int = 0
    unanswered: int = 0
    told: list[str] = field(default_factory=list)
    stuck: str | None = None
    error: str | None = None
    replying: bool = field(default=False, repr=False)

    def row(self) -> dict[str, Any]:
        """The figures of the call."""
        names = ("turns", "replies", "cut", "failed", "unanswered", "told", "stuck", "error")
        return {
            "what": "call",
            "call": self.drawn.number,
            "acts": self.drawn.acts,
            "hangs_up": self.drawn.hangs_up_at is not None,
            "seconds": round(self.seconds, 1),
            "cpu_seconds": round(self.cpu_seconds, 2),
            **{name: getattr(self, name) for name in names},
        }

    def note(self, event: ReceivedEvent) -> None:
        """Count what arrived from the agent."""
        match event:
            case ReceivedSpeechStop():
                self.turns += 1
            case ReceivedReplyStart():
                self.replies += 1
                self.replying = True
            case ReceivedReplyEnd():
                self.replying = False
                self.cut += event.cut
                self.failed += event.error is not None
            case ReceivedError(message):
                self.told.append(message)


class _Noted(AroundConnection):
    """A connection whose events are counted."""

    def __init__(self, connection: AgentConnection, held: HeldCall) -> None:
        super().__init__(connection)
        self._held = held

    async def send(self, frame: Samples) -> None:
        await self._connection.send(frame)

    async def receive(self) -> AsyncIterator[ReceivedEvent]:
        async for event in self._connection.receive():
            self._held.note(event)
            yield event


async def hold_call(connection: AgentConnection, drawn: SoakCall) -> HeldCall:
    """Hold one call to its end, or to the moment at which its caller hangs up."""
    held = HeldCall(drawn)
    loop, cpu = asyncio.get_running_loop(), time.process_time()
    began = loop.time()
    try:
        async with asyncio.timeout(drawn.hangs_up_at or LONGEST_CALL):
            found = await PanelCaller(_Noted(connection, held), drawn.spoken).hold()
    except TimeoutError:
        if drawn.hangs_up_at is None:
            held.stuck = f"not at its end after {LONGEST_CALL:g} s"
    except CallError as error:
        held.error = str(error)
    else:
        held.unanswered = sum(scored.answered is False for scored in score(found.exact))
        if held.replying:
            held.stuck = "a reply began and did not end"
    held.seconds, held.cpu_seconds = loop.time() - began, time.process_time() - cpu
    return held


async def soak(
    engines: Engines,
    settings: Settings,
    draw: CallDraw,
    numbers: Sequence[int],
    at_once: int,
    take: Callable[[HeldCall | Usage], None],
) -> None:
    """Hold calls, some at once, to one server, which is looked at when none is running.

    Args:
        engines: measured engines (`measured_engines`), on a virtual loop.
        numbers: numbers of the calls.
        at_once: number of calls at once.
        take: called with each call as it ends, and with what the server holds now and then.
    """
    server = AgentServer(settings, engines)
    slots = asyncio.Semaphore(at_once)

    async def hold(number: int) -> None:
        async with slots:
            connection = VirtualConnection(engines, settings, server)
            take(await hold_call(connection, draw.call(number)))

    take(Usage.now(0, server))
    done = 0
    for batch in batches(numbers):
        async with asyncio.TaskGroup() as calls:
            for number in batch:
                calls.create_task(hold(number))
        done += len(batch)
        await asyncio.sleep(1.0)
        take(Usage.now(done, server))


def batches(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """The calls between two looks at the server: `WARM_CALLS` each, at least two batches."""
    size = max(1, min(WARM_CALLS, len(numbers) // 2))
    for begin in range(0, len(numbers), size):
        yield numbers[begin : begin + size]


@dataclass(slots=True)
class Soak:
    """All that a soak found.

    Attributes:
        calls: the calls that were held.
        usage: what the server held before the first, now and then, and after the last.
    """

    calls: list[HeldCall] = field(default_factory=list)
    usage: list[Usage] = field(default_factory=list)

    def take(self, found: HeldCall | Usage) -> None:
        if isinstance(found, Usage):
            self.usage.append(found)
        else:
            self.calls.append(found)

    @property
    def stuck(self) -> int:
        """Calls that were stuck, and those that the server did not let go."""
        kept = self.usage[-1].sessions if self.usage else 0
        return sum(call.stuck is not None for call in self.calls) + kept

    @property
    def lost(self) -> int:
        """Calls that were lost."""
        return sum(call.error is not None for call in self.calls)

    @property
    def growth(self) -> float | None:
        """Share by which memory grew since it was warm, without files; None with too few calls."""
        warm = [usage for usage in self.usage if usage.calls >= WARM_CALLS]
        if len(warm) < 2:
            return None
        return warm[-1].own_mb / warm[0].own_mb - 1

    @property
    def met(self) -> bool:
        """Whether nothing was stuck, lost or failed, and memory grew no more than it may."""
        grew = self.growth is not None and self.growth > MOST_GROWTH
        failed = any(call.failed or call.told for call in self.calls)
        return not (self.stuck or self.lost or failed or grew)

    def summary(self) -> dict[str, Any]:
        """The figures of all calls."""
        calls = self.calls
        growth = self.growth
        return {
            "what": "soak",
            "calls": len(calls),
            "hung_up": sum(call.drawn.hangs_up_at is not None for call in calls),
            **{
                name: sum(getattr(call, name) for call in calls)
                for name in ("turns", "replies", "cut", "failed", "unanswered")
            },
            "stuck": self.stuck,
            "lost": self.lost,
            "growth": None if growth is None else round(growth, 4),
            "call_minutes": round(sum(call.seconds for call in calls) / 60, 1),
            "met": self.met,
        }

    def usage_rows(self) -> list[dict[str, Any]]:
        """A row for each look at the server."""
        return [{"what": "usage", **asdict(usage)} for usage in self.usage]
