"""Calls through the real runner with scripted engines, in virtual time."""

import asyncio
from concurrent.futures import Future
from dataclasses import replace

import pytest
from support.fakes import (
    InlineExecutor,
    LoudIsSpeech,
    ScriptedTransport,
    VirtualCompute,
    in_virtual_time,
    silence,
    speech,
    spoken_script,
)

from agent.compute import Urgency
from agent.config.settings import Settings
from agent.reply import Prefilled, ReplyDone, ReplyText
from agent.responders.base import Message, ResponderError
from agent.responders.scripted import ScriptedResponder
from agent.runtime.call import CallRunner
from agent.runtime.engine_tasks import Engines
from agent.session import events, notices
from asr.engine import AsrError
from asr.scripted import ScriptedTranscriber
from tts.engine import TtsError
from tts.tone import ToneSynthesizer

EAGER = {"complete_delay": 0.2, "endpoint_delay": 0.5}
COSTS = {Urgency.FINAL: 0.2, Urgency.REPLY: 0.05, Urgency.PREPARE: 0.1, Urgency.PARTIAL: 0.3}


def engines(answers, responder=None, tts=None, costs=COSTS, words=None):
    return Engines(
        asr=words or ScriptedTranscriber(),
        responder=responder or ScriptedResponder(answers),
        tts=tts or ToneSynthesizer(),
        new_gate=LoudIsSpeech,
        compute=VirtualCompute(costs),
        voices=InlineExecutor(),
    )


def call(parts, transport, settings=None):
    async def run():
        await CallRunner(parts, settings or Settings(turns=EAGER), transport).run()

    in_virtual_time(run())
    return transport


def utterance(text):
    return [(1, word) for word in text.split()]


def heard(*texts):
    return ScriptedTranscriber([utterance(text) for text in texts])


def test_a_spoken_question_is_answered_in_sound():
    parts = engines({"how are you": "Fine, thank you."}, words=heard("how are you"))
    line = call(parts, ScriptedTransport(spoken_script(speech(1.0), silence(4.0)), hang_up_at=6.0))
    ((_, finished),) = line.all(notices.ReplyFinished)
    assert (finished.status, finished.text) == ("completed", "Fine, thank you.")
    first_play = line.all(notices.Play)[0][0]
    ((_, timed),) = line.all(notices.TurnTimed)
    spans = timed.spans
    assert sum(spans.values()) == pytest.approx(first_play - 1.0, abs=0.05)
    assert spans["endpoint_wait"] == pytest.approx(0.5, abs=0.07)
    assert sum(spans.values()) < 0.65, "most was done by then"
    work = {span.name: span for span in timed.work}
    assert work["asr"].start == pytest.approx(0.064, abs=0.03)
    assert work["asr"].end - work["asr"].start == pytest.approx(0.2, abs=0.01)
    assert work["prefill"].end - work["prefill"].start == pytest.approx(0.05, abs=0.001)
    assert timed.speculation.hit
    assert timed.speculation.saved == pytest.approx(0.5 - work["asr"].start, abs=0.02)


def test_sound_is_paced_by_the_ear():
    parts = engines({"tell me": "word " * 40}, words=heard("tell me"))
    line = call(parts, ScriptedTransport(spoken_script(speech(1.0), silence(9.0)), hang_up_at=12.0))
    plays = line.all(notices.Play)
    start = plays[0][0]
    sent = 0.0
    for when, play in plays:
        sent += len(play.samples) / play.rate
        assert sent - (when - start) <= 0.3 + 0.1
    assert sent == pytest.approx(40 * 0.12)
    assert plays[-1][0] - start == pytest.approx(sent - 0.3, abs=0.15)


def test_barge_in_ducks_at_once_and_silences_within_300_ms_of_detected_speech():
    parts = engines({"tell me": "word " * 60}, words=heard("tell me", "louder"))
    sound = spoken_script(speech(1.0), silence(3.0), speech(0.8), silence(2.0))
    line = call(parts, ScriptedTransport(sound, hang_up_at=8.0))
    ((stopped_at, stopped),) = line.all(notices.StopPlaying)
    ((ducked_at, _),) = line.all(notices.Duck)
    assert ducked_at - 4.0 <= 0.1 + 0.1  # min_speech, then at once
    assert stopped_at - ducked_at <= 0.3 + 0.04
    late = [
        when
        for when, play in line.all(notices.Play)
        if play.response_id == stopped.response_id and when > stopped_at
    ]
    assert late == []
    prompt = parts.responder.prompts[-1]
    remembered = next(m.content for m in prompt if m.role == "assistant")
    assert len(remembered.split()) == pytest.approx(stopped.heard / 0.12, abs=1)
    assert prompt[-1] == Message("user", "louder")


def test_abandoned_work_is_stopped_between_two_steps():
    responder = ScriptedResponder(lambda words: "never ending " * 50, steps=100)
    parts = engines({}, responder, words=heard("talk", "stop"))
    sound = spoken_script(speech(1.0), silence(1.0), speech(1.0), silence(2.0))
    call(parts, ScriptedTransport(sound, hang_up_at=5.0))
    steps = [when for when, urgency in parts.compute.log if urgency is Urgency.REPLY]
    # Nothing of the reply was heard: it is abandoned as the caller's turn ends.
    assert 2.9 < max(step for step in steps if step < 4.9) < 3.0 + 0.3 + 0.34 + 2 * 0.05


@pytest.mark.slow
def test_two_callers_share_the_engines_and_do_not_mix():
    async def run():
        answers = {"one": "First answer here.", "two": "Second answer here."}
        parts = engines(answers, words=heard("one", "two"))
        lines = [
            ScriptedTransport(spoken_script(speech(1.0), silence(4.0)), hang_up_at=6.0)
            for _ in range(2)
        ]
        await asyncio.gather(*(CallRunner(parts, Settings(), line).run() for line in lines))
        return lines

    lines = in_virtual_time(run())
    texts = [[n.text for _, n in line.all(notices.ReplyFinished)] for line in lines]
    assert texts == [["First answer here."], ["Second answer here."]]
    words = ["".join(n.delta for _, n in line.all(notices.ReplyTextDelta)) for line in lines]
    assert words == ["First answer here.", "Second answer here."]


class BrokenResponder(ScriptedResponder):
    def answer(self, messages):
        raise ResponderError("the model is tired; restart it")


class BrokenVoice(ToneSynthesizer):
    def speak(self, text):
        raise TtsError("no voice today")


@pytest.mark.parametrize(
    ("responder", "tts", "code"),
    [(BrokenResponder(), None, "responder_failed"), (None, BrokenVoice(), "tts_failed")],
)
def test_a_broken_engine_is_told_and_the_call_goes_on(responder, tts, code):
    parts = engines({}, responder, tts, words=heard("one", "two"))
    sound = spoken_script(speech(1.0), silence(2.0), speech(1.0), silence(2.0))
    line = call(parts, ScriptedTransport(sound, hang_up_at=7.0))
    codes = [n.code for _, n in line.all(notices.Trouble)]
    finished = [n.status for _, n in line.all(notices.ReplyFinished)]
    if tts is None:  # the apology is heard
        assert codes == [code, code]
        assert finished == ["failed", "completed", "failed", "completed"]
    else:  # nor can it be spoken, and no apology follows it
        assert codes == [code] * 4
        assert finished == ["failed"] * 4


class Plugin:
    """An engine of somebody else, with a bug."""

    def __init__(self, fault):
        self.fault = fault

    def warm_up(self):
        pass

    def close(self):
        pass

    def open(self):
        if self.fault == "open":
            raise KeyError("weights")
        return self

    def prepare(self, messages):
        if self.fault == "prepare":
            raise RuntimeError("a bug")
        return Prefilled(0, 0, 0.0)

    def reply(self, messages, deadline=None):
        yield Prefilled(0, 0, 0.0)
        if self.fault == "raise":
            raise ZeroDivisionError("a secret path")
        yield {"piece": "a string", "text": ReplyText(5), "stop": ReplyText("Half")}[self.fault]

    rate = 16_000

    def speak(self, text):
        if self.fault == "speak":
            raise OSError("no sound card")
        yield None if self.fault == "chunk" else 1 / 0

    def listen(self):
        raise RuntimeError("a bug")


@pytest.mark.parametrize("fault", ["open", "raise", "piece", "text", "stop"])
def test_a_plug_in_with_a_bug_ends_its_reply_and_not_the_call(fault):
    parts = engines({}, Plugin(fault), words=heard("one", "two"))
    sound = spoken_script(speech(1.0), silence(3.0), speech(1.0), silence(3.0))
    line = call(parts, ScriptedTransport(sound, hang_up_at=9.0))
    assert [n.code for _, n in line.all(notices.Trouble)] == ["responder_failed"] * 2
    assert "secret" not in line.all(notices.Trouble)[0][1].message
    assert line.closed is None


@pytest.mark.parametrize("fault", ["speak", "divide"])
def test_a_voice_with_a_bug_ends_the_reply_and_not_the_call(fault):
    parts = engines({}, None, Plugin(fault), words=heard("one"))
    line = call(parts, ScriptedTransport(spoken_script(speech(1.0), silence(3.0)), 5.0))
    assert {n.code for _, n in line.all(notices.Trouble)} == {"tts_failed"}
    assert line.closed is None


def test_a_recogniser_with_a_bug_ends_the_turn_and_not_the_call():
    parts = replace(engines({}, words=heard("one")), asr=Plugin("listen"))
    line = call(parts, ScriptedTransport(spoken_script(speech(1.0), silence(3.0)), 5.0))
    assert {n.code for _, n in line.all(notices.Trouble)} == {"asr_failed"}
    assert line.closed is None


def test_half_a_character_reaches_the_client_as_a_mark():
    parts = engines({"one": "Fine \ud83d thanks."}, words=heard("one"))
    line = call(parts, ScriptedTransport(spoken_script(speech(1.0), silence(3.0)), 5.0))
    said = "".join(n.delta for _, n in line.all(notices.ReplyTextDelta))
    assert said.encode().decode() == "Fine \ufffd thanks."


@pytest.mark.slow
def test_a_client_that_stops_reading_is_hung_up_on():
    parts = engines({"talk": "word " * 3000}, words=heard("talk"))

    async def run():
        sound = spoken_script(speech(1.0), silence(60.0))
        await CallRunner(parts, Settings(), ScriptedTransport(sound, 100.0, takes=False)).run()
        return asyncio.get_running_loop().time()

    assert in_virtual_time(run()) < 15.0


def test_a_client_that_vanishes_mid_reply_leaves_nothing_behind():
    parts = engines({"talk": "word " * 100}, words=heard("talk"))

    async def run():
        line = ScriptedTransport(spoken_script(speech(1.0), silence(2.0)), hang_up_at=3.0)
        await CallRunner(parts, Settings(), line).run()
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    assert in_virtual_time(run()) == []


@pytest.mark.slow
def test_sound_much_faster_than_real_time_ends_the_call():
    minute = [(0.0, message) for _, message in spoken_script(silence(70.0))]
    line = call(engines({}), ScriptedTransport(minute, hang_up_at=80.0))
    assert line.closed == (1008, line.closed[1])
    assert "in real time" in line.closed[1]


def test_typed_words_are_answered():
    parts = engines({"hi": "Hello."})
    script = [(0.1, events.TextTyped("hi")), (0.1, events.RespondNow())]
    line = call(parts, ScriptedTransport(script, hang_up_at=2.0))
    assert line.all(notices.ReplyFinished)[0][1].text == "Hello."
    assert line.all(notices.TurnTimed)[0][1].speech_end is None


def test_a_client_that_says_nothing_at_all_is_hung_up_on():
    settings = Settings(server={"idle_seconds": 5.0})
    transport = ScriptedTransport(spoken_script(silence(1.0)), hang_up_at=60.0)
    line = call(engines({}), transport, settings)
    assert line.closed == (1000, "nothing was received for 5 s")


def test_hanging_up_is_done_once():
    class Slow(ScriptedTransport):
        closes = 0

        async def close(self, code, reason):
            Slow.closes += 1
            await asyncio.sleep(0.9)

    settings = Settings(server={"max_call_seconds": 2.0})
    call(engines({}), Slow(spoken_script(silence(4.0)), hang_up_at=10.0), settings)
    assert Slow.closes == 1


class CountingResponder(ScriptedResponder):
    opened = closed = 0

    def open(self):
        call = super().open()
        CountingResponder.opened += 1
        original = call.close

        def close():
            CountingResponder.closed += 1
            original()

        call.close = close
        return call


class BrokenLine(ScriptedTransport):
    """A transport with a bug, which no sentence to the caller can mend."""

    async def receive(self):
        async for message in super().receive():
            yield message
        raise RuntimeError("a bug")


def test_a_call_that_breaks_gives_back_what_it_held():
    parts = engines({}, CountingResponder(), words=heard("one"))
    line = BrokenLine(spoken_script(speech(1.0), silence(2.0)), hang_up_at=5.0)
    opened, closed = CountingResponder.opened, CountingResponder.closed
    with pytest.raises(ExceptionGroup):
        call(parts, line)
    assert (CountingResponder.opened, CountingResponder.closed) == (opened + 1, closed + 1)


def raising(*_, **__):
    raise KeyError("weights")


class BadCall:
    """A responder of another's making, with one fault."""

    def __init__(self, **faults):
        self.whole = ScriptedResponder({}).open()
        self.prepare, self.reply, self.close = (
            faults.get(name, getattr(self.whole, name)) for name in ("prepare", "reply", "close")
        )


class BadResponder:
    def __init__(self, **faults):
        self.faults = faults

    def open(self):
        return BadCall(**self.faults)


def of_strings(messages, deadline=None):
    yield "words"


def breaking_off(messages, deadline=None):
    yield Prefilled(0, 0, 0.0)
    raise ZeroDivisionError("none left")


@pytest.mark.parametrize("fault", [raising, of_strings, breaking_off, lambda messages: iter(())])
def test_a_responders_ordinary_exceptions_end_the_reply_and_not_the_call(fault):
    parts = engines({}, BadResponder(reply=fault), words=heard("one", "two"))
    script = spoken_script(speech(1.0), silence(2.0), speech(1.0), silence(2.0))
    line = call(parts, ScriptedTransport(script, hang_up_at=7.0))
    told = [trouble for _, trouble in line.all(notices.Trouble)]
    assert {trouble.code for trouble in told} == {"responder_failed"}
    assert all(trouble.message for trouble in told)
    assert len(told) >= 2, "the second turn is tried, too"
    assert line.closed is None


def test_a_failing_prepare_is_told_and_not_the_end_of_the_call():
    parts = engines({}, BadResponder(prepare=raising), words=heard("one"))
    line = call(parts, ScriptedTransport(spoken_script(speech(1.0), silence(3.0)), hang_up_at=5.0))
    assert {t.code for _, t in line.all(notices.Trouble)} <= {"responder_failed"}
    assert line.closed is None


class BadEars:
    def __init__(self, fault):
        self.fault = fault

    def listen(self):
        whole = ScriptedTranscriber([utterance("one")]).listen()
        for method in self.fault:
            setattr(self, method, self.fault[method])
        self.feed = self.fault.get("feed", whole.feed)
        self.hypothesis = self.fault.get("hypothesis", whole.hypothesis)
        self.finish = self.fault.get("finish", whole.finish)
        self.close = whole.close
        return self


@pytest.mark.parametrize("method", ["feed", "hypothesis", "finish"])
@pytest.mark.parametrize("fault", [raising, lambda *_: "words"], ids=["raises", "wrong type"])
def test_a_recognisers_ordinary_exceptions_do_not_end_the_call(method, fault):
    parts = engines({}, words=BadEars({method: fault}))
    line = call(parts, ScriptedTransport(spoken_script(speech(1.0), silence(3.0)), hang_up_at=5.0))
    assert {t.code for _, t in line.all(notices.Trouble)} <= {"asr_failed"}
    assert line.closed is None


class BadVoice(ToneSynthesizer):
    def __init__(self, fault):
        super().__init__()
        self.speak = fault


@pytest.mark.parametrize("fault", [raising, lambda text: iter([b"sound"])])
def test_a_voices_ordinary_exceptions_end_the_reply_and_not_the_call(fault):
    parts = engines({}, tts=BadVoice(fault), words=heard("one"))
    line = call(parts, ScriptedTransport(spoken_script(speech(1.0), silence(3.0)), hang_up_at=5.0))
    assert {t.code for _, t in line.all(notices.Trouble)} == {"tts_failed"}
    assert line.closed is None


def test_a_call_whose_responder_breaks_gives_back_what_it_held():
    def bug(words):
        raise RuntimeError("a bug")

    parts = engines({}, CountingResponder(bug), words=heard("one"))
    line = ScriptedTransport(spoken_script(speech(1.0), silence(2.0)), hang_up_at=5.0)
    opened, closed = CountingResponder.opened, CountingResponder.closed
    call(parts, line)
    assert (CountingResponder.opened, CountingResponder.closed) == (opened + 1, closed + 1)


@pytest.mark.slow
def test_a_flood_of_messages_is_answered_and_not_taken_for_slow_reading():
    script = [(0.1, events.TextTyped(f"line {n}")) for n in range(2000)]
    line = call(engines({}), ScriptedTransport(script, hang_up_at=5.0))
    assert line.closed is None
    assert len(line.all(notices.TextAccepted)) == 2000


class Unfinished(ScriptedResponder):
    """Breaks the contract: no ReplyDone."""

    def open(self):
        call = super().open()
        original = call.reply_with
        call.reply_with = lambda messages, options, deadline: (
            p for p in original(messages, options, deadline) if not isinstance(p, ReplyDone)
        )
        return call


def test_a_reply_without_an_end_fails():
    parts = engines({}, Unfinished(), words=heard("one"))
    line = call(parts, ScriptedTransport(spoken_script(speech(1.0), silence(2.0)), hang_up_at=5.0))
    assert "without a complete reply" in line.all(notices.Trouble)[0][1].message
    assert line.all(notices.ReplyFinished)[0][1].status == "failed"


class Deaf(ScriptedTranscriber):
    def listen(self):
        raise AsrError("no ears")


def test_a_recogniser_that_does_not_open_is_told_once_per_turn():
    parts = engines({}, words=Deaf())
    sound = spoken_script(speech(1.0), silence(1.0), speech(1.0), silence(1.0))
    line = call(parts, ScriptedTransport(sound, hang_up_at=5.0))
    assert 1 <= len(line.all(notices.Trouble)) <= 6
    assert line.closed is None


class Decided:
    """A turn model that has made up its mind."""

    def __init__(self):
        self.asked = []

    def submit(self, sound):
        self.asked.append(len(sound))
        future = Future()
        future.set_result(0.9)
        return future

    def close(self):
        pass


def test_the_turn_model_hears_the_turn_and_shortens_the_pause():
    waits = {}
    for name in ("rules", "smart-turn"):
        model = Decided()
        parts = engines({}, words=heard("I went to the market"))
        parts = replace(parts, turn_model=model)
        settings = Settings(turns=EAGER | {"turn_model": name})
        line = ScriptedTransport(spoken_script(speech(1.0), silence(3.0)), hang_up_at=5.0)
        call(parts, line, settings)
        waits[name] = line.all(notices.TurnTimed)[0][1].spans["endpoint_wait"]
    assert model.asked == [pytest.approx(16_000, abs=1024)]
    assert waits["rules"] == pytest.approx(0.5, abs=0.05)
    assert waits["smart-turn"] < 0.4
