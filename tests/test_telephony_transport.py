"""Telephony calls through the real session and runner, in virtual time."""

import asyncio
import logging

import numpy as np
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
from support.telephony_peer import FRAME, RATE, TwilioPeer, key, spoken, start

from agent.audio.samples import StreamResampler
from agent.compute import Urgency
from agent.config.settings import Settings
from agent.responders.base import Message
from agent.responders.scripted import ScriptedResponder
from agent.runtime.call import CallRunner
from agent.runtime.engine_tasks import Engines
from agent.session.events import Truncate
from agent.session.notices import Play
from agent.session.playback import Playback
from agent.telephony.dialects.base import Capabilities
from agent.telephony.media.announce import announce, announce_alone
from agent.telephony.media.handshake import read_handshake
from agent.telephony.media.outbound import Outbound
from agent.telephony.media.pacer import Mark
from agent.telephony.media.recorder import StereoTrack
from agent.telephony.media.transport import SILENT_SECONDS, TelephonyTransport
from asr.scripted import ScriptedTranscriber
from tts.engine import SpeechChunk
from tts.tone import ToneSynthesizer

LEAD = 0.2
WORD = 0.12
"""Seconds of a word of the tone voice."""
COSTS = {Urgency.FINAL: 0.2, Urgency.REPLY: 0.05}


def engines(answers, *heard):
    words = ScriptedTranscriber([[(1, word) for word in text.split()] for text in heard])
    return Engines(
        asr=words,
        responder=ScriptedResponder(answers),
        tts=ToneSynthesizer(),
        new_gate=LoudIsSpeech,
        compute=VirtualCompute(COSTS),
        voices=InlineExecutor(),
    )


async def converse(parts, peer, before=None, instructions=None, settings=None):
    """One call from its first message to its end; returns the transport."""
    loop = asyncio.get_running_loop()
    opened = await read_handshake(peer, "twilio")
    transport = TelephonyTransport(peer, opened, LEAD, instructions, loop.time)
    serving = asyncio.create_task(transport.serve())
    try:
        if before is not None:
            await before(transport)
        await CallRunner(parts, settings or Settings(), transport, loop.time).run()
        await transport.close(1000, "over")
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    return transport


def said(*pieces, hang_up_at, also=(), **options):
    script = [(0.0, start()), *spoken(*pieces), *also]
    return lambda: TwilioPeer(script, hang_up_at, **options)


def run(parts, make_peer, **options):
    """The peer's queue belongs to the loop that it is made in."""

    async def whole():
        peer = make_peer()
        await converse(parts, peer, **options)
        return peer

    return in_virtual_time(whole())


def remembered(parts):
    prompt = parts.responder.prompts[-1]
    return next(message.content for message in prompt if message.role == "assistant")


def test_a_question_is_answered_without_a_gap():
    parts = engines({"how are you": "Fine, thank you."}, "how are you")
    peer = run(parts, said(speech(1.0, RATE), silence(4.0, RATE), hang_up_at=6.0))
    assert peer.heard_between(0, 9) == pytest.approx(3 * WORD, abs=0.02)
    ends = [at + len(samples) / RATE for at, samples in peer.played]
    begins = [at for at, _ in peer.played]
    assert max(begin - end for begin, end in zip(begins[1:], ends, strict=False)) < 0.001
    assert peer.closed == (1000, "over")


def test_the_bridge_adds_no_time():
    """The first frame leaves when the session gives out the first sound, as without a bridge."""
    sound = (speech(1.0, RATE), silence(4.0, RATE))
    peer = run(engines({"hi": "Fine."}, "hi"), said(*sound, hang_up_at=6.0))

    async def plain():
        line = ScriptedTransport(spoken_script(*sound, rate=RATE), 6.0, RATE)
        await CallRunner(engines({"hi": "Fine."}, "hi"), Settings(), line).run()
        return line.all(Play)[0][0]

    assert peer.events("media")[0][0] == pytest.approx(in_virtual_time(plain()), abs=0.003)


def test_the_peer_is_kept_a_short_lead_ahead():
    parts = engines({"tell me": "word " * 40}, "tell me")
    peer = run(parts, said(speech(1.0, RATE), silence(9.0, RATE), hang_up_at=12.0))
    begin = peer.events("media")[0][0]
    sent = 0.0
    for at, _ in peer.events("media"):
        sent += 0.02
        assert sent - (at - begin) <= LEAD + 1e-6
    assert sent == pytest.approx(40 * WORD, abs=0.02)


def test_frames_go_evenly_though_the_session_gives_out_slices():
    parts = engines({"tell me": "word " * 40}, "tell me")
    peer = run(parts, said(speech(1.0, RATE), silence(9.0, RATE), hang_up_at=12.0))
    times = [at for at, _ in peer.events("media")][int(LEAD * 50) : -1]
    assert max(np.diff(times)) <= 0.021


@pytest.mark.parametrize(("trip", "echoes"), [(0.0, True), (0.08, True), (0.0, False)])
def test_barge_in_clears_in_order_and_history_holds_what_was_heard(trip, echoes):
    parts = engines({"tell me": "word " * 60, "what else": "Fine."}, "tell me", "what else")
    make = said(
        speech(1.0, RATE), silence(3.0, RATE), speech(0.8, RATE), silence(2.0, RATE),
        hang_up_at=8.0, trip=trip, echoes=echoes,
    )  # fmt: skip
    peer = run(parts, make)
    clears = [at for at, _ in peer.events("clear")]
    assert 4.0 < clears[0] <= 4.5
    # Nothing of the old reply follows the clear: the next sound is the answer to "what else".
    after = [at for at, _ in peer.events("media") if at > clears[0]]
    assert after[0] > 4.8 + 0.2
    truth = peer.heard_between(0, 5.0) / WORD
    words = len(remembered(parts).split())
    assert truth - 1 - 2 * trip / WORD <= words <= truth + 0.3  # a word ends before its pause
    names = [command["mark"]["name"] for _, command in peer.events("mark")]
    assert {name.split(".")[0] for name in names} == {"0", "1"}


def test_sound_that_the_session_thinks_was_heard_is_cleared_too():
    """The peer plays late; the session's clock has finished the reply already."""
    parts = engines({"hello": "One two three.", "wait": "Yes."}, "hello", "wait")
    make = said(
        speech(1.0, RATE), silence(1.05, RATE), speech(0.5, RATE), silence(2.0, RATE),
        hang_up_at=5.0, trip=0.3,
    )  # fmt: skip
    peer = run(parts, make)
    assert 2.0 < peer.events("clear")[0][0] < 2.4


def test_keys_are_one_message_and_interrupt_the_reply():
    parts = engines({"tell me": "word " * 60, "pressed 1 2": "Thank you."}, "tell me")
    keys = [(3.0, key("1")), (3.5, key("2")), (3.6, key("#"))]
    make = said(speech(1.0, RATE), silence(6.0, RATE), hang_up_at=7.0, also=keys)
    peer = run(parts, make)
    assert parts.responder.prompts[-1][-1] == Message("user", "pressed 1 2")
    assert peer.events("clear")[0][0] == pytest.approx(3.6, abs=0.01)


def test_a_single_key_counts_after_two_seconds():
    parts = engines({"pressed 5": "Five."})
    peer = run(parts, said(silence(5.0, RATE), hang_up_at=5.0, also=[(1.0, key("5"))]))
    assert peer.events("media")[0][0] == pytest.approx(3.2, abs=0.1)


def test_keys_and_tokens_are_not_logged(caplog):
    caplog.set_level(logging.DEBUG)
    parts = engines({"pressed 9 9 9": "Thank you."})
    keys = [(1.0, key("9")), (1.1, key("9")), (1.2, key("9"))]
    run(parts, said(silence(4.0, RATE), hang_up_at=4.0, also=keys))
    assert parts.responder.prompts
    assert "9" not in " ".join(record.getMessage() for record in caplog.records)


def test_lost_sound_becomes_silence():
    """60 ms are missing, and the caller's time stays true."""

    async def heard():
        sound = spoken(speech(1.0, RATE))
        peer = TwilioPeer([(0.0, start()), *sound[:20], *sound[23:]], hang_up_at=1.5)
        opened = await read_handshake(peer, "twilio")
        transport = TelephonyTransport(peer, opened, LEAD, None, asyncio.get_running_loop().time)
        serving = asyncio.create_task(transport.serve())
        pieces = [message.samples async for message in transport.receive()]
        await serving
        return np.concatenate(pieces)

    samples = in_virtual_time(heard())
    assert len(samples) == RATE
    assert np.abs(samples[20 * FRAME : 23 * FRAME]).max() == 0
    assert np.abs(samples[23 * FRAME :]).max() > 0.4


def test_the_longest_call_is_hung_up_on():
    settings = Settings(server={"max_call_seconds": 2.0})
    make = said(silence(3.0, RATE), hang_up_at=9.0)
    peer = run(engines({}), make, settings=settings)
    assert peer.closed == (1000, "the call reached its maximum length")


def test_a_silent_peer_is_dead():
    parts = engines({})

    async def whole():
        peer = TwilioPeer([(0.0, start()), *spoken(silence(1.0, RATE))], hang_up_at=100.0)
        await converse(parts, peer)
        return asyncio.get_running_loop().time()

    assert in_virtual_time(whole()) == pytest.approx(1.0 + SILENT_SECONDS, abs=0.1)


def test_a_peer_that_breaks_the_protocol_is_hung_up_on():
    parts = engines({})
    peer = run(parts, said(silence(1.0, RATE), hang_up_at=9.0, also=[(0.5, "{}")]))
    assert peer.closed[0] == 1002


def test_a_call_that_is_started_twice_is_hung_up_on():
    parts = engines({})
    peer = run(parts, said(silence(1.0, RATE), hang_up_at=9.0, also=[(0.5, start())]))
    assert peer.closed == (1002, "the call was started twice")


def test_instructions_come_first():
    parts = engines({"hi": "Hello."}, "hi")
    make = said(speech(0.5, RATE), silence(2.0, RATE), hang_up_at=3.0)
    run(parts, make, instructions="Be brief.")
    assert parts.responder.prompts[-1][0] == Message("system", "Be brief.")


def test_an_announcement_can_be_interrupted():
    parts = engines({"hi": "Hello."}, "hi")

    async def greet(transport):
        assert await announce("word " * 30, parts, transport)

    make = said(silence(1.0, RATE), speech(0.5, RATE), silence(2.0, RATE), hang_up_at=4.0)
    peer = run(parts, make, before=greet)
    assert peer.events("media")[0][0] < 0.01
    assert 1.0 < peer.events("clear")[0][0] < 1.3
    assert peer.heard_between(0, 1.5) < 1.3


def test_an_announcement_is_spoken_to_its_end_and_the_caller_is_not_heard():
    parts = engines({"hi": "Hello."}, "hi")
    heard_at = []

    async def first(transport):
        assert await announce_alone("word " * 20, parts, transport)
        heard_at.append(asyncio.get_running_loop().time())

    make = said(speech(1.0, RATE), silence(3.0, RATE), hang_up_at=5.0)
    peer = run(parts, make, before=first)
    assert heard_at[0] == pytest.approx(20 * WORD, abs=0.1)
    assert peer.events("clear") == []
    assert parts.responder.prompts == []


def test_hanging_up_during_an_announcement_ends_it():
    parts = engines({})

    async def first(transport):
        assert not await announce_alone("word " * 200, parts, transport)

    async def whole():
        peer = said(silence(0.5, RATE), hang_up_at=1.0)()
        await converse(parts, peer, before=first)
        return asyncio.get_running_loop().time()

    assert in_virtual_time(whole()) < 2.0


# ---- the way out, without a session -------------------------------------------------


def drain(out, now):
    pieces = []
    while (piece := out.next(now)) is not None:
        pieces.append(piece)
    return pieces


def test_the_resampler_holds_back_less_than_3_ms():
    for source in (16_000, 22_050, 24_000):
        resampler = StreamResampler(source, RATE)
        given = got = 0
        for _ in range(50):
            given += source // 50
            got += len(resampler.push(np.zeros(source // 50, np.float32)))
            assert given / source - got / RATE <= 0.003


def test_no_sound_is_lost_on_the_way_out():
    out = Outbound(RATE, Capabilities(), 0.3)
    tone = speech(1.0, 22_050)
    sent, now = [], 0.0
    for begin in range(0, len(tone), 1323):
        out.play(tone[begin : begin + 1323], 22_050, "item_1")
        sent += drain(out, now)
        now += 0.06
    for _ in range(100):
        sent += drain(out, now)
        now += 0.02
    samples = np.concatenate([piece for piece in sent if not isinstance(piece, Mark)])
    assert RATE <= len(samples) <= RATE + FRAME
    assert np.abs(samples[: RATE - 20]).max() > 0.49
    spectrum = np.abs(np.fft.rfft(samples[:RATE]))
    assert int(spectrum.argmax()) == 220


@pytest.mark.parametrize("frame", [160, 320, 1600])
def test_frames_of_any_size_are_filled_only_at_the_end(frame):
    """The session gives out slices of 60 ms, 0.3 s ahead; that feeds Exotel, too."""
    playback = Playback(0.3)
    playback.queue(0, SpeechChunk(np.ones(2 * RATE, np.float32), RATE))
    out = Outbound(RATE, Capabilities(frame_samples=frame), LEAD)
    sent, now = [], 0.0
    while now < 4.0:
        for samples in playback.due(now):
            out.play(samples, RATE, "item_1")
        sent += drain(out, now)
        now += 0.001
    samples = np.concatenate([piece for piece in sent if not isinstance(piece, Mark)])
    assert len(samples) == 2 * RATE
    assert samples.min() == 1.0


def test_what_was_heard_counts_from_the_reply_and_not_from_the_announcement():
    out = Outbound(RATE, Capabilities(marks=False), 0.3)
    out.play(silence(0.2, RATE), RATE)
    out.play(silence(1.0, RATE), RATE, "item_1")
    drain(out, 0.0)
    drain(out, 0.2)
    assert out.stop(0.5) == Truncate("item_1", pytest.approx(0.3))
    assert out.stop(0.6) is None


def test_a_reply_that_did_not_begin_was_not_heard():
    out = Outbound(RATE, Capabilities(marks=False), 0.3)
    out.play(silence(1.0, RATE), RATE)
    out.play(silence(1.0, RATE), RATE, "item_1")
    drain(out, 0.0)
    assert out.stop(0.1) == Truncate("item_1", 0.0)


# ---- recordings ----------------------------------------------------------------------


def test_a_recording_holds_both_sides_where_the_caller_heard_them():
    track = StereoTrack(RATE, 100.0)
    for second in range(3):
        for step in range(50):
            now = 100.0 + second + (step + 1) / 50
            track.caller(np.full(FRAME, 0.25, np.float32), now)
    track.agent(np.full(RATE, 0.5, np.float32), 101.5)
    first = track.take(102.0)
    assert len(first) == RATE
    assert first[:, 0].min() == 8192
    assert first[:, 1].max() == 0
    rest = track.rest()
    assert len(rest) == 2 * RATE
    np.testing.assert_array_equal(
        np.flatnonzero(rest[:, 1])[[0, -1]], [RATE // 2, RATE * 3 // 2 - 1]
    )


def test_what_was_cleared_is_not_in_the_recording():
    track = StereoTrack(RATE, 0.0)
    track.agent(np.full(RATE, 0.5, np.float32), 0.0)
    track.cut(0.25)
    track.agent(np.full(80, 0.5, np.float32), 0.5)
    heard = track.rest()[:, 1]
    assert np.flatnonzero(heard)[-81] == RATE // 4 - 1
    assert heard[RATE // 2] != 0


def test_a_recording_window_is_bounded():
    track = StereoTrack(RATE, 0.0)
    for _ in range(100):
        track.agent(np.full(RATE, 0.5, np.float32), 0.0)
        track.caller(np.full(RATE, 0.5, np.float32), 500.0)
    assert len(track.rest()) <= 15 * RATE
