"""The caller over each wire against the real server with scripted engines, in real time."""

from __future__ import annotations

import asyncio
import base64
import json
from functools import partial

import numpy as np
import pytest
from support.fakes import speech
from support.telephony_server import server as telephony_server
from test_server import server
from websockets.asyncio.server import serve

from agent.errors import CallError
from agent.latency.asterisk import AsteriskWire
from agent.latency.caller import Caller, Interruption
from agent.latency.link import LinkedWire, LinkSettings
from agent.latency.names import WireName
from agent.latency.question import Question
from agent.latency.realtime import RealtimeWire
from agent.latency.twilio import TwilioWire
from agent.latency.webrtc import WebRtcWire
from agent.latency.wires import Dialling
from agent.protocol import WIRE_RATE
from agent.telephony.dialects.g711 import encode_mulaw

ASKED = Question("tone", speech(0.5, WIRE_RATE), "how are you")


async def ask(wire, **options):
    caller = Caller(wire, reply_timeout=5.0)
    async with caller.silence():
        row = await caller.ask(1, ASKED, **options)
    return row, caller.line


def check(row, line):
    """A turn as the scripted engines give it: the pause that ends the turn, and little more."""
    assert row.error is None
    assert 150 < row.voice_to_voice_ms < 3000
    assert np.abs(line.ear).max() > 0.05
    assert 0.1 < row.reply_seconds < 5


@pytest.mark.slow
async def test_realtime():
    async with server("how are you") as (address, _):
        row, line = await ask(RealtimeWire(f"ws://{address}/v1/realtime"))
    check(row, line)
    assert (row.heard, row.answered) == ("how are you", "Fine.")
    assert sum(row.spans.values()) == pytest.approx(row.voice_to_voice_ms, abs=0.01)


@pytest.mark.slow
async def test_webrtc():
    async with server("how are you", webrtc={"ice_hosts": ["127.0.0.1"]}) as (address, _):
        row, line = await ask(WebRtcWire(f"http://{address}", ["127.0.0.1"]))
    check(row, line)
    assert (row.heard, row.answered) == ("how are you", "Fine.")
    assert sum(row.spans.values()) == pytest.approx(row.voice_to_voice_ms, abs=0.01)


@pytest.mark.slow
async def test_twilio():
    async with telephony_server("how are you", require_token=False) as (address, _):
        row, line = await ask(TwilioWire(f"ws://{address}/telephony/twilio"))
    check(row, line)
    assert row.spans == {}


@pytest.mark.slow
async def test_asterisk():
    async with telephony_server("how are you") as (address, _):
        url = f"ws://{address}/telephony/asterisk"
        row, line = await ask(AsteriskWire(url, "agent:s3cret-s3cret"))
        with pytest.raises(CallError, match="HTTP 40"):
            await ask(AsteriskWire(url, "agent:wrong-wrong"))
    check(row, line)


@pytest.mark.slow
@pytest.mark.parametrize("provider", ["twilio", "asterisk"])
async def test_an_interruption_clears_what_the_telephone_plays(provider):
    async with telephony_server("talk", "how are you", require_token=False) as (address, _):
        wires = {
            "twilio": TwilioWire,
            "asterisk": partial(AsteriskWire, login="agent:s3cret-s3cret"),
        }
        wire = wires[provider](f"ws://{address}/telephony/{provider}")
        row, _ = await ask(wire, interruption=Interruption(ASKED, 0.5))
    assert row.error is None
    assert 0 < row.interrupt_ms < 1500
    assert row.recovery_ms > 0


@pytest.mark.slow
async def test_a_phone_call_without_a_token_is_not_let_in():
    async with telephony_server("how are you") as (address, _):
        with pytest.raises(CallError, match="not let in"):
            await ask(TwilioWire(f"ws://{address}/telephony/twilio", token="0" * 68))


async def test_marks_come_back_when_they_were_played_and_at_once_when_cleared():
    sound = base64.b64encode(encode_mulaw(np.full(8000, 0.2, np.float32))).decode()
    told = []

    async def agent(connection):
        def tell(event, **body):
            return connection.send(json.dumps({"event": event, **body}))

        await tell("media", media={"payload": sound})
        await tell("mark", mark={"name": "after a second"})
        await tell("clear")
        await tell("mark", mark={"name": "nothing plays"})
        async for message in connection:
            event = json.loads(message)
            if event["event"] != "media":
                told.append(event)
            if len(told) == 4:
                return

    async with serve(agent, "127.0.0.1", 0) as sockets:
        port = next(iter(sockets.sockets)).getsockname()[1]
        wire = TwilioWire(f"ws://127.0.0.1:{port}/", token="secret")
        caller = Caller(wire, reply_timeout=5.0)
        async with asyncio.timeout(0.9), caller.silence():
            with pytest.raises(CallError, match="hung up"):
                await caller.ask(1, ASKED)
    assert [event["event"] for event in told] == ["connected", "start", "mark", "mark"]
    assert told[1]["start"]["customParameters"] == {"token": "secret"}
    assert told[1]["start"]["mediaFormat"]["sampleRate"] == 8000
    assert [event["mark"]["name"] for event in told[2:]] == ["after a second", "nothing plays"]


@pytest.mark.parametrize("name", list(WireName))
def test_every_wire_has_a_name_and_may_lie_behind_a_link(name):
    async def made():
        plain = Dialling(name, "http://127.0.0.1:1").wire()
        linked = Dialling(name, "http://127.0.0.1:1", link=LinkSettings(0.05)).wire()
        return plain, linked

    plain, linked = asyncio.run(made())
    assert isinstance(linked, LinkedWire)
    assert (plain.rate, plain.tells_replies) == (linked.rate, linked.tells_replies)
