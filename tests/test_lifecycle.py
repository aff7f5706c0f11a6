"""Greeting, silence, goodbye, and words that fill the wait."""

import math

import numpy as np
import pytest
from support.fakes import Desk
from test_session import ask, sound

from agent.config.settings import CallSettings, Settings
from agent.reply import Message, Prefilled, ReplyDone, ReplyText
from agent.session.commands import HangUp, Respond, Speak, WakeAt
from agent.session.conversation import Conversation
from agent.session.events import (
    CallStarted,
    Configure,
    ReplyEvent,
    SegmentSpoken,
    SoundReady,
    Tick,
)
from agent.session.lifecycle import Lifecycle, LifecycleAction, Phase
from agent.session.notices import (
    Play,
    Remark,
    ReplyFinished,
    ReplyStarted,
    ReplyTextDelta,
    TurnTimed,
    WordTimestamps,
)
from agent.session.replies import Replies
from agent.session.reply_settings import ReplySettings
from agent.session.session import Session
from agent.session.tool_calls import ToolCalls


def new_lifecycle(ends_at=math.inf, **call):
    conversation = Conversation("", 1000)
    tool_calls = ToolCalls(conversation, str)
    replies = Replies(conversation, tool_calls, ReplySettings(tool_calls, 0.3, None), str)
    return Lifecycle(CallSettings(**call), replies, ends_at)


def new_desk(call, **others):
    desk = Desk(
        Session(Settings(call=call, turns={"endpoint_delay": 0.5}, **others), started_at=0.0)
    )
    desk.tell(CallStarted())
    return desk


def speak(desk):
    """The voice does what it was last asked for."""
    task = desk.last(Speak)
    desk.tell(SoundReady(task.generation, task.segment, sound(task.text)))
    desk.tell(SegmentSpoken(task.generation, task.segment))


def run(desk, until):
    """Follow the session's own timers."""
    while desk.last(WakeAt).when <= until:
        desk.now = max(desk.now + 1e-4, desk.last(WakeAt).when)
        desk.tell(Tick())
    desk.now = until


def test_a_greeting_comes_after_a_moment_of_silence_and_is_remembered():
    desk = new_desk({"greeting": "Hello there."})
    assert desk.last(ReplyTextDelta).delta == "Hello there."
    speak(desk)
    run(desk, 3.0)
    played = np.concatenate([play.samples for play in desk.all(Play)])
    assert not played[:150].any()
    assert played[150:].all()
    assert desk.last(ReplyFinished).status == "completed"
    assert desk.all(TurnTimed) == []
    ask(desk, "hi")
    assert desk.last(Respond).messages[1:] == (
        Message("assistant", "Hello there."),
        Message("user", "hi"),
    )


def test_silence_is_asked_into_and_then_the_agent_leaves():
    desk = new_desk({"idle_after": 5.0, "max_idle_prompts": 2, "goodbye": "Bye."})
    said = []
    while not desk.all(HangUp):
        desk.now = max(desk.now + 1e-4, desk.last(WakeAt).when)
        desk.tell(Tick())
        if len(desk.all(ReplyTextDelta)) > len(said):
            said.append((desk.now, desk.last(ReplyTextDelta).delta))
            speak(desk)
    texts = [text for _, text in said]
    assert texts == ["Are you still there?", "Are you still there?", "Bye."]
    assert said[0][0] == pytest.approx(5.0, abs=0.01)
    spoken = 4 * 0.5
    assert said[1][0] - said[0][0] == pytest.approx(5.0 + spoken, abs=0.01)
    assert desk.now - said[2][0] == pytest.approx(0.5, abs=0.01)
    assert desk.last(HangUp).reason == "nobody answered"


def test_a_caller_who_answers_is_asked_again_later():
    lifecycle = new_lifecycle(idle_after=5.0, max_idle_prompts=1)
    lifecycle.observe(0.0, quiet=True)
    assert lifecycle.take_due(4.9) is None
    assert lifecycle.take_due(5.0) is LifecycleAction.PROMPT
    lifecycle.observe(5.0, quiet=False)
    assert lifecycle.wakes_at == math.inf
    lifecycle.caller_spoke()
    lifecycle.observe(9.0, quiet=True)
    assert lifecycle.take_due(14.0) is LifecycleAction.PROMPT
    lifecycle.observe(14.0, quiet=False)
    lifecycle.observe(15.0, quiet=True)
    assert lifecycle.take_due(20.0) is LifecycleAction.GOODBYE


def test_the_longest_call_ends_with_a_goodbye():
    desk = new_desk({"goodbye": "Bye."}, server={"max_call_seconds": 60.0})
    ask(desk, "talk")
    generation = desk.last(Respond).generation
    desk.tell(ReplyEvent(generation, ReplyText("On and on it goes.")))
    run(desk, 60.0)
    desk.tell(Tick())
    finished = desk.all(ReplyFinished)[0]
    assert (finished.status, finished.reason) == (
        "cancelled",
        "the call reached its maximum length",
    )
    assert desk.last(ReplyTextDelta).delta == "Bye."
    desk.hear(1.0, 0.9)  # whoever goes on speaking does not keep it from leaving
    speak(desk)
    run(desk, 64.0)
    assert desk.last(HangUp).reason == "the call reached its maximum length"
    assert len(desk.all(HangUp)) == 1


def test_a_goodbye_that_gets_no_sound_ends_all_the_same():
    desk = new_desk({"goodbye": "Bye."}, server={"max_call_seconds": 60.0})
    run(desk, 69.0)
    assert desk.all(HangUp) == []
    run(desk, 71.0)
    assert len(desk.all(HangUp)) == 1


def test_no_goodbye_hangs_up_without_a_word():
    desk = new_desk({"goodbye": ""}, server={"max_call_seconds": 60.0})
    run(desk, 61.0)
    assert len(desk.all(HangUp)) == 1
    assert desk.all(ReplyStarted) == []


def test_the_client_may_set_the_silence():
    desk = new_desk({})
    desk.tell(Configure(idle_after=6.0))
    run(desk, 6.1)
    assert desk.last(ReplyTextDelta).delta == "Are you still there?"
    quiet = new_desk({"idle_after": 6.0})
    quiet.tell(Configure(idle_after=math.inf))
    run(quiet, 30.0)
    assert quiet.all(ReplyTextDelta) == []


def test_a_late_reply_is_preceded_by_a_filler_that_is_not_remembered():
    desk = new_desk({"filler": "Let me see.", "filler_after": 0.8})
    ask(desk, "What is the capital of France?")
    generation = desk.last(Respond).generation
    over = desk.now
    while not desk.all(Speak):
        desk.now = max(desk.now + 1e-4, desk.last(WakeAt).when)
        desk.tell(Tick())
    assert desk.last(Speak).text == "Let me see."
    assert desk.now - over == pytest.approx(0.8, abs=0.25)
    speak(desk)
    assert desk.all(TurnTimed) == desk.all(WordTimestamps) == [], "the filler is no answer"
    desk.tell(ReplyEvent(generation, Prefilled(1, 1, 1.0)))
    desk.tell(ReplyEvent(generation, ReplyText("Paris.")))
    desk.tell(ReplyEvent(generation, ReplyDone("Paris.", 1, 1, 1.0, 1.0)))
    assert desk.last(Speak).segment == 1
    speak(desk)
    run(desk, desk.now + 5.0)
    assert len(desk.all(TurnTimed)) == 1
    assert desk.last(ReplyFinished).text == "Paris."
    assert desk.session.conversation.messages()[-1].content == "Paris."


def test_a_reply_in_time_needs_no_filler():
    desk = new_desk({"filler": "Let me see."})
    ask(desk, "What is the capital of France?")
    generation = desk.last(Respond).generation
    desk.tell(ReplyEvent(generation, ReplyText("Paris.")))
    desk.tell(ReplyEvent(generation, ReplyDone("Paris.", 1, 1, 1.0, 1.0)))
    run(desk, desk.now + 3.0)
    assert [task.text for task in desk.all(Speak)] == ["Paris."]


def test_turns_that_are_too_old_for_the_prompt_are_told():
    desk = new_desk({}, responder={"history_characters": 200})
    for number in range(6):
        ask(desk, f"Question number {number} that has quite a few words in it?")
        generation = desk.last(Respond).generation
        desk.tell(ReplyEvent(generation, ReplyText("Yes.")))
        desk.tell(ReplyEvent(generation, ReplyDone("Yes.", 1, 1, 1.0, 1.0)))
        speak(desk)
        run(desk, desk.now + 3.0)
    remarks = [remark for remark in desk.all(Remark) if remark.code == "context_trimmed"]
    assert remarks
    assert desk.last(Respond).messages[0].role == "system"
    assert desk.last(Respond).messages[1].role == "user"


def test_a_call_is_over_once():
    lifecycle = new_lifecycle(goodbye=None, ends_at=1.0)
    assert lifecycle.take_due(1.0) is LifecycleAction.HANG_UP
    assert lifecycle.phase is Phase.OVER
    assert lifecycle.take_due(2.0) is None
    assert lifecycle.wakes_at == math.inf


def test_the_clients_time_of_silence_rests_while_it_ends_the_turns_itself():
    desk = new_desk({"idle_after": None})
    desk.tell(Configure(idle_after=6.0))
    desk.tell(Configure(turn_detection=False))
    run(desk, 20.0)
    assert not desk.all(ReplyTextDelta)
    desk.tell(Configure(turn_detection=True))
    run(desk, 26.2)
    assert desk.last(ReplyTextDelta).delta == "Are you still there?"


def test_the_settings_time_of_silence_holds_without_turn_detection():
    desk = new_desk({"idle_after": 9.0})
    desk.tell(Configure(idle_after=6.0))
    desk.tell(Configure(turn_detection=False))
    run(desk, 8.9)
    assert not desk.all(ReplyTextDelta)
    run(desk, 9.1)
    assert desk.last(ReplyTextDelta).delta == "Are you still there?"
