"""The end of a turn as a probability, its delay, and the pace of a caller."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fakes import Desk
from test_session import answer, ask, final, sound

from agent.config.settings import Settings
from agent.reply import Prefilled, ReplyDone, ReplyText, TurnEnding
from agent.session.commands import DecodeFinal, Respond, Speak
from agent.session.endpointing import EndpointDelays
from agent.session.events import (
    CallStarted,
    FinalTranscript,
    PartialTranscript,
    ReplyEvent,
    SoundReady,
    StageFailed,
)
from agent.session.notices import ReplyFinished, SpeechStopped, StopPlaying
from agent.session.session import Session
from agent.turn_taking.completeness import Completeness, TurnVerdict, completeness
from agent.turn_taking.ending import (
    DOUBT,
    CallerPace,
    Evidence,
    between,
    evidence,
    whole_probability,
)
from asr.transcript import Transcript

DELAYS = EndpointDelays(0.3, 0.8, 1.5)


def ending(over):
    return TurnEnding(over, 1.0 - over, 0.0, 0.0, 0.0)


def probability(verdict, rule, over):
    return whole_probability(Completeness(verdict, rule), ending(over))


@given(st.floats(0, 1), st.sampled_from(TurnVerdict))
def test_it_is_a_probability(over, verdict):
    assert 0.0 <= probability(verdict, "statement", over) <= 1.0


def test_head_and_rules_are_weighed():
    sure = probability(TurnVerdict.COMPLETE, "question", 0.95)
    torn = probability(TurnVerdict.COMPLETE, "question", 0.1)
    doubtful = probability(TurnVerdict.UNSURE, "statement", 0.1)
    assert sure > 0.9 > torn > doubtful
    assert probability(TurnVerdict.UNSURE, "statement", 0.97) > 0.75


@pytest.mark.parametrize("over", [0.0, 0.5, 1.0])
def test_what_the_rules_know_the_head_does_not_change(over):
    assert probability(TurnVerdict.INCOMPLETE, "connective", over) < 0.1
    assert probability(TurnVerdict.UNSURE, "bare_number", over) <= DOUBT
    assert probability(TurnVerdict.COMPLETE, "dictation_done", over) > 0.9


def test_a_sure_head_shortens_the_wait_for_a_missing_word_only_so_far():
    sure, unsure = (probability(TurnVerdict.INCOMPLETE, "preposition", p) for p in (0.995, 0.3))
    assert unsure < 0.4 < sure <= 0.7
    assert probability(TurnVerdict.INCOMPLETE, "hesitation", 0.995) < 0.1


def test_words_without_a_mark_are_doubted():
    marked = Completeness(TurnVerdict.UNSURE, "statement", ".")
    bare = Completeness(TurnVerdict.UNSURE, "statement", "")
    assert whole_probability(bare, ending(0.8)) < whole_probability(marked, ending(0.8)) - 0.1
    assert completeness("I live in Rome").mark == ""
    assert completeness("Where is Rome?").mark == "?"


@pytest.mark.parametrize("over", [0.0, 0.3, 0.5])
def test_a_head_delays_a_whole_question_only_so_far(over):
    question = completeness("What is the opposite of hot?")
    assert DELAYS.at(whole_probability(question, ending(over))) < 0.9
    assert DELAYS.at(whole_probability(question, ending(0.9))) < 0.3


def test_after_a_short_answer_people_go_on():
    assert 0.25 < DELAYS.at(probability(TurnVerdict.COMPLETE, "short_answer", 0.99)) < 0.35


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("What is the capital of France?", Evidence.QUESTION),
        ("Turn the lights off in the kitchen.", Evidence.REQUEST),
        ("I live in Portland.", Evidence.STATEMENT),
        ("Set a timer for 20.", Evidence.DOUBTED),
        ("I'd like to book a table for him.", Evidence.DOUBTED),
        ("A table for", Evidence.LACKING),
        ("A table for four and", Evidence.UNFINISHED),
        ("A table for, um", Evidence.UNFINISHED),
        ("Yes.", Evidence.ANSWER),
        ("Stop.", Evidence.SURE),
    ],
)
def test_kinds_of_evidence(words, kind):
    assert evidence(completeness(words)) is kind


def test_the_delay_falls_as_the_probability_rises():
    delays = [DELAYS.at(number / 100) for number in range(101)]
    assert delays == sorted(delays, reverse=True)
    assert delays[0] == 1.5
    assert 0.15 <= delays[-1] <= 0.2
    assert DELAYS.at(0.87) == pytest.approx(0.3)
    assert DELAYS.at(0.5) > 1.0, "an even chance waits longer than the rules' doubt"
    assert DELAYS.at(DOUBT) > 1.1, "a pause of a second within a code is waited for"


def test_one_who_has_spoken_for_long_is_more_likely_done():
    found = completeness("The weather was nice.")
    lengths = (None, 0.2, 1.0, 2.0, 4.0, 20.0)
    usual, least, short, two, long, longest = (
        whole_probability(found, ending(0.7), seconds_of_voice=length) for length in lengths
    )
    assert least == short < two < long == longest
    assert two == usual


def test_between_points():
    assert between(((0.0, 2.0), (1.0, 4.0)), 0.25) == 2.5
    assert between(((0.0, 2.0), (1.0, 4.0)), 9.0) == 4.0


def test_the_pace_of_a_caller_is_learnt_within_bounds():
    pace = CallerPace()
    assert pace.extra == 0.0
    pace.went_on_after(1.0)
    assert pace.extra == 0.0, "one pause is no habit"
    pace.went_on_after(1.2)
    assert pace.extra == pytest.approx(0.4)
    for _ in range(8):
        pace.went_on_after(5.0)
    assert pace.extra == 0.6
    for _ in range(8):
        pace.went_on_after(0.25)
        pace.went_on_after(0.05)
    assert pace.extra == 0.0
    assert DELAYS.at(1.0, 0.6) == DELAYS.at(1.0)
    assert DELAYS.at(0.3, 0.6) == pytest.approx(DELAYS.at(0.3) + 0.6)


def test_a_pause_in_which_the_caller_was_cut_off_counts_at_once():
    pace = CallerPace()
    pace.was_cut_off_after(5.0)
    assert pace.extra == 0.0, "nobody thinks for so long"
    pace.was_cut_off_after(1.2)
    assert pace.extra == pytest.approx(0.5)


# ---- in a call ---------------------------------------------------------------------


def paused(words, *, has_head=True):
    """A call whose caller has paused after ``words``, which are known."""
    desk = Desk(Session(Settings(), started_at=0.0))
    desk.session.user_turn.has_head = has_head
    desk.tell(CallStarted())
    desk.hear(1.5, 0.9)
    desk.hear(0.128, 0.0)
    task = desk.last(DecodeFinal)
    desk.tell(FinalTranscript(task.turn, task.revision, final(words)))
    return desk


def judged(desk, over):
    generation = desk.last(Respond).generation
    desk.tell(ReplyEvent(generation, Prefilled(10, 5, 1.0, ending(over))))


def silence_until_the_end(desk):
    seconds = 0.128
    while not desk.all(SpeechStopped):
        desk.hear(0.032, 0.0)
        seconds += 0.032
        assert seconds < 5
    return seconds


def test_a_sure_end_is_a_short_wait():
    desk = paused("What is the capital of France?")
    judged(desk, 0.99)
    assert silence_until_the_end(desk) < 0.3


@pytest.mark.parametrize(
    ("words", "least", "most"),
    [
        ("What is the capital of France?", 0.5, 0.65),
        ("Can you help me?", 0.5, 0.65),
        ("Do penguins fly?", 0.5, 0.65),
        ("Can you explain?", 0.9, 1.1),
        ("Can you help me", 1.4, 1.6),
    ],
)
def test_a_head_delays_the_end_of_a_question_only_so_far(words, least, most):
    desk = paused(words)
    judged(desk, 0.02)
    assert least < silence_until_the_end(desk) < most


def silence_after_an_answer(said):
    """Seconds of silence that end a short answer to what the agent said."""
    desk = Desk(Session(Settings(), started_at=0.0))
    desk.tell(CallStarted())
    ask(desk, "I need an appointment.")
    answer(desk, said)
    desk.hear(3.0, 0.0)
    assert desk.last(ReplyFinished).text == said
    desk.commands.clear()
    desk.session.user_turn.has_head = True
    desk.hear(0.7, 0.9)
    desk.hear(0.128, 0.0)
    task = desk.last(DecodeFinal)
    desk.tell(FinalTranscript(task.turn, task.revision, final("On the second Tuesday.")))
    judged(desk, 0.75)
    return silence_until_the_end(desk)


def test_the_length_of_an_answer_to_a_question_says_nothing():
    asked = silence_after_an_answer("Which day suits you?")
    assert asked < silence_after_an_answer("We have time in June.") - 0.2


def test_the_head_is_waited_for_no_longer_than_unfinished_words():
    desk = paused("What is the capital of France?")
    assert 1.4 < silence_until_the_end(desk) < 1.6


def test_a_draft_that_fails_leaves_the_rules():
    desk = paused("What is the capital of France?")
    generation = desk.last(Respond).generation
    desk.tell(StageFailed("responder", "broken", generation=generation))
    assert silence_until_the_end(desk) < 0.4


def test_without_a_head_the_rules_decide():
    desk = paused("What is the capital of France?", has_head=False)
    assert silence_until_the_end(desk) == pytest.approx(0.3, abs=0.05)


def test_who_goes_on_is_judged_anew():
    desk = paused("What is the capital")
    judged(desk, 0.99)
    desk.hear(0.5, 0.9)
    opened = desk.session.user_turn.open
    assert opened.ending is None
    assert not opened.awaits_ending


def answered(heard):
    """A call whose reply has been heard for some seconds as the caller goes on."""
    desk = paused("I need to change my flight.")
    judged(desk, 0.99)
    silence_until_the_end(desk)
    generation = desk.last(Respond).generation
    words = "I can do that. Where would you like to go to, and when?"
    desk.tell(ReplyEvent(generation, ReplyText(words)))
    desk.tell(ReplyEvent(generation, ReplyDone(words, 4, 4, 1.0, 2.0)))
    task = desk.last(Speak)
    desk.tell(SoundReady(task.generation, task.segment, sound(task.text)))
    desk.hear(heard, 0.0)
    desk.hear(0.4, 0.9)
    turn = desk.session.user_turn.open.turn
    desk.tell(PartialTranscript(turn.id, Transcript("From Monday", 0, final=False)))
    assert desk.all(StopPlaying)
    return desk.session.user_turn.endpointing.pace


@pytest.mark.parametrize(("heard", "cut_off"), [(0.2, True), (2.0, False)])
def test_a_reply_in_a_pause_for_thought_lengthens_the_next_ones(heard, cut_off):
    assert bool(answered(heard).pauses) is cut_off
