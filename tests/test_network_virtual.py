"""Stalls and slow links: server and caller are real, their clock and their network are not."""

from __future__ import annotations

import numpy as np
import pytest
from support.fakes import InlineExecutor, LoudIsSpeech, VirtualCompute, silence, speech
from test_server import utterances

from agent.bench.memory_network import StreamCall, in_memory
from agent.bench.network_link import CONDITIONS, Condition, DatagramLink
from agent.bench.network_virtual import VirtualWebRtcCaller
from agent.config.settings import Settings
from agent.latency.caller import Caller
from agent.latency.question import SpokenQuestion
from agent.protocol import WIRE_RATE
from agent.responders.scripted import ScriptedResponder
from agent.runtime.engine_tasks import Engines
from agent.transports import rtc_peer
from tts.engine import SpeechChunk
from tts.tone import ToneSynthesizer

STALL = Condition("stall-3s", stall=3.0)
QUESTIONS = 7
WORDS = "one " * 480
SLOW = Condition("64-kbit", rate=64_000)
SETTINGS = Settings(webrtc={"ice_hosts": ["127.0.0.1"]})
FRAMES_MS = 100.0
"""Five frames: turns differ by the place of their first sample in frame and buffer, and after a
stall a pause takes a sixteenth longer (``rtp_receiver.py``)."""


def scripted(answer="Fine, thank you.", voice=ToneSynthesizer):
    return Engines(
        utterances(*["how are you"] * QUESTIONS),
        ScriptedResponder({"how are you": answer}),
        voice(),
        LoudIsSpeech,
        VirtualCompute(),
        InlineExecutor(),
    )


def held(call, condition):
    """The turns of a call, each with the seconds of the call in which it fell."""

    async def hold():
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
@pytest.mark.parametrize("call", [VirtualWebRtcCaller, StreamCall])
def test_after_a_stall_the_caller_hears_now_not_then(call):
    usual = [turn.voice_to_voice_ms for turn, _, _ in held(call, CONDITIONS[0])]
    turns = held(call, STALL)
    stalled = [STALL.stalls(began, ended) for _, began, ended in turns]
    after = [
        turn.voice_to_voice_ms
        for (turn, _, _), now, before in zip(turns, stalled, [False, *stalled], strict=False)
        if before and not now
    ]
    assert after
    assert max(after) <= max(usual) + FRAMES_MS


class Rushing(ToneSynthesizer):
    """Noise, which takes as many bits as an encoder gives it."""

    def _beep(self, word):
        beep = super()._beep(word)
        noise = np.random.default_rng(1).normal(0, 0.1, len(beep.samples)).astype(np.float32)
        return SpeechChunk(noise, beep.rate, beep.words)


class ChangingLink:
    """A link of 64 kbit/s between two seconds of its life, and one without bounds otherwise."""

    def __init__(self, begins, ends):
        self.begins, self.ends = begins, ends
        self.slow, self.fast = (DatagramLink(network, "seed") for network in (SLOW, CONDITIONS[0]))
        self.sent = []
        """Second, bytes, and whether it arrives, of every packet."""

    def arrivals(self, size, now):
        link = self.slow if self.begins <= now < self.ends else self.fast
        arrivals = link.arrivals(size, now)
        self.sent.append((now, size, bool(arrivals)))
        return arrivals

    def rate(self, begin, end):
        """Bits per second that were sent, without headers of IP and UDP."""
        return 8 * sum(size for now, size, _ in self.sent if begin <= now < end) / (end - begin)

    def lost(self, begin, end):
        came = [arrived for now, _, arrived in self.sent if begin <= now < end]
        return 1 - sum(came) / max(1, len(came))


@pytest.mark.slow
def test_the_voice_takes_fewer_bits_on_a_slow_link_and_more_again_after_it():
    """A call that goes on while the link becomes slow for 20 s: nothing is lost for longer than it
    takes to see it, and the voice is as good as before some time after it."""
    link = ChangingLink(15.0, 35.0)
    turns = []

    async def hold():
        connection = VirtualWebRtcCaller(scripted(WORDS, Rushing), SETTINGS, CONDITIONS[0])
        connection.relay._links = (connection.relay._links[0], link)
        caller = Caller(connection, reply_timeout=120.0)
        sound = np.concatenate([silence(0.1, WIRE_RATE), speech(0.6, WIRE_RATE)])
        async with caller.silence():
            turns.append(await caller.ask(1, SpokenQuestion("q", sound, "how are you")))

    in_memory(hold())
    full = link.rate(10, 15)
    assert link.lost(15, 20) > 0.05, "the full rate does not fit"
    assert link.lost(20, 60) < 0.005, "a packet beside a burst of events at most"
    assert link.rate(20, 35) < 0.6 * full
    assert link.rate(47, 57) > 0.95 * full
    (turn,) = turns
    assert (turn.heard, turn.answered) == ("how are you", WORDS.strip())
    assert turn.reply_seconds > 55.0


class QueuedLink:
    """A link of 64 kbit/s that remembers how long its packets waited for it."""

    def __init__(self):
        self.link = DatagramLink(SLOW, "seed")
        self.waits, self.dropped = [], 0

    def arrivals(self, size, now):
        arrivals = self.link.arrivals(size, now)
        self.waits.append((now, self.link._line.waits(now)))
        self.dropped += not arrivals
        return arrivals


@pytest.mark.slow
def test_the_events_of_a_call_leave_a_slow_link_to_its_sound():
    """Where the voice fits the link, next to nothing is dropped, and nothing waits long once the
    link is known to be slow. The events of a turn are 35 KB here, those of a real one 14 KB."""
    link, settings = QueuedLink(), Settings(webrtc={"ice_hosts": ["127.0.0.1"], "bitrate": 24_000})
    answer, ends = "This is an answer of some length, with events for all of its words. " * 3, []

    async def hold():
        engines = scripted(answer)
        engines.responder._steps = 24
        connection = VirtualWebRtcCaller(engines, settings, CONDITIONS[0])
        connection.relay._links = (connection.relay._links[0], link)
        caller = Caller(connection)
        sound = np.concatenate([silence(0.1, WIRE_RATE), speech(0.6, WIRE_RATE)])
        async with caller.silence():
            for number in range(3):
                await caller.ask(number, SpokenQuestion("q", sound, "how are you"))
                ends.append(connection.relay.age)

    in_memory(hold())
    second = [wait for at, wait in link.waits if ends[0] < at < ends[1]]
    assert max(second) < 0.25
    assert link.dropped < 10


@pytest.mark.slow
def test_the_first_reply_on_a_slow_link_does_not_wait_for_a_report(monkeypatch):
    """A browser's first report on sound comes when the reply is over; late events come before."""

    async def none_yet(_):
        return None

    link = QueuedLink()
    monkeypatch.setattr(rtc_peer, "reported_loss", none_yet)

    async def hold():
        engines = scripted(
            "This is an answer of some length, with events for all of its words. " * 3, Rushing
        )
        engines.responder._steps = 24
        connection = VirtualWebRtcCaller(engines, SETTINGS, CONDITIONS[0])
        connection.relay._links = (connection.relay._links[0], link)
        caller = Caller(connection)
        sound = np.concatenate([silence(0.1, WIRE_RATE), speech(0.6, WIRE_RATE)])
        async with caller.silence():
            turn = await caller.ask(1, SpokenQuestion("q", sound, "how are you"))
        assert turn.answered

    in_memory(hold())
    assert len(link.waits) > 500
    assert link.dropped < 40, "the voice fits the link, but for its first seconds"
