"""The agent does not take its own words for the caller's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fakes import Desk
from test_connection import WORDS, ask, resume, run, say

from agent.config.settings import Settings
from agent.session.connection import Connection
from agent.session.events import CallStarted, DeviceChanged, FinalTranscript, PartialTranscript
from agent.session.notices import ReplyStarted, StopPlaying, TurnCommitted
from agent.session.playback import Delivery
from agent.session.session import Session
from agent.turn_taking.own_words import is_own
from asr.transcript import Transcript

SPOKEN = "The capital of France is Paris, and it has two million people."


@pytest.mark.parametrize(
    "heard",
    [
        "The capital of France",
        "capital of france is paris",
        "is Paris and it has two million",
        "The capitol of Frances is Paris",  # misheard
        "of France is Harris",
    ],
)
def test_an_echo_is_known_by_its_words(heard):
    assert is_own(heard, SPOKEN)


@pytest.mark.parametrize(
    "heard",
    [
        "",
        "Stop.",
        "What about Spain?",
        "No, I meant the capital of Germany.",
        "people million two",
        "Is it the capital of Italy or of France?",
    ],
)
def test_the_callers_words_are_his(heard):
    assert not is_own(heard, SPOKEN)


def test_nothing_said_has_no_echo():
    assert not is_own("hello", "")


@given(st.lists(st.sampled_from(SPOKEN.split()), max_size=80), st.text(max_size=200))
def test_any_two_texts_can_be_compared(some, other):
    assert is_own(" ".join(some), " ".join(some)) is bool(some)
    is_own(other, SPOKEN)
    is_own(SPOKEN, other)


def desk_with(**turns):
    settings = Settings(turns={"endpoint_delay": 0.5, **turns}, call={"goodbye": None})
    desk = Desk(Session(settings, 0.0, Delivery.PACED, connection=Connection(30.0)))
    desk.tell(CallStarted())
    return desk


def over_a_reply(desk, after):
    """The agent has spoken for ``after`` seconds when a voice is heard for 0.8 s."""
    desk.hear(0.1, 0.0)
    say(desk, ask(desk), *WORDS)
    desk.hear(after, 0.0)
    desk.hear(0.8, 0.9)


def words(desk, text, *, final=False):
    turn = desk.session.user_turn.open.turn
    if final:
        desk.hear(0.2, 0.0)
        event = FinalTranscript(turn.id, turn.revision, Transcript(text, len(text), final=True))
    else:
        event = PartialTranscript(turn.id, Transcript(text, 0, final=False))
    desk.tell(event)


def test_in_the_first_seconds_a_voice_without_words_does_not_interrupt():
    desk = desk_with()
    over_a_reply(desk, 0.3)
    assert desk.all(StopPlaying) == []


def test_words_of_the_callers_interrupt_in_the_first_seconds_too():
    desk = desk_with()
    over_a_reply(desk, 0.3)
    words(desk, "what about Spain")
    assert len(desk.all(StopPlaying)) == 1


def test_later_a_voice_interrupts_without_words():
    desk = desk_with(echo_settling=0.2)
    over_a_reply(desk, 0.9)
    assert len(desk.all(StopPlaying)) == 1


def test_another_connection_has_first_seconds_again():
    desk = desk_with(echo_settling=0.9)
    desk.hear(0.1, 0.0)
    say(desk, ask(desk), *WORDS)
    desk.hear(1.0, 0.0)
    resume(desk)
    desk.hear(0.1, 0.0)
    desk.hear(0.5, 0.9)
    assert desk.all(StopPlaying) == []


@pytest.mark.parametrize("echo_settling", [0.0, 1.5])
def test_an_echo_neither_interrupts_nor_becomes_a_turn(echo_settling):
    desk = desk_with(echo_settling=echo_settling)
    desk.hear(0.1, 0.0)
    say(desk, ask(desk), *WORDS)
    desk.hear(0.6, 0.0)
    desk.hear(0.2, 0.9)
    words(desk, "two three")
    desk.hear(0.4, 0.9)
    assert desk.all(StopPlaying) == []
    words(desk, "two three four", final=True)
    desk.hear(3.0, 0.0)
    run(desk, 3.0)
    assert desk.all(StopPlaying) == []
    assert desk.all(TurnCommitted) == []
    assert len(desk.all(ReplyStarted)) == 1


def test_a_word_that_the_agent_said_long_before_is_the_callers():
    desk = desk_with(echo_settling=0)
    desk.hear(0.1, 0.0)
    say(desk, ask(desk), *WORDS)
    desk.hear(1.8, 0.0)
    desk.hear(0.2, 0.9)
    words(desk, "one")
    assert len(desk.all(StopPlaying)) == 1


def test_another_device_has_first_seconds_again():
    desk = desk_with(echo_settling=0.9)
    desk.hear(0.1, 0.0)
    say(desk, ask(desk), *WORDS)
    desk.hear(0.9, 0.0)
    desk.tell(DeviceChanged())
    desk.hear(0.5, 0.9)
    assert desk.all(StopPlaying) == []
