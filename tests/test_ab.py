"""The draw, the kill switch, and what is counted of each arm."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from support.fakes import (
    ScriptedTransport,
    VirtualCompute,
    in_virtual_time,
    silence,
    speech,
    spoken_script,
)
from test_call import call, engines, heard

from agent.config.sources import load_settings
from agent.errors import ConfigError
from agent.responders.ab import AbCall, AbResponder, Arm
from agent.responders.base import Message, ReplyDone, ReplyPiece, ReplyText, ResponderError
from agent.responders.scripted import ScriptedResponder
from agent.runtime.engines import load_responder
from agent.runtime.reload import reweigh
from agent.session import notices

ASKED = [Message("user", "how are you")]


class Broken(ScriptedResponder):
    def answer(self, messages):
        raise ResponderError("the model is tired; restart it")


def arms(a: float = 1.0, b: float = 1.0, **others: Arm) -> AbResponder:
    made = {
        "a": Arm(ScriptedResponder(lambda words: "I am a."), a),
        "b": Arm(ScriptedResponder(lambda words: "I am b."), b),
    }
    return AbResponder(made | others, VirtualCompute(), seed=1)


async def said(call: AbCall) -> str:
    pieces: list[ReplyPiece] = [piece async for piece in call.reply(ASKED)]
    done = pieces[-1]
    assert isinstance(done, ReplyDone)
    return done.text


def counted(arm: str, outcome: str) -> float:
    labels = {"arm": arm, "outcome": outcome}
    return REGISTRY.get_sample_value("onebreath_arm_replies_total", labels) or 0.0


def test_calls_are_drawn_by_weight_and_keep_their_arm() -> None:
    async def run() -> None:
        responder = arms(3.0, 1.0)
        calls = [responder.open() for _ in range(400)]
        shares = Counter(each.arm for each in calls)
        assert shares["a"] == pytest.approx(300, abs=40)
        for each in calls[:20]:
            assert {await said(each) for _ in range(3)} == {f"I am {each.arm}."}

    in_virtual_time(run())


def test_an_arm_without_weight_gets_no_call_and_loses_those_it_has() -> None:
    async def run() -> None:
        responder = arms(1.0, 0.0)
        call = responder.open()
        assert await said(call) == "I am a."
        responder.weigh({"a": 0.0, "b": 1.0})
        await call.prepare(ASKED)
        assert await said(call) == "I am b."
        assert {responder.open().arm for _ in range(50)} == {"b"}
        await call.close()

    in_virtual_time(run())


def test_weights_that_leave_nothing_or_name_others_change_nothing() -> None:
    responder = arms(1.0, 2.0)
    with pytest.raises(ResponderError, match="no arm is switched on"):
        responder.weigh({"a": 0.0, "b": 0.0})
    with pytest.raises(ResponderError, match="come and go with a restart"):
        responder.weigh({"a": 1.0, "c": 1.0})
    assert responder.weights == {"a": 1.0, "b": 2.0}
    with pytest.raises(ResponderError, match="no arm is switched on"):
        AbResponder({}, VirtualCompute())


def test_replies_are_counted_by_arm_and_outcome() -> None:
    async def run() -> None:
        before = [counted(*pair) for pair in PAIRS]
        whole = times("onebreath_arm_reply_seconds_count")
        responder = arms(1.0, 0.0, broken=Arm(Broken(), 0.0))
        call = responder.open()
        await said(call)
        pieces = call.reply(ASKED)
        async for piece in pieces:
            if isinstance(piece, ReplyText):
                break
        await pieces.aclose()
        responder.weigh({"a": 0.0, "b": 0.0, "broken": 1.0})
        with pytest.raises(ResponderError):
            await said(call)
        assert [counted(*pair) - was for pair, was in zip(PAIRS, before, strict=True)] == [1, 1, 1]
        assert times("onebreath_arm_reply_seconds_count") - whole == 1

    in_virtual_time(run())


PAIRS = [("a", "complete"), ("a", "abandoned"), ("broken", "failed")]


def times(name: str) -> float:
    return REGISTRY.get_sample_value(name, {"arm": "a"}) or 0.0


def test_a_call_through_the_runner_is_answered_by_its_arm() -> None:
    parts = engines({}, words=heard("how are you"))
    responder = AbResponder(
        {"a": Arm(ScriptedResponder(lambda words: "I am a."), 1.0)}, parts.compute
    )
    parts = engines({}, responder, words=heard("how are you"))
    sound = spoken_script(speech(1.0), silence(4.0))
    line = call(parts, ScriptedTransport(sound, hang_up_at=6.0))
    ((_, finished),) = line.all(notices.ReplyFinished)
    assert (finished.status, finished.text) == ("completed", "I am a.")


TOML = """
[responder]
engine = "ab"
[responder.arms.one]
engine = "scripted"
weight = {one}
[responder.arms.two]
engine = "scripted"
weight = {two}
"""


def written(path: Path, one: float, two: float) -> Path:
    path.write_text(TOML.format(one=one, two=two))
    return path


def loaded(path: Path) -> AbResponder:
    settings = load_settings(file=path)
    responder = load_responder(settings, 1, lambda line: None, VirtualCompute())
    assert isinstance(responder, AbResponder)
    return responder


def test_the_settings_make_the_arms_and_their_weights_are_read_again(tmp_path: Path) -> None:
    path = written(tmp_path / "onebreath.toml", 9, 1)
    responder = loaded(path)
    assert responder.weights == {"one": 9.0, "two": 1.0}
    written(path, 0, 1)
    reweigh(responder, path)
    assert responder.weights == {"one": 0.0, "two": 1.0}


@pytest.mark.parametrize("text", ["[responder", "[responder]\n", TOML.format(one=0, two=0)])
def test_settings_that_are_wrong_leave_the_weights_and_are_logged(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path / "onebreath.toml", 1, 1)
    responder = loaded(path)
    path.write_text(text)
    reweigh(responder, path)
    assert responder.weights == {"one": 1.0, "two": 1.0}
    assert "the weights stay" in caplog.text


def test_an_arm_needs_a_weight() -> None:
    with pytest.raises(ConfigError, match=r"arms\.one\.weight"):
        load_settings({"responder": {"arms": {"one": {"engine": "scripted"}}}})
