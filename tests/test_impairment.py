from __future__ import annotations

import pytest
from support.fake_agent import FakeConnection, Manner, question
from support.fakes import in_virtual_time

from agent.errors import CallError, ConfigError
from agent.latency.caller import Caller
from agent.latency.impairment import ImpairedConnection, ImpairedDirection, NetworkImpairment


def ask(link, manner=None, count=5):
    wire = ImpairedConnection(FakeConnection(manner or Manner(lambda turn: 0.2)), link, "seed")

    async def call():
        return [row async for row in Caller(wire).turns([question()] * count)]

    return in_virtual_time(call())


def test_a_delay_is_paid_both_ways():
    rows = ask(NetworkImpairment(delay=0.05))
    assert [row.voice_to_voice_ms for row in rows] == pytest.approx([300] * 5, abs=0.1)


@pytest.mark.slow
def test_jitter_adds_at_most_itself_each_way():
    rows = ask(NetworkImpairment(delay=0.05, jitter=0.02), count=20)
    measured = [row.voice_to_voice_ms for row in rows]
    assert 300 <= min(measured) < max(measured) <= 340
    assert len(set(measured)) > 10


@pytest.mark.slow
def test_what_tcp_loses_comes_later():
    rows = ask(NetworkImpairment(delay=0.01, loss=0.05), count=20)
    measured = sorted(row.voice_to_voice_ms for row in rows)
    assert measured[-1] - measured[0] >= 200 - 0.1
    assert all(row.error is None for row in rows)


def test_nothing_overtakes():
    direction = ImpairedDirection(NetworkImpairment(0.05, 0.5, 0.1), True, "seed")
    outs = [direction.transmit(step / 50)[0] for step in range(500)]
    assert outs == sorted(outs)
    assert all(out >= step / 50 + 0.05 for step, out in enumerate(outs))


def test_without_resending_the_share_that_is_lost_is_as_set():
    direction = ImpairedDirection(NetworkImpairment(loss=0.1), False, "seed")
    lost = sum(not direction.transmit(0.0)[1] for _ in range(5000))
    assert 400 < lost < 600


def test_a_seed_repeats_its_link():
    def outs(seed):
        direction = ImpairedDirection(NetworkImpairment(0.0, 0.1), True, seed)
        return [direction.transmit(float(step)) for step in range(20)]

    assert outs("a") == outs("a") != outs("b")


def test_the_end_of_the_line_goes_through():
    with pytest.raises(CallError, match="lost"):
        ask(NetworkImpairment(delay=0.05), Manner(lambda turn: 0.2, drops_after=1))


def test_settings_are_milliseconds_and_percent():
    assert NetworkImpairment.parse("delay=50, jitter=20,loss=1") == NetworkImpairment(
        0.05, 0.02, 0.01
    )
    assert NetworkImpairment.parse("loss=0.5") == NetworkImpairment(loss=0.005)


@pytest.mark.parametrize("text", ["", "delay", "delay=x", "speed=3", "delay=-1", "loss=100"])
def test_what_is_no_link(text):
    with pytest.raises(ConfigError, match="--link"):
        NetworkImpairment.parse(text)
