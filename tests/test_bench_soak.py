"""``onebreath bench soak``: which calls it draws, what it counts, and when it is content."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest
from support.fakes import LoudIsSpeech, silence, speech

from agent.bench.panel_caller import PATIENCE_SECONDS
from agent.bench.panel_script import Half, conversations
from agent.bench.panel_voices import SpokenConversation, SpokenStep
from agent.bench.soak import WARM_CALLS, HeldCall, Soak, Usage, batches, soak, soak_settings
from agent.bench.soak_script import CallDraw, SoakCall, acts_of, requests
from agent.bench.virtual_time import CpuClock, MeasuredCompute, MeasuredVoices, in_virtual_time
from agent.compute import Compute
from agent.config.settings import Settings
from agent.responders.scripted import ScriptedResponder
from agent.runtime.engine_tasks import Engines
from agent.tools.toolbox import load_tools
from asr.scripted import ScriptedTranscriber
from tts.tone import ToneSynthesizer


@pytest.fixture(scope="module")
def draw() -> CallDraw:
    scripts = [*conversations(Half.BUILD, 4), requests()]
    sound = speech(1.0)
    return CallDraw(
        [
            SpokenConversation(
                script, tuple(SpokenStep(step, sound) for step in script.steps), silence(1.0)
            )
            for script in scripts
        ]
    )


def names(call: SoakCall) -> tuple[list[str], float | None]:
    return [step.text or step.label for step in call.spoken.script.steps], call.hangs_up_at


def test_a_call_is_the_same_whichever_calls_came_before(draw: CallDraw) -> None:
    first = [names(draw.call(number)) for number in range(1, 9)]
    assert [names(draw.call(number)) for number in range(8, 0, -1)] == first[::-1]
    assert len({str(each) for each in first}) > 5


def test_calls_hold_everything_that_a_soak_promises(draw: CallDraw) -> None:
    calls = [draw.call(number) for number in range(1, 301)]
    acts = acts_of(calls)
    for act in ("turn", "interruption", "empty turn", "request for a tool", "backchannel"):
        assert acts[act] >= 15, act
    assert 15 <= sum(call.hangs_up_at is not None for call in calls) <= 50
    assert all(2 <= len(call.acts) <= 3 for call in calls)


def test_the_server_is_looked_at_now_and_then() -> None:
    assert [len(batch) for batch in batches(range(1, 1001))] == [WARM_CALLS] * 10
    assert [list(batch) for batch in batches(range(7, 12))] == [[7, 8], [9, 10], [11]]


def usage(calls: int, own: float, sessions: int = 0, mapped: float = 0.0) -> Usage:
    return Usage(calls, own + mapped, mapped, 0.0, 5, 15, 1, sessions, 1000)


def test_growth_counts_from_the_hundredth_call(draw: CallDraw) -> None:
    found = Soak(usage=[usage(0, 500.0), usage(50, 900.0)])
    assert found.growth is None
    assert found.met
    found.usage += [usage(100, 1000.0), usage(200, 1019.0, mapped=50.0)]  # of weights
    assert found.growth == pytest.approx(0.019)
    assert found.met
    found.usage.append(usage(300, 1021.0))
    assert not found.met


@pytest.mark.parametrize("what", ["stuck", "error"])
def test_one_call_that_is_stuck_or_lost_is_too_many(draw: CallDraw, what: str) -> None:
    call = HeldCall(draw.call(1))
    found = Soak([call], [usage(1, 1.0)])
    assert found.met
    setattr(call, what, "why")
    assert not found.met
    assert found.stuck + found.lost == 1


def test_a_failed_reply_spoils_a_soak(draw: CallDraw) -> None:
    call = HeldCall(draw.call(1), failed=1)
    assert not Soak([call], [usage(1, 1.0)]).met


def test_the_clock_of_other_processes_goes_on_with_the_next_one() -> None:
    command = [sys.executable, "-c", "while True: pass"]
    with subprocess.Popen(command) as busy:
        running = [busy.pid]
        clock = CpuClock(lambda: running)
        first = clock()
        while (second := clock()) < first + 0.02:
            pass
        busy.kill()
    running = []
    assert clock() >= second
    last = clock()
    with subprocess.Popen(command) as busy:
        running = [busy.pid]
        while clock() < last + 0.02:
            pass
        busy.kill()


def test_a_call_that_the_server_keeps_is_stuck() -> None:
    assert Soak(usage=[usage(1, 1.0, sessions=1)]).stuck == 1


def held(draw: CallDraw, numbers: range, at_once: int, reply: str) -> Soak:
    """A soak of calls whose callers are understood as "how are you", with a scripted reply."""
    settings = soak_settings(Settings())
    heard = [[(1, word) for word in ("how", "are", "you")]] * 50
    found = Soak()
    with closing(Compute()) as thread, ThreadPoolExecutor(1) as voices:
        engines = Engines(
            ScriptedTranscriber(heard),
            ScriptedResponder({"how are you": reply}),
            ToneSynthesizer(),
            LoudIsSpeech,
            thread,
            voices,
            tools=load_tools(settings.tools),
        )
        engines = replace(
            engines, compute=MeasuredCompute(thread), voices=MeasuredVoices(lambda: 0.0)
        )
        in_virtual_time(soak(engines, settings, draw, numbers, at_once, found.take))
    return found


@pytest.mark.slow
def test_calls_are_held_by_one_server_which_lets_go_of_them(draw: CallDraw) -> None:
    found = held(draw, range(1, 7), 2, "Fine, thanks.")
    assert [call.drawn.number for call in sorted(found.calls, key=lambda c: c.drawn.number)] == [
        1, 2, 3, 4, 5, 6
    ]  # fmt: skip
    assert [each.calls for each in found.usage] == [0, 3, 6]
    assert (found.stuck, found.lost) == (0, 0)
    summary = found.summary()
    assert summary["turns"] >= 5
    assert summary["replies"] >= 5
    assert [each.sessions for each in found.usage] == [0, 0, 0]
    assert found.usage[1].tasks == found.usage[2].tasks


@pytest.mark.slow
def test_a_long_story_at_the_end_of_a_call_is_no_stuck_reply(draw: CallDraw) -> None:
    found = held(draw, range(4, 5), 1, "and then " * 100 + "they slept.")
    (call,) = found.calls
    assert call.seconds > 2 * PATIENCE_SECONDS
    assert call.stuck is None
