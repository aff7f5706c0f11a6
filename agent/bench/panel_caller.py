"""A caller who holds one scripted conversation with an agent and notes what happened when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from agent.audio.samples import AUDIBLE_DBFS, Samples, resample
from agent.bench.panel_scores import AgentSpan, CallerEvent, Timeline, merged
from agent.bench.panel_script import EventKind, Moment
from agent.bench.panel_voices import SpokenConversation, SpokenStep
from agent.latency.caller import Caller
from agent.latency.connection import (
    AgentConnection,
    AroundConnection,
    ReceivedClear,
    ReceivedEvent,
    ReceivedReplyEnd,
    ReceivedReplyStart,
    ReceivedSpeechStop,
    ReceivedTranscript,
)
from agent.latency.measure import audible_from
from asr.engine import RATE

GREETING_SECONDS: Final = 1.0
"""Time that the agent has to begin a greeting."""
GAP_SECONDS: Final = 0.8
"""Silence of the agent after which the caller takes his next turn."""
IDLE_SECONDS: Final = 1.2
"""Silence after which nobody waits for anything."""
ANSWER_SECONDS: Final = 8.0
"""Time to begin a reply; then the caller speaks again."""
PATIENCE_SECONDS: Final = 15.0
"""Length of a reply that the caller listens to; then he speaks over it."""
AFTER_SECONDS: Final = 2.6
"""Time after a sound in the silence in which the agent may take it for a turn."""
PIECE_SECONDS: Final = 0.02
RAW_GAP: Final = 0.1
"""Seconds; a shorter silence within the agent's speech is part of a word."""
JOINED_GAP: Final = 0.5
"""Seconds; a shorter silence within the agent's speech is a pause between sentences."""
_POLL: Final = 0.02


class WatchedConnection(AroundConnection):
    """A connection that notes what arrives, with a background behind all sound of the caller.

    Args:
        connection: connection to the agent.
        background: sound to be repeated, float32 mono at the connection's rate.
    """

    def __init__(self, connection: AgentConnection, background: Samples) -> None:
        super().__init__(connection)
        self._background = background
        self._at = 0
        self.on_event: Callable[[ReceivedEvent], None] = lambda event: None

    async def send(self, frame: Samples) -> None:
        places = np.arange(self._at, self._at + len(frame)) % len(self._background)
        self._at += len(frame)
        await self._connection.send(np.clip(frame + self._background[places], -1.0, 1.0))

    async def receive(self) -> AsyncIterator[ReceivedEvent]:
        async for event in self._connection.receive():
            self.on_event(event)
            yield event


@dataclass(slots=True)
class HeldConversation:
    """What happened in a call.

    Attributes:
        raw: timeline with the agent's speech as it was heard, for ticks.
        exact: the same, with its pauses between sentences joined.
        skipped: acts for which there was no moment, because a reply was too short or missing.
        heard: transcripts of the agent.
        frame_late: most seconds by which the caller sent a frame late.
        mouth: sound of the caller without the background, at ``rate``.
        ear: sound of the agent at the caller's ear.
    """

    raw: Timeline
    exact: Timeline
    skipped: list[CallerEvent]
    heard: list[tuple[float, str]]
    frame_late: float
    mouth: Samples
    ear: Samples
    rate: int


@dataclass(slots=True)
class _Notes:
    """What arrived from the agent, in seconds of the call."""

    replying: bool = False
    cuts: list[float] = field(default_factory=list)
    """Moments at which a reply was cut."""
    ends: list[float] = field(default_factory=list)
    """Moments at which a reply was reported to be complete."""
    turn_ends: list[float] = field(default_factory=list)
    heard: list[tuple[float, str]] = field(default_factory=list)


class PanelCaller:
    """Holds one conversation; use ``hold`` once.

    Args:
        connection: connection to the agent, not yet opened.
        spoken: the conversation as sound.
    """

    def __init__(self, connection: AgentConnection, spoken: SpokenConversation) -> None:
        background = resample(spoken.background, RATE, connection.rate)
        self._watched = WatchedConnection(connection, background)
        self._watched.on_event = self._note
        self._spoken = spoken
        self._caller = Caller(self._watched)
        self._notes = _Notes()
        self._events: list[CallerEvent] = []
        self._skipped: list[CallerEvent] = []
        self._turn_end = 0.0
        """End of the caller's last words to the agent."""
        self._awaits_reply = False

    async def hold(self) -> HeldConversation:
        """Hold the conversation in real time.

        Raises:
            CallError: the agent does not answer the call, or the connection is lost.
        """
        async with self._caller.silence():
            await self._caller.listen(GREETING_SECONDS)
            for step in self._spoken.steps:
                await self._act(step)
            await self._silent(IDLE_SECONDS)
            await self._until(lambda: not self._notes.replying)  # a story may last
        return self._held()

    async def _act(self, spoken: SpokenStep) -> None:
        """Wait for the moment of a step and play it; skip it if the moment does not come."""
        step = spoken.step
        if step.moment is Moment.OVER:
            if not await self._over_reply(step.after):
                self._skipped.append(CallerEvent(step.kind, step.label, 0.0, 0.0, text=step.text))
                return
        else:
            await self._silent(GAP_SECONDS if step.moment is Moment.NEXT else IDLE_SECONDS)
        event = self._say(spoken)
        self._events.append(event)
        await self._until(lambda: self._caller.now >= event.end)
        if step.kind in (EventKind.TURN, EventKind.INTERRUPTION):
            self._turn_end, self._awaits_reply = event.end, step.wants_reply
        if step.moment is Moment.IDLE:
            await self._until(lambda: self._caller.now >= event.end + AFTER_SECONDS)

    def _say(self, spoken: SpokenStep) -> CallerEvent:
        step, rate = spoken.step, self._caller.audio.rate
        samples = resample(spoken.samples, RATE, rate)
        start = self._caller.audio.say(samples, self._caller.now) / rate
        return CallerEvent(
            step.kind,
            step.label,
            start,
            start + len(samples) / rate,
            tuple((start + begin, start + end) for begin, end in spoken.pauses),
            step.wants_reply,
            step.text,
        )

    async def _silent(self, seconds: float) -> None:
        """Wait for the reply that is due and its end, then for that many seconds of silence."""
        if self._awaits_reply:
            await self._until(lambda: self._reply_start() is not None, ANSWER_SECONDS)
        self._awaits_reply = False
        last = self._events[-1].end if self._events else 0.0
        await self._until(
            lambda: min(self._quiet_for(), self._caller.now - last) > seconds, PATIENCE_SECONDS
        )

    async def _over_reply(self, after: float) -> bool:
        """Wait until the reply has been heard for ``after`` seconds; False: it is over before."""
        await self._until(lambda: self._reply_start() is not None, ANSWER_SECONDS)
        begins = self._reply_start()
        if begins is None:
            return False
        self._awaits_reply = False
        await self._until(
            lambda: self._caller.now >= begins + after or self._quiet_for() > GAP_SECONDS,
            PATIENCE_SECONDS,
        )
        return self._caller.now - self._caller.audio.audible_until() < RAW_GAP

    def _reply_start(self) -> float | None:
        """Second at which the agent began to speak after the caller's last words to it."""
        audio = self._caller.audio
        found = audible_from(audio, int(self._turn_end * audio.rate))
        return None if found is None else found / audio.rate

    def _quiet_for(self) -> float:
        """Seconds since the agent was audible; negative while it is, 0 while more will come."""
        quiet = self._caller.now - self._caller.audio.audible_until()
        return min(quiet, 0.0) if self._notes.replying else quiet

    async def _until(self, over: Callable[[], bool], seconds: float = 60.0) -> None:
        deadline = self._caller.now + seconds
        while not over() and self._caller.now < deadline:
            self._caller.check()
            await asyncio.sleep(_POLL)

    def _note(self, event: ReceivedEvent) -> None:
        now, notes = self._caller.now, self._notes
        match event:
            case ReceivedReplyStart():
                notes.replying = True
            case ReceivedReplyEnd():
                notes.replying = False
                (notes.cuts if event.cut else notes.ends).append(now)
            case ReceivedClear():
                audible = self._caller.audio.audible_until() > now
                # Over the telephone, only an interruption clears.
                if audible or not self._watched.reports_replies:
                    notes.cuts.append(now)
            case ReceivedSpeechStop():
                notes.turn_ends.append(now)
            case ReceivedTranscript(text):
                notes.heard.append((round(now, 3), text))

    def _held(self) -> HeldConversation:
        audio, notes = self._caller.audio, self._notes
        heard = audible_spans(audio.ear, audio.rate)
        reports = self._watched.reports_replies
        raw, joined = (
            tuple(ended(span, notes.cuts, notes.ends if reports else None) for span in spans)
            for spans in (merged(heard, RAW_GAP), merged(heard, JOINED_GAP))
        )
        timeline = Timeline(tuple(self._events), raw, tuple(notes.turn_ends))
        exact = replace(timeline, agent=joined)
        return HeldConversation(
            timeline,
            exact,
            self._skipped,
            notes.heard,
            self._caller.frame_late,
            audio.mouth,
            audio.ear,
            audio.rate,
        )


def audible_spans(ear: Samples, rate: int) -> list[AgentSpan]:
    """The audible pieces of 20 ms at the ear, joined where they touch."""
    size = int(rate * PIECE_SECONDS)
    pieces = np.pad(np.abs(ear), (0, -len(ear) % size)).reshape(-1, size).max(axis=1, initial=0.0)
    loud = np.concatenate([[False], pieces > 10 ** (AUDIBLE_DBFS / 20), [False]])
    edges = np.flatnonzero(np.diff(loud.astype(np.int8)))
    return [
        AgentSpan(float(begin * PIECE_SECONDS), float(end * PIECE_SECONDS))
        for begin, end in edges.reshape(-1, 2)
    ]


def ended(span: AgentSpan, cuts: list[float], ends: list[float] | None) -> AgentSpan:
    """The span with whether it ended by itself.

    Args:
        span: speech of the agent.
        cuts: moments at which a reply was cut.
        ends: moments at which a reply was reported complete; None: the agent does not report.
    """
    cut = any(span.start <= at < span.end + 1.0 for at in cuts)
    done = ends is None or any(span.start <= at < span.end + JOINED_GAP for at in ends)
    return replace(span, ended_by_itself=done and not cut)
