"""``onebreath bench panel``: the interaction panel of an agent, from conversations by script.

The caller needs nothing but sound in both directions; what an agent reports besides (the ends of
turns and replies) makes the figures sharper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.audio.samples import Samples, write_wav
from agent.audio.vad import SileroVad
from agent.bench.endpoint import Pause, PauseFinder, by_head, head_judge, scaled
from agent.bench.figures import Progress
from agent.bench.panel_caller import HeldConversation, PanelCaller
from agent.bench.panel_scores import ScoredEvent, counted, event_row, on_ticks, panel, score
from agent.bench.panel_script import Conversation, EventKind
from agent.bench.panel_voices import PanelVoices, SpokenConversation
from agent.bench.utterances import SILENCE_AFTER, SILENCE_BEFORE, SpokenUtterance, Utterance
from agent.config.settings import Settings
from agent.errors import CallError
from agent.latency.connection import AgentConnection
from agent.runtime.engines import load_asr, load_tts, thread_plan
from agent.session.endpointing import EndpointDelays
from asr.engine import RATE

NewConnection = Callable[[], AgentConnection]


@dataclass(frozen=True, slots=True)
class PanelCall:
    """One conversation with its scores.

    Attributes:
        script: the conversation.
        exact: outcomes in exact times.
        ticks: outcomes on ticks of 0.2 s.
        held: what happened; None for a lost call.
        error: reason of a lost call.
    """

    script: Conversation
    exact: list[ScoredEvent]
    ticks: list[ScoredEvent]
    held: HeldConversation | None = None
    error: str | None = None

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for the call and one for each act of its caller."""
        script, held = self.script, self.held
        call = {"call": script.name, "voice": script.voice, "line": script.line}
        call["background"] = script.background
        if held is None:
            yield {"what": "call", **call, "error": self.error}
            return
        skipped = [f"{event.kind}: {event.label}" for event in held.skipped]
        spans = [[round(s.start, 2), round(s.end, 2)] for s in held.exact.agent]
        yield {
            "what": "call",
            **call,
            "skipped": skipped,
            "frame_late_ms": round(held.frame_late * 1000, 1),
            "heard": held.heard,
            "agent": spans,
        }
        for exact, ticks in zip(self.exact, self.ticks, strict=True):
            row = event_row(ticks)
            names = ("answered", "yielded", "ignored", "reply_after", "yield_after")
            on = {name: row[name] for name in names if name in row}
            yield {"what": "event", **call, **event_row(exact), "ticks": on}


def speak_all(
    scripts: Sequence[Conversation], settings: Settings, progress: Progress
) -> list[SpokenConversation]:
    """Make the sound of conversations with the bundled voice and espeak-ng.

    Raises:
        OnebreathError: a voice is missing.
    """
    with closing(load_tts(settings, thread_plan(settings).tts, progress)) as piper:
        voices = PanelVoices(piper)
        spoken = []
        for number, script in enumerate(scripts, 1):
            progress(f"speaking conversation {number} of {len(scripts)}")
            spoken.append(voices.speak(script))
    return spoken


async def hold_all(
    connect: NewConnection,
    spoken: Sequence[SpokenConversation],
    at_once: int,
    take: Callable[[PanelCall], None],
) -> None:
    """Hold conversations, some at once; a call that is lost counts as one without outcomes.

    Args:
        connect: makes the connection of one more call.
        spoken: conversations as sound.
        at_once: number of calls at once.
        take: called with each conversation as it ends.
    """
    slots = asyncio.Semaphore(at_once)

    async def hold(conversation: SpokenConversation) -> None:
        async with slots:
            take(await hold_one(connect(), conversation))

    async with asyncio.TaskGroup() as calls:
        for conversation in spoken:
            calls.create_task(hold(conversation))


async def hold_one(connection: AgentConnection, spoken: SpokenConversation) -> PanelCall:
    """Hold one conversation and score it."""
    try:
        held = await PanelCaller(connection, spoken).hold()
    except CallError as error:
        return PanelCall(spoken.script, [], [], error=str(error))
    return PanelCall(spoken.script, score(held.exact), score(on_ticks(held.raw)), held)


def write_recording(directory: Path, call: PanelCall) -> None:
    """Write the stereo recording of a call, caller left, agent right."""
    if call.held is None:
        return
    length = max(len(call.held.mouth), len(call.held.ear))
    channels = [_padded(sound, length) for sound in (call.held.mouth, call.held.ear)]
    write_wav(directory / f"{call.script.name.replace(' ', '-')}.wav", channels, call.held.rate)


def _padded(sound: Samples, length: int) -> Samples:
    return np.pad(sound, (0, length - len(sound)))


def summary(calls: Iterable[PanelCall]) -> list[dict[str, Any]]:
    """A row for each figure: exact, on ticks, and the number of events behind it."""
    held = list(calls)
    exact = panel([scored for call in held for scored in call.exact])
    ticks = panel([scored for call in held for scored in call.ticks])
    return [
        {
            "figure": name,
            "exact": _rounded(value),
            "ticks": _rounded(ticks[name][0]),
            "n": count,
        }
        for name, (value, count) in exact.items()
    ]


def events_scored(calls: Iterable[PanelCall]) -> int:
    """Number of outcomes of all calls."""
    return sum(counted(call.exact) for call in calls)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def endpoint_points(
    spoken: Sequence[SpokenConversation], settings: Settings, progress: Progress
) -> dict[str, Any]:
    """False cut-offs at 300 ms and the delay at 5 % of the turns of the panel.

    The recogniser, the responder and the rules of this machine judge every pause; both figures
    are points of the curve that their delays times one factor draw.
    """
    threads = thread_plan(settings)
    pauses: list[Pause] = []
    with ExitStack() as engines:
        transcriber = engines.enter_context(closing(load_asr(settings, threads.asr, progress)))
        judge = head_judge(settings, engines, progress)
        finder = PauseFinder(transcriber, SileroVad.load(), None, settings.turns, judge)
        for conversation in spoken:
            progress(f"pauses of {conversation.script.name}")
            for utterance, sound in _turns(conversation):
                pauses += finder.pauses(conversation.script.voice, utterance, sound)
    return scaled(pauses, by_head(EndpointDelays.of(settings.turns)))


def _turns(conversation: SpokenConversation) -> Iterator[tuple[Utterance, SpokenUtterance]]:
    before, after = (
        np.zeros(round(seconds * RATE), np.float32) for seconds in (SILENCE_BEFORE, SILENCE_AFTER)
    )
    for spoken in conversation.steps:
        if spoken.step.kind is EventKind.TURN:
            samples = np.concatenate([before, spoken.samples, after])
            samples += np.resize(conversation.background, len(samples))
            end = (len(before) + len(spoken.samples)) / RATE
            utterance = Utterance(spoken.step.label, spoken.step.parts)
            yield utterance, SpokenUtterance(samples, end)
