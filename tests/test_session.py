"""Whole conversations through the pure core, in milliseconds of real time."""

import numpy as np
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support.fakes import Desk

from agent.config.settings import Settings
from agent.reply import Message, Prefilled, ReplyDone, ReplyText
from agent.session.commands import (
    Abandon,
    DecodeFinal,
    DecodePartial,
    DropTurnAudio,
    FeedRecogniser,
    HangUp,
    Prepare,
    Respond,
    Speak,
    WakeAt,
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
    StageFailed,
    TextTyped,
    Tick,
    Truncate,
)
from agent.session.notices import (
    Configured,
    ItemTruncated,
    Play,
    ReplyFinished,
    ReplyItemStarted,
    ReplyStarted,
    ReplyTextDelta,
    SpeechStarted,
    SpeechStopped,
    StopPlaying,
    TranscriptFailed,
    TranscriptUpdated,
    Trouble,
    TurnCommitted,
    TurnTimed,
    WordTimestamps,
)
from agent.session.session import Session
from asr.transcript import Transcript
from tts.engine import SpeechChunk, WordSpan

VOICE_RATE = 1000


PLAIN = Settings(
    turns={
        "detection": "server_vad",
        "endpoint_delay": 0.5,
        "speculation": False,
        "backchannels": False,
    },
    call={"goodbye": None},
)
"""A turn is a pause of half a second, and speech interrupts: what is built on that has its own
files (test_speculation, test_overlap, test_lifecycle)."""


@pytest.fixture
def desk():
    desk = Desk(Session(PLAIN, started_at=0.0))
    desk.tell(CallStarted())
    return desk


def final(text):
    return Transcript(text, len(text), final=True)


def done(text):
    return ReplyDone(text, 4, 4, 1.0, 2.0)


def sound(text, seconds_per_word=0.5):
    """One chunk in which each word takes half a second."""
    words = text.split()
    step = int(seconds_per_word * VOICE_RATE)
    spans = tuple(WordSpan(word, n * step, (n + 1) * step) for n, word in enumerate(words))
    return SpeechChunk(np.full(step * len(words), 0.5, np.float32), VOICE_RATE, spans)


def ask(desk, words, seconds=1.0):
    """The caller speaks and is understood."""
    desk.hear(seconds, 0.9)
    desk.hear(0.6, 0.0)
    task = desk.last(DecodeFinal)
    desk.now += 0.2
    return desk.tell(FinalTranscript(task.turn, task.revision, final(words)))


def answer(desk, text):
    """The engines do everything for the newest reply; its sound starts to play."""
    generation = desk.last(Respond).generation
    before = len(desk.all(Speak))
    desk.tell(ReplyEvent(generation, Prefilled(10, 5, 1.0)))
    desk.now += 0.1
    desk.tell(ReplyEvent(generation, ReplyText(text)))
    desk.tell(ReplyEvent(generation, done(text)))
    for task in desk.all(Speak)[before:]:
        desk.now += 0.05
        desk.tell(SoundReady(generation, task.segment, sound(task.text)))
        desk.tell(SegmentSpoken(generation, task.segment))
    return generation


def play_out(desk):
    """Ticks until nothing is left to be woken for but the end of the call."""
    limit = desk.session.settings.server.max_call_seconds
    while desk.session.replies.current is not None:
        wake = desk.last(WakeAt).when
        assert wake < limit, "a reply is open and nobody will wake it"
        desk.now = max(desk.now + 1e-4, wake)
        desk.tell(Tick())


def test_a_spoken_question_is_answered(desk):
    assert isinstance(desk.all(Prepare)[0].messages[0], Message)
    ask(desk, "What is the capital of France?")
    assert desk.last(TranscriptUpdated).final
    prompt = desk.last(Respond).messages
    assert prompt[-1] == Message("user", "What is the capital of France?")
    answer(desk, "Paris is the capital of France.")
    play_out(desk)
    finished = desk.last(ReplyFinished)
    assert (finished.status, finished.text) == ("completed", "Paris is the capital of France.")
    played = sum(len(play.samples) for play in desk.all(Play)) / VOICE_RATE
    assert played == pytest.approx(3.0)
    assert desk.session.conversation.messages()[-1].content == "Paris is the capital of France."


def test_the_spans_of_a_turn_sum_to_its_time(desk):
    desk.hear(0.32, 0.0)
    ask(desk, "hello")
    answer(desk, "Hi there.")
    timed = desk.last(TurnTimed)
    assert timed.speech_end == pytest.approx(0.32 + 0.992, abs=0.001)
    assert timed.spans["endpoint_wait"] == pytest.approx(0.5, abs=0.04)
    # the caller's silence went on for some frames after the decision
    assert timed.spans["asr"] == pytest.approx(0.2 + 0.6 - timed.spans["endpoint_wait"], abs=0.04)
    assert timed.spans["denoise"] == pytest.approx(0.1)
    assert timed.spans["tts"] == pytest.approx(0.05)
    assert sum(timed.spans.values()) == pytest.approx(desk.now - (0.32 + 0.992), abs=1e-6)


def test_the_pre_roll_reaches_the_recogniser(desk):
    desk.hear(2.0, 0.0)
    desk.hear(0.5, 0.9)
    first = desk.all(FeedRecogniser)[0]
    settings = desk.session.settings.turns
    seconds = len(first.samples) / 16_000
    assert settings.pre_roll <= seconds <= settings.pre_roll + settings.min_speech + 0.1
    assert desk.last(SpeechStarted).audio_start == pytest.approx(2.0 - settings.pre_roll, abs=0.1)


def test_every_sample_of_a_turn_is_heard_once(desk):
    desk.hear(1.0, 0.0)
    desk.hear(1.0, 0.9)
    desk.hear(0.3, 0.0)
    desk.hear(1.0, 0.8)
    desk.hear(0.6, 0.0)
    assert len(desk.all(DecodeFinal)) == 1
    heard = sum(len(command.samples) for command in desk.all(FeedRecogniser)) / 16_000
    start, stop = desk.last(SpeechStarted).audio_start, desk.last(SpeechStopped).audio_end
    assert heard >= stop - start + 0.4
    assert heard <= stop - start + 0.6


def test_partials_are_asked_for_while_the_caller_speaks_and_not_in_a_pause(desk):
    desk.hear(1.2, 0.9)
    assert len(desk.all(DecodePartial)) == 1
    desk.hear(1.0, 0.9)
    assert len(desk.all(DecodePartial)) == 1, "one at a time"
    turn = desk.last(DecodePartial).turn
    desk.tell(PartialTranscript(turn, Transcript("what is the", 7, final=False)))
    assert desk.last(TranscriptUpdated).delta == "what is"
    desk.tell(PartialTranscript(turn, Transcript("what is the time", 11, final=False)))
    assert desk.last(TranscriptUpdated).delta == " the"
    before = len(desk.all(DecodePartial))
    desk.hear(0.45, 0.0)
    assert len(desk.all(DecodePartial)) == before


def test_barge_in_silences_the_agent_and_cuts_history_to_what_was_heard(desk):
    ask(desk, "Tell me a story.")
    generation = answer(desk, "Once upon a time there lived a very old fox.")
    for _ in range(20):
        desk.now += 0.08
        desk.tell(Tick())
    mark = len(desk.commands)
    desk.hear(0.16, 0.9)
    new = desk.commands[mark:]
    kinds = [type(command) for command in new]
    assert kinds.index(StopPlaying) < kinds.index(SpeechStarted)
    assert Abandon(generation) in new
    stopped = desk.last(StopPlaying)
    assert stopped.heard == pytest.approx(1.6 + 0.128, abs=0.05)
    assert desk.last(ReplyFinished).text == "Once upon a"
    assert desk.session.conversation.messages()[-1] == Message("assistant", "Once upon a")
    mark = len(desk.commands)
    desk.tell(SoundReady(generation, 0, sound("late late late")))
    desk.tell(ReplyEvent(generation, ReplyText("late")))
    late = [c for c in desk.commands[mark:] if isinstance(c, (Play, Speak, ReplyTextDelta))]
    assert late == []


def test_the_client_knows_better_what_was_played(desk):
    ask(desk, "Count.")
    answer(desk, "One two three four five six.")
    desk.now += 1.0
    desk.tell(Tick())
    desk.hear(0.16, 0.9)
    item = desk.last(StopPlaying).item_id
    desk.tell(Truncate(item, 0.5))
    assert desk.last(ItemTruncated) == ItemTruncated(item, 0.5)
    assert desk.session.conversation.messages()[-1].content == "One"
    desk.tell(Truncate("item_999999", 0.5))
    assert desk.last(Trouble).code == "item_truncate_invalid_item_id"


def test_the_place_of_every_word_is_told_before_its_sound(desk):
    ask(desk, "How much is it?")
    answer(desk, "It is $5. That is not much.")
    told = desk.all(WordTimestamps)
    kinds = [type(c) for c in desk.commands if isinstance(c, WordTimestamps | Play)]
    assert kinds[0] is WordTimestamps
    places = [(place.position, place.characters) for words in told for place in words.words]
    ends = [2, 5, 5, 9, 14, 17, 21, 27]  # "five" says nothing yet, "dollars." says "$5."
    assert places == [(0.5 * n, end) for n, end in enumerate(ends, 1)]


def test_words_cut_off_by_the_caller_himself_are_joined(desk):
    ask(desk, "What is the capital")
    desk.hear(0.3, 0.9)  # before anything was answered
    assert desk.last(ReplyFinished).status == "cancelled"
    desk.hear(0.6, 0.0)
    task = desk.last(DecodeFinal)
    desk.tell(FinalTranscript(task.turn, task.revision, final("of France?")))
    assert desk.last(Respond).messages[-1].content == "What is the capital of France?"


def test_words_that_arrive_while_the_caller_speaks_again_wait_for_the_rest(desk):
    desk.hear(1.0, 0.9)
    desk.hear(0.6, 0.0)
    first = desk.last(DecodeFinal)
    desk.hear(0.5, 0.9)
    desk.tell(FinalTranscript(first.turn, first.revision, final("I want")))
    assert desk.all(Respond) == []
    desk.hear(0.6, 0.0)
    second = desk.last(DecodeFinal)
    desk.tell(FinalTranscript(second.turn, second.revision, final("a pizza.")))
    assert desk.last(Respond).messages[-1].content == "I want a pizza."


def finals(desk, **words):
    """The words of the turns arrive: turn number -> text."""
    for task in desk.all(DecodeFinal):
        if f"turn{task.turn}" in words:
            desk.tell(FinalTranscript(task.turn, task.revision, final(words[f"turn{task.turn}"])))


def test_two_turns_that_end_before_the_words_of_the_first_are_answered_as_one(desk):
    desk.hear(0.5, 0.9)
    desk.hear(0.6, 0.0)
    desk.hear(0.5, 0.9)
    desk.hear(0.6, 0.0)
    finals(desk, turn1="first question")
    assert desk.all(Respond) == []
    finals(desk, turn2="second question")
    assert desk.last(Respond).messages[-1].content == "first question second question"


def test_a_cough_after_a_question_does_not_swallow_it(desk):
    desk.hear(0.5, 0.9)
    desk.hear(0.6, 0.0)
    desk.hear(0.2, 0.9)
    finals(desk, turn1="what is the capital of France")
    assert desk.all(Respond) == []
    desk.hear(0.7, 0.0)
    finals(desk, turn2="")
    assert desk.last(Respond).messages[-1].content == "what is the capital of France"


def test_a_question_before_a_turn_that_is_taken_back_is_answered(desk):
    desk.hear(0.5, 0.9)
    desk.hear(0.6, 0.0)
    desk.hear(0.2, 0.9)
    finals(desk, turn1="hello")
    desk.tell(ClearAudio())
    assert desk.last(Respond).messages[-1].content == "hello"


def test_without_barge_in_the_next_question_waits_for_the_end_of_the_reply(desk):
    desk.tell(Configure(interrupt_response=False))
    ask(desk, "one")
    answer(desk, "Answer one.")
    desk.hear(0.3, 0.9)
    desk.hear(0.6, 0.0)
    finals(desk, turn2="two")
    play_out_first = desk.last(Respond).generation
    while desk.last(Respond).generation == play_out_first:
        desk.now = max(desk.now + 1e-4, desk.last(WakeAt).when)
        desk.tell(Tick())
    assert desk.last(Respond).messages[-1].content == "two"


def test_turns_that_wait_for_their_words_are_bounded(desk):
    desk.tell(Configure(turn_detection=False))
    for _ in range(6):
        desk.hear(0.1, 0.9)
        desk.tell(CommitAudio())
    assert len(desk.all(DecodeFinal)) == 4
    assert desk.last(Trouble).code == "too_many_turns"


def test_typing_and_push_to_talk_keep_their_order(desk):
    desk.tell(Configure(turn_detection=False))
    desk.hear(0.3, 0.0)  # the microphone is always open
    desk.tell(TextTyped("typed one"))
    desk.tell(RespondNow())
    answer(desk, "Answer one.")
    play_out(desk)
    desk.hear(0.5, 0.9)
    desk.tell(CommitAudio())
    desk.tell(RespondNow())
    finals(desk, turn1="spoken question")
    contents = [message.content for message in desk.last(Respond).messages[1:]]
    assert contents == ["typed one", "Answer one.", "spoken question"]
    answer(desk, "Answer two.")
    play_out(desk)
    desk.tell(RespondNow())
    contents = [message.content for message in desk.last(Respond).messages[1:]]
    assert contents == ["typed one", "Answer one.", "spoken question", "Answer two."]


def test_what_the_client_truncated_stays_truncated(desk):
    ask(desk, "count")
    answer(desk, "One two three.")
    desk.now += 0.6
    desk.tell(Tick())
    desk.tell(Truncate(desk.last(ReplyStarted).item_id, 0.5))
    play_out(desk)
    assert desk.session.conversation.messages()[-1].content == "One"


def test_the_timings_wait_for_the_first_audible_sound(desk):
    ask(desk, "hello")
    generation = desk.last(Respond).generation
    desk.tell(ReplyEvent(generation, Prefilled(1, 1, 1.0)))
    desk.tell(ReplyEvent(generation, ReplyText("Hi there.")))
    desk.tell(ReplyEvent(generation, done("Hi there.")))
    quiet = SpeechChunk(np.zeros(VOICE_RATE, np.float32), VOICE_RATE)
    desk.tell(SoundReady(generation, 0, quiet))
    desk.tell(SoundReady(generation, 0, sound("Hi there.")))
    assert desk.all(TurnTimed) == []
    begun = desk.now
    while not desk.all(TurnTimed):
        desk.now = max(desk.now + 1e-4, desk.last(WakeAt).when)
        desk.tell(Tick())
    assert desk.now - begun == pytest.approx(1.0 - 0.3, abs=0.1)


def test_items_name_the_item_before_them(desk):
    desk.hear(0.5, 0.9)
    desk.hear(0.6, 0.0)
    desk.hear(0.5, 0.9)
    desk.hear(0.6, 0.0)
    first, second = desk.all(TurnCommitted)
    assert second.previous_item_id == first.item_id


def test_noise_without_words_is_not_answered(desk):
    ask(desk, "")
    assert desk.all(Respond) == []
    assert desk.last(TranscriptUpdated).text == ""


def test_words_of_an_old_turn_or_revision_are_not_wanted(desk):
    ask(desk, "hello")
    before = len(desk.all(Respond))
    desk.tell(FinalTranscript(99, 0, final("ghost")))
    desk.tell(FinalTranscript(1, 0, final("ghost")))
    assert len(desk.all(Respond)) == before


def test_typed_words_are_answered_when_asked_for(desk):
    desk.tell(TextTyped("How many legs has a spider?", "my_item"))
    assert desk.all(Respond) == []
    desk.tell(RespondNow())
    answer(desk, "Eight.")
    assert desk.last(ReplyItemStarted).previous_item_id == "my_item"
    desk.tell(RespondNow())
    assert len(desk.all(Respond)) == 1, "it waits for the reply that is spoken"
    for _ in range(8):
        desk.now += 0.5
        desk.tell(Tick())
    assert desk.last(ReplyFinished).status == "completed"
    assert len(desk.all(Respond)) == 2


def test_so_many_replies_may_wait_and_no_more(desk):
    desk.tell(TextTyped("hello"))
    for _ in range(17):
        desk.tell(RespondNow())
    assert desk.all(Trouble) == []
    desk.tell(RespondNow())
    assert desk.last(Trouble).code == "conversation_already_has_active_response"


def test_the_agent_can_speak_first(desk):
    desk.tell(RespondNow(instructions="Greet the caller."))
    system, opening = desk.last(Respond).messages
    assert system == Message("system", "Greet the caller.")
    assert opening.role == "user"
    answer(desk, "Good day.")
    play_out(desk)
    assert [m.role for m in desk.session.conversation.messages()] == ["system", "assistant"]


def test_there_must_be_something_to_cancel(desk):
    desk.tell(CancelReply(quiet=True))
    assert desk.all(Trouble) == []
    desk.tell(CancelReply())
    assert desk.last(Trouble).code == "response_cancel_not_active"
    desk.tell(CommitAudio())
    assert desk.last(Trouble).code == "input_audio_buffer_commit_empty"


def test_push_to_talk(desk):
    desk.tell(Configure(turn_detection=False))
    assert desk.last(Configured)
    desk.hear(2.0, 0.0)
    assert desk.all(DecodeFinal) == []
    desk.tell(CommitAudio())
    desk.tell(RespondNow())  # at once, as such clients do, before the words are known
    task = desk.last(DecodeFinal)
    desk.tell(FinalTranscript(task.turn, task.revision, final("good morning")))
    assert desk.last(Respond).messages[-1].content == "good morning"


def test_push_to_talk_answers_what_was_committed_and_not_what_comes_next(desk):
    desk.tell(Configure(turn_detection=False))
    desk.hear(1.0, 0.9)
    desk.tell(CommitAudio())
    desk.hear(0.3, 0.9)  # the microphone goes on
    first = desk.last(DecodeFinal)
    desk.tell(FinalTranscript(first.turn, first.revision, final("good morning")))
    desk.tell(RespondNow())
    assert desk.last(Respond).messages[-1].content == "good morning"
    answer(desk, "Good morning.")
    play_out(desk)
    desk.tell(CommitAudio())
    second = desk.last(DecodeFinal)
    desk.tell(FinalTranscript(second.turn, second.revision, final("goodbye")))
    desk.tell(RespondNow())
    contents = [message.content for message in desk.last(Respond).messages[1:]]
    assert contents == ["good morning", "Good morning.", "goodbye"]
    assert desk.all(SpeechStarted) == []


def test_push_to_talk_without_an_end_is_bounded(desk):
    desk.tell(Configure(turn_detection=False))
    desk.hear(Settings().turns.max_turn + 0.5, 0.0)
    assert len(desk.all(DecodeFinal)) == 1


def test_silence_can_be_answered_on_request(desk):
    desk.tell(Configure(turn_detection=False))
    desk.hear(1.0, 0.0)
    desk.tell(CommitAudio())
    desk.tell(RespondNow())
    assert desk.all(Respond) == []
    desk.tell(FinalTranscript(1, 0, final("")))
    assert [message.role for message in desk.last(Respond).messages] == ["system", "user"]


def test_without_create_response_the_agent_waits_to_be_asked(desk):
    desk.tell(Configure(create_response=False))
    ask(desk, "hello")
    assert desk.all(Respond) == []
    desk.tell(RespondNow())
    assert desk.last(Respond).messages[-1].content == "hello"


def test_the_open_turn_can_be_taken_back(desk):
    desk.hear(0.5, 0.9)
    desk.tell(ClearAudio())
    assert desk.last(DropTurnAudio).turn == 1
    desk.hear(1.0, 0.0)
    assert desk.all(DecodeFinal) == []


def test_a_cancelled_reply_is_over_at_once(desk):
    ask(desk, "hello")
    generation = answer(desk, "Hello to you and yours.")
    desk.tell(CancelReply())
    assert desk.last(Abandon).generation == generation
    assert desk.last(ReplyFinished).status == "cancelled"


@pytest.mark.parametrize("stage", ["responder", "tts"])
def test_a_failed_reply_is_told_and_the_call_goes_on(desk, stage):
    ask(desk, "hello")
    generation = desk.last(Respond).generation
    desk.tell(StageFailed(stage, "out of order", generation=generation))
    assert desk.last(Trouble).code == f"{stage}_failed"
    assert desk.last(ReplyFinished).status == "failed"
    ask(desk, "are you there?")
    assert desk.last(Respond).generation > generation


def test_a_failed_recognition_is_told_and_the_call_goes_on(desk):
    desk.hear(1.0, 0.9)
    desk.hear(0.6, 0.0)
    desk.tell(StageFailed("asr", "no ears", turn=desk.last(DecodeFinal).turn))
    assert desk.last(Trouble).message == "no ears"
    ask(desk, "are you there?")
    assert desk.last(Respond)


def test_a_turn_ends_when_the_sound_stops_coming(desk):
    desk.hear(1.0, 0.9)
    desk.now = desk.last(WakeAt).when
    desk.tell(Tick())
    assert len(desk.all(DecodeFinal)) == 1


def test_a_call_has_an_end(desk):
    desk.now = Settings().server.max_call_seconds
    desk.tell(Tick())
    assert desk.last(HangUp).reason == "the call reached its maximum length"


def test_settings_may_change_while_the_caller_speaks(desk):
    desk.hear(0.5, 0.9)
    desk.tell(Configure(endpoint_delay=0.2, threshold=0.6))
    desk.hear(0.5, 0.9)
    desk.hear(0.3, 0.0)
    assert len(desk.all(SpeechStarted)) == len(desk.all(DecodeFinal)) == 1


def test_another_mode_takes_the_open_turn_back(desk):
    desk.hear(0.5, 0.9)
    desk.tell(Configure(turn_detection=False))
    assert desk.last(DropTurnAudio).turn == 1
    desk.hear(0.5, 0.9)
    desk.tell(CommitAudio())
    assert desk.last(DecodeFinal).turn == 2


def test_item_ids_are_not_used_twice(desk):
    desk.tell(TextTyped("one", "item_000001"))
    desk.tell(TextTyped("two", "item_000001"))
    assert desk.last(Trouble).code == "item_create_duplicate_item_id"
    desk.tell(RespondNow())
    assert desk.last(ReplyStarted).item_id != "item_000001"


def test_only_the_running_reply_can_be_cancelled_by_its_id(desk):
    ask(desk, "hello")
    desk.tell(CancelReply("resp_999999"))
    assert desk.last(Trouble).code == "response_cancel_not_active"
    desk.tell(CancelReply(desk.last(ReplyStarted).response_id))
    assert desk.last(ReplyFinished).status == "cancelled"


def test_an_endless_reply_is_cut(desk):
    ask(desk, "talk")
    generation = desk.last(Respond).generation
    for _ in range(100):
        desk.tell(ReplyEvent(generation, ReplyText("and so on " * 10)))
    assert desk.last(ReplyFinished).status == "failed"
    assert "more than 4000 characters" in desk.last(Trouble).message


def test_a_recogniser_that_fails_while_the_caller_speaks_loses_only_that_turn(desk):
    desk.hear(0.5, 0.9)
    desk.tell(StageFailed("asr", "no more room", turn=1))
    assert desk.last(Trouble).code == "asr_failed"
    desk.hear(0.7, 0.0)
    desk.tell(StageFailed("asr", "no sound of this turn arrived", turn=1))
    assert desk.last(TranscriptFailed).message == "no sound of this turn arrived"
    assert desk.all(TranscriptUpdated) == []
    ask(desk, "again")
    assert desk.last(Respond).messages[-1].content == "again"


def test_new_instructions_are_prepared(desk):
    desk.tell(Configure(instructions="Be brief.", endpoint_delay=0.2))
    assert desk.last(Prepare).messages == (Message("system", "Be brief."),)
    desk.hear(1.0, 0.9)
    desk.hear(0.3, 0.0)
    assert len(desk.all(DecodeFinal)) == 1


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order: old generations stay silent, nothing breaks."""

    def __init__(self):
        super().__init__()
        self.desk = Desk(Session(Settings(), 0.0))
        self.desk.tell(CallStarted())
        self.checked = 0

    @rule(seconds=st.floats(0.03, 1.0), loud=st.booleans())
    def hear(self, seconds, loud):
        self.desk.hear(seconds, 0.9 if loud else 0.0)

    @rule(seconds=st.floats(0.0, 2.0))
    def wait(self, seconds):
        self.desk.now += seconds
        self.desk.tell(Tick())

    @rule(text=st.sampled_from(["", "hello", "what time is it"]))
    def understand(self, text):
        for task in self.desk.all(DecodeFinal)[-2:]:
            self.desk.tell(FinalTranscript(task.turn, task.revision, final(text)))

    @rule(back=st.integers(1, 3), text=st.sampled_from(["Yes. ", "No, never, ", "It is late"]))
    def say(self, back, text):
        for task in self.desk.all(Respond)[-back:]:
            self.desk.tell(ReplyEvent(task.generation, ReplyText(text)))

    @rule(back=st.integers(1, 3))
    def complete(self, back):
        for task in self.desk.all(Respond)[-back:]:
            self.desk.tell(ReplyEvent(task.generation, done("x")))

    @rule(back=st.integers(1, 3))
    def sound(self, back):
        for task in self.desk.all(Speak)[-back:]:
            self.desk.tell(SoundReady(task.generation, task.segment, sound(task.text)))
            self.desk.tell(SegmentSpoken(task.generation, task.segment))

    @rule(
        event=st.sampled_from(
            [
                CommitAudio(),
                ClearAudio(),
                RespondNow(),
                CancelReply(),
                TextTyped("typed"),
                Configure(turn_detection=False),
                Configure(turn_detection=True),
                Truncate("item_000002", 0.3),
            ]
        )
    )
    def client(self, event):
        self.desk.tell(event)

    @invariant()
    def only_the_newest_reply_sounds(self):
        started: dict[str, int] = {}
        over: set[str] = set()
        for command in self.desk.commands:
            match command:
                case ReplyStarted():
                    assert command.response_id not in started
                    started[command.response_id] = len(started)
                    assert len(over) == len(started) - 1, "one reply at a time"
                case Play() | ReplyTextDelta():
                    assert command.response_id not in over
                case ReplyFinished():
                    assert command.response_id not in over, "a reply ends once"
                    over.add(command.response_id)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)
