"""Stalls of a network: server and caller are real, their clock and their network are not."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from support.fakes import InlineExecutor, LoudIsSpeech, VirtualCompute, silence, speech
from support.memory_network import StreamCall, in_memory
from support.webrtc_calls import HERE
from test_server import utterances

from agent.bench.network_caller import WebRtcCaller
from agent.bench.network_link import CONDITIONS, Condition
from agent.config.settings import Settings
from agent.latency.caller import Caller
from agent.latency.question import SpokenQuestion
from agent.protocol import WIRE_RATE
from agent.responders.scripted import ScriptedResponder
from agent.runtime.call import CallRunner
from agent.runtime.engine_tasks import Engines
from agent.server.app import AgentServer
from agent.session.playback import Delivery
from agent.transports.webrtc import WebRtcTransport
from tts.tone import ToneSynthesizer

STALL = Condition("stall-3s", stall=3.0)
QUESTIONS = 7
SETTINGS = Settings(webrtc={"ice_hosts": HERE})
FRAMES_MS = 100.0
"""Five frames: turns differ by the place of their first sample in frame and buffer, and after a
stall a pause takes a sixteenth longer (``rtp_receiver.py``)."""


def scripted():
    return Engines(
        utterances(*["how are you"] * QUESTIONS),
        ScriptedResponder({"how are you": "Fine, thank you."}),
        ToneSynthesizer(),
        LoudIsSpeech,
        VirtualCompute(),
        InlineExecutor(),
    )


class RtcCall(WebRtcCaller):
    """A WebRTC call to a server in this process."""

    def __init__(self, engines, settings, condition):
        super().__init__(0, condition, 1)
        opened = AgentServer(settings, engines).sessions.open({"onebreath": "1"})
        transport = WebRtcTransport(opened.writer, settings.webrtc, reading=opened.reading)
        self._engines, self._settings, self._transport = engines, settings, transport
        self._caller.signal = self._answer
        self._call = None

    async def _answer(self, sdp, session):
        answer = await self._transport.answer(sdp)
        self._call = asyncio.create_task(self._converse())
        return {"sdp": answer, "call_id": "rtc"}

    async def _converse(self):
        await self._transport.open()
        track = Delivery.TRACK
        await CallRunner(self._engines, self._settings, self._transport, delivery=track).run()

    async def close(self):
        await super().close()
        await self._transport.hang_up()
        await asyncio.gather(self._call, return_exceptions=True)


def held(call, condition, monkeypatch):
    """The turns of a call, each with the seconds of the call in which it fell."""

    async def hold():
        monkeypatch.setattr(time, "monotonic", asyncio.get_running_loop().time)
        connection = call(scripted(), SETTINGS, condition)
        caller = Caller(connection)
        sound = np.concatenate([silence(0.1, WIRE_RATE), speech(0.6, WIRE_RATE)])
        question = SpokenQuestion("q", sound, "how are you")
        turns = []
        async with caller.silence():
            for number in range(QUESTIONS):
                began = caller.now
                turns.append((await caller.ask(number, question), began, caller.now))
        return turns

    return in_memory(hold())


@pytest.mark.slow
@pytest.mark.parametrize("call", [RtcCall, StreamCall])
def test_after_a_stall_the_caller_hears_now_not_then(call, monkeypatch):
    usual = [turn.voice_to_voice_ms for turn, _, _ in held(call, CONDITIONS[0], monkeypatch)]
    turns = held(call, STALL, monkeypatch)
    stalled = [STALL.stalls(began, ended) for _, began, ended in turns]
    after = [
        turn.voice_to_voice_ms
        for (turn, _, _), now, before in zip(turns, stalled, [False, *stalled], strict=False)
        if before and not now
    ]
    assert after
    assert max(after) <= max(usual) + FRAMES_MS
