"""Glances: the first words of an overlap, early and doubtful, and what the agent makes of them."""

from __future__ import annotations

import pytest
from support.fakes import Desk
from test_overlap import STORY, listen, new_desk, understand
from test_session import answer, ask, play_out, sound

from agent.reply import ReplyDone, ReplyText
from agent.session.commands import DecodePartial, Respond, Speak, WakeAt
from agent.session.events import PartialTranscript, ReplyEvent, SegmentSpoken, SoundReady, Tick
from agent.session.notices import Play, SpeechStarted, StopPlaying, TranscriptUpdated, Unduck
from agent.session.overlap import AGREED, Overlap, WordKind
from agent.turn_taking.backchannel import is_hesitation_in_words, is_hum
from agent.turn_taking.detector import TurnState
from agent.turn_taking.openings import only_opens, takes_floor
from asr.glance import folded
from asr.transcript import Transcript


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        ("Stop Stop Stop Stop", "Stop"),
        ("Hold on. Hold on. Hold", "Hold on."),
        ("Give me Give me Gi", "Give me"),
        ("Be quiet be quiet", "Be quiet"),
        ("What about", "What about"),
        ("no", "no"),
        ("", ""),
        ("stop it now", "stop it now"),
        ("the cat the dog", "the cat the dog"),
    ],
)
def test_a_repetition_to_the_end_is_folded(heard, words):
    assert folded(heard) == words


OPENS = """
    Stop
    Wait.
    No
    Okay. Stop
    Yes, but
    Hold
    What about
    Could you
    Never
    Please
    Hang on
    Yeah, but
    Right, hold on.
    Mm-hmm, wait.
    M.M. wait
    Uh-huh, but
    okay okay stop
    No no
    I see, but
    Er, wait
"""
DOES_NOT_OPEN = """
    Yeah
    Okay.
    Right
    Oh, really?
    What?
    Wow
    I see
    I know
    Could
    Nobody
    Waiter
    Notes
    Mm-hmm.
    Okay, great.
    Yeah, right.
    Uh-huh, okay
    I see, great
    Er, um
"""


@pytest.mark.parametrize(
    ("words", "opens"),
    [(words.strip(), True) for words in OPENS.strip().splitlines()]
    + [(words.strip(), False) for words in DOES_NOT_OPEN.strip().splitlines()],
)
def test_words_that_take_the_floor(words, opens):
    assert takes_floor(words) is opens


@pytest.mark.parametrize(
    "words", ["No.", "No, no.", "Sorry.", "Oh, excuse me.", "Wait, actually", "Wait."]
)
def test_openings_alone_want_more(words):
    assert only_opens(words)


@pytest.mark.parametrize("words", ["Sorry?", "No thanks.", "Yes.", "", "No, Rome.", "Nothing."])
def test_answers_are_no_openings(words):
    assert not only_opens(words)


@pytest.mark.parametrize(
    "guess", ["M", "Mm", "MMI", "Em Em", "Nm", "MM3", "mhm", "M.M.H.A", "M-M-H-M", "m m h n n"]
)
def test_a_hum_by_any_spelling(guess):
    assert is_hum(guess)


@pytest.mark.parametrize(
    "guess", ["Me", "My name", "No", "Emma", "Amen", "", "Name", "And me", "M.A.", "M-I-L", "N"]
)
def test_words_that_are_no_hum(guess):
    assert not is_hum(guess)


def glimpses(*guesses: tuple[float, str]) -> Overlap:
    overlap = Overlap(1, began=0.0, noticed=0.13)
    for at, guess in guesses:
        overlap.glimpse(guess, at)
    return overlap


def test_one_glance_at_words_that_may_be_anything_is_a_guess():
    assert glimpses((0.25, "Amen.")).kind is WordKind.GUESS
    assert glimpses((0.25, "Stop")).kind is WordKind.WORDS
    assert glimpses((0.25, "MMI")).kind is WordKind.BACKCHANNEL


def test_glances_that_agree_long_enough_are_believed():
    early, late = 0.2, 0.21 + AGREED
    assert glimpses((early, "That"), (late, "That is it")).kind is WordKind.WORDS
    assert glimpses((early, "That"), (late - 0.1, "That is it")).kind is WordKind.GUESS
    assert glimpses((early, "That"), (0.4, "Then"), (late, "That")).kind is WordKind.GUESS
    assert glimpses((early, "Oh"), (late, "Oh real")).kind is WordKind.GUESS, "agreement began now"


def test_more_than_a_sign_of_listening_is_believed_the_second_time():
    signs = (0.2, "Yes."), (0.3, "Yes."), (0.4, "Yes, I know.")
    assert glimpses(*signs, (0.5, "Yes, I know that")).kind is WordKind.GUESS
    again = (0.5, "Yes, I know that"), (0.6, "Yes, I know that already.")
    assert glimpses(*signs, *again).kind is WordKind.WORDS


def test_a_sign_of_listening_that_is_misheard_in_two_ways_stays_a_guess():
    signs = (0.2, "Okay."), (0.3, "Okay"), (0.5, "Okay")
    assert glimpses(*signs, (0.6, "Okay, ready"), (0.7, "Okay, brave.")).kind is WordKind.GUESS


def test_a_hum_that_is_misheard_twice_alike_stays_a_guess():
    hums = (0.2, "mm"), (0.3, "mm"), (0.5, "mm")
    assert glimpses(*hums, (0.6, "MM agent"), (0.7, "MM agent")).kind is WordKind.GUESS


def test_two_alike_are_not_enough_without_a_sign_that_was_heard_for_long():
    assert glimpses((0.2, "Amen to"), (0.3, "Amen to that")).kind is WordKind.GUESS
    assert glimpses((0.2, "Yes."), (0.3, "Yes, Ann"), (0.4, "Yes, Ann")).kind is WordKind.GUESS


@pytest.mark.parametrize("guess", ["Error.", "Earth", "Er, um...", "There, um...", "Burn"])
def test_a_hesitation_is_known_by_what_whisper_makes_of_it(guess):
    assert is_hesitation_in_words(guess)
    assert glimpses((0.2, guess), (0.3 + AGREED, guess)).kind is WordKind.BACKCHANNEL


@pytest.mark.parametrize("guess", ["Earth is", "What about, um", "No, um", "Her", "Error four"])
def test_words_beside_a_hesitation_are_meant(guess):
    late = glimpses((0.2, guess), (0.3 + AGREED, guess))
    assert late.kind in (WordKind.WORDS, WordKind.REQUEST)


def test_a_name_of_the_earth_is_a_word_once_it_is_transcribed():
    overlap = glimpses((0.3, "Earth"))
    overlap.hear("Earth.", final=True, seconds=0.5)
    assert overlap.kind is WordKind.WORDS


@pytest.mark.parametrize(
    ("language", "words"),
    [("de", "Ja, warte"), ("de", "Moment mal"), ("es", "Espera"), ("fr", "Oui, attendez")],
)
def test_words_about_the_floor_are_believed_at_once_in_other_languages(language, words):
    overlap = Overlap(1, began=0.0, noticed=0.13, language=language)
    overlap.glimpse(words, 0.25)
    assert overlap.kind is WordKind.WORDS
    overlap.glimpse("Lola", 0.3)
    assert overlap.kind is WordKind.GUESS


def test_the_words_up_to_a_pause_are_believed():
    overlap = glimpses((0.25, "Louder."))
    assert overlap.kind is WordKind.GUESS
    overlap.hear("Louder.", final=True)
    assert overlap.kind is not WordKind.GUESS


def test_a_glance_that_is_late_does_not_replace_the_words_up_to_the_pause():
    overlap = glimpses((0.25, "Emily"))
    overlap.hear("Mhm.", final=True)
    overlap.glimpse("Stop", 0.6)
    assert overlap.kind is WordKind.BACKCHANNEL


@pytest.fixture
def desk() -> Desk:
    """The agent tells a story and is in the middle of it."""
    desk = new_desk()
    ask(desk, "Tell me a story.")
    answer(desk, STORY)
    listen(desk, 1.0)
    desk.commands.clear()
    return desk


def glance(desk: Desk, words: str) -> None:
    task = desk.last(DecodePartial)
    assert task.urgent
    transcript = Transcript(words, 0, final=False)
    desk.tell(PartialTranscript(task.turn, transcript, glance=True))


def test_the_words_are_asked_for_as_the_voice_is_noticed(desk):
    desk.hear(0.128, 0.9)
    assert desk.last(DecodePartial).urgent


def test_stop_interrupts_at_the_first_glance(desk):
    desk.hear(0.16, 0.9)
    glance(desk, "Stop")
    assert desk.last(StopPlaying)
    assert desk.last(SpeechStarted)
    assert desk.all(TranscriptUpdated) == [], "a glance is not for reading"


def test_a_guess_holds_the_sound_back_until_it_is_known(desk):
    desk.hear(0.16, 0.9)
    glance(desk, "Paris")
    played = len(desk.all(Play))
    desk.hear(0.4, 0.9)
    assert desk.all(Unduck) == desk.all(StopPlaying) == []
    assert len(desk.all(Play)) == played
    glance(desk, "Paris is")
    assert desk.last(StopPlaying)


def test_a_guess_that_ends_soon_lets_the_agent_speak_on(desk):
    desk.hear(0.16, 0.9)
    glance(desk, "Amen")
    desk.hear(0.2, 0.9)
    desk.hear(0.16, 0.0)
    assert desk.all(Unduck) == [], "the transcript will tell"
    understand(desk, "Mm-hmm.")
    assert desk.last(Unduck)
    play_out(desk)
    assert desk.all(StopPlaying) == []


def test_a_guess_whose_transcript_is_late_lets_the_agent_speak_on(desk):
    desk.hear(0.16, 0.9)
    glance(desk, "Amen")
    desk.hear(0.2, 0.9)
    desk.hear(0.4, 0.0)
    assert desk.last(Unduck)
    understand(desk, "Amen to that, but why?")
    assert desk.last(StopPlaying)


def test_a_hum_that_lasts_is_spoken_through(desk):
    desk.hear(0.16, 0.9)
    for guess in ("M", "MMA", "Em", "MM3"):
        glance(desk, guess)
        desk.hear(0.16, 0.9)
    assert desk.last(Unduck)
    assert desk.all(StopPlaying) == []


def test_a_word_that_has_just_ended_is_glanced_at_once_more(desk):
    desk.hear(0.16, 0.9)
    glance(desk, "Duff")
    asked = len(desk.all(DecodePartial))
    desk.hear(0.032, 0.0)
    assert len(desk.all(DecodePartial)) == asked + 1
    glance(desk, "Stop.")
    assert desk.last(StopPlaying)


def test_what_is_said_after_a_backchannel_stands_by_itself(desk):
    desk.hear(0.3, 0.9)
    desk.hear(0.12, 0.0)
    understand(desk, "Um.")
    first = desk.session.user_turn.open.turn.id
    desk.hear(0.25, 0.0)
    assert desk.session.user_turn.open is None
    desk.hear(0.16, 0.9)
    assert desk.last(DecodePartial).turn != first


def test_a_backchannel_that_was_glanced_at_ends_before_its_transcript(desk):
    desk.hear(0.16, 0.9)
    glance(desk, "Um")
    desk.hear(0.096, 0.9)
    desk.hear(0.4, 0.0)
    assert desk.session.user_turn.open is None
    play_out(desk)
    assert desk.all(StopPlaying) == []


def test_a_guess_late_in_a_sound_does_not_interrupt_until_others_agree(desk):
    desk.hear(0.16, 0.9)
    glance(desk, "Oh")
    desk.hear(0.64, 0.9)
    glance(desk, "3")
    desk.hear(0.032, 0.9)
    assert desk.all(StopPlaying) == []
    desk.hear(0.064, 0.0)
    understand(desk, "Oh, really?")
    assert desk.all(StopPlaying) == []


def test_a_guess_that_lasts_interrupts_whatever_the_glances_say(desk):
    desk.hear(0.16, 0.9)
    for guess in ("Lichen", "Flip", "Henon", "Sir", "Penal", "Heno"):
        glance(desk, guess)
        desk.hear(0.192, 0.9)
    assert desk.last(StopPlaying)


def test_a_guess_after_a_backchannel_is_given_its_time(desk):
    desk.hear(0.16, 0.9)
    glance(desk, "Oh")
    desk.hear(0.096, 0.9)
    glance(desk, "Oh real")
    desk.hear(0.5, 0.0)
    assert desk.session.user_turn.open is not None


def test_okay_stop_interrupts_though_it_begins_like_a_backchannel(desk):
    desk.hear(0.16, 0.9)
    glance(desk, "Okay.")
    desk.hear(0.4, 0.9)
    assert desk.all(StopPlaying) == []
    glance(desk, "Okay. Stop")
    assert desk.last(StopPlaying)


def written(desk: Desk) -> None:
    """The reply's words are there, and its sound is being made."""
    generation = desk.last(Respond).generation
    desk.tell(ReplyEvent(generation, ReplyText(STORY)))
    desk.tell(ReplyEvent(generation, ReplyDone(STORY, 4, 4, 1.0, 2.0)))


def spoken(desk: Desk) -> None:
    task = desk.last(Speak)
    desk.tell(SoundReady(task.generation, task.segment, sound(task.text)))
    desk.tell(SegmentSpoken(task.generation, task.segment))


def test_a_first_sound_waits_for_a_sound_that_sets_in():
    desk = new_desk()
    ask(desk, "Tell me a story.")
    written(desk)
    desk.hear(0.064, 0.9)
    spoken(desk)
    assert desk.all(Play) == [], "the caller may go on"
    desk.hear(0.032, 0.0)
    assert desk.all(Play), "it was a click"


def test_a_caller_who_goes_on_before_the_first_sound_hears_none_of_it():
    desk = new_desk()
    ask(desk, "Tell me a story.")
    written(desk)
    desk.hear(0.064, 0.9)
    spoken(desk)
    desk.hear(0.6, 0.9)
    desk.hear(0.12, 0.0)
    understand(desk, "about a dog.")
    desk.hear(1.0, 0.0)
    assert desk.all(Play) == []
    assert desk.last(Respond).messages[-1].content == "Tell me a story. about a dog."


def test_a_sound_that_never_becomes_speech_holds_nothing_back_for_long():
    desk = new_desk()
    ask(desk, "Tell me a story.")
    written(desk)
    desk.hear(0.064, 0.9)
    spoken(desk)
    desk.hear(0.2, 0.4)
    assert desk.session.user_turn.detector.state is TurnState.ONSET
    assert desk.all(Play)


def test_a_first_sound_does_not_wait_for_frames_that_never_come():
    desk = new_desk()
    ask(desk, "Tell me a story.")
    written(desk)
    desk.hear(0.064, 0.9)
    spoken(desk)
    desk.now = desk.last(WakeAt).when
    desk.tell(Tick())
    assert desk.all(Play)


def test_no_to_a_statement_waits_for_its_reason(desk):
    listen(desk, 0.1)
    play_out(desk)
    desk.hear(0.3, 0.9)
    desk.hear(0.12, 0.0)
    understand(desk, "No.")
    desk.hear(0.3, 0.0)
    assert desk.session.user_turn.open is not None
    desk.hear(0.3, 0.0)
    assert desk.session.user_turn.open is None


def test_no_to_a_question_is_an_answer_at_once():
    desk = new_desk()
    ask(desk, "Tell me a story.")
    answer(desk, "Shall it be a long one?")
    play_out(desk)
    desk.hear(0.3, 0.9)
    desk.hear(0.12, 0.0)
    understand(desk, "No.")
    desk.hear(0.25, 0.0)
    assert desk.session.user_turn.open is None
    assert desk.last(Respond).messages[-1].content == "No."


def test_no_no_no_over_a_story_gets_no_speech(desk):
    desk.hear(0.5, 0.9)
    glance(desk, "No, no")
    assert desk.last(StopPlaying)
    desk.hear(0.12, 0.0)
    understand(desk, "No, no, no.")
    desk.hear(2.0, 0.0)
    assert desk.all(Respond) == []


def test_a_late_glance_of_a_turn_that_is_over_is_left_out(desk):
    desk.hear(0.16, 0.9)
    task = desk.last(DecodePartial)
    desk.hear(0.2, 0.0)
    understand(desk, "Mhm.")
    desk.hear(1.0, 0.0)
    desk.tell(PartialTranscript(task.turn, Transcript("Stop", 0, final=False), glance=True))
    assert desk.all(StopPlaying) == []
