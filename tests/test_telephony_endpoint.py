"""The real server with real sockets and scripted engines, called as telephony providers do."""

import asyncio
import base64
import contextlib
import json
import struct
import time
import uuid
import wave

import numpy as np
import pytest
from support.fakes import silence, speech
from support.telephony_peer import FRAME, RATE, media, start
from support.telephony_server import server
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agent.audio.samples import to_pcm16
from agent.config.settings import Settings
from agent.errors import ConfigError
from agent.server.app import AgentServer, listen, serve
from agent.telephony.access.tokens import Tokens
from agent.telephony.media.websocket import MediaAwareProtocol
from tts.engine import TtsError
from tts.tone import ToneSynthesizer

CALL = uuid.UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
CONNECTED = '{"event":"connected","protocol":"Call","version":"1.0.0"}'
QUESTION = np.concatenate([silence(0.1, RATE), speech(0.4, RATE), silence(0.7, RATE)])


@pytest.fixture
def tokens(monkeypatch):
    """The tokens of the server that the test starts."""
    shared = Tokens(b"k" * 32)
    monkeypatch.setattr("agent.server.app.Tokens", lambda: shared)
    return shared


def dial(address, provider="twilio", **options):
    return connect(f"ws://{address}/telephony/{provider}", compression=None, **options)


async def ask(line, sound=QUESTION):
    """Faster than real time: the session counts sound, not seconds."""
    for at in range(0, len(sound), FRAME):
        await line.send(media(sound[at : at + FRAME], at / RATE))


async def until(line, *kinds):
    """Commands up to the first of a kind."""
    commands = []
    async for message in line:
        commands.append(json.loads(message))
        if commands[-1]["event"] in kinds:
            return commands
    raise AssertionError(f"none of {kinds} in {commands}")


async def closed(line):
    with contextlib.suppress(ConnectionClosed):
        async for _ in line:
            pass
    return line.close_code


async def status(connection):
    with pytest.raises(InvalidStatus) as refused:
        async with connection:
            pass
    return refused.value.response.status_code


@pytest.mark.slow
async def test_a_question_over_twilio_is_answered_and_interrupted(tokens):
    async with server("talk", "how are you") as (address, engines), dial(address) as line:
        await line.send(CONNECTED)
        await line.send(start(token=tokens.issue("CA1", time.monotonic(), "twilio")))
        await ask(line)
        await until(line, "media")
        commands = await until(line, "mark")
        assert {command["event"] for command in commands} == {"media", "mark"}
        payload = base64.b64decode(commands[0]["media"]["payload"])
        assert len(payload) == FRAME
        while commands[-1]["mark"]["name"] != "0.3":  # 0.3 s of it were heard
            commands = await until(line, "mark")
        await ask(line)  # barge-in
        commands = await until(line, "clear")
        commands = await until(line, "media")
        assert [command["event"] for command in commands] == ["media"]
        commands = await until(line, "mark")
        assert commands[-1]["mark"]["name"].startswith("1.")  # of the new generation
        (said,) = [m.content for m in engines.responder.prompts[-1] if m.role == "assistant"]
        assert 0 < len(said.split()) < 10


@pytest.mark.slow
async def test_the_provider_is_told_from_the_first_messages(tokens):
    async with server("how are you") as (address, _), dial(address, "auto") as line:
        await line.send(CONNECTED)
        await line.send(start(token=tokens.issue("CA1", time.monotonic(), "twilio")))
        await ask(line)
        await until(line, "media")


async def test_a_token_opens_one_call_once(tokens):
    token = tokens.issue("CA1", time.monotonic(), "twilio")
    async with server() as (address, _), dial(address) as line, dial(address) as again:
        await line.send(start(token=token))
        while not tokens._spent:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await again.send(start(token=token))
        assert await closed(again) == 1008
        await line.ping()


@pytest.mark.parametrize("token", [None, "", "0" * 68, "é"])
async def test_a_call_without_a_valid_token_is_not_let_in(tokens, token, caplog):
    async with server() as (address, _), dial(address) as line:
        await line.send(start() if token is None else start(token=token))
        assert await closed(line) == 1008
    assert "0" * 68 not in caplog.text


async def test_a_token_of_another_call_opens_nothing(tokens):
    async with server() as (address, _), dial(address) as line:
        await line.send(start(token=tokens.issue("CA2", time.monotonic(), "twilio")))
        assert await closed(line) == 1008


async def test_a_provider_that_is_not_set_up_is_not_there():
    async with server() as (address, _):
        assert await status(dial(address, "plivo")) == 404
        assert await status(dial(address, "nobody")) == 404
        assert await status(dial(address, "asterisk")) == 401


async def test_a_socket_that_names_no_call_is_closed():
    async with server(start_seconds=0.05) as (address, _), dial(address) as line:
        await line.send(CONNECTED)
        assert await closed(line) == 1008


@pytest.mark.parametrize("provider", ["twilio", "auto"])
async def test_garbage_closes_the_socket(provider):
    async with server() as (address, _), dial(address, provider) as line:
        await line.send("garbage")
        assert await closed(line) == 1002


@pytest.mark.parametrize("path", ["telephony/twilio", "%74elephony/twilio"])
async def test_a_long_message_is_not_even_read(path):
    async with server() as (address, _), connect(f"ws://{address}/{path}") as line:
        with contextlib.suppress(ConnectionClosed):
            await line.send("x" * 65_537)
        assert await closed(line) == 1009


async def test_asterisk_is_not_pinged(monkeypatch):
    pinged = []

    def remember(protocol):
        pinged.append(protocol.scope["path"])

    monkeypatch.setattr(MediaAwareProtocol, "schedule_ping", remember)
    headers = password("agent:s3cret-s3cret")
    async with (
        server() as (address, _),
        dial(address),
        dial(address, "asterisk", additional_headers=headers),
    ):
        pass
    assert pinged == ["/telephony/twilio"]


async def test_sockets_of_one_address_and_calls_are_counted(tokens):
    async with server(max_calls_per_address=2) as (address, _):
        async with dial(address), dial(address):
            assert await status(dial(address)) == 503
        while True:
            with contextlib.suppress(InvalidStatus):
                async with dial(address):
                    break


async def test_telephony_calls_and_others_share_the_lines(tokens):
    async with server(max_calls=1) as (address, _), connect(f"ws://{address}/v1/realtime") as other:
        await other.recv()
        assert await status(dial(address)) == 503


def password(text):
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


ASTERISK_START = (
    '{"event":"MEDIA_START","connection_id":"agent","channel":"WebSocket/agent/0x1",'
    '"channel_id":"1.1","format":"slin16","optimal_frame_size":640,"ptime":20}'
)


@pytest.mark.slow
async def test_an_asterisk_call_at_16_khz():
    headers = password("agent:s3cret-s3cret")
    async with (
        server("how are you") as (address, _),
        dial(address, "asterisk", additional_headers=headers, subprotocols=["media"]) as line,
    ):
        assert line.subprotocol == "media"
        await line.send(b"\0" * 640)  # may overtake the start
        await line.send(ASTERISK_START)
        sound = np.concatenate([speech(0.8), silence(0.7)])
        for at in range(0, len(sound), 320):
            await line.send(to_pcm16(sound[at : at + 320]))
        first = await line.recv()
        assert isinstance(first, bytes)
        assert len(first) == 640
        while isinstance(mark := await line.recv(), bytes):
            assert len(mark) == 640
        assert json.loads(mark) == {"command": "MARK_MEDIA", "correlation_id": "0.1"}


@pytest.mark.parametrize("given", ["agent:wrong", "other:s3cret-s3cret", "é", ""])
async def test_asterisk_must_give_its_password(given):
    async with server() as (address, _):
        assert await status(dial(address, "asterisk", additional_headers=password(given))) == 401
        async with dial(address, "auto", additional_headers=password(given)) as line:
            await line.send(ASTERISK_START)
            assert await closed(line) == 1008


def frame(kind, payload=b""):
    return struct.pack(">BH", kind, len(payload)) + payload


@pytest.fixture
def telephony(monkeypatch):
    """The telephony endpoint of the server that the test starts."""
    made = []
    plain = AgentServer.__init__

    def remember(self, *arguments):
        plain(self, *arguments)
        made.append(self.telephony)

    monkeypatch.setattr(AgentServer, "__init__", remember)
    return lambda: made[0]


async def test_a_call_can_be_hung_up(telephony):
    async with server(require_token=False) as (address, _), dial(address) as line:
        await line.send(start())
        while "CA1" not in telephony().transports:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        call = telephony().transports["CA1"]
        await call.close(1000, "the office closes")
        assert await closed(line) == 1000
        while telephony().transports:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


AUDIOSOCKET = {"audiosocket_port": 0, "audiosocket_uuid": CALL}


@pytest.mark.slow
async def test_an_audiosocket_call(telephony):
    async with server("how are you", **AUDIOSOCKET):
        reader, writer = await asyncio.open_connection("127.0.0.1", telephony().audiosocket_port)
        writer.write(frame(0x01, CALL.bytes))
        for at in range(0, len(QUESTION), FRAME):
            writer.write(frame(0x10, to_pcm16(QUESTION[at : at + FRAME])))
        kind, length = struct.unpack(">BH", await reader.readexactly(3))
        assert (kind, length) == (0x10, 320)
        assert len(await reader.readexactly(320)) == 320
        writer.write(frame(0x00))
        while await reader.read(4096):
            pass
        writer.close()


async def test_another_uuid_is_not_let_in(telephony):
    async with server(**AUDIOSOCKET):
        reader, writer = await asyncio.open_connection("127.0.0.1", telephony().audiosocket_port)
        writer.write(frame(0x01, uuid.uuid4().bytes) + frame(0x10, b"\0\\0"))
        assert await reader.read() == b""
        writer.close()


async def test_a_taken_audiosocket_port_is_named():
    with listen("127.0.0.1", 0) as taken, listen("127.0.0.1", 0) as sock:
        port = taken.getsockname()[1]
        settings = Settings(telephony={"audiosocket_port": port, "audiosocket_uuid": CALL})
        with pytest.raises(ConfigError, match=f"audiosocket_port: cannot listen on .*{port}"):
            await serve(settings, None, sock)


@pytest.mark.slow
async def test_programs_of_this_machine_need_no_token_where_the_settings_say_so():
    trusting = server("how are you", require_token=False)
    async with trusting as (address, _), dial(address, "signalwire") as line:
        await line.send(start())
        await ask(line)
        await until(line, "media")


@pytest.mark.slow
async def test_a_call_is_announced_then_recorded(tokens, tmp_path):
    tmp_path.chmod(0o755)
    recording = server("how are you", record=tmp_path, announce_recording="word")
    async with recording as (address, _), dial(address) as line:
        await line.send(start(token=tokens.issue("CA1", time.monotonic(), "twilio")))
        await until(line, "mark")
        await line.send('{"event":"mark","mark":{"name":"0.1"}}')
        while not list(tmp_path.iterdir()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await ask(line)
        await until(line, "mark")
        await line.send('{"event":"stop"}')
        await closed(line)
    (path,) = tmp_path.iterdir()
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, RATE)
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    assert path.stat().st_mode & 0o777 == 0o600
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    assert np.abs(sound).max(axis=0).min() > 3000


class Mute(ToneSynthesizer):
    def speak(self, text):
        raise TtsError("no voice today")


async def test_a_call_that_cannot_be_announced_is_not_recorded(tokens, tmp_path):
    recording = server("how are you", tts=Mute(), record=tmp_path)
    async with recording as (address, engines), dial(address) as line:
        await line.send(start(token=tokens.issue("CA1", time.monotonic(), "twilio")))
        await ask(line)
        while not engines.responder.prompts:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
async def test_metadata_reaches_the_prompt_by_the_template_only(tokens):
    template = "Plan: {parameter.plan}."
    async with server("how are you", instructions_template=template) as (address, engines):
        async with dial(address) as line:
            token = tokens.issue("CA1", time.monotonic(), "twilio")
            await line.send(start(token=token, plan="gold", secret="hidden"))
            await ask(line)
            await until(line, "media")
        prompt = engines.responder.prompts[-1][0].content
    assert prompt.endswith("Plan: gold.")
    assert "hidden" not in prompt


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://evil.example"}])
async def test_the_socket_for_any_provider_is_shut_where_there_is_none(headers):
    async with server(twilio=None, asterisk=None) as (address, _):
        with pytest.raises(InvalidStatus) as refused:
            async with dial(address, "auto", additional_headers=headers):
                pass
        assert refused.value.response.status_code == 404


async def test_no_page_opens_the_socket_for_any_provider():
    async with server() as (address, _):
        with pytest.raises(InvalidStatus) as refused:
            async with dial(address, "auto", additional_headers={"Origin": "https://evil.example"}):
                pass
        assert refused.value.response.status_code == 403


async def test_a_token_of_one_provider_opens_no_socket_of_another(tokens):
    telnyx = {"public_key": base64.b64encode(bytes(32)).decode()}
    async with server(telnyx=telnyx) as (address, _), dial(address, "twilio") as line:
        await line.send(start(token=tokens.issue("CA1", time.monotonic(), "telnyx")))
        await closed(line)
        assert line.close_code == 1008
