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

from agent.audio.g711 import encode_mulaw
from agent.errors import CallError
from agent.latency.asterisk import AsteriskConnection
from agent.latency.caller import Caller, PlannedInterruption
from agent.latency.connection_factory import ConnectionFactory
from agent.latency.impairment import ImpairedConnection, NetworkImpairment
from agent.latency.question import SpokenQuestion
from agent.latency.realtime import RealtimeConnection
from agent.latency.transport_names import TransportName
from agent.latency.twilio import TwilioConnection
from agent.latency.webrtc import WebRtcConnection
from agent.protocol import WIRE_RATE

ASKED = SpokenQuestion("tone", speech(0.5, WIRE_RATE), "how are you")


async def ask(wire, **options):
    caller = Caller(wire, reply_timeout=5.0)
    async with caller.silence():
        row = await caller.ask(1, ASKED, **options)
    return row, caller.audio


def check(row, line):
    """A turn as the scripted engines give it: the pause that ends the turn, and little more."""
    assert row.error is None
    assert 150 < row.voice_to_voice_ms < 3000
    assert np.abs(line.ear).max() > 0.05
    assert 0.1 < row.reply_seconds < 5


@pytest.mark.slow
async def test_realtime():
    async with server("how are you") as (address, _):
        row, line = await ask(RealtimeConnection(f"ws://{address}/v1/realtime"))
    check(row, line)
    assert (row.heard, row.answered) == ("how are you", "Fine.")
    assert sum(row.spans.values()) == pytest.approx(row.voice_to_voice_ms, abs=0.01)


@pytest.mark.slow
async def test_webrtc():
    async with server("how are you", webrtc={"ice_hosts": ["127.0.0.1"]}) as (address, _):
        row, line = await ask(WebRtcConnection(f"http://{address}", ["127.0.0.1"]))
    check(row, line)
    assert (row.heard, row.answered) == ("how are you", "Fine.")
    assert sum(row.spans.values()) == pytest.approx(row.voice_to_voice_ms, abs=0.01)


@pytest.mark.slow
async def test_twilio():
    async with telephony_server("how are you", require_token=False) as (address, _):
        row, line = await ask(TwilioConnection(f"ws://{address}/telephony/twilio"))
    check(row, line)
    assert row.spans == {}


@pytest.mark.slow
async def test_asterisk():
    async with telephony_server("how are you") as (address, _):
        url = f"ws://{address}/telephony/asterisk"
        row, line = await ask(AsteriskConnection(url, "agent:s3cret-s3cret"))
        with pytest.raises(CallError, match="HTTP 40"):
            await ask(AsteriskConnection(url, "agent:wrong-wrong"))
    check(row, line)


@pytest.mark.slow
@pytest.mark.parametrize("provider", ["twilio", "asterisk"])
async def test_an_interruption_clears_what_the_telephone_plays(provider):
    async with telephony_server("talk", "how are you", require_token=False) as (address, _):
        wires = {
            "twilio": TwilioConnection,
            "asterisk": partial(AsteriskConnection, login="agent:s3cret-s3cret"),
        }
        wire = wires[provider](f"ws://{address}/telephony/{provider}")
        row, _ = await ask(wire, interruption=PlannedInterruption(ASKED, 0.5))
    assert row.error is None
    assert 0 < row.interrupt_ms < 1500
    assert row.recovery_ms > 0


@pytest.mark.slow
async def test_a_phone_call_without_a_token_is_not_let_in():
    async with telephony_server("how are you") as (address, _):
        with pytest.raises(CallError, match="not let in"):
            await ask(TwilioConnection(f"ws://{address}/telephony/twilio", token="0" * 68))


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
        wire = TwilioConnection(f"ws://127.0.0.1:{port}/", token="secret")
        caller = Caller(wire, reply_timeout=5.0)
        async with asyncio.timeout(0.9), caller.silence():
            with pytest.raises(CallError, match="hung up"):
                await caller.ask(1, ASKED)
    assert [event["event"] for event in told] == ["connected", "start", "mark", "mark"]
    assert told[1]["start"]["customParameters"] == {"token": "secret"}
    assert told[1]["start"]["mediaFormat"]["sampleRate"] == 8000
    assert [event["mark"]["name"] for event in told[2:]] == ["after a second", "nothing plays"]


@pytest.mark.parametrize("name", list(TransportName))
def test_every_wire_has_a_name_and_may_lie_behind_a_link(name):
    async def made():
        plain = ConnectionFactory(name, "http://127.0.0.1:1").new_connection()
        linked = ConnectionFactory(
            name, "http://127.0.0.1:1", impairment=NetworkImpairment(0.05)
        ).new_connection()
        return plain, linked

    plain, linked = asyncio.run(made())
    assert isinstance(linked, ImpairedConnection)
    assert (plain.rate, plain.reports_replies) == (linked.rate, linked.reports_replies)
