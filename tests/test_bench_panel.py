"""The panel's conversations: their scripts, their sounds, and a call with a known agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from agent.audio.samples import Samples
from agent.bench import panel_sounds
from agent.bench.panel import PanelCall, hold_all, summary
from agent.bench.panel_caller import WatchedConnection, audible_spans, ended
from agent.bench.panel_scores import AgentSpan
from agent.bench.panel_script import (
    CONVERSATIONS,
    Conversation,
    EventKind,
    Half,
    Moment,
    Step,
    conversations,
    read_texts,
)
from agent.bench.panel_voices import SpokenConversation, SpokenStep
from agent.bench.virtual_time import MeasuredCompute, MeasuredVoices, in_virtual_time
from agent.compute import Compute, Urgency
from agent.errors import CallError
from agent.latency.connection import (
    ReceivedAudio,
    ReceivedClear,
    ReceivedEvent,
    ReceivedReplyEnd,
    ReceivedReplyStart,
)
from asr.engine import RATE

# ---- scripts -----------------------------------------------------------------------


def test_both_halves_have_enough_and_share_no_text():
    build, held_out = (conversations(half) for half in Half)
    assert len(build) + len(held_out) >= 40
    events = [step for each in (*build, *held_out) for step in each.steps]
    assert len(events) >= 400
    assert {step.kind for step in events} == set(EventKind)
    texts = [{text for kind in read_texts(half).values() for text in kind} for half in Half]
    assert not texts[0] & texts[1]


def test_a_conversation_is_the_same_in_every_run_and_its_neighbours_differ():
    first, again = conversations(Half.BUILD, 3), conversations(Half.BUILD, CONVERSATIONS)[:3]
    assert first == again
    assert first[0].steps != first[1].steps


def test_pauses_for_thought_lie_between_the_parts():
    for conversation in conversations(Half.BUILD):
        for step in conversation.steps:
            assert len(step.pauses) == max(0, len(step.parts) - 1)
            assert all(0.3 <= pause <= 1.5 for pause in step.pauses)


def test_every_condition_occurs_in_each_half():
    for half in Half:
        held = conversations(half)
        assert {each.line for each in held} == {"clear", "muffled", "telephone"}
        assert {each.background for each in held} == {"room", "television"}
        assert {each.voice.split(":")[0] for each in held} == {"piper", "espeak-ng"}


# ---- sounds ------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["cough", "throat", "slam", "clatter", "clink", "music"])
def test_a_sound_is_repeatable_bounded_and_differs_by_seed(label):
    one, same, other = (panel_sounds.sound(label, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert len(one) != len(other) or not np.array_equal(one, other)
    assert 0.3 < np.abs(one).max() <= 0.36
    assert 0.1 < len(one) / RATE < 4.0
    assert one.dtype == np.float32


def tone(hertz: float) -> Samples:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE)).astype(np.float32)


def rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples))))


@pytest.mark.parametrize(
    ("line", "passes", "blocks"), [("muffled", 300.0, 3000.0), ("telephone", 1000.0, 6000.0)]
)
def test_a_line_takes_the_frequencies_that_it_does_not_carry(line, passes, blocks):
    kept, lost = (panel_sounds.over_line(tone(hertz), line) for hertz in (passes, blocks))
    assert len(kept) == RATE
    assert rms(kept) > 10 * rms(lost)
    assert np.array_equal(panel_sounds.over_line(tone(500.0), "clear"), tone(500.0))


def test_a_far_voice_is_as_soft_as_it_is_far():
    near = tone(500.0)
    away = panel_sounds.far(near, np.random.default_rng(1), 20.0)
    assert 20 * np.log10(np.abs(near).max() / np.abs(away).max()) == pytest.approx(20.0, abs=0.1)


# ---- the caller --------------------------------------------------------------------

BEEP = (0.3 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000)).astype(np.float32)


class ScriptedAgent:
    """Answers 0.3 s after a loud sound has ended, for ``seconds``; stops if ``yields``."""

    rate = 24_000
    reports_replies = True
    resends = True

    def __init__(self, seconds: float, *, yields: bool, lost_after: float = 1e9) -> None:
        self._seconds, self._yields, self._lost_after = seconds, yields, lost_after
        self._out: asyncio.Queue[ReceivedEvent] = asyncio.Queue()
        self._heard = self._quiet = 0.0
        self._sent = 0.0
        self._speaking: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """It is there."""

    async def send(self, frame: Samples) -> None:
        self._sent += len(frame) / self.rate
        if self._sent > self._lost_after:
            raise CallError("the connection was lost")
        if np.abs(frame).max() > 0.05:
            self._quiet = 0.0
            self._heard += len(frame) / self.rate
            if self._speaking is not None and self._yields and self._heard > 0.2:
                self._stop()
            return
        self._quiet += len(frame) / self.rate
        if self._heard and self._quiet > 0.3:
            self._heard = 0.0
            if self._speaking is None:
                self._speaking = asyncio.create_task(self._speak())

    def _stop(self) -> None:
        assert self._speaking is not None
        self._speaking.cancel()
        self._speaking = None
        self._out.put_nowait(ReceivedClear())
        self._out.put_nowait(ReceivedReplyEnd("", cut=True))

    async def _speak(self) -> None:
        self._out.put_nowait(ReceivedReplyStart())
        for _ in range(round(self._seconds * 50)):
            self._out.put_nowait(ReceivedAudio(BEEP[: self.rate // 50]))
            await asyncio.sleep(0.02)
        self._out.put_nowait(ReceivedReplyEnd("beep"))
        self._speaking = None

    async def receive(self) -> AsyncIterator[ReceivedEvent]:
        while True:
            yield await self._out.get()

    async def close(self) -> None:
        if self._speaking is not None:
            self._speaking.cancel()


def said(kind: EventKind, seconds: float, moment: Moment = Moment.NEXT, after: float = 0.0):
    step = Step(kind, "x", moment=moment, after=after, wants_reply=kind is EventKind.TURN)
    sound = np.resize(tone(300.0), int(seconds * RATE)).astype(np.float32)
    return SpokenStep(step, sound)


def held(agent: ScriptedAgent, *steps: SpokenStep) -> PanelCall:
    script = Conversation("x 1", "piper", "clear", "room", "", tuple(s.step for s in steps))
    spoken = SpokenConversation(script, steps, np.zeros(RATE, np.float32))
    calls: list[PanelCall] = []
    in_virtual_time(hold_all(lambda: agent, [spoken], 1, calls.append))
    return calls[0]


CONVERSATION = (
    said(EventKind.TURN, 1.0),
    said(EventKind.BACKCHANNEL, 0.4, Moment.OVER, 1.0),
    said(EventKind.INTERRUPTION, 0.8, Moment.OVER, 2.5),
    said(EventKind.TURN, 1.0),
    said(EventKind.VOCAL_TIC, 0.3, Moment.IDLE),
)


def test_an_agent_that_yields_to_everything():
    call = held(ScriptedAgent(4.0, yields=True), *CONVERSATION)
    figures = {row["figure"]: row["exact"] for row in summary([call])}
    assert figures["R_R"] == 1.0
    assert figures["L_R"] == pytest.approx(0.33, abs=0.05)
    assert figures["S_BC"] == 0.0
    assert figures["S_VT"] == 0.0


@pytest.mark.slow
def test_an_agent_that_yields_to_nobody():
    call = held(ScriptedAgent(6.0, yields=False), *CONVERSATION)
    figures = {row["figure"]: row["exact"] for row in summary([call])}
    assert (figures["S_BC"], figures["R_Y"], figures["I_A"]) == (1.0, 0.0, 0.0)
    assert figures["L_Y"] is None


def test_an_act_without_its_moment_is_skipped_and_said():
    call = held(ScriptedAgent(0.6, yields=True), *CONVERSATION[:3])
    assert call.held is not None
    assert [event.kind for event in call.held.skipped] == ["backchannel", "interruption"]
    (row, *events) = call.rows()
    assert row["skipped"] == ["backchannel: x", "interruption: x"]
    assert len(events) == 1


def test_a_lost_call_is_a_row_with_its_error():
    call = held(ScriptedAgent(4.0, yields=True, lost_after=1.5), *CONVERSATION)
    assert "lost" in (call.error or "")
    assert [row["error"] for row in call.rows()] == [call.error]


async def test_the_background_is_behind_everything_and_goes_round():
    sent: list[Samples] = []

    class Sink(ScriptedAgent):
        async def send(self, frame: Samples) -> None:
            sent.append(frame)

    background = np.array([0.1, 0.2, 0.3], np.float32)
    watched = WatchedConnection(Sink(1.0, yields=True), background)
    await watched.send(np.zeros(2, np.float32))
    await watched.send(np.full(2, 0.5, np.float32))
    assert np.allclose(np.concatenate(sent), [0.1, 0.2, 0.8, 0.6])


def test_speech_at_the_ear_is_found_in_pieces():
    ear = np.zeros(24_000, np.float32)
    ear[4_800:9_600] = 0.2
    assert audible_spans(ear, 24_000) == [AgentSpan(0.2, 0.4)]


def test_a_reply_ended_by_itself_only_if_it_was_complete_and_not_cut():
    span = AgentSpan(1.0, 4.0)
    assert ended(span, cuts=[], ends=[3.7]).ended_by_itself
    assert not ended(span, cuts=[4.2], ends=[3.7]).ended_by_itself
    assert not ended(span, cuts=[], ends=[9.0]).ended_by_itself
    assert ended(span, cuts=[], ends=None).ended_by_itself


# ---- virtual time ------------------------------------------------------------------


def test_work_takes_its_cpu_time_and_the_most_urgent_goes_first():
    now = [0.0]

    def work(seconds: float) -> None:
        now[0] += seconds

    async def all_of_it() -> list[tuple[str, float]]:
        loop, order = asyncio.get_running_loop(), []

        async def piece(name: str, urgency: Urgency, seconds: float) -> None:
            await compute.run(urgency, lambda: work(seconds))
            order.append((name, round(loop.time(), 3)))

        await asyncio.gather(
            piece("first", Urgency.PARTIAL, 0.5),
            piece("partial", Urgency.PARTIAL, 0.25),
            piece("final", Urgency.FINAL, 1.0),
        )
        return order

    thread = Compute()
    compute = MeasuredCompute(thread, lambda: now[0])
    try:
        order = in_virtual_time(all_of_it())
    finally:
        compute.close()
    assert order == [("first", 0.5), ("final", 1.5), ("partial", 1.75)]


def test_chunks_of_a_voice_come_as_fast_as_its_process_makes_them():
    cpu = [0.0]

    def chunk(seconds: float) -> str:
        cpu[0] += seconds
        return "sound"

    async def spoken() -> list[float]:
        loop = asyncio.get_running_loop()
        voices, chunks, at = MeasuredVoices(lambda: cpu[0]), object(), []
        for wait in (0.0, 1.0, 0.0):
            await asyncio.sleep(wait)
            future = voices.submit(lambda _: chunk(0.25), chunks)
            await asyncio.wrap_future(future)
            at.append(round(loop.time(), 3))
        return at

    # The second chunk was made while nobody asked for it; the third comes right behind it.
    assert in_virtual_time(spoken()) == [0.25, 1.25, 1.25]


def test_an_error_of_a_voice_reaches_the_waiter():
    async def spoken() -> None:
        def fails(_: object) -> None:
            raise ValueError("no sound")

        await asyncio.wrap_future(MeasuredVoices(lambda: 0.0).submit(fails, object()))

    with pytest.raises(ValueError, match="no sound"):
        in_virtual_time(spoken())
