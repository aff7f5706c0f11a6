"""Health, the watchdog of the event loop, structured log lines and metrics."""

import asyncio
import json
import logging
import threading
import time
from typing import get_args, get_type_hints

import httpx
import pytest
from prometheus_client import REGISTRY
from support.fakes import ScriptedTransport, silence, speech, spoken_script
from test_call import call, engines, heard
from test_server import server

from agent.config.settings import Settings
from agent.runtime.call_log import TurnLog
from agent.runtime.calls import CallRefused, CallRegistry, Outcome
from agent.runtime.logs import ConsoleFormatter, JsonFormatter
from agent.runtime.recorded_voice import RecordedVoice, fixed_sentences, segments
from agent.runtime.watchdog import Watchdog
from agent.server.health import Health
from agent.server.ports import listen
from agent.server.workers.merged_health import MergedHealth
from agent.session import notices
from agent.session.events import StageFailed
from agent.session.notices import ReplyFinished, Trouble
from tts.engine import TtsError
from tts.tone import ToneSynthesizer

# ---- health ------------------------------------------------------------------------------


class Voice(ToneSynthesizer):
    ready = True


async def test_readiness_follows_the_voice():
    async with server() as (address, loaded), httpx.AsyncClient() as web:
        url = f"http://{address}/readyz"
        assert (await web.get(url)).json()["status"] == "ready"
        object.__setattr__(loaded, "tts", voice := Voice())
        voice.ready = False
        answer = await web.get(url)
        assert (answer.status_code, answer.json()["status"]) == (503, "voice_down")
        assert "onebreath_voice_ready 0.0" in (await web.get(f"http://{address}/metrics")).text
        voice.ready = True
        assert (await web.get(url)).status_code == 200


@pytest.mark.slow
async def test_health_on_a_port_of_its_own_tells_of_a_blocked_loop():
    """The loop of the calls is blocked for two seconds, and health answers meanwhile."""
    watchdog = Watchdog(blocked_seconds=0.2)
    health = Health(CallRegistry(1), engines({}), watchdog)
    seen = []

    def ask(port):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as web:
            for _ in range(200):
                time.sleep(0.01)
                answer = web.get("/readyz")
                seen.append((answer.status_code, answer.json()["status"]))
                if seen[-1][0] == 503:
                    return

    sock = listen("127.0.0.1", 0)
    with health.serving(sock):
        watchdog.start()
        try:
            asking = threading.Thread(target=ask, args=(sock.getsockname()[1],))
            asking.start()
            await asyncio.sleep(0.05)
            time.sleep(2.0)  # noqa: ASYNC251  # the block
            asking.join()
        finally:
            watchdog.stop()
    assert seen[-1] == (503, "blocked")


class Blocks:
    """A call's code that computes in the loop."""

    call_id = "ws_123"

    def computes(self):
        time.sleep(0.5)


@pytest.mark.slow
async def test_the_watchdog_says_which_call_blocks_the_loop_and_where(caplog):
    watchdog = Watchdog(blocked_seconds=0.1)
    watchdog.start()
    try:
        await asyncio.sleep(0)
        Blocks().computes()
        await asyncio.sleep(0.15)
    finally:
        watchdog.stop()
    assert "by call ws_123" in caplog.text
    assert "in computes" in caplog.text
    assert watchdog.trouble == "the event loop was blocked a moment ago"


async def test_a_loop_that_works_is_no_trouble():
    watchdog = Watchdog(blocked_seconds=5.0)
    watchdog.start()
    await asyncio.sleep(0.15)
    assert watchdog.trouble is None
    watchdog.stop()


# ---- the log -------------------------------------------------------------------------------


def lines_of(caplog, **settings):
    with caplog.at_level(logging.INFO, "onebreath.calls"):
        sound = spoken_script(speech(1.0), silence(4.0))
        parts = engines({"my secret": "Quite so."}, words=heard("my secret"))
        call(parts, ScriptedTransport(sound, hang_up_at=6.0), Settings(**settings))
    return [record for record in caplog.records if record.getMessage() == "turn"]


@pytest.mark.slow
def test_a_turn_is_one_line_without_words(caplog):
    (turn,) = lines_of(caplog)
    fields = turn.fields
    assert (fields["status"], fields["heard_words"], fields["said_words"]) == ("completed", 2, 2)
    assert fields["item"].startswith("item_")
    assert fields["response"].startswith("resp_")
    spans = [value for name, value in fields.items() if name.endswith("_ms") and name != "v2v_ms"]
    assert fields["v2v_ms"] == pytest.approx(sum(spans), abs=len(spans))
    for formatter in (JsonFormatter(), ConsoleFormatter()):
        assert "secret" not in formatter.format(turn)
        assert "Quite" not in formatter.format(turn)


def test_words_are_in_the_line_where_the_settings_say_so(caplog):
    (turn,) = lines_of(caplog, log={"words": True})
    row = json.loads(JsonFormatter().format(turn))
    assert (row["event"], row["heard"], row["said"]) == ("turn", "my secret", "Quite so.")
    assert row["level"] == "info"


def test_nobody_forges_a_line():
    record = logging.makeLogRecord({"msg": "call ended", "fields": {"reason": "a\nb c", "n": 1}})
    assert ConsoleFormatter().format(record) == 'call ended reason="a\\nb c" n=1'
    assert "\n" not in JsonFormatter().format(record)


def test_a_turn_is_counted_and_measured(caplog):
    def value(name, **labels):
        return REGISTRY.get_sample_value(name, labels) or 0.0

    names = ("onebreath_voice_to_voice_seconds_count", "onebreath_turns_total")
    before = value(names[0]), value(names[1], status="completed")
    lines_of(caplog)
    assert value(names[0]) == before[0] + 1
    assert value(names[1], status="completed") == before[1] + 1
    assert value("onebreath_span_seconds_count", span="endpoint_wait") > 0


def test_kinds_of_errors_are_counted_within_bounds():
    log = TurnLog(words=False)
    for number in range(200):
        log.see(Trouble(f"made_up_{number}", "x"))
    codes = {
        sample.labels["code"]
        for metric in REGISTRY.collect()
        if metric.name == "onebreath_errors"
        for sample in metric.samples
        if sample.labels["code"].startswith("made_up")
    }
    assert len(codes) <= 128  # with and without `_created`, 64 each


def test_known_series_begin_at_zero(tmp_path):
    """Prometheus has no rate of the event with which a series begins: no panel showed it."""

    def value(name, registry=REGISTRY, **labels):
        return registry.get_sample_value(f"onebreath_{name}_total", labels)

    CallRegistry(1).admit("a_new_kind")
    ended = [value("calls", kind="a_new_kind", outcome=outcome) for outcome in Outcome]
    assert ended == [0.0] * len(Outcome)
    deaths = MergedHealth(2, lambda: [], tmp_path)._own
    assert [value("worker_deaths", deaths, worker=name) for name in "01"] == [0.0, 0.0]
    for status in get_args(get_type_hints(ReplyFinished)["status"]):
        assert value("turns", status=status) is not None
    for stage in get_args(get_type_hints(StageFailed)["stage"]):
        assert value("errors", code=f"{stage}_failed") is not None
    for refused in (CallRegistry(0), CallRegistry(1, max_calls_per_address=0)):
        with pytest.raises(CallRefused) as refusal:
            refused.admit("websocket", address="192.0.2.1")
        assert refusal.value.code in {"server_full", "too_many_calls"}
        assert value("calls_refused", code=refusal.value.code) > 0


# ---- the recorded sentence -------------------------------------------------------------------


class Hoarse(ToneSynthesizer):
    ready = True

    def speak(self, text):
        if not self.ready:
            raise TtsError("no voice today")
        return super().speak(text)


def test_fixed_sentences_are_spoken_without_a_voice():
    fixed = fixed_sentences(Settings().call)
    assert fixed == [Settings().call.apology, Settings().call.goodbye]
    voice = RecordedVoice(hoarse := Hoarse(), fixed)
    voice.warm_up()
    first = segments(fixed[0])[0]
    before = [chunk.samples.tolist() for chunk in voice.speak(first)]
    hoarse.ready = False
    assert not voice.ready
    assert [chunk.samples.tolist() for chunk in voice.speak(first)] == before
    with pytest.raises(TtsError):
        list(voice.speak("Something else."))


def test_the_caller_hears_that_something_went_wrong_when_the_voice_is_gone():
    voice = RecordedVoice(hoarse := Hoarse(), fixed_sentences(Settings().call))
    voice.warm_up()
    hoarse.ready = False
    line = call(
        engines({"one": "Fine."}, None, voice, words=heard("one")),
        ScriptedTransport(spoken_script(speech(1.0), silence(6.0)), hang_up_at=8.0),
    )
    statuses = [n.status for _, n in line.all(notices.ReplyFinished)]
    assert statuses == ["failed", "completed"]
    assert sum(len(n.samples) for _, n in line.all(notices.Play)) > 8000
