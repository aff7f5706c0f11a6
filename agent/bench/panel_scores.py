"""Scores of the interaction panel: timelines of calls in, figures out. All functions are pure.

The definitions are those of tau-voice (sierra-research/tau2-bench, docs/interaction-metrics.md),
in exact times and, beside them, in ticks of 0.2 s.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any, Final

from agent.bench.panel_script import EventKind

TICK: Final = 0.2
"""Seconds of a tick."""
YIELD_SECONDS: Final = 2.0
"""Time to fall silent after an interruption began, in seconds."""
SPEAK_ON_SECONDS: Final = 1.0
"""Time after the beginning of a backchannel, a tic or speech to others in which a pause of the
agent counts as yielding, in seconds."""
REPLY_SECONDS: Final = 2.0
"""Time after the end of a tic or of speech to others in which a reply counts as one to it."""

TO_AGENT: Final = (EventKind.TURN, EventKind.INTERRUPTION)
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class CallerEvent:
    """One act of the caller's side in a call. Times are seconds of the call.

    Attributes:
        kind: meaning of the act.
        label: kind of its text or sound.
        start: beginning of its sound.
        end: end of its sound.
        pauses: beginning and end of each pause within it.
        wants_reply: whether the agent should reply.
        text: its words.
    """

    kind: EventKind
    label: str
    start: float
    end: float
    pauses: tuple[Span, ...] = ()
    wants_reply: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True)
class AgentSpan:
    """Audible speech of the agent without a break.

    Attributes:
        start: first audible moment, in seconds of the call.
        end: last audible moment.
        ended_by_itself: whether the reply was over, so that nothing made the agent stop.
    """

    start: float
    end: float
    ended_by_itself: bool = False


@dataclass(frozen=True, slots=True)
class Timeline:
    """What happened in one call, at the caller's end.

    Attributes:
        events: acts of the caller's side, in order.
        agent: speech of the agent, in order, without overlaps.
        turn_ends: seconds at which the agent reported the end of a turn, if it reports them.
    """

    events: tuple[CallerEvent, ...]
    agent: tuple[AgentSpan, ...]
    turn_ends: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ScoredEvent:
    """The outcome of one act.

    Attributes:
        event: the act.
        over: whether the agent was speaking when it began.
        answered: whether a turn was answered; None where no answer was due.
        reply_after: seconds from the end of a turn to the reply.
        yielded: whether the agent fell silent for an interruption; None where there was nothing
            to yield.
        yield_after: seconds from the beginning of an interruption to silence.
        ignored: whether the agent took a backchannel, a tic, noise or speech to others for what
            it is; None where that cannot be told, because its reply ended by itself.
        onsets: beginnings of the agent's speech during a turn.
        cut_off: whether the agent ended a turn with pauses before its end; None without pauses.
        turn_end_after: seconds from the end of a turn to the report of its end.
    """

    event: CallerEvent
    over: bool
    answered: bool | None = None
    reply_after: float | None = None
    yielded: bool | None = None
    yield_after: float | None = None
    ignored: bool | None = None
    onsets: int = 0
    cut_off: bool | None = None
    turn_end_after: float | None = None


def score(timeline: Timeline) -> list[ScoredEvent]:
    """Score the acts of one call, in order."""
    return [
        _score_speech(timeline, number) if event.kind in TO_AGENT else _score_aside(timeline, event)
        for number, event in enumerate(timeline.events)
    ]


def _score_speech(timeline: Timeline, number: int) -> ScoredEvent:
    """Score a turn or an interruption."""
    event = timeline.events[number]
    scored = ScoredEvent(event, over=(spoken := _speaking(timeline, event.start)) is not None)
    if spoken is not None and not _over_by_itself(spoken, event.start + YIELD_SECONDS):
        after = spoken.end - event.start
        yielded = after <= YIELD_SECONDS
        scored = replace(scored, yielded=yielded, yield_after=after if yielded else None)
    onsets = [s.start for s in timeline.agent if event.start < s.start < event.end]
    scored = replace(scored, onsets=len(onsets))
    if event.pauses:
        # The end may be told as the caller goes on.
        ended = [at for at in timeline.turn_ends if event.pauses[0][0] < at < event.end]
        scored = replace(scored, cut_off=bool(onsets or ended))
    return _score_reply(timeline, number, scored)


def _score_reply(timeline: Timeline, number: int, scored: ScoredEvent) -> ScoredEvent:
    """Score the reply to a turn that ended while the agent was silent."""
    event = scored.event
    later = [e.start for e in timeline.events[number + 1 :] if e.kind in TO_AGENT]
    until = later[0] if later else math.inf
    ends = [at for at in timeline.turn_ends if event.end <= at < until]
    if ends:
        scored = replace(scored, turn_end_after=ends[0] - event.end)
    if not event.wants_reply or _speaking(timeline, event.end) is not None:
        return scored
    starts = [s.start for s in timeline.agent if event.end <= s.start < until]
    return replace(
        scored,
        answered=bool(starts),
        reply_after=starts[0] - event.end if starts else None,
    )


def _score_aside(timeline: Timeline, event: CallerEvent) -> ScoredEvent:
    """Score what is no turn: the agent speaks on, or stays silent."""
    spoken = _speaking(timeline, event.start)
    if spoken is None:
        until = event.end + REPLY_SECONDS
        replies = [s for s in timeline.agent if event.start < s.start <= until]
        return ScoredEvent(event, over=False, ignored=not replies)
    if _over_by_itself(spoken, event.start + SPEAK_ON_SECONDS):
        return ScoredEvent(event, over=True)
    return ScoredEvent(event, over=True, ignored=spoken.end > event.start + SPEAK_ON_SECONDS)


def _speaking(timeline: Timeline, at: float) -> AgentSpan | None:
    return next((s for s in timeline.agent if s.start <= at < s.end), None)


def _over_by_itself(span: AgentSpan, until: float) -> bool:
    return span.ended_by_itself and span.end <= until


def on_ticks(timeline: Timeline) -> Timeline:
    """The timeline as a record of ticks has it: sound in a part of a tick fills the tick."""
    events = tuple(
        replace(
            event,
            start=_floor(event.start),
            end=_ceil(event.end),
            pauses=tuple((_ceil(start), _floor(end)) for start, end in event.pauses),
        )
        for event in timeline.events
    )
    spans = [replace(s, start=_floor(s.start), end=_ceil(s.end)) for s in timeline.agent]
    return replace(timeline, events=events, agent=tuple(merged(spans, TICK / 2)))


def _floor(seconds: float) -> float:
    return round(math.floor(seconds / TICK + 1e-6) * TICK, 3)


def _ceil(seconds: float) -> float:
    return round(math.ceil(seconds / TICK - 1e-6) * TICK, 3)


def merged(spans: Iterable[AgentSpan], gap: float) -> list[AgentSpan]:
    """Join spans with less than ``gap`` seconds between them; gaps after a reply's end stay."""
    joined: list[AgentSpan] = []
    for span in spans:
        if joined and span.start - joined[-1].end < gap:
            joined[-1] = replace(span, start=joined[-1].start, end=max(span.end, joined[-1].end))
        else:
            joined.append(span)
    return joined


FIGURES: Final = ("L_R", "L_Y", "R_R", "R_Y", "I_A", "S_BC", "S_VT", "S_ND")


def panel(scored: Sequence[ScoredEvent]) -> dict[str, tuple[float | None, int]]:
    """The panel's figures with the number of events behind each, by name.

    ``sel`` is the mean of S_BC, S_VT and S_ND. ``S_N`` is the share of noises that were ignored,
    ``cut_off`` the share of turns with pauses that the agent ended in a pause, and ``turn_end``
    the mean seconds from the end of a turn to the agent's report of it. None: no events.
    """
    turns = [s for s in scored if s.event.kind in TO_AGENT]
    due = [s for s in turns if s.answered is not None]
    ignored = {kind: _ignored(scored, kind) for kind in EventKind}
    selectivity = [ignored[kind] for kind in SELECTIVITY]
    means = [value for value, _ in selectivity if value is not None]
    return {
        "L_R": _mean(s.reply_after for s in due),
        "L_Y": _mean(s.yield_after for s in turns),
        "R_R": _mean(s.answered for s in due),
        "R_Y": _mean(s.yielded for s in turns),
        "I_A": (sum(s.onsets for s in turns) / len(turns) if turns else None, len(turns)),
        "S_BC": ignored[EventKind.BACKCHANNEL],
        "S_VT": ignored[EventKind.VOCAL_TIC],
        "S_ND": ignored[EventKind.NOT_DIRECTED],
        "sel": (mean(means) if len(means) == len(SELECTIVITY) else None, len(means)),
        "S_N": ignored[EventKind.NOISE],
        "cut_off": _mean(s.cut_off for s in turns),
        "turn_end": _mean(s.turn_end_after for s in turns),
    }


SELECTIVITY: Final = (EventKind.BACKCHANNEL, EventKind.VOCAL_TIC, EventKind.NOT_DIRECTED)


def _ignored(scored: Sequence[ScoredEvent], kind: EventKind) -> tuple[float | None, int]:
    return _mean(s.ignored for s in scored if s.event.kind is kind)


def _mean(values: Iterable[float | bool | None]) -> tuple[float | None, int]:
    known = [float(value) for value in values if value is not None]
    return (mean(known) if known else None, len(known))


def event_row(scored: ScoredEvent) -> dict[str, Any]:
    """The outcome of an act as a JSON row."""
    event = scored.event
    row: dict[str, Any] = {
        "kind": event.kind,
        "label": event.label,
        "text": event.text,
        "start": round(event.start, 3),
        "end": round(event.end, 3),
        "over": scored.over,
        "onsets": scored.onsets,
    }
    numbers = ("reply_after", "yield_after", "turn_end_after")
    for name in ("answered", "yielded", "ignored", "cut_off", *numbers):
        value = getattr(scored, name)
        if value is not None:
            row[name] = round(value, 3) if name in numbers else value
    return row


def counted(scored: Iterable[ScoredEvent]) -> int:
    """Number of outcomes that count for a figure; an act may count for several."""
    names = ("answered", "yielded", "ignored", "cut_off")
    return sum(getattr(s, name) is not None for s in scored for name in names)
