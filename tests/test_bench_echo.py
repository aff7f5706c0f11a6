"""Calls on a loudspeaker in virtual time: rooms, and agents that hear themselves, or do not."""

from __future__ import annotations

import numpy as np
import pytest
from support.fake_agent import FakeConnection, Manner, question

from agent.bench.echo import AFTER, EchoCall, hold_call, measured, script, summary
from agent.bench.echo_path import DELAYS, LEVELS, EchoPath, EchoRoom, loudspeaker, spread
from agent.bench.virtual_time import in_virtual_time

RATE = 24_000
PIECE = 480


def noise(seconds, level=0.02):
    return np.random.default_rng(5).normal(0, level, int(seconds * RATE)).astype(np.float32)


def through(room, sound):
    path = EchoPath(room, RATE, PIECE)
    pieces = [path.returned(sound[i : i + PIECE]) for i in range(0, len(sound), PIECE)]
    assert {len(piece) for piece in pieces} == {PIECE}
    return np.concatenate(pieces)


def power(sound):
    return float(np.square(sound).mean())


@pytest.mark.parametrize("delay", DELAYS)
def test_an_echo_comes_after_its_delay(delay):
    sound = noise(1.0)
    returned = through(EchoRoom(delay, -6), sound)
    first = int(np.flatnonzero(np.abs(returned) > 1e-6)[0])
    assert first == round(delay * RATE)


@pytest.mark.parametrize("level", LEVELS)
def test_an_echo_has_its_level(level):
    sound = noise(3.0)
    returned = through(EchoRoom(0.1, level), sound)[RATE:]
    assert 10 * np.log10(power(returned) / power(sound)) == pytest.approx(level, abs=1.0)


def test_pieces_make_the_same_echo_as_the_whole():
    sound, room = noise(0.6), EchoRoom(0.12, -6)
    whole = EchoPath(room, RATE, len(sound)).returned(sound)
    assert np.abs(through(room, sound) - whole).max() < 1e-5


def test_a_loudspeaker_distorts_loud_sound_only():
    phase = 2 * np.pi * 500 * np.arange(RATE) / RATE
    quiet, loud = (loudspeaker((level * np.sin(phase)).astype(np.float32)) for level in (0.01, 0.6))
    spectrum = np.abs(np.fft.rfft(loud))
    assert spectrum[1500] > 0.05 * spectrum[500], "odd harmonics"
    assert spectrum[1000] > 0.01 * spectrum[500], "even ones"
    clean = np.abs(np.fft.rfft(quiet))
    assert clean[500] / (RATE / 2) == pytest.approx(0.01, rel=0.01)
    assert clean[1500] < 0.001 * clean[500]


def test_few_rooms_differ_much_from_each_other():
    four = spread(4)
    assert {room.decibels for room in four} == set(LEVELS)
    assert {room.delay for room in four} == set(DELAYS)
    assert len(set(spread(100))) == len(DELAYS) * len(LEVELS)


def agent(yields):
    return FakeConnection(Manner(lambda turn: 0.3, reply=8.0, paced=0.1, yields=yields))


LOUD = EchoRoom(0.02, 6.0)
QUIET = EchoRoom(0.02, -30.0)


def held(room, yields, seconds=6.0, interruptions=0):
    asked = [question()]
    work = hold_call(agent(yields), room, seconds, interruptions, asked, question(1.0))
    return in_virtual_time(work)


@pytest.mark.slow
def test_an_agent_that_yields_to_its_echo_is_found_out():
    call = held(LOUD, 0.2, 0.5)
    assert call.cuts >= 1
    assert call.error is None
    assert held(QUIET, 0.2).cuts == held(None, 0.2).cuts == 0


def test_the_time_without_a_caller_is_counted():
    call = held(QUIET, 0.2)
    assert call.alone == pytest.approx(8.0, abs=0.1)
    assert (call.cuts, call.turns, call.yields) == (0, 0, [])


@pytest.mark.slow
def test_real_interruptions_are_timed():
    call = held(QUIET, 0.2, 0.0, 3)
    assert call.yields == pytest.approx([0.2] * 3, abs=0.03)
    assert call.yielded([0.2]) == 3


def test_who_never_yields_has_not_yielded():
    call = held(None, None, 0.0, 1)
    assert call.yielded([0.2]) == 0


def test_later_than_on_headphones_is_too_late():
    call = EchoCall(QUIET, yields=[0.5, 0.9, None, 0.5])
    assert call.yielded([0.3, 0.3, 0.3, 0.3]) == 2
    assert call.yielded([0.3, 0.6, 0.3, 0.05]) == 2
    assert call.yielded([]) == 0


def test_the_row_of_all_rooms_has_its_targets():
    good, bad = EchoCall(QUIET, 60.0, yields=[0.3] * 50), EchoCall(LOUD, 60.0, cuts=1)
    assert summary([good], [0.3])["met"]
    row = summary([good, bad], [0.3])
    assert (row["alone_min"], row["false_a_minute"], row["yielded_share"]) == (2.0, 0.5, 1.0)
    assert not row["met"]
    assert not summary([EchoCall(QUIET, 60.0, yields=[0.3, None])], [0.3])["met"]
    assert not summary([EchoCall(QUIET, 60.0, error="lost")], [0.3])["met"]


@pytest.mark.slow
def test_the_whole_bench():
    rows = list(measured(lambda: agent(0.2), 1.0, 5, [question()], question(1.0), lambda _: None))
    names = [row["room"] for row in rows]
    assert names == ["headphones", *(room.name for room in spread(3)), "all"]
    assert [row["interruptions"] for row in rows[:-1]] == [len(AFTER), 2, 2, 1]
    assert rows[-1]["alone_min"] >= 1.0


def test_a_line_that_is_lost_is_an_error_of_its_room():
    lost = FakeConnection(Manner(drops_after=0))
    call = in_virtual_time(hold_call(lost, QUIET, 5.0, 1, [question()], question()))
    assert "lost" in call.error


def test_long_replies_to_the_requests_however_they_are_heard_and_a_short_one_to_the_interruption():
    assert len(script("Tell me all that you know about pairs.").split()) > 60
    assert len(script("Tell me a story about a dog").split()) > 60
    assert len(script("Tell me all that you know about Paris.").split()) > 60
    assert len(script("No, stop. What is two plus three?").split()) < 5
