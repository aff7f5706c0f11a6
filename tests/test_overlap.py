"""Both speak: what interrupts the agent, and what only makes it turn itself down."""

import numpy as np
import pytest
from support.fakes import Desk
from test_session import answer, ask, final, play_out, sound

from agent.config.settings import Settings
from agent.reply import Message, ReplyDone, ReplyText
from agent.session.commands import (
    Abandon,
    AbandonSpeech,
    DecodeFinal,
    DecodePartial,
    HangUp,
    Respond,
    Speak,
)
from agent.session.events import (
    CallStarted,
    CancelReply,
    ClearAudio,
    CommitAudio,
    Configure,
    FinalTranscript,
    PartialTranscript,
    ReplyEvent,
    RespondNow,
    SegmentSpoken,
    SoundReady,
    Tick,
)
from agent.session.notices import (
    Duck,
    Play,
    Remark,
    ReplyFinished,
    ReplyStarted,
    ReplyTextDelta,
    SpeechStarted,
    SpeechStopped,
    StopPlaying,
    TranscriptUpdated,
    Trouble,
    Unduck,
)
from agent.session.overlap import JUDGEMENTS, Judgement, Overlap, VoiceState, WordKind, classify
from agent.session.session import Session
from agent.session.turns import MAX_UNTRANSCRIBED
from asr.transcript import Transcript

STORY = "Once upon a time there lived a very old fox in a wood."


def new_desk(**turns):
    desk = Desk(
        Session(Settings(turns={"endpoint_delay": 0.5, "echo_settling": 0} | turns), started_at=0.0)
    )
    desk.tell(CallStarted())
    return desk


@pytest.fixture
def desk():
    """The agent tells a story and is in the middle of it."""
    desk = new_desk()
    ask(desk, "Tell me a story.")
    answer(desk, STORY)
    listen(desk, 1.0)
    desk.commands.clear()
    return desk


def listen(desk, seconds):
    """The caller is silent and hears the agent."""
    desk.hear(seconds, 0.0)


def noise(desk):
    """Something loud that has no words, and the silence after it."""
    desk.hear(0.8, 0.9)
    desk.hear(0.1, 0.0)
    understand(desk, "")
    desk.hear(3.0, 0.0)


def understand(desk, words):
    task = desk.last(DecodeFinal)
    desk.tell(FinalTranscript(task.turn, task.revision, final(words)))


def test_a_sound_ducks_the_agent_at_once_and_is_told_to_nobody(desk):
    desk.hear(0.16, 0.9)
    assert desk.last(Duck).gain_db == -12.0
    assert desk.all(StopPlaying) == desk.all(SpeechStarted) == []
    played = len(desk.all(Play))
    desk.hear(0.2, 0.9)
    assert len(desk.all(Play)) == played, "its sound is held back meanwhile"


def test_speech_that_lasts_interrupts_within_twice_the_time_to_decide(desk):
    desk.hear(0.16, 0.9)
    ducked = desk.now
    while not desk.all(StopPlaying):
        desk.hear(0.032, 0.9)
    assert 0.6 - 0.04 <= desk.now - ducked <= 0.6 + 0.04
    kinds = [type(command) for command in desk.commands]
    assert kinds.index(StopPlaying) < kinds.index(SpeechStarted)


@pytest.mark.parametrize(
    ("words", "over"),
    [("", True), ("Mhm.", True), ("Honey, not now.", True), ("Louder and", False)],
)
def test_an_interruption_that_proves_to_be_none_is_over_soon(desk, words, over):
    desk.hear(0.8, 0.9)
    assert desk.last(StopPlaying)
    desk.hear(0.1, 0.0)
    understand(desk, words)
    desk.hear(0.25, 0.0)
    assert bool(desk.all(SpeechStopped)) is over


def test_words_interrupt_before_the_time_is_over(desk):
    desk.hear(0.256, 0.9)
    task = desk.last(DecodePartial)
    assert task.urgent
    desk.tell(PartialTranscript(task.turn, Transcript("stop it", 0, final=False)))
    assert desk.last(StopPlaying)


@pytest.mark.parametrize("words", ["Mhm.", "Yeah.", ""])
def test_a_backchannel_or_noise_leaves_the_agent_speaking(desk, words):
    heard = len(desk.all(Play))
    desk.hear(0.2, 0.9)
    desk.hear(0.32, 0.0)
    assert desk.last(Unduck)
    assert len(desk.all(Play)) > heard, "it goes on where it paused"
    understand(desk, words)
    desk.hear(0.6, 0.0)
    assert desk.all(StopPlaying) == desk.all(SpeechStarted) == desk.all(TranscriptUpdated) == []
    assert desk.last(Remark).code == "backchannel"
    play_out(desk)
    assert desk.last(ReplyFinished).text == STORY
    assert desk.session.conversation.messages()[-1] == Message("assistant", STORY)
    assert len(desk.session.conversation.messages()) == 3


def test_every_sample_is_played_once_around_a_pause():
    desk = new_desk()
    ask(desk, "Tell me a story.")
    answer(desk, STORY)
    listen(desk, 1.0)
    desk.hear(0.2, 0.9)
    desk.hear(0.4, 0.0)
    understand(desk, "Mhm.")
    play_out(desk)
    played = np.concatenate([play.samples for play in desk.all(Play)])
    assert len(played) == len(STORY.split()) * 500


def test_a_short_word_that_matters_interrupts_when_it_is_understood(desk):
    desk.hear(0.2, 0.9)
    desk.hear(0.32, 0.0)
    assert desk.last(Unduck)
    understand(desk, "Louder.")
    assert desk.last(StopPlaying)
    assert desk.last(SpeechStarted)
    desk.hear(0.5, 0.0)
    assert desk.last(SpeechStopped)
    assert desk.last(Respond).messages[-1] == Message("user", "Louder.")


@pytest.mark.parametrize("words", ["Stop.", "Be quiet.", "Hold on.", "Give me a second.", "Wait."])
def test_words_about_the_floor_silence_the_agent_and_get_no_speech(desk, words):
    desk.hear(0.6, 0.9)
    desk.hear(0.12, 0.0)
    understand(desk, words)
    assert desk.last(StopPlaying)
    desk.hear(3.0, 0.0)
    assert desk.last(SpeechStopped)
    assert desk.all(Respond) == desk.all(Speak) == []
    ask(desk, "What time is it?")
    assert desk.last(Respond).messages[-1] == Message("user", "What time is it?")


def test_a_question_that_is_taken_back_is_not_answered_later():
    for words, prompt in (("Never mind.", ""), ("Hold on.", "Where is Rome? ")):
        desk = new_desk()
        ask(desk, "Where is Rome?")
        desk.hear(0.6, 0.9)
        desk.hear(0.12, 0.0)
        understand(desk, words)
        desk.hear(2.0, 0.0)
        assert desk.last(ReplyFinished).status == "cancelled"
        ask(desk, "I mean Bonn.")
        assert desk.last(Respond).messages[-1] == Message("user", f"{prompt}I mean Bonn.")


@pytest.mark.parametrize("words", ["Hello?", "Are you there?", "Can you hear me?"])
def test_a_call_for_attention_while_the_agent_thinks_costs_no_answer(words):
    desk = new_desk()
    ask(desk, "Where is Rome?")
    desk.hear(0.6, 0.9)
    desk.hear(0.12, 0.0)
    understand(desk, words)
    desk.hear(1.0, 0.0)
    answer(desk, STORY)
    play_out(desk)
    assert desk.last(ReplyFinished).text == STORY
    assert len(desk.all(Respond)) == 1
    assert desk.session.conversation.messages()[1:] == (
        Message("user", "Where is Rome?"),
        Message("assistant", STORY),
    )


def test_a_call_for_attention_before_the_words_are_known_is_left_out():
    desk = new_desk(speculation=False)
    desk.hear(0.6, 0.9)
    desk.hear(0.9, 0.0)
    first = desk.last(DecodeFinal)
    desk.hear(0.6, 0.9)
    desk.hear(0.9, 0.0)
    desk.tell(FinalTranscript(first.turn, first.revision, final("Where is Rome?")))
    understand(desk, "Hello?")
    assert desk.last(Respond).messages[1:] == (Message("user", "Where is Rome?"),)


def test_hello_as_the_first_words_is_answered():
    desk = new_desk()
    ask(desk, "Hello?")
    assert desk.last(Respond).messages[-1] == Message("user", "Hello?")


def test_a_second_question_is_answered_after_the_first():
    desk = new_desk()
    ask(desk, "What is the capital of France?")
    desk.hear(1.5, 0.9)
    desk.hear(0.12, 0.0)
    understand(desk, "And what is the capital of Spain?")
    assert desk.last(SpeechStarted)
    desk.hear(0.6, 0.0)
    answer(desk, "Paris.")
    desk.hear(2.0, 0.0)
    assert desk.last(ReplyFinished).text == "Paris."
    assert [respond.messages[-1].content for respond in desk.all(Respond)] == [
        "What is the capital of France?",
        "And what is the capital of Spain?",
    ]
    assert desk.last(Respond).messages[1:3] == (
        Message("user", "What is the capital of France?"),
        Message("assistant", "Paris."),
    )


def test_a_backchannel_that_goes_on_is_an_interruption(desk):
    desk.hear(0.256, 0.9)
    task = desk.last(DecodePartial)
    desk.tell(PartialTranscript(task.turn, Transcript("yeah", 0, final=False)))
    desk.hear(0.3, 0.9)
    assert desk.all(StopPlaying) == []
    assert desk.last(Unduck)
    desk.hear(0.8, 0.9)
    assert desk.last(StopPlaying)


def test_a_hum_that_is_shorter_than_words_does_not_interrupt(desk):
    desk.hear(0.3, 0.9)
    held_back = len(desk.all(Play))
    desk.hear(0.25, 0.9)
    assert len(desk.all(Play)) > held_back, "the agent speaks on while nothing is known"
    desk.hear(0.3, 0.0)
    assert not desk.all(StopPlaying)
    understand(desk, "Mm-hmm.")
    desk.hear(0.5, 0.0)
    assert not desk.all(StopPlaying)


@pytest.mark.parametrize(
    ("seconds", "words", "interrupts"),
    [
        (0.55, "In a month.", False),
        (0.55, "Amen.", False),
        (0.55, "No.", True),
        (0.55, "What about Rome?", True),
        (0.85, "In a month.", True),
    ],
)
def test_a_short_sound_that_glances_took_for_a_hum_stays_one(desk, seconds, words, interrupts):
    desk.hear(0.2, 0.9)
    task = desk.last(DecodePartial)
    desk.tell(PartialTranscript(task.turn, Transcript("MM", 0, final=False), glance=True))
    desk.hear(seconds - 0.2, 0.9)
    desk.hear(0.1, 0.0)
    understand(desk, words)
    desk.hear(0.1, 0.0)
    assert bool(desk.all(StopPlaying)) is interrupts


@pytest.mark.parametrize(
    ("guesses", "words", "interrupts"),
    [
        (("In", "In a", "In my mom"), "In my mom.", False),
        (("In", "In the", "In the mom"), "In the morning.", True),
    ],
)
def test_a_hum_that_is_heard_as_words(desk, guesses, words, interrupts):
    desk.hear(0.2, 0.9)
    for guess in guesses:
        task = desk.last(DecodePartial)
        desk.tell(PartialTranscript(task.turn, Transcript(guess, 0, final=False), glance=True))
        desk.hear(0.128, 0.9)
    desk.hear(0.1, 0.0)
    understand(desk, words)
    desk.hear(0.1, 0.0)
    assert bool(desk.all(StopPlaying)) is interrupts


def test_a_hum_that_was_followed_by_words_is_none(desk):
    desk.hear(0.2, 0.9)
    for guess in ("M", "My order"):
        task = desk.last(DecodePartial)
        desk.tell(PartialTranscript(task.turn, Transcript(guess, 0, final=False), glance=True))
        desk.hear(0.15, 0.9)
    desk.hear(0.1, 0.0)
    understand(desk, "My order number.")
    assert desk.all(StopPlaying)


def test_two_short_sounds_are_no_long_voice(desk):
    for _ in range(3):
        desk.hear(0.45, 0.9)
        desk.hear(0.4, 0.0)
        understand(desk, "Mm-hmm.")
    assert not desk.all(StopPlaying)


def test_words_that_are_known_interrupt_in_the_time_to_decide_whatever_they_are(desk):
    desk.hear(0.3, 0.9)
    task = desk.last(DecodePartial)
    desk.tell(PartialTranscript(task.turn, Transcript("The weather", 0, final=False)))
    assert desk.last(StopPlaying)


def test_an_interruption_without_words_is_taken_back(desk):
    desk.hear(0.9, 0.9)
    heard = desk.last(ReplyFinished).text
    assert 0 < len(heard) < len(STORY)
    desk.hear(0.1, 0.0)
    understand(desk, "")
    desk.hear(0.5, 0.0)
    rest = desk.last(ReplyTextDelta).delta
    assert f"{heard} {rest}" == STORY
    assert desk.all(Respond) == []
    task = desk.last(Speak)
    desk.tell(SoundReady(task.generation, task.segment, sound(task.text)))
    desk.tell(SegmentSpoken(task.generation, task.segment))
    play_out(desk)
    assert desk.session.conversation.messages()[-1] == Message("assistant", STORY)


@pytest.mark.parametrize("words", ["What time is it?", ""])
def test_whoever_speaks_again_decides_what_becomes_of_an_interruption_without_words(desk, words):
    tasks = []
    for _ in range(2):
        desk.hear(0.3, 0.9)
        desk.hear(0.12, 0.0)
        desk.tell(CommitAudio())
        tasks.append(desk.last(DecodeFinal))
    desk.tell(FinalTranscript(tasks[0].turn, tasks[0].revision, final("")))
    assert desk.all(Speak) == []
    desk.tell(FinalTranscript(tasks[1].turn, tasks[1].revision, final(words)))
    desk.hear(0.6, 0.0)
    answers = [respond.messages[-1].content for respond in desk.all(Respond)]
    assert answers == ([words] if words else [])
    if not words:
        assert STORY.endswith(desk.last(ReplyTextDelta).delta)


def test_a_reply_that_was_cut_by_noise_before_it_was_whole_goes_on():
    desk = new_desk()
    ask(desk, "Tell me a story.")
    generation = desk.last(Respond).generation
    desk.tell(
        ReplyEvent(
            generation, ReplyText("Once upon a time there lived a fox. It was very old. In ")
        )
    )
    for task in desk.all(Speak):
        desk.tell(SoundReady(task.generation, task.segment, sound(task.text)))
        desk.tell(SegmentSpoken(task.generation, task.segment))
    listen(desk, 1.0)
    noise(desk)
    assert desk.last(ReplyFinished).status == "cancelled"
    assert desk.last(AbandonSpeech).generation == generation
    desk.tell(ReplyEvent(generation, ReplyText("a wood.")))
    desk.tell(ReplyEvent(generation, ReplyDone("", 1, 1, 0.0, 0.0)))
    assert desk.last(ReplyTextDelta).delta.endswith("It was very old. In a wood.")
    assert len(desk.all(Respond)) == 1
    assert desk.all(Abandon) == []


def test_a_reply_that_was_cut_is_given_up_when_words_follow():
    desk = new_desk()
    ask(desk, "Tell me a story.")
    generation = desk.last(Respond).generation
    text = "Once upon a time there lived a fox. It was very old. In "
    desk.tell(ReplyEvent(generation, ReplyText(text)))
    for task in desk.all(Speak):
        desk.tell(SoundReady(task.generation, task.segment, sound(task.text)))
    listen(desk, 1.0)
    desk.hear(0.6, 0.9)
    desk.hear(0.1, 0.0)
    understand(desk, "What time is it?")
    assert desk.last(Abandon).generation == generation
    desk.hear(0.6, 0.0)
    desk.tell(ReplyEvent(generation, ReplyDone("", 1, 1, 0.0, 0.0)))
    assert desk.last(Respond).messages[-1] == Message("user", "What time is it?")


def test_a_reply_that_the_client_asked_for_survives_a_cough():
    desk = new_desk()
    ask(desk, "Tell me a story.")
    answer(desk, STORY)
    play_out(desk)
    desk.tell(RespondNow())
    before = len(desk.all(Respond))
    noise(desk)
    assert len(desk.all(Respond)) == before
    answer(desk, STORY)
    play_out(desk)
    assert desk.last(ReplyFinished).status == "completed"


@pytest.mark.parametrize("modes", [(False,), (False, True)])
def test_another_mode_takes_back_what_the_open_turn_cut(desk, modes):
    desk.hear(0.9, 0.9)
    for detection in modes:
        desk.tell(Configure(turn_detection=detection))
    desk.hear(0.5, 0.0)
    assert STORY.endswith(desk.last(ReplyTextDelta).delta)


def test_a_turn_without_end_does_not_keep_what_was_cut(desk):
    desk.hear(0.6, 0.9)
    desk.hear(0.1, 0.0)
    desk.tell(CommitAudio())
    task = desk.last(DecodeFinal)
    desk.tell(Configure(turn_detection=False))
    desk.hear(0.1, 0.0)
    desk.tell(FinalTranscript(task.turn, task.revision, final("")))
    desk.hear(0.5, 0.0)
    assert STORY.endswith(desk.last(ReplyTextDelta).delta)


def test_a_turn_too_many_gives_back_what_it_cut(desk):
    desk.tell(Configure(interrupt_response=False))
    for _ in range(MAX_UNTRANSCRIBED):
        desk.hear(0.2, 0.9)
        desk.hear(0.1, 0.0)
        desk.tell(CommitAudio())
    desk.tell(Configure(interrupt_response=True))
    desk.hear(0.6, 0.9)
    desk.tell(CommitAudio())
    assert desk.last(Trouble).code == "too_many_turns"
    for task in desk.all(DecodeFinal):
        desk.tell(FinalTranscript(task.turn, task.revision, final("")))
    desk.hear(0.5, 0.0)
    assert STORY.endswith(desk.last(ReplyTextDelta).delta)


@pytest.mark.parametrize("commits", [False, True])
def test_the_goodbye_is_not_cut_by_words_that_are_late(commits):
    goodbye = "Goodbye and thank you for calling us today my friend."
    settings = Settings(call={"goodbye": goodbye}, server={"max_call_seconds": 30})
    desk = Desk(Session(settings, started_at=0.0))
    desk.tell(CallStarted())
    listen(desk, 30.1)
    task = desk.last(Speak)
    desk.tell(SoundReady(task.generation, task.segment, sound(task.text)))
    desk.tell(SegmentSpoken(task.generation, task.segment))
    desk.hear(0.3, 0.9)
    desk.hear(0.1, 0.0)
    if commits:
        desk.tell(CommitAudio())
    desk.hear(5.0, 0.0)
    assert desk.all(StopPlaying) == []
    assert desk.last(ReplyFinished).text == goodbye
    assert desk.last(HangUp)


def test_a_cough_while_the_agent_thinks_costs_no_answer():
    desk = new_desk()
    ask(desk, "Tell me a story.")
    desk.hear(0.2, 0.9)
    desk.hear(0.4, 0.0)
    understand(desk, "")
    desk.hear(0.5, 0.0)
    answer(desk, STORY)
    play_out(desk)
    assert desk.last(ReplyFinished).text == STORY


def test_noise_that_lasts_while_the_agent_thinks_costs_no_answer():
    desk = new_desk()
    ask(desk, "Tell me a story.")
    desk.hear(0.8, 0.9)
    desk.hear(0.1, 0.0)
    understand(desk, "")
    desk.hear(0.6, 0.0)
    assert len(desk.all(Respond)) == 1
    assert desk.all(Abandon) == desk.all(StopPlaying) == []
    answer(desk, STORY)
    play_out(desk)
    assert desk.last(ReplyFinished).text == STORY
    assert len(desk.session.conversation.messages()) == 3


def test_a_noise_without_end_does_not_hold_back_the_answer():
    desk = new_desk()
    ask(desk, "Tell me a story.")
    desk.hear(0.5, 0.9)
    answer(desk, STORY)
    desk.hear(6.0, 0.9)
    assert desk.all(StopPlaying) == []
    assert desk.all(Play)


def test_words_while_the_agent_thinks_are_joined_to_the_question():
    desk = new_desk()
    ask(desk, "What is the capital")
    desk.hear(0.6, 0.9)
    desk.hear(0.1, 0.0)
    understand(desk, "of France?")
    desk.hear(0.9, 0.0)
    assert desk.last(ReplyFinished).status == "cancelled"
    assert desk.last(Respond).messages[-1].content == "What is the capital of France?"


def test_what_is_said_as_the_agent_ends_is_a_turn(desk):
    while desk.session.replies.current is not None:
        desk.hear(0.032, 0.0)
        ahead = desk.session.replies.current
        if ahead and ahead.playback.all_sent:
            break
    desk.hear(0.3, 0.9)
    assert desk.last(Duck)
    desk.hear(0.6, 0.0)
    assert desk.last(ReplyFinished).status == "completed"
    assert desk.last(SpeechStarted)
    understand(desk, "Yeah.")
    desk.hear(0.6, 0.0)
    assert desk.last(Respond).messages[-1] == Message("user", "Yeah.")


def test_a_client_that_cancels_or_commits_meanwhile_has_its_way(desk):
    desk.hear(0.16, 0.9)
    desk.tell(CancelReply())
    assert desk.last(ReplyFinished).reason == "client_cancelled"
    assert desk.last(SpeechStarted)


def test_a_committed_sound_is_a_turn(desk):
    desk.hear(0.16, 0.9)
    desk.tell(CommitAudio())
    assert desk.last(StopPlaying)
    assert desk.last(DecodeFinal)


def test_a_sound_that_is_taken_back_leaves_the_agent_speaking(desk):
    desk.hear(0.16, 0.9)
    desk.tell(ClearAudio())
    assert desk.last(Unduck)
    play_out(desk)
    assert desk.last(ReplyFinished).text == STORY


def test_two_interruptions_in_a_row(desk):
    desk.hear(0.6, 0.9)
    desk.hear(0.1, 0.0)
    understand(desk, "No, I want another one.")
    desk.hear(0.5, 0.0)
    generation = answer(desk, "All right, I wait for you to go on.")
    listen(desk, 0.5)
    desk.hear(0.6, 0.9)
    assert desk.last(ReplyFinished).status == "cancelled"
    mark = len(desk.commands)
    desk.tell(SoundReady(generation, 0, sound("late")))
    desk.tell(Tick())
    assert not [c for c in desk.commands[mark:] if isinstance(c, Play)]
    assert len(desk.all(ReplyStarted)) == 1


def test_the_words_are_asked_for_even_without_speculation():
    desk = new_desk(speculation=False, detection="server_vad")
    ask(desk, "Tell me a story.")
    answer(desk, STORY)
    listen(desk, 1.0)
    desk.hear(0.2, 0.9)
    desk.hear(0.32, 0.0)
    understand(desk, "Mhm.")
    desk.hear(0.6, 0.0)
    assert desk.all(StopPlaying) == []


def test_the_table_knows_every_case_in_which_the_time_is_over():
    for kind in WordKind:
        for voice in (VoiceState.STEADY, VoiceState.LONG, VoiceState.STOPPED):
            assert (kind, voice) in JUDGEMENTS
    assert JUDGEMENTS[WordKind.WORDS, VoiceState.SHORT] is Judgement.INTERRUPTION


def test_classes_of_words():
    assert classify(None) is WordKind.UNKNOWN
    assert classify(" ... ") is WordKind.NO_WORDS
    assert classify("Uh-huh.") is WordKind.BACKCHANNEL
    assert classify("No.") is WordKind.WORDS


def test_a_gap_of_a_frame_is_no_end():
    overlap = Overlap(1, began=0.0, noticed=0.128)
    assert overlap.judge(0.416, 0.384, 0.3) is Judgement.WAIT
    assert overlap.judge(0.448, 0.416, 0.3) is Judgement.NOTHING
    assert overlap.judge(0.736, 0.704, 0.3) is Judgement.INTERRUPTION
    overlap.words = "mm-hmm"
    assert overlap.judge(0.736, 0.704, 0.3) is Judgement.NOTHING
    assert overlap.judge(0.448, 0.3, 0.3) is Judgement.NOTHING
