"""Traces: the span tree of a turn beside its log line, what a trace may hold, and its failures."""

import asyncio
import itertools
import json
import logging
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import REGISTRY
from support.fakes import ScriptedTransport, in_virtual_time, silence, speech, spoken_script
from test_call import EAGER, engines, heard
from test_server import QUESTION, dial, server, until
from typer.testing import CliRunner

from agent.cli.main import app
from agent.close_codes import NORMAL_CLOSURE
from agent.config.settings import Settings
from agent.errors import ConfigError
from agent.extras import install
from agent.responders.base import ResponderError
from agent.responders.scripted import ScriptedResponder
from agent.runtime import traces as module
from agent.runtime.call import CallRunner
from agent.runtime.call_trace import MAX_OPEN, CallTrace
from agent.runtime.calls import HUNG_UP, CallRegistry
from agent.runtime.span_tree import SpanTree, TracedEngines, voice_to_voice
from agent.runtime.traces import Traces, check, exporting_quietly, make_provider, open_traces
from agent.session.notices import ReplyFinished, ReplyStarted, Resumed
from agent.timing import SPAN_NAMES

ROOT = Path(__file__).parents[1]
MICROSECOND = 1e-6


def traced(parts, transport, settings=None, traces=None):
    """Run one call in virtual time; its spans."""
    settings = settings or Settings(turns=EAGER)
    exporter = InMemorySpanExporter()
    if traces is None:
        provider = make_provider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        traces = Traces(provider, TracedEngines.of(settings))

    async def run():
        # The runner is made inside the call, as servers do: it takes the call's trace along.
        clock = asyncio.get_running_loop().time
        registry = CallRegistry(1, clock=clock)
        registry.tracing, registry.traced_words = traces, settings.log.words
        call = registry.admit("websocket", "ws")
        await call.run(transport, lambda: CallRunner(parts, settings, transport).run())

    in_virtual_time(run())
    return exporter.get_finished_spans()


def asked(hang_up_at=6.0, seconds=4.0):
    return ScriptedTransport(spoken_script(speech(1.0), silence(seconds)), hang_up_at=hang_up_at)


def one(spans, name):
    (found,) = [span for span in spans if span.name == name]
    return found


def below(spans, parent):
    children = [span for span in spans if span.parent and span.parent.span_id == ident(parent)]
    return sorted(children, key=lambda span: (span.start_time, span.end_time))


def ident(span):
    return span.get_span_context().span_id


def seconds(span):
    return (span.end_time - span.start_time) / 1e9


def spoken(settings=None, words="my secret"):
    return traced(engines({words: "Quite so."}, words=heard(words)), asked(), settings)


# ---- the tree ------------------------------------------------------------------------------


def test_the_spans_of_a_turn_are_those_of_its_log_line(caplog):
    caplog.set_level(logging.INFO, "onebreath.calls")
    spans = spoken()
    (line,) = [record.fields for record in caplog.records if record.getMessage() == "turn"]
    latency = one(spans, "voice_to_voice")
    stages = below(spans, latency)
    told = {name: line[f"{name}_ms"] for name in SPAN_NAMES.values() if line[f"{name}_ms"]}
    assert {span.name: round(1000 * seconds(span)) for span in stages} == told
    assert round(1000 * seconds(latency)) == line["v2v_ms"] > 0
    assert line["call"] == one(spans, "call").attributes["gen_ai.conversation.id"]


def test_the_stages_follow_each_other_and_sum_to_the_latency():
    spans = spoken()
    latency, turn = one(spans, "voice_to_voice"), one(spans, "invoke_agent onebreath")
    stages = below(spans, latency)
    for before, after in itertools.pairwise(stages):
        assert before.end_time == after.start_time
    assert sum(map(seconds, stages)) == pytest.approx(seconds(latency), abs=MICROSECOND)
    assert turn.attributes["onebreath.voice_to_voice"] == pytest.approx(
        seconds(latency), abs=MICROSECOND
    )
    playback = one(spans, "playback")
    assert seconds(latency) + seconds(playback) == pytest.approx(seconds(turn), abs=MICROSECOND)


def test_the_latency_is_that_of_the_histogram():
    name = "onebreath_voice_to_voice_seconds_sum"
    before = REGISTRY.get_sample_value(name) or 0.0
    latency = one(spoken(), "voice_to_voice")
    assert REGISTRY.get_sample_value(name) - before == pytest.approx(
        seconds(latency), abs=MICROSECOND
    )


def test_a_call_is_the_parent_of_its_turns():
    spans = spoken()
    call, turn = one(spans, "call"), one(spans, "invoke_agent onebreath")
    assert below(spans, call) == [turn]
    assert {span.name for span in below(spans, turn)} == {
        "voice_to_voice",
        "speech_to_text whisper-base",
        "chat smollm2-135m-instruct",
        f"text_to_speech {Settings().tts.voice}",
        "playback",
    }
    assert call.start_time <= turn.start_time
    assert turn.end_time <= call.end_time
    assert call.attributes["onebreath.call.outcome"] == "completed"
    assert len({span.get_span_context().trace_id for span in spans}) == 1


def test_attributes_are_those_of_the_conventions():
    spans = spoken()
    turn = one(spans, "invoke_agent onebreath").attributes
    assert turn["gen_ai.operation.name"] == "invoke_agent"
    assert turn["gen_ai.agent.invocation.end_reason"] == "completed"
    assert turn["gen_ai.output.type"] == "speech"
    assert (turn["onebreath.heard.words"], turn["onebreath.said.words"]) == (2, 2)
    chat = one(spans, "chat smollm2-135m-instruct")
    assert chat.kind is SpanKind.INTERNAL
    assert chat.attributes["gen_ai.operation.name"] == "chat"
    assert chat.attributes["gen_ai.request.model"] == "smollm2-135m-instruct"
    assert chat.attributes["gen_ai.usage.output_tokens"] > 0
    first = chat.attributes["gen_ai.response.time_to_first_chunk"]
    assert 0 < first <= seconds(chat) + MICROSECOND
    recognition = one(spans, "speech_to_text whisper-base")
    assert recognition.attributes["gen_ai.speech.input.language"] == "en"
    assert seconds(recognition) > 0
    conversation = {span.attributes.get("gen_ai.conversation.id") for span in spans}
    assert conversation - {None} == {turn["gen_ai.conversation.id"]}


def test_a_hosted_model_is_another_service():
    settings = Settings(
        turns=EAGER,
        responder={"engine": "hosted", "model": "large", "base_url": "http://user:key@host/v1"},
    )
    spans = spoken(settings)
    chat = one(spans, "chat large")
    assert chat.kind is SpanKind.CLIENT
    assert chat.attributes["gen_ai.provider.name"] == "openai"
    assert "key" not in everything(spans)


# ---- what a trace may hold -----------------------------------------------------------------


def everything(spans):
    return "".join(span.to_json() for span in spans)


def test_no_words_are_traced():
    text = everything(spoken())
    assert "secret" not in text
    assert "Quite" not in text


def test_words_are_traced_where_the_settings_say_so():
    chat = one(spoken(Settings(turns=EAGER, log={"words": True})), "chat smollm2-135m-instruct")
    (question,) = json.loads(chat.attributes["gen_ai.input.messages"])
    (answer,) = json.loads(chat.attributes["gen_ai.output.messages"])
    assert question == {"role": "user", "parts": [{"type": "text", "content": "my secret"}]}
    assert answer["parts"][0]["content"] == "Quite so."


class Fails(ScriptedResponder):
    def answer(self, messages):
        raise ResponderError("my secret is out")


def test_a_failed_reply_is_an_error_without_its_words():
    parts = engines({}, Fails({}), words=heard("my secret"))
    spans = traced(parts, asked(hang_up_at=9.0))
    failed = [span for span in spans if span.status.status_code is StatusCode.ERROR]
    assert "invoke_agent onebreath" in {span.name for span in failed}
    assert {span.attributes["error.type"] for span in failed} == {"reply_failed"}
    assert "secret" not in everything(spans)


# ---- the end of a turn ---------------------------------------------------------------------

LONG = "This answer goes on for a good while, and then on. " * 8


def test_an_interrupted_turn_says_so():
    parts = engines(
        {"go on": LONG, "what about tea": "Well."}, words=heard("go on", "what about tea")
    )
    sound = spoken_script(speech(1.0), silence(2.0), speech(1.2), silence(3.0))
    spans = traced(parts, ScriptedTransport(sound, hang_up_at=9.0))
    turns = sorted(
        (span for span in spans if span.name == "invoke_agent onebreath"),
        key=lambda span: span.start_time,
    )
    reasons = [turn.attributes["gen_ai.agent.invocation.end_reason"] for turn in turns]
    assert reasons == ["interrupted", "completed"]


def test_a_turn_ends_with_its_call():
    parts = engines({"go on": LONG}, words=heard("go on"))
    spans = traced(parts, asked(hang_up_at=3.0, seconds=2.0))
    turn = one(spans, "invoke_agent onebreath")
    assert turn.attributes["gen_ai.agent.invocation.end_reason"] == "session_closed"
    assert turn.end_time <= one(spans, "call").end_time
    assert seconds(one(spans, "voice_to_voice")) > 0


class Kept:
    """Keeps what is written."""

    def __init__(self):
        self.written = []
        self.ended = None

    def write(self, span):
        self.written.append(span)

    def end(self, now, outcome, code, *, failed):
        self.ended = (now, outcome, code, failed)


def trace_of(span):
    return CallTrace(span, SpanTree("ws_1", TracedEngines.of(Settings()), words=False))


def test_a_reply_that_goes_on_over_another_connection_is_two_turns():
    trace = trace_of(kept := Kept())
    trace.see(ReplyStarted("resp_1", "item_1"), 1.0)
    trace.see(Resumed(()), 2.0)
    trace.see(ReplyStarted("resp_2", "item_1"), 2.0)
    trace.see(ReplyFinished("resp_2", "item_1", "completed", "", "Yes."), 3.0)
    assert [span.attributes["onebreath.response.id"] for span in kept.written] == [
        "resp_1",
        "resp_2",
    ]
    assert [(span.start, span.end) for span in kept.written] == [(1.0, 2.0), (2.0, 3.0)]


def test_replies_that_never_end_are_kept_within_bounds():
    trace = trace_of(kept := Kept())
    for number in range(3 * MAX_OPEN):
        trace.see(ReplyStarted(f"resp_{number}", "item"), float(number))
    trace.end(100.0, "completed", NORMAL_CLOSURE)
    assert len(kept.written) == MAX_OPEN
    assert kept.ended == (100.0, "completed", NORMAL_CLOSURE, False)


def test_stages_that_took_no_time_have_no_span():
    spans = dict.fromkeys(SPAN_NAMES.values(), 0.0) | {"asr": 0.25, "tts": 0.5}
    tree = voice_to_voice(spans, 1.0, 1.75)
    assert [(each.name, each.start, each.end) for each in tree.children] == [
        ("asr", 1.0, 1.25),
        ("tts", 1.25, 1.75),
    ]


# ---- what may fail -------------------------------------------------------------------------


class Breaks(Kept):
    def write(self, span):
        raise ValueError("no room")


class Broken:
    def __init__(self):
        self.calls = 0

    def call(self, call_id, kind, now, *, words):
        self.calls += 1
        return trace_of(Breaks())


def test_a_fault_of_the_trace_is_logged_once_and_ends_no_call(caplog):
    parts = engines({"one": "Fine.", "two": "Good."}, words=heard("one", "two"))
    sound = spoken_script(speech(1.0), silence(4.0), speech(1.0), silence(4.0))
    line = ScriptedTransport(sound, hang_up_at=11.0)
    traced(parts, line, traces=(broken := Broken()))
    assert broken.calls == 1
    assert [n.text for _, n in line.all(ReplyFinished)] == ["Fine.", "Good."]
    assert line.closed == (HUNG_UP.code, HUNG_UP.reason)
    assert len([r for r in caplog.records if "is traced no further" in r.getMessage()]) == 1


def test_a_call_that_cannot_be_traced_is_a_call():
    class None_:
        def call(self, *_, **__):
            raise RuntimeError("no more")

    line = asked()
    traced(engines({"one": "Fine."}, words=heard("one")), line, traces=None_())
    assert [n.text for _, n in line.all(ReplyFinished)] == ["Fine."]


class Down(SpanExporter):
    def __init__(self, *results):
        self.results = list(results)

    def export(self, spans):
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result


def test_failures_to_send_are_logged_once_until_it_works_again(caplog):
    failure, success = SpanExportResult.FAILURE, SpanExportResult.SUCCESS
    quiet = exporting_quietly(Down(failure, OSError("x"), failure, success, success, failure))
    caplog.set_level(logging.INFO)
    for _ in range(6):
        quiet.export([])
    said = [record.getMessage().partition(" ")[0:3:2] for record in caplog.records]
    assert [words[1].split()[0:2] for words in said] == [
        ["cannot", "be"],
        ["are", "sent"],
        ["cannot", "be"],
    ]


class Stuck(SpanExporter):
    """Sends nothing until it is let go."""

    def __init__(self):
        self.let_go = threading.Event()

    def export(self, spans):
        self.let_go.wait()
        return SpanExportResult.SUCCESS


def test_a_collector_that_hangs_holds_up_neither_calls_nor_the_end(monkeypatch, caplog):
    caplog.set_level(logging.CRITICAL, "opentelemetry.sdk")
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.05)
    provider = make_provider()
    stuck = Stuck()
    provider.add_span_processor(BatchSpanProcessor(stuck, 64, max_export_batch_size=16))
    traces = Traces(provider, TracedEngines.of(Settings()))
    try:
        for number in range(1000):
            traces.call(f"ws_{number}", "websocket", 0.0, words=False).end(1.0, "completed", 1000)
        traces.close()
    finally:
        stuck.let_go.set()


def test_a_missing_package_is_one_sentence_with_a_command(monkeypatch):
    monkeypatch.setattr(module, "_installed", lambda package: False)
    settings = Settings(telemetry={"traces": True})
    for attempt in (check, open_traces):
        with pytest.raises(ConfigError) as refused:
            attempt(settings)
        assert install("otel") in str(refused.value)
    assert open_traces(Settings()) is None


def test_a_wrong_variable_is_one_sentence(monkeypatch):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")
    with pytest.raises(ConfigError, match="a variable of OpenTelemetry"):
        check(Settings(telemetry={"traces": True}))


def test_the_command_line_says_so_before_it_loads(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_installed", lambda package: False)
    (file := tmp_path / "onebreath.toml").write_text("[telemetry]\ntraces = true\n")
    done = CliRunner().invoke(app, ["serve", "--config", str(file), "--port", "0"])
    assert isinstance(done.exception, ConfigError)
    assert "telemetry.traces" in str(done.exception)


@pytest.mark.slow
def test_opentelemetry_is_imported_only_where_it_is_wanted():
    script = "import sys, agent.server.app; print('opentelemetry.sdk' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


# ---- a server and a collector --------------------------------------------------------------


@contextmanager
def collector():
    """A collector on this machine; yields its address and what it was sent."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            requests.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{web.server_port}", requests
        finally:
            web.shutdown()
            thread.join()


@pytest.mark.slow
async def test_a_server_sends_the_traces_of_its_calls_to_a_collector(monkeypatch):
    with collector() as (address, requests):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        running = server("how are you", telemetry={"traces": True})
        async with running as (own, _), dial(own) as line:
            await line.send(QUESTION)
            await until(line, "response.done")
    paths = {path for path, _ in requests}
    assert paths == {"/v1/traces"}
    resources = [found for _, sent in requests for found in sent.resource_spans]
    about = {each.key: each.value.string_value for each in resources[0].resource.attributes}
    assert (about["service.name"], about["deployment.environment.name"]) == ("onebreath", "test")
    spans = [span for found in resources for scope in found.scope_spans for span in scope.spans]
    names = {span.name for span in spans}
    assert {"call", "invoke_agent onebreath", "voice_to_voice", "endpoint_wait"} <= names
    (call,) = [span for span in spans if span.name == "call"]
    assert call.start_time_unix_nano < call.end_time_unix_nano
