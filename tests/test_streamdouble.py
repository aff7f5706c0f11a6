"""Calls of an independent Twilio simulator (streamdouble), over good lines and bad ones."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from streamdouble import g711
from streamdouble.audio import frame_ulaw
from streamdouble.chaos import Impairments
from streamdouble.protocol import StreamIdentity
from streamdouble.scenario import Dtmf, Expect, Hangup, Say, Scenario, Step, Wait, WaitFor
from streamdouble.session import Session, SessionConfig, SessionResult
from support.fakes import silence, speech
from support.telephony_providers import TelephonyServer, telephony_server

from agent.audio.samples import Samples

pytestmark = pytest.mark.slow

RATE = 8000
WORD_SECONDS = 0.12
"""One word of the tone synthesiser, with its gap."""
ANSWERS = {"how are you": "fine " * 8, "talk": "word " * 100, "stop": "Right."}


def say(*pieces: Samples) -> Say:
    pcm = (np.concatenate(pieces) * 32767).astype(np.int16)
    return Say(Path("question"), frame_ulaw(g711.encode(pcm)))


QUESTION = say(silence(0.3, RATE), speech(1.0, RATE), silence(0.7, RATE))
INTERRUPTION = say(speech(0.8, RATE), silence(0.7, RATE))


async def call(
    server: TelephonyServer,
    steps: Sequence[Step],
    line: Impairments | None = None,
    token: str | None = None,
) -> SessionResult:
    """One call, with what the webhook told Twilio."""
    identity = StreamIdentity()
    opened = await server.ask("twilio", identity.call_sid)
    config = SessionConfig(
        quiet_period_s=0.6,
        max_drain_s=15.0,
        custom_parameters={"token": token or opened.token},
        impairments=line or Impairments(),
        chaos_seed=7,
    )
    scenario = Scenario("call", list(steps))
    async with asyncio.timeout(60):
        return await Session(opened.url, scenario=scenario, config=config, identity=identity).run()


def beeps(result: SessionResult) -> int:
    """How many words of the tone synthesiser arrived: rises above silence."""
    loud = np.abs(g711.decode(result.audio_received).astype(np.float32)) > 1000
    window = RATE // 100
    windows = loud[: len(loud) // window * window].reshape(-1, window).any(axis=1)
    return int((np.diff(windows.astype(int), prepend=0) == 1).sum())


async def test_a_question_is_answered_to_the_last_word() -> None:
    async with telephony_server("how are you", script=ANSWERS) as server:
        result = await call(server, [QUESTION, WaitFor("audio"), WaitFor("quiet")])
        await asyncio.wait_for(server.until_calls(0), 5)
    assert result.violations == []
    assert result.unknown_events == []
    assert beeps(result) == 8
    assert len(result.audio_received) >= (8 * WORD_SECONDS - 0.04) * RATE
    assert result.marks_echoed == result.marks_received != []
    assert result.clears_received == 0
    assert result.closed_by is None


async def test_sound_is_not_sent_far_ahead() -> None:
    """What lies at Twilio cannot be taken back; 100 words are twelve seconds."""
    async with telephony_server("talk", script=ANSWERS) as server:
        result = await call(server, [QUESTION, WaitFor("audio"), Wait(2.0), Hangup()])
        await asyncio.wait_for(server.until_calls(0), 5)
    received = len(result.audio_received) / RATE
    assert 1.5 < received < 2.8


async def test_barge_in_clears_what_twilio_holds() -> None:
    steps = [
        QUESTION,
        WaitFor("audio"),
        Wait(1.0),
        INTERRUPTION,
        Expect("clear"),
        WaitFor("quiet"),
    ]
    async with telephony_server("talk", "what else", script=ANSWERS) as server:
        result = await call(server, steps)
        heard = server.responder.prompts[-1]
    assert result.failed_expectations == []
    assert result.violations == []
    assert result.clears_received >= 1
    # The reply in the history is what the caller heard of it.
    cut = next(message.content for message in heard if message.role == "assistant")
    assert 5 <= len(cut.split()) <= 25


async def test_a_bad_line_is_one_turn_all_the_same() -> None:
    lines = [
        Impairments(jitter_ms=60.0, latency_ms=40.0),
        Impairments(loss=0.1),
        Impairments(loss=0.05, jitter_ms=40.0, latency_ms=80.0),
    ]
    steps = [QUESTION, WaitFor("audio"), WaitFor("quiet")]
    async with telephony_server(*["how are you"] * 6, script=ANSWERS) as server:
        results = await asyncio.gather(*(call(server, steps, line) for line in lines))
        assert len(server.responder.prompts) == len(lines)
    for line, result in zip(lines, results, strict=True):
        assert result.violations == [], line
        assert beeps(result) == 8, line
        assert bool(result.frames_dropped) == bool(line.loss)


async def test_keys_are_a_turn_of_the_conversation() -> None:
    async with telephony_server() as server:
        steps = [Wait(0.5), Dtmf("42#"), WaitFor("audio"), WaitFor("quiet")]
        result = await call(server, steps)
        said = server.responder.prompts[-1][-1].content
    assert "4 2" in said
    assert beeps(result) > 0


async def test_a_dropped_line_frees_the_call() -> None:
    async with telephony_server("talk", script=ANSWERS) as server:
        await call(server, [QUESTION, WaitFor("audio"), Hangup()])
        await asyncio.wait_for(server.until_calls(0), 5)


async def test_a_wrong_token_hears_nothing() -> None:
    async with telephony_server("talk", script=ANSWERS) as server:
        result = await call(server, [QUESTION, Wait(0.5)], token="0" * 68)
        assert server.responder.prompts == []
    assert result.audio_received == b""
    assert result.closed_by == "agent"
