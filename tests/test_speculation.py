"""Words, reply and first sound are made in the pause, and thrown away when it was none."""

import numpy as np
import pytest
from support.fakes import Desk

from agent.config.settings import Settings
from agent.reply import Message, Prefilled, ReplyDone, ReplyText
from agent.session.commands import (
    Abandon,
    CancelDecode,
    DecodeFinal,
    DecodePartial,
    DropTurnAudio,
    EndSpeech,
    JudgePause,
    Prepare,
    Respond,
    Speak,
)
from agent.session.events import (
    CallStarted,
    ClearAudio,
    Configure,
    FinalTranscript,
    PartialTranscript,
    PauseJudged,
    ReplyEvent,
    SegmentSpoken,
    SoundReady,
    StageFailed,
    TextTyped,
)
from agent.session.notices import (
    Play,
    Remark,
    ReplyFinished,
    ReplyStarted,
    ReplyTextDelta,
    SpeechStarted,
    SpeechStopped,
    TranscriptFailed,
    TranscriptUpdated,
    Trouble,
    TurnTimed,
)
from agent.session.session import Session
from asr.transcript import Transcript
from tts.engine import SpeechChunk

EAGER = {"complete_delay": 0.2, "endpoint_delay": 0.5}
TOLD = (ReplyStarted, ReplyTextDelta, Play, ReplyFinished, TranscriptUpdated)


def new_desk(**turns):
    desk = Desk(Session(Settings(turns=EAGER | turns), started_at=0.0))
    desk.tell(CallStarted())
    return desk


@pytest.fixture
def desk():
    return new_desk()


def understand(desk, words, after=0.1):
    """The recogniser answers the newest question for words."""
    task = desk.last(DecodeFinal)
    desk.now += after
    return desk.tell(FinalTranscript(task.turn, task.revision, Transcript(words, len(words), True)))


def think(desk, text, after=0.05):
    """Responder and voice answer the newest prompt."""
    generation = desk.last(Respond).generation
    before = len(desk.all(Speak))
    desk.now += after
    desk.tell(ReplyEvent(generation, Prefilled(1, 1, 1.0)))
    desk.now += after
    desk.tell(ReplyEvent(generation, ReplyText(text)))
    desk.tell(ReplyEvent(generation, ReplyDone(text, 1, 1, 1.0, 1.0)))
    for task in desk.all(Speak)[before:]:
        desk.now += after
        chunk = SpeechChunk(np.full(1000, 0.5, np.float32), 1000)
        desk.tell(SoundReady(generation, task.segment, chunk))
        desk.tell(SegmentSpoken(generation, task.segment))
    return generation


def told(desk):
    return [command for command in desk.commands if isinstance(command, TOLD)]


def test_nothing_of_a_draft_is_told_before_the_turn_is_over(desk):
    desk.hear(1.0, 0.9)
    desk.hear(0.1, 0.0)
    assert desk.last(DecodeFinal).revision == 0
    understand(desk, "I went to the market")
    assert desk.last(Respond).messages[-1] == Message("user", "I went to the market")
    think(desk, "Nice.")
    assert told(desk) == []
    mark = len(desk.commands)
    desk.hear(0.45, 0.0)
    kinds = [type(command) for command in desk.commands[mark:] if isinstance(command, TOLD)]
    assert kinds[:4] == [TranscriptUpdated, ReplyStarted, ReplyTextDelta, Play]
    assert len(desk.all(DecodeFinal)) == len(desk.all(Respond)) == 1
    assert desk.last(DropTurnAudio).turn == desk.last(DecodeFinal).turn


def test_words_that_could_not_be_told_in_a_pause_are_asked_for_again_at_its_end(desk):
    desk.hear(1.0, 0.9)
    desk.hear(0.1, 0.0)
    early = desk.last(DecodeFinal)
    desk.tell(StageFailed("asr", "a bug", turn=early.turn, revision=early.revision))
    assert desk.last(Trouble).message == "a bug"
    desk.hear(0.6, 0.0)
    assert len(desk.all(DecodeFinal)) == 2
    assert desk.last(DecodeFinal).revision > early.revision
    understand(desk, "are you there?")
    assert desk.last(Respond).messages[-1] == Message("user", "are you there?")
    assert desk.all(TranscriptFailed) == []


def test_a_complete_sentence_ends_the_turn_as_soon_as_it_is_understood(desk):
    desk.hear(1.0, 0.9)
    desk.hear(0.3, 0.0)
    assert desk.all(SpeechStopped) == []
    understand(desk, "What is the capital of France?")
    assert desk.last(SpeechStopped)
    assert desk.last(ReplyStarted)


@pytest.mark.parametrize(
    ("words", "delay"),
    [
        ("What is the capital of France?", 0.2),
        ("I went to the market", 0.5),
        ("I would like milk and", 1.5),
    ],
)
def test_the_words_say_how_long_a_pause_may_be(desk, words, delay):
    desk.hear(1.0, 0.9)
    end = desk.position / 16_000
    desk.hear(0.1, 0.0)
    understand(desk, words, after=0.0)
    while not desk.all(SpeechStopped):
        desk.hear(0.032, 0.0)
        assert desk.position / 16_000 - end < 2.0
    assert desk.position / 16_000 - end == pytest.approx(delay, abs=0.04)


def test_the_turn_model_is_asked_where_the_words_leave_it_open():
    desk = new_desk(turn_model="smart-turn")
    desk.hear(1.0, 0.9)
    desk.hear(0.032, 0.0)
    asked = desk.last(JudgePause)
    desk.hear(0.3, 0.0)
    understand(desk, "I went to the market")
    assert desk.all(SpeechStopped) == []
    desk.tell(PauseJudged(asked.turn, 99, 0.9))
    assert desk.all(SpeechStopped) == []
    desk.tell(PauseJudged(asked.turn, asked.revision, 0.9))
    assert desk.last(SpeechStopped)


def test_the_turn_model_does_not_overrule_words_that_are_not_complete():
    desk = new_desk(turn_model="smart-turn")
    desk.hear(1.0, 0.9)
    desk.hear(0.1, 0.0)
    asked = desk.last(JudgePause)
    desk.tell(PauseJudged(asked.turn, asked.revision, 0.9))
    understand(desk, "I would like milk and")
    desk.hear(1.0, 0.0)
    assert desk.all(SpeechStopped) == []


def test_without_words_the_turn_waits_for_them_and_not_for_ever(desk):
    desk.hear(1.0, 0.9)
    desk.hear(1.4, 0.0)
    assert desk.all(SpeechStopped) == []
    desk.hear(0.2, 0.0)
    assert desk.last(SpeechStopped)
    understand(desk, "hello")
    assert desk.last(Respond).messages[-1].content == "hello"


def test_server_vad_looks_at_the_pause_alone():
    desk = new_desk(detection="server_vad", endpoint_delay=0.7)
    desk.hear(1.0, 0.9)
    desk.hear(0.1, 0.0)
    understand(desk, "What is the capital of France?", after=0.0)
    desk.hear(0.5, 0.0)
    assert desk.all(SpeechStopped) == []
    desk.hear(0.2, 0.0)
    assert desk.last(SpeechStopped)


@pytest.mark.parametrize(("language", "ends"), [("en", True), ("de", False)])
def test_words_shorten_the_pause_only_in_the_language_of_the_rules(language, ends):
    settings = Settings(turns=EAGER, asr={"language": language})
    desk = Desk(Session(settings, started_at=0.0))
    desk.hear(1.0, 0.9)
    desk.hear(0.1, 0.0)
    understand(desk, "What is the capital of France?", after=0.0)
    desk.hear(0.2, 0.0)
    assert bool(desk.all(SpeechStopped)) is ends
    desk.hear(0.3, 0.0)
    assert desk.last(SpeechStopped)


@pytest.mark.parametrize(("eagerness", "ends"), [("auto", True), ("medium", True), ("low", False)])
def test_auto_and_medium_are_the_delays_of_the_server(desk, eagerness, ends):
    desk.tell(Configure(semantic=True, eagerness="low"))
    desk.tell(Configure(semantic=True, eagerness=eagerness))
    desk.hear(1.0, 0.9)
    desk.hear(0.1, 0.0)
    understand(desk, "What is the capital of France?", after=0.0)
    desk.hear(0.2, 0.0)
    assert bool(desk.all(SpeechStopped)) is ends


def test_speech_that_goes_on_voids_the_draft(desk):
    desk.hear(1.0, 0.9)
    desk.hear(0.1, 0.0)
    understand(desk, "What is the capital")
    generation = think(desk, "Of what?")
    desk.hear(0.5, 0.9)
    assert desk.last(Abandon).generation == generation
    assert told(desk) == []
    desk.hear(0.1, 0.0)
    assert desk.last(DecodeFinal).revision == 1
    understand(desk, "What is the capital of France?")
    assert [message.content for message in desk.last(Respond).messages[1:]] == [
        "What is the capital of France?"
    ]
    think(desk, "Paris.")
    desk.hear(0.3, 0.0)
    assert [command.delta for command in desk.all(ReplyTextDelta)] == ["Paris."]
    tried = desk.last(TurnTimed).speculation
    assert (tried.hit, tried.revisions) == (True, 2)
    assert tried.wasted == pytest.approx(0.032 + 0.1 + 0.15, abs=0.01)


def test_words_of_a_voided_pause_come_too_late(desk):
    desk.hear(1.0, 0.9)
    desk.hear(0.1, 0.0)
    late = desk.last(DecodeFinal)
    desk.hear(0.2, 0.9)
    assert desk.last(CancelDecode).turn == late.turn
    desk.tell(FinalTranscript(late.turn, late.revision, Transcript("What is", 7, True)))
    assert desk.all(Respond) == []


def test_a_click_in_the_pause_changes_nothing(desk):
    desk.hear(1.0, 0.9)
    desk.hear(0.1, 0.0)
    understand(desk, "I went to the market")
    desk.hear(0.064, 0.9)
    desk.hear(0.5, 0.0)
    assert desk.all(Abandon) == []
    assert len(desk.all(Respond)) == len(desk.all(ReplyStarted)) == 1


def test_no_draft_for_words_that_are_not_complete(desk):
    desk.hear(1.0, 0.9)
    desk.hear(0.1, 0.0)
    understand(desk, "I would like milk and")
    assert desk.all(Respond) == []
    desk.hear(1.5, 0.0)
    assert desk.last(Respond).messages[-1].content == "I would like milk and"
    tried = desk.last(Respond)
    think(desk, "And?")
    assert desk.last(TurnTimed).speculation.hit is False
    assert tried.generation == 1


def test_only_the_first_segment_is_spoken_ahead(desk):
    desk.hear(1.0, 0.9)
    desk.hear(0.1, 0.0)
    understand(desk, "I went to the market")
    think(desk, "It was a sunny day in the market. There were many apples to be had there.")
    assert [task.segment for task in desk.all(Speak)] == [0]
    assert desk.all(EndSpeech) == []
    desk.hear(0.5, 0.0)
    assert [task.segment for task in desk.all(Speak)] == [0, 1]
    assert len(desk.all(EndSpeech)) == 1


def test_pauses_that_are_tried_are_bounded():
    desk = new_desk(max_revisions=2)
    for _ in range(5):
        desk.hear(0.5, 0.9)
        desk.hear(0.1, 0.0)
        understand(desk, "I went to the market")
    assert [task.revision for task in desk.all(DecodeFinal)] == [0, 1]
    desk.hear(1.0, 0.0)
    assert [task.revision for task in desk.all(DecodeFinal)] == [0, 1, 2]


def test_gaps_within_words_leave_the_pauses_of_a_turn_to_be_tried():
    desk = new_desk(max_revisions=2)
    for _ in range(12):
        desk.hear(0.2, 0.9)
        desk.hear(0.1, 0.0)  # its words would be known too late
    assert len(desk.all(DecodeFinal)) == 8


def test_the_pace_of_a_caller_is_learnt_from_the_pauses_after_which_he_went_on():
    desk = new_desk()
    pace = desk.session.user_turn.endpointing.pace
    desk.hear(0.5, 0.9)
    for pause in (0.32, 0.42):
        desk.hear(pause, 0.0)
        desk.hear(0.5, 0.9)
    assert list(pace.pauses) == pytest.approx([0.32, 0.416], abs=0.033)
    desk.hear(0.1, 0.0)
    desk.hear(0.5, 0.9)
    assert len(pace.pauses) == 2


def test_a_final_decode_leaves_the_next_partial_one_to_be_asked_for():
    desk = new_desk()
    desk.hear(0.95, 0.9)
    assert len(desk.all(DecodePartial)) == 1
    desk.hear(0.1, 0.0)
    assert desk.all(DecodeFinal)  # which drops the partial one
    desk.hear(0.5, 0.9)
    assert len(desk.all(DecodePartial)) == 2


def told_partial(desk, text="What is the"):
    turn = desk.last(DecodePartial).turn
    desk.tell(PartialTranscript(turn, Transcript(text, 0, final=False)))


def test_partial_transcripts_are_counted_from_the_sound_that_they_are_asked_for():
    desk = new_desk(partial_every=0.8)
    desk.hear(1.0, 0.9)
    assert len(desk.all(DecodePartial)) == 1
    desk.hear(0.2, 0.9)
    told_partial(desk)
    desk.hear(0.3, 0.9)
    assert len(desk.all(DecodePartial)) == 1
    desk.hear(0.3, 0.9)
    assert len(desk.all(DecodePartial)) == 2, "the time of the decode is not added"


def test_a_slow_recogniser_rests_between_partial_transcripts():
    desk = new_desk(partial_every=0.8)
    desk.hear(1.0, 0.9)
    desk.hear(2.0, 0.9)
    told_partial(desk)
    desk.hear(0.3, 0.9)
    assert len(desk.all(DecodePartial)) == 1
    desk.hear(0.2, 0.9)
    assert len(desk.all(DecodePartial)) == 2


def test_without_speculation_the_pause_is_only_waited_for():
    desk = new_desk(speculation=False)
    desk.hear(1.0, 0.9)
    desk.hear(0.3, 0.0)
    assert desk.all(DecodeFinal) == []
    desk.hear(0.3, 0.0)
    understand(desk, "hello")
    think(desk, "Hi.")
    timed = desk.last(TurnTimed)
    assert timed.speculation is None
    assert timed.spans["asr"] > 0


def test_a_typed_message_changes_the_prompt_and_the_draft_is_void(desk):
    desk.hear(1.0, 0.9)
    desk.hear(0.1, 0.0)
    understand(desk, "I went to the market")
    generation = think(desk, "Nice.")
    desk.tell(TextTyped("yesterday"))
    desk.hear(0.5, 0.0)
    assert desk.last(Abandon).generation == generation
    assert len(desk.all(Respond)) == 2
    think(desk, "I see.")
    assert desk.last(ReplyTextDelta).delta == "I see."


def test_a_turn_that_is_taken_back_takes_its_draft_along(desk):
    desk.hear(1.0, 0.9)
    desk.hear(0.1, 0.0)
    understand(desk, "I went to the market")
    generation = think(desk, "Nice.")
    desk.tell(ClearAudio())
    assert desk.last(Abandon).generation == generation
    desk.hear(1.0, 0.0)
    assert told(desk) == []


def test_a_draft_that_fails_is_tried_again_when_the_turn_is_over(desk):
    desk.hear(1.0, 0.9)
    desk.hear(0.1, 0.0)
    understand(desk, "I went to the market")
    generation = desk.last(Respond).generation
    desk.tell(StageFailed("responder", "out of order", generation=generation))
    assert desk.all(Trouble) == []
    desk.hear(0.5, 0.0)
    assert desk.last(Respond).generation == generation + 1
    think(desk, "Nice.")
    assert desk.last(ReplyTextDelta).delta == "Nice."


def test_stable_words_go_into_the_cache_while_the_caller_speaks(desk):
    desk.hear(1.2, 0.9)
    turn = 1
    desk.tell(PartialTranscript(turn, Transcript("what is the", 11, final=False)))
    assert desk.last(Prepare).messages[-1] == Message("user", "what is the")


def test_the_spans_sum_exactly_and_the_work_is_told_from_the_end_of_speech(desk):
    desk.hear(1.0, 0.9)
    end = desk.now
    desk.hear(0.1, 0.0)
    understand(desk, "I went to the market")
    think(desk, "Nice.")
    desk.hear(0.5, 0.0)
    timed = desk.last(TurnTimed)
    begun = next(c for c in desk.commands if isinstance(c, SpeechStarted))
    assert begun
    assert sum(timed.spans.values()) == timed.spans["endpoint_wait"]
    assert [span.name for span in timed.work] == ["asr", "prefill", "denoise", "tts"]
    assert timed.work[0].start == pytest.approx(0.064, abs=0.001)
    assert timed.work[-1].end == pytest.approx(0.096 + 0.1 + 0.15, abs=0.001)
    assert timed.spans["endpoint_wait"] + end <= desk.now
    assert timed.speculation.saved == pytest.approx(0.282, abs=0.001)


def test_what_overruns_the_budget_is_told():
    budget = {"total": 0.4, "per_span": {"tts": 10.0}}
    desk = Desk(Session(Settings(budget=budget, turns=EAGER), started_at=0.0))
    desk.hear(1.0, 0.9)
    end = desk.now
    desk.hear(0.1, 0.0)
    understand(desk, "I went to the market")
    assert desk.last(Respond).deadline == pytest.approx(end + 0.4)
    think(desk, "Nice.")
    desk.hear(0.5, 0.0)
    assert desk.last(Remark).code == "budget_overrun"
    assert "total took" in desk.last(Remark).message
    assert desk.last(TurnTimed).budget == 0.4
