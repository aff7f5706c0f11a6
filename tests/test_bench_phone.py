"""The telephone of the bench, and what is made of what it hears."""

import pytest
from phone_server import server

from agent.bench.phone import _added, _crowd_figures, _held_back
from agent.errors import CallError
from agent.latency.phone import RATE, HeardReply, PhoneCaller


async def test_the_telephone_hears_every_sample_of_a_reply():
    async with server(require_token=False) as (address, _):
        caller = PhoneCaller(f"ws://{address}/telephony/twilio", "CA1")
        (reply,) = await caller.press("AB#", rounds=1, seconds=1.2)
    assert reply.samples == 5 * 0.12 * RATE  # "You said: pressed A B"
    assert len(list(reply.gaps(0.2))) == 30 - 10 - 1 - 1


async def test_a_server_that_is_not_there_is_an_error():
    with pytest.raises(CallError, match="was lost"):
        await PhoneCaller("ws://127.0.0.1:1/telephony/twilio", "CA1").press("1", 1, 1.0)


async def test_the_bridge_alone_adds_little():
    inward, outward = await _added(3)
    assert len(inward) == len(outward) == 3
    assert min(inward + outward) > 0


def test_what_a_resampler_keeps():
    assert _held_back(16_000, 16_000, 0.02) == 0
    assert 0 < _held_back(8000, 16_000, 0.02) < 3


def test_lost_sound_is_counted():
    heard = HeardReply([0.02 * frame for frame in range(100)], 2 * RATE)
    gap, lost = _crowd_figures(1, [heard])
    assert (gap.value, gap.met) == (20.0, True)
    assert (lost.value, lost.met) == (2200.0, False)
    with pytest.raises(CallError, match="busy"):
        _crowd_figures(1, [HeardReply()])
