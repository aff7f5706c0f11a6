"""A session that outlives its connection: every row of the table, through the pure core."""

import math

import numpy as np
import pytest
from support.fakes import Desk

from agent.config.settings import Settings
from agent.reply import ReplyDone, ReplyText, ToolCall, ToolCallStarted
from agent.session.commands import HangUp, Respond, Speak, WakeAt
from agent.session.connection import TABLE, Connection, ConnectionState
from agent.session.events import (
    CallStarted,
    ClientItem,
    ConnectionLost,
    ConnectionResumed,
    CreateItem,
    FinalTranscript,
    Leave,
    PartialTranscript,
    ReplyEvent,
    RespondNow,
    SegmentSpoken,
    SoundReady,
    TextTyped,
    Tick,
    Truncate,
)
from agent.session.notices import (
    FunctionCallDone,
    ItemTruncated,
    Play,
    ReplyFinished,
    ReplyItemStarted,
    ReplyStarted,
    ReplyTextDelta,
    Resumed,
    SpeechStarted,
    StopPlaying,
    TranscriptUpdated,
    TurnCommitted,
    WordTimestamps,
)
from agent.session.playback import Delivery
from agent.session.session import Session
from asr.transcript import Transcript
from tts.engine import SpeechChunk, WordSpan

RATE = 1000
PATIENCE = 30.0
WORD = 0.25
"""Seconds of a spoken word."""


def desk_with(**call):
    settings = Settings(
        turns={"detection": "server_vad", "endpoint_delay": 0.5, "backchannels": False},
        call={"goodbye": None, **call},
    )
    desk = Desk(Session(settings, 0.0, Delivery.PACED, connection=Connection(PATIENCE)))
    desk.tell(CallStarted())
    return desk


@pytest.fixture
def desk():
    return desk_with()


def ask(desk, text="Tell me."):
    """A typed question; returns the generation of the reply to it."""
    desk.tell(TextTyped(text))
    desk.tell(RespondNow())
    return desk.last(Respond).generation


def say(desk, generation, *words, done=True):
    """A reply whose every word is spoken for ``WORD`` seconds, as one segment or more."""
    before = len(desk.all(Speak))
    text = " ".join(words) + "."
    desk.tell(ReplyEvent(generation, ReplyText(text)))
    if done:
        desk.tell(ReplyEvent(generation, ReplyDone(text, 1, 1, 0.0, 0.0)))
    for task in desk.all(Speak)[before:]:
        count = len(task.text.split())
        size = int(WORD * RATE)
        spans = tuple(
            WordSpan(word, n * size, (n + 1) * size) for n, word in enumerate(task.text.split())
        )
        samples = np.concatenate([np.full(size, (n + 1) / 100, np.float32) for n in range(count)])
        desk.tell(SoundReady(generation, task.segment, SpeechChunk(samples, RATE, spans)))
        desk.tell(SegmentSpoken(generation, task.segment))


def run(desk, seconds):
    """Let time pass, with the ticks that the session asks for."""
    end = desk.now + seconds
    while True:
        wake = desk.last(WakeAt).when
        if wake >= end or desk.now >= end:
            break
        desk.now = max(desk.now, wake)
        before = desk.now
        desk.tell(Tick())
        if desk.last(WakeAt).when <= before:
            desk.now = min(end, before + 0.001)
    desk.now = end
    desk.tell(Tick())


def lose(desk, at=None):
    desk.commands.clear()
    return desk.tell(ConnectionLost(desk.now if at is None else at))


def resume(desk, at=None, delivery=Delivery.PACED, played=None):
    desk.commands.clear()
    seen = desk.now if at is None else at
    return desk.tell(ConnectionResumed(seen, delivery, played, "secret"))


def played(desk):
    """What was sent since the last loss or return, as the numbers of the words."""
    sound = [play.samples for play in desk.all(Play)]
    if not sound:
        return []
    levels = np.round(np.concatenate(sound) * 100).astype(int)
    return sorted(set(levels.tolist()))


WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight")


def test_the_table_leads_from_every_state_only_where_it_says():
    assert {state for state, _ in TABLE} == {ConnectionState.UP, ConnectionState.LOST}
    assert all(
        after is not ConnectionState.OVER or event.name == "DEADLINE"
        for (_, event), (after, _) in TABLE.items()
    )


def test_nothing_is_played_while_nobody_is_there(desk):
    say(desk, ask(desk), *WORDS)
    run(desk, 0.6)
    assert desk.all(Play)
    lose(desk)
    run(desk, 5.0)
    assert desk.all(Play) == []
    assert desk.all(ReplyFinished) == []


def test_the_reply_goes_on_from_the_word_that_was_heard_last(desk):
    say(desk, ask(desk), *WORDS)
    run(desk, 0.6)  # two words were heard, the third was begun
    lose(desk)
    run(desk, 5.0)
    resume(desk)
    run(desk, 4.0)
    assert played(desk) == [3, 4, 5, 6, 7, 8]
    assert sum(len(play.samples) for play in desk.all(Play)) == 6 * WORD * RATE
    (finished,) = desk.all(ReplyFinished)
    assert (finished.status, finished.text) == ("completed", " ".join(WORDS) + ".")
    (reply,) = [turn.reply for turn in desk.session.conversation.turns if turn.reply]
    assert not reply.interrupted
    assert reply.heard == reply.text


def test_a_loss_that_was_noticed_late_repeats_what_did_not_arrive(desk):
    say(desk, ask(desk), *WORDS)
    run(desk, 1.9)
    lose(desk, at=0.3)
    resume(desk)
    run(desk, 4.0)
    assert played(desk) == [2, 3, 4, 5, 6, 7, 8]


def test_a_reply_whose_end_nobody_heard_is_said_again(desk):
    say(desk, ask(desk), *WORDS)
    run(desk, 6.0)
    assert desk.all(ReplyFinished)
    resume(desk, at=0.6)  # the old connection was dead, and nobody had noticed
    run(desk, 4.0)
    assert played(desk) == [3, 4, 5, 6, 7, 8]
    assert [reply.text for reply in desk.all(ReplyFinished)] == [" ".join(WORDS) + "."]


def test_a_reply_that_was_heard_is_not_said_again(desk):
    say(desk, ask(desk), *WORDS)
    run(desk, 6.0)
    lose(desk)
    resume(desk)
    run(desk, 4.0)
    assert desk.all(Play) == []
    (resumed,) = desk.all(Resumed)
    assert [item.text for item, _ in resumed.items] == ["Tell me.", " ".join(WORDS) + "."]


def test_the_client_says_how_much_it_played(desk):
    say(desk, ask(desk), *WORDS)
    run(desk, 1.9)
    item = desk.last(ReplyItemStarted).item_id
    lose(desk)
    resume(desk, played=(item, 1.0))
    run(desk, 4.0)
    assert played(desk) == [5, 6, 7, 8]


def test_the_client_is_told_where_things_stand(desk):
    say(desk, ask(desk), "Fine")
    run(desk, 2.0)
    say(desk, ask(desk, "And now?"), *WORDS)
    run(desk, 0.6)
    old = desk.last(ReplyStarted).response_id
    item = desk.last(ReplyItemStarted).item_id
    lose(desk)
    told = [each for each in resume(desk) if not isinstance(each, WakeAt | Play)]
    assert [type(each) for each in told] == [
        Resumed,
        ReplyStarted,
        ReplyItemStarted,
        ReplyTextDelta,
        WordTimestamps,
    ]
    resumed, started, begun, delta, words = told
    assert (resumed.token, resumed.seconds) == ("secret", PATIENCE)
    assert "secret" not in repr(resumed)
    assert [item.text for item, _ in resumed.items] == ["Tell me.", "Fine.", "And now?"]
    assert [before for _, before in resumed.items] == [
        None,
        *(item.item_id for item, _ in resumed.items[:2]),
    ]
    assert started.response_id != old
    assert (begun.item_id, begun.previous_item_id) == (item, resumed.items[-1][0].item_id)
    assert delta.delta == " ".join(WORDS) + "."
    assert [round(word.position, 3) for word in words.words] == [0.25, 0.5, 0.75, 1.0, 1.25, 1.5]
    assert words.words[0].characters == len("one two three")


def test_positions_count_from_the_beginning_of_the_present_connection(desk):
    say(desk, ask(desk), *WORDS)
    run(desk, 0.6)
    lose(desk)
    resume(desk)
    run(desk, 0.5)
    item = desk.last(ReplyItemStarted).item_id
    desk.tell(Truncate(item, 0.5))
    assert desk.last(StopPlaying).heard == pytest.approx(0.5, abs=0.02)
    assert desk.last(ReplyFinished).text == "one two three four"
    assert desk.last(ItemTruncated).audio_end == 0.5


def test_work_goes_on_while_nobody_is_there(desk):
    generation = ask(desk)
    lose(desk)
    say(desk, generation, "Fine")
    run(desk, 5.0)
    assert desk.all(Play) == []
    resume(desk)
    run(desk, 2.0)
    assert desk.all(ReplyStarted)
    assert desk.last(ReplyFinished).text == "Fine."
    assert played(desk) == [1]


def test_a_turn_that_was_half_heard_goes_on(desk):
    desk.hear(1.0, 0.9)
    turn = desk.last(SpeechStarted).item_id
    desk.tell(PartialTranscript(1, Transcript("what is the", 8, final=False)))
    lose(desk)
    run(desk, 20.0)
    assert desk.all(TurnCommitted) == []
    told = resume(desk)
    assert [each.item_id for each in told if isinstance(each, SpeechStarted)] == [turn]
    assert [each.text for each in told if isinstance(each, TranscriptUpdated)] == ["what is "]
    desk.hear(1.0, 0.9)
    desk.hear(0.6, 0.0)
    (committed,) = desk.all(TurnCommitted)
    assert committed.item_id == turn
    assert desk.session.conversation.turns[-1].speech_end == pytest.approx(2.0, abs=0.05)


def test_a_turn_whose_words_come_meanwhile_is_answered(desk):
    desk.hear(1.0, 0.9)
    desk.hear(0.6, 0.0)
    lose(desk)
    turn = desk.session.conversation.turns[-1]
    desk.tell(FinalTranscript(turn.id, turn.revision, Transcript("hello", 5, final=True)))
    say(desk, desk.last(Respond).generation, "Hi")
    told = resume(desk)
    (resumed,) = [each for each in told if isinstance(each, Resumed)]
    assert [item.text for item, _ in resumed.items] == ["hello"]
    assert [each.delta for each in told if isinstance(each, ReplyTextDelta)] == ["Hi."]


def test_silence_is_not_measured_while_nobody_is_there():
    desk = desk_with(idle_after=3.0)
    run(desk, 1.0)
    lose(desk)
    run(desk, 20.0)
    assert desk.all(Respond) == []
    assert desk.all(ReplyStarted) == []
    resume(desk)
    run(desk, 2.0)
    assert desk.all(ReplyStarted) == []
    run(desk, 2.0)
    assert desk.all(ReplyStarted)


def test_who_does_not_come_back_is_not_waited_for():
    desk = desk_with(goodbye="Goodbye.")
    lose(desk)
    assert desk.last(WakeAt).when == PATIENCE
    run(desk, PATIENCE - 0.1)
    assert desk.all(HangUp) == []
    run(desk, 0.2)
    (end,) = desk.all(HangUp)
    assert end.reason == "the client did not come back within 30 s"
    assert desk.all(Speak) == []
    assert resume(desk) == [WakeAt(desk.last(WakeAt).when)]


def test_a_server_that_stops_does_not_wait():
    desk = desk_with(goodbye="Goodbye.")
    lose(desk)
    desk.tell(Leave("the server is being stopped"))
    (end,) = desk.all(HangUp)
    assert end.reason == "the server is being stopped"


def test_a_goodbye_that_is_cut_off_ends_the_call():
    desk = desk_with(goodbye="Goodbye.")
    desk.tell(Leave("enough"))
    lose(desk)
    assert [end.reason for end in desk.all(HangUp)] == ["enough"]


def test_a_call_of_a_function_that_was_missed_is_told_again(desk):
    generation = ask(desk, "Weather?")
    desk.now = 1.0
    lose(desk)
    desk.now = 2.0
    desk.tell(ReplyEvent(generation, ToolCallStarted("c1", "weather")))
    desk.tell(ReplyEvent(generation, ToolCall("c1", "weather", '{"city": "Oslo"}')))
    desk.tell(ReplyEvent(generation, ReplyDone("", 1, 1, 0.0, 0.0)))
    desk.now = 3.0
    told = resume(desk)
    (call,) = [each for each in told if isinstance(each, FunctionCallDone)]
    assert (call.name, call.arguments) == ("weather", '{"city": "Oslo"}')
    (resumed,) = [each for each in told if isinstance(each, Resumed)]
    assert [item.kind for item, _ in resumed.items] == ["message"]
    output = ClientItem("function_call_output", text="sunny", call_id=call.call_id)
    desk.tell(CreateItem(output))
    assert desk.session.conversation.turns[-1].reply.calls[0].output == "sunny"


def test_a_call_that_the_client_was_told_of_is_an_item_only(desk):
    generation = ask(desk, "Weather?")
    desk.now = 1.0
    desk.tell(ReplyEvent(generation, ToolCall("c1", "weather", "{}")))
    desk.tell(ReplyEvent(generation, ReplyDone("", 1, 1, 0.0, 0.0)))
    desk.now = 2.0
    lose(desk)
    told = resume(desk)
    assert [each for each in told if isinstance(each, FunctionCallDone)] == []
    (resumed,) = [each for each in told if isinstance(each, Resumed)]
    assert [item.kind for item, _ in resumed.items] == ["message", "function_call"]


def test_another_kind_of_connection_has_its_own_lead(desk):
    say(desk, ask(desk), *WORDS)
    run(desk, 0.6)
    lose(desk)
    resume(desk, delivery=Delivery.AT_ONCE)
    assert sum(len(play.samples) for play in desk.all(Play)) == 6 * WORD * RATE
    assert desk.session.replies.current.lead == math.inf


def test_a_session_without_patience_keeps_no_sound():
    desk = Desk(Session(Settings(), 0.0))
    desk.tell(CallStarted())
    say(desk, ask(desk), *WORDS)
    run(desk, 1.0)
    assert not desk.session.replies.current.playback._kept


def test_only_so_much_sound_is_kept(desk):
    desk.session.connection.patience = 1.0
    say(desk, ask(desk), *WORDS)
    run(desk, 1.9)
    kept = sum(map(len, desk.session.replies.current.playback._kept)) / RATE
    assert 1.0 <= kept <= 1.1
