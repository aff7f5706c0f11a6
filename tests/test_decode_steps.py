"""A decode in steps gives way to a more urgent one, and ends early when nobody wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Generator

import numpy as np
import pytest

from agent.audio.samples import Samples
from agent.bench.virtual_time import MeasuredCompute, in_virtual_time
from agent.compute import Compute
from agent.responders.scripted import ScriptedResponder
from agent.runtime.engine_tasks import Engines, EngineTasks
from agent.session.commands import CancelDecode, DecodeFinal, DecodePartial, FeedRecogniser
from agent.session.events import FinalTranscript, Input, PartialTranscript, StageFailed
from asr.engine import AsrError, SteppedListening
from asr.transcript import Transcript
from tts.tone import ToneSynthesizer


class SlowListening:
    """Takes 0.1 s to encode and 0.1 s to decode, by ``clock``."""

    def __init__(self, clock: list[float], log: list[str], *, fails: bool = False) -> None:
        self._clock, self._log, self._fails = clock, log, fails

    def feed(self, samples: Samples) -> None:
        """It is deaf."""

    def steps(self, *, final: bool) -> Generator[Transcript | None, None, None]:
        kind = "final" if final else "partial"
        for step in ("encode", "decode"):
            self._clock[0] += 0.1
            self._log.append(f"{kind} {step}")
            if self._fails:
                raise AsrError("it broke")
            stable = len(kind) if final else 0
            yield None if step == "encode" else Transcript(kind, stable, final)

    def hypothesis(self) -> Transcript:
        raise AssertionError("it has steps")

    def finish(self) -> Transcript:
        raise AssertionError("it has steps")

    def close(self) -> None:
        """Nothing to free."""


class GlancingSlowListening(SlowListening):
    """Glances within 0.05 s."""

    def glance(self) -> Transcript:
        self._clock[0] += 0.05
        self._log.append("glance")
        return Transcript("glance", 0, final=False)

    def skim(self) -> Transcript:
        self._clock[0] += 0.1
        self._log.append("skim")
        return Transcript("skim", 4, final=True)


class SlowRecogniser:
    def __init__(self, listening: SlowListening) -> None:
        self.listening = listening

    def listen(self) -> SlowListening:
        return self.listening

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def close(self) -> None:
        """Nothing to free."""


def run(
    commands: list[tuple[float, object]],
    *,
    fails: bool = False,
    listening: type[SlowListening] = SlowListening,
):
    """Give commands at their seconds; returns the steps done and the inputs with their seconds."""
    clock, log = [0.0], []
    stream = listening(clock, log, fails=fails)
    assert isinstance(stream, SteppedListening)
    posted: list[tuple[float, Input]] = []

    async def call() -> None:
        loop = asyncio.get_running_loop()
        compute = MeasuredCompute(thread, lambda: clock[0])
        engines = Engines(
            SlowRecogniser(stream), ScriptedResponder(), ToneSynthesizer(), None, compute, None
        )
        async with asyncio.TaskGroup() as group:
            tasks = EngineTasks(engines, group, lambda e: posted.append((loop.time(), e)))
            tasks.do(FeedRecogniser(1, np.zeros(16, np.float32)))
            for at, command in commands:
                await asyncio.sleep(at - loop.time())
                tasks.do(command)

    thread = Compute()
    try:
        in_virtual_time(call())
    finally:
        thread.close()
    return log, posted


def test_a_final_decode_takes_the_place_of_a_partial_one_after_its_first_step():
    log, posted = run([(0.0, DecodePartial(1, urgent=False)), (0.05, DecodeFinal(1, 0))])
    assert log == ["partial encode", "final encode", "final decode"]
    ((at, event),) = posted
    assert isinstance(event, FinalTranscript)
    assert at == pytest.approx(0.3)


def test_a_pause_that_was_none_costs_one_step():
    log, posted = run([(0.0, DecodeFinal(1, 0)), (0.05, CancelDecode(1)), (0.5, DecodeFinal(1, 1))])
    assert log == ["final encode", "final encode", "final decode"]
    ((at, event),) = posted
    assert isinstance(event, FinalTranscript)
    assert (round(at, 3), event.revision) == (0.7, 1)


def test_a_decode_that_is_wanted_is_whole():
    log, posted = run([(0.0, DecodePartial(1, urgent=True))])
    assert log == ["partial encode", "partial decode"]
    ((_, event),) = posted
    assert isinstance(event, PartialTranscript)


def test_a_failure_in_a_step_is_told():
    _, posted = run([(0.0, DecodeFinal(1, 0))], fails=True)
    ((_, event),) = posted
    assert isinstance(event, StageFailed)
    assert event.message == "it broke"


def test_what_is_urgent_is_glanced_at():
    log, posted = run([(0.0, DecodePartial(1, urgent=True))], listening=GlancingSlowListening)
    ((at, event),) = posted
    assert (log, at) == (["glance"], pytest.approx(0.05))
    assert isinstance(event, PartialTranscript)
    assert event.glance
    assert event.transcript.text == "glance"


def test_what_is_not_urgent_is_read_whole():
    log, posted = run([(0.0, DecodePartial(1))], listening=GlancingSlowListening)
    assert log == ["partial encode", "partial decode"]
    ((_, event),) = posted
    assert isinstance(event, PartialTranscript)
    assert not event.glance


def test_a_final_decode_does_not_take_the_place_of_a_glance():
    log, posted = run(
        [(0.0, DecodePartial(1, urgent=True)), (0.01, DecodeFinal(1, 0))],
        listening=GlancingSlowListening,
    )
    assert log == ["glance", "final encode", "final decode"]
    assert [type(event) for _, event in posted] == [PartialTranscript, FinalTranscript]


def test_urgent_words_up_to_a_pause_get_no_second_opinion():
    log, posted = run([(0.0, DecodeFinal(1, 0, urgent=True))], listening=GlancingSlowListening)
    assert log == ["skim"]
    ((_, event),) = posted
    assert isinstance(event, FinalTranscript)
    assert event.transcript.final


def test_urgent_words_of_a_recogniser_without_glances_are_read_whole():
    log, _ = run([(0.0, DecodeFinal(1, 0, urgent=True))])
    assert log == ["final encode", "final decode"]
