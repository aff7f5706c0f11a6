"""The real server on a real socket, with scripted engines. Sound is sent faster than real time."""

import asyncio
import base64
import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import httpx
import numpy as np
import openai
import pytest
from support.fakes import LoudIsSpeech, silence, speech
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agent.audio.samples import to_pcm16
from agent.compute import Compute
from agent.config.settings import Settings
from agent.errors import PortInUse
from agent.responders.scripted import ScriptedResponder
from agent.runtime.engine_tasks import Engines
from agent.server.app import SPARE_OPENINGS, serve
from agent.server.ports import listen
from agent.session.session import Session
from agent.tools.toolbox import load_tools
from asr.scripted import ScriptedTranscriber
from tts.tone import ToneSynthesizer

WIRE = 24_000
ANSWERS = {"how are you": "Fine.", "talk": "word " * 200, "again": "Again and again."}


def utterances(*texts):
    return ScriptedTranscriber([[(1, word) for word in text.split()] for text in texts])


@asynccontextmanager
async def server(
    *heard, webrtc=None, answers=ANSWERS, tools=None, telemetry=None, within=20, **server_settings
):
    settings = Settings(
        server={"max_calls": 2, **server_settings},
        webrtc=webrtc or {},
        tools=tools or {},
        telemetry=telemetry or {},
    )
    engines = Engines(
        utterances(*heard),
        ScriptedResponder(answers),
        ToneSynthesizer(),
        LoudIsSpeech,
        Compute(),
        ThreadPoolExecutor(2),
        tools=load_tools(settings.tools),
    )
    sock = listen("127.0.0.1", 0)
    ready = asyncio.Event()
    serving = asyncio.create_task(serve(settings, engines, sock, ready.set))
    try:
        async with asyncio.timeout(within):
            await ready.wait()
            yield f"127.0.0.1:{sock.getsockname()[1]}", engines
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        engines.compute.close()
        engines.voices.shutdown()


def dial(address, query="?onebreath=1", **options):
    return connect(f"ws://{address}/v1/realtime{query}", compression=None, **options)


def append(*pieces):
    audio = base64.b64encode(to_pcm16(np.concatenate(pieces))).decode()
    return json.dumps({"type": "input_audio_buffer.append", "audio": audio})


QUESTION = append(silence(0.1, WIRE), speech(0.4, WIRE), silence(0.7, WIRE))
"""Sent at once and short: the turn ends when as much time has passed as there is sound."""


async def until(line, kind):
    """Events up to the first of ``kind``, which is the last of them."""
    events = []
    async for message in line:
        events.append(json.loads(message))
        if events[-1]["type"] == kind:
            return events
    raise AssertionError(f"no {kind} in {[event['type'] for event in events]}")


async def close_code(line):
    """Read to the end of the connection; the code the server closed it with."""
    with contextlib.suppress(ConnectionClosed):
        async for _ in line:
            pass
    return line.close_code


async def test_prometheus_finds_the_figures_of_the_process():
    async with server() as (address, _), httpx.AsyncClient() as client:
        answer = await client.get(f"http://{address}/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "process_cpu_seconds_total" in answer.text


async def test_page_and_health():
    async with server() as (address, _), httpx.AsyncClient(base_url=f"http://{address}") as web:
        page = await web.get("/")
        assert "<title>onebreath" in page.text
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert (await web.get("/healthz")).json() == {"status": "ok"}
        assert (await web.get("/readyz")).json() == {"status": "ready", "calls": 0, "max_calls": 2}
        async with dial(address) as line:
            await until(line, "session.created")
            assert (await web.get("/readyz")).json()["calls"] == 1


@pytest.mark.slow
async def test_a_spoken_turn():
    async with server("how are you") as (address, _), dial(address) as line:
        await line.send(QUESTION)
        events = await until(line, "response.done")
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["session.created", "input_audio_buffer.speech_started"]
    heard = events[kinds.index("conversation.item.input_audio_transcription.completed")]
    assert heard["transcript"] == "how are you"
    assert events[-1]["response"]["output"][0]["content"][0]["transcript"] == "Fine."
    assert "response.output_audio.delta" in kinds
    assert "onebreath.turn.timings" in kinds


@pytest.mark.slow
async def test_the_official_client_completes_a_spoken_turn():
    async with server("how are you") as (address, _):
        client = openai.AsyncOpenAI(base_url=f"http://{address}/v1", api_key="none")
        async with client.realtime.connect(model="onebreath") as connection:
            sound = np.concatenate([speech(1.0, WIRE), silence(0.7, WIRE)])
            await connection.input_audio_buffer.append(
                audio=base64.b64encode(to_pcm16(sound)).decode()
            )
            audio, words = b"", ""
            async for event in connection:
                if event.type == "response.output_audio.delta":
                    audio += base64.b64decode(event.delta)
                elif event.type == "response.output_audio_transcript.delta":
                    words += event.delta
                elif event.type == "response.done":
                    assert event.response.status == "completed"
                    break
        await client.close()
    assert words == "Fine."
    assert len(audio) > 0.05 * WIRE * 2


async def test_the_official_client_types_and_configures():
    async with server() as (address, engines):
        client = openai.AsyncOpenAI(base_url=f"http://{address}/v1", api_key="none")
        async with client.realtime.connect(model="onebreath") as connection:
            await connection.session.update(
                session={"type": "realtime", "instructions": "Be brief."}
            )
            content = [{"type": "input_text", "text": "how are you"}]
            await connection.conversation.item.create(
                item={"type": "message", "role": "user", "content": content}
            )
            await connection.response.create()
            async for event in connection:
                assert event.type != "error", event
                if event.type == "response.done":
                    break
        await client.close()
        assert engines.responder.prompts[-1][0].content == "Be brief."


@pytest.mark.slow
@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{not json", "invalid_json"),
        (json.dumps({"type": "make.coffee"}), "unknown_event"),
        (b"\x00\xff" * 100, "invalid_message"),
        (
            json.dumps({"type": "input_audio_buffer.append", "audio": "A" * 70_000}),
            "message_too_large",
        ),
        (json.dumps({"type": "input_audio_buffer.append", "audio": "?"}), "invalid_audio"),
    ],
)
async def test_bad_messages_are_answered_and_the_call_goes_on(message, code):
    question = [append(speech(0.2, WIRE)), append(speech(0.2, WIRE))]
    question += [append(silence(0.4, WIRE)), append(silence(0.4, WIRE))]
    small = {"max_message_bytes": 65_536}
    async with server("how are you", **small) as (address, _), dial(address) as line:
        await line.send(message)
        events = await until(line, "error")
        assert events[-1]["error"]["code"] == code
        for part in question:
            await line.send(part)
        await until(line, "response.done")


async def test_a_ping_is_answered_by_the_monotonic_clock():
    async with server() as (address, _), dial(address) as line:
        before = time.monotonic() * 1000
        await line.send(json.dumps({"type": "onebreath.ping", "client_time_ms": 12.5}))
        pong = (await until(line, "onebreath.pong"))[-1]
        assert pong["client_time_ms"] == 12.5
        assert before - 0.001 <= pong["server_time_ms"] <= time.monotonic() * 1000


async def test_endless_garbage_ends_the_call():
    async with server() as (address, _), dial(address) as line:
        for _ in range(102):
            await line.send("garbage")
        assert await close_code(line) == 1008


async def test_an_enormous_message_is_not_even_read():
    async with server() as (address, _), dial(address) as line:
        with contextlib.suppress(ConnectionClosed):
            await line.send("x" * (17 * 2**20))
        assert await close_code(line) == 1009


async def test_all_lines_busy():
    async with server() as (address, _), dial(address) as first, dial(address) as second:
        await until(first, "session.created")
        await until(second, "session.created")
        async with dial(address) as third:
            events = await until(third, "error")
            assert events[-1]["error"]["code"] == "server_full"
            with pytest.raises(ConnectionClosed) as closed:
                await third.recv()
            assert closed.value.rcvd.code == 1013


async def refusal(connection):
    with pytest.raises(InvalidStatus) as refused:
        async with connection:
            pass
    return refused.value.response.status_code


async def test_other_sites_may_not_call():
    async with server() as (address, _):
        assert await refusal(dial(address, origin="https://evil.example")) == 403
        assert await refusal(dial(address, origin="http://[")) == 403
        host, port = address.split(":")
        bent = connect(f"ws://evil.example:{port}/v1/realtime", host=host, port=int(port))
        assert await refusal(bent) == 403


async def test_an_address_that_opens_too_many_is_told_to_wait():
    """As with other APIs: 429 is tried again later by clients, 403 is given up."""
    async with server(max_calls=1) as (address, _):
        for _ in range(SPARE_OPENINGS + 20):
            try:
                async with dial(address):
                    pass
            except InvalidStatus as refused:
                answer = refused.response
                break
        assert answer.status_code == 429
        assert answer.headers["Retry-After"] == "5"
        assert json.loads(answer.body)["error"]["code"] == "too_many_requests"


async def test_our_own_page_may_call():
    async with server() as (address, _), dial(address, origin=f"http://{address}") as line:
        await until(line, "session.created")


@pytest.mark.slow
async def test_a_client_that_vanishes_mid_reply_frees_its_line():
    async with server("talk", "how are you") as (address, _):
        line = await dial(address)
        await line.send(QUESTION)
        await until(line, "response.output_audio.delta")
        line.transport.abort()
        async with httpx.AsyncClient(base_url=f"http://{address}") as web:
            while (await web.get("/readyz")).json()["calls"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        async with dial(address) as line:
            await line.send(QUESTION)
            await until(line, "response.done")


@pytest.mark.slow
async def test_a_fault_in_one_call_does_not_end_the_others(monkeypatch):
    def faulty(session, event, now):
        raise RuntimeError("a bug")

    async with server("how are you") as (address, _):
        with monkeypatch.context() as patch:
            patch.setattr(Session, "handle", faulty)
            async with dial(address) as line:
                await line.send(QUESTION)
                assert await close_code(line) == 1011
        async with dial(address) as line:
            await line.send(QUESTION)
            await until(line, "response.done")


@pytest.mark.slow
async def test_two_callers_at_once_do_not_mix():
    async def ask(address):
        async with dial(address) as line:
            await line.send(QUESTION)
            events = await until(line, "response.done")
        heard = next(
            e["transcript"] for e in events if e["type"].endswith("transcription.completed")
        )
        said = events[-1]["response"]["output"][0]["content"][0]["transcript"]
        return heard, said

    async with server("how are you", "again") as (address, _):
        answers = dict(await asyncio.gather(ask(address), ask(address)))
    assert answers == {"how are you": "Fine.", "again": "Again and again."}


def test_a_taken_port_is_named():
    with listen("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(PortInUse, match=f"127.0.0.1:{port} is taken"):
            listen("127.0.0.1", port)
