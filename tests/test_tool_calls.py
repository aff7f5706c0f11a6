"""Calls of functions through the pure core: run, awaited, cut, given up; in virtual time."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest
from support.fakes import Desk
from test_session import answer, ask, final, play_out

from agent.config.settings import Settings
from agent.reply import (
    FunctionTool,
    Message,
    Prefilled,
    ReplyDone,
    ReplyText,
    ToolArguments,
    ToolCall,
    ToolCallStarted,
)
from agent.session.commands import (
    DecodeFinal,
    HangUp,
    Respond,
    RunTool,
    Speak,
    StopTool,
    WakeAt,
)
from agent.session.conversation import NO_OUTPUT, OVERDUE
from agent.session.events import (
    CallStarted,
    CancelReply,
    ClientItem,
    Configure,
    CreateItem,
    FinalTranscript,
    ReplyEvent,
    RespondNow,
    Tick,
    ToolChoice,
    ToolReturned,
)
from agent.session.notices import (
    FunctionArgumentsDelta,
    FunctionCallDone,
    FunctionCallStarted,
    ItemAccepted,
    ReplyFinished,
    ReplyStarted,
    Trouble,
)
from agent.session.session import Session
from agent.session.tool_calls import _TABLE, MAX_ROUNDS, CallChange, CallState

LOOK_UP = FunctionTool("look_up", "Look it up.", {"type": "object"}, "server")
HANG_UP = FunctionTool("hang_up", "End the call.", {"type": "object"}, "server", after_reply=True)
TRANSFER = FunctionTool(
    "transfer", "Somebody else.", {"type": "object"}, "server", after_reply=True,
    announcement="One moment.",
)  # fmt: skip
BOOK = FunctionTool("book", "Book a table.", {"type": "object"})
IDS = itertools.count(1)


def new_desk(**call: Any) -> Desk:
    """A call with four functions: three of the server, one of the client."""
    turns = {"detection": "server_vad", "endpoint_delay": 0.5, "speculation": False,
             "backchannels": False}  # fmt: skip
    settings = Settings(turns=turns, call={"goodbye": None, **call}, tools={"seconds": 5.0})
    desk = Desk(Session(settings, 0.0, tools=(LOOK_UP, HANG_UP, TRANSFER)))
    desk.tell(CallStarted())
    desk.tell(Configure(tools=(BOOK,)))
    return desk


@pytest.fixture
def desk() -> Desk:
    return new_desk()


def calls(desk: Desk, *names: str, words: str = "", arguments: str = "{}") -> list[str]:
    """The newest reply calls functions, after its words; returns the ids of the calls."""
    generation = desk.last(Respond).generation
    desk.tell(ReplyEvent(generation, Prefilled(10, 5, 1.0)))
    desk.now += 0.1
    if words:
        desk.tell(ReplyEvent(generation, ReplyText(words)))
    made = [f"call_{next(IDS)}" for _ in names]
    for name, call_id in zip(names, made, strict=True):
        desk.tell(ReplyEvent(generation, ToolCallStarted(call_id, name)))
        desk.tell(ReplyEvent(generation, ToolArguments(call_id, arguments)))
        desk.tell(ReplyEvent(generation, ToolCall(call_id, name, arguments)))
    desk.tell(ReplyEvent(generation, ReplyDone(words, 1, 1, 0.0, 0.0)))
    return made


def speak(desk: Desk) -> None:
    """The voice says what it was asked to and has not."""
    from test_session import sound

    from agent.session.events import SegmentSpoken, SoundReady

    for task in desk.all(Speak):
        if task not in said(desk):
            said(desk).append(task)
            desk.tell(SoundReady(task.generation, task.segment, sound(task.text)))
            desk.tell(SegmentSpoken(task.generation, task.segment))


def said(desk: Desk) -> list[Speak]:
    return desk.__dict__.setdefault("said", [])


def at(desk: Desk, seconds: float) -> None:
    """Time passes without a sound; every wake-up is kept."""
    end = desk.now + seconds
    while (wake := desk.session._next_wake(desk.now)) is not None and wake <= end:
        desk.now = max(desk.now + 1e-6, wake)
        desk.tell(Tick())
    desk.now = end
    desk.tell(Tick())


def outputs(desk: Desk) -> list[str]:
    items = (notice.item for notice in desk.all(ItemAccepted))
    return [item.text for item in items if item.kind == "function_call_output"]


def replies(desk: Desk) -> int:
    return len(desk.all(ReplyStarted))


# ---- who runs what -------------------------------------------------------------------


def test_a_function_of_the_server_runs_and_its_result_is_spoken(desk: Desk) -> None:
    ask(desk, "How late is it?")
    assert [tool.name for tool in desk.last(Respond).options.tools] == [
        "book", "look_up", "hang_up", "transfer"]  # fmt: skip
    (call_id,) = calls(desk, "look_up", arguments='{"a": 1}')
    assert desk.last(RunTool) == RunTool(call_id, "look_up", '{"a": 1}')
    desk.tell(ToolReturned(call_id, "noon"))
    assert desk.last(Respond).messages[-2:] == (
        Message("assistant", "", (ToolCall(call_id, "look_up", '{"a": 1}'),)),
        Message("tool", "noon", call_id=call_id),
    )
    answer(desk, "It is noon.")
    play_out(desk)
    assert [done.text for done in desk.all(ReplyFinished)] == ["", "It is noon."]
    assert replies(desk) == 2


def test_its_items_are_shown_and_no_event_of_a_call_that_clients_would_run(desk: Desk) -> None:
    ask(desk, "How late is it?")
    (call_id,) = calls(desk, "look_up", arguments='{"a": 1}')
    desk.tell(ToolReturned(call_id, "noon"))
    shown = [notice.item for notice in desk.all(ItemAccepted)]
    assert [(item.kind, item.call_id, item.name, item.text) for item in shown] == [
        ("function_call", call_id, "look_up", '{"a": 1}'),
        ("function_call_output", call_id, "", "noon"),
    ]
    for kind in (FunctionCallStarted, FunctionArgumentsDelta, FunctionCallDone):
        assert not desk.all(kind)


def test_a_client_that_offers_the_same_name_runs_it(desk: Desk) -> None:
    mine = FunctionTool("look_up", "Mine.")
    desk.tell(Configure(tools=(mine,)))
    ask(desk, "How late is it?")
    assert [tool for tool in desk.last(Respond).options.tools if tool.name == "look_up"] == [mine]
    calls(desk, "look_up")
    assert not desk.all(RunTool)
    assert desk.last(FunctionCallDone).name == "look_up"


def test_a_client_cannot_answer_for_the_server(desk: Desk) -> None:
    ask(desk, "How late is it?")
    (call_id,) = calls(desk, "look_up")
    desk.tell(CreateItem(ClientItem("function_call_output", call_id=call_id, text="midnight")))
    assert desk.last(Trouble).code == "item_create_invalid_call_id"
    desk.tell(ToolReturned(call_id, "noon"))
    assert outputs(desk) == ["noon"]


def test_several_calls_of_a_reply_are_answered_by_one_reply(desk: Desk) -> None:
    ask(desk, "How late is it, here and there?")
    first, second = calls(desk, "look_up", "look_up")
    assert [task.call_id for task in desk.all(RunTool)] == [first, second]
    desk.tell(ToolReturned(second, "one"))
    assert replies(desk) == 1
    desk.tell(ToolReturned(first, "noon"))
    assert replies(desk) == 2
    assert [m.content for m in desk.last(Respond).messages[-2:]] == ["noon", "one"]


def test_beside_a_call_of_the_client_the_client_asks_for_the_reply(desk: Desk) -> None:
    ask(desk, "Book it, and how late is it?")
    server, client = calls(desk, "look_up", "book")
    desk.tell(ToolReturned(server, "noon"))
    desk.tell(CreateItem(ClientItem("function_call_output", call_id=client, text="booked")))
    assert replies(desk) == 1
    desk.tell(RespondNow())
    assert [m.content for m in desk.last(Respond).messages[-2:]] == ["noon", "booked"]
    at(desk, 20.0)
    assert replies(desk) == 2


def test_a_forced_call_is_followed_by_a_reply_that_may_speak(desk: Desk) -> None:
    desk.tell(Configure(tool_choice=ToolChoice("function", "look_up")))
    ask(desk, "How late is it?")
    (call_id,) = calls(desk, "look_up")
    desk.tell(ToolReturned(call_id, "noon"))
    assert desk.last(Respond).options.tool_choice == "auto"


def test_a_model_that_only_calls_is_stopped(desk: Desk) -> None:
    ask(desk, "How late is it?")
    for _ in range(MAX_ROUNDS):
        (call_id,) = calls(desk, "look_up")
        assert desk.last(Respond).options.tool_choice == "auto"
        desk.tell(ToolReturned(call_id, "try again"))
    (call_id,) = calls(desk, "look_up")
    desk.tell(ToolReturned(call_id, "try again"))
    assert desk.last(Respond).options.tool_choice == "none"


def test_a_reply_outside_the_conversation_calls_no_function_of_the_server(desk: Desk) -> None:
    desk.tell(RespondNow(apart=True, text_only=True))
    assert [tool.name for tool in desk.last(Respond).options.tools] == ["book"]


def test_arguments_of_the_wrong_shape_are_an_output_and_the_model_goes_on(desk: Desk) -> None:
    for name in ("book", "look_up"):
        ask(desk, "Book a table.")
        generation = desk.last(Respond).generation
        call = ToolCall(f"bad_{name}", name, "{}", "guests: this must be a number")
        desk.tell(ReplyEvent(generation, ToolCallStarted(call.call_id, name)))
        desk.tell(ReplyEvent(generation, call))
        desk.tell(ReplyEvent(generation, ReplyDone("", 1, 1, 0.0, 0.0)))
        assert desk.last(Trouble).code == "invalid_tool_arguments"
        assert json.loads(outputs(desk)[-1]) == {"error": "guests: this must be a number"}
        assert "must be a number" in desk.last(Respond).messages[-1].content
        answer(desk, "For how many?")
        play_out(desk)
    assert not desk.all(RunTool)
    assert not desk.all(FunctionCallDone)


# ---- waiting -------------------------------------------------------------------------


def test_a_wait_is_bridged_once_and_the_bridge_is_no_part_of_the_prompt() -> None:
    desk = new_desk(filler="Let me see.", filler_after=0.8)
    ask(desk, "How late is it?")
    (call_id,) = calls(desk, "look_up")
    at(desk, 0.7)
    assert not desk.all(Speak)
    at(desk, 3.0)
    assert [task.text for task in desk.all(Speak)] == ["Let me see."]
    speak(desk)
    at(desk, 1.0)
    desk.tell(ToolReturned(call_id, "noon"))
    at(desk, 3.0)
    assert [m.role for m in desk.last(Respond).messages] == [
        "system", "user", "assistant", "tool"]  # fmt: skip
    assert [task.text for task in desk.all(Speak)] == ["Let me see."]


def test_words_before_the_call_are_bridge_enough() -> None:
    desk = new_desk(filler="Let me see.", filler_after=0.8)
    ask(desk, "How late is it?")
    calls(desk, "look_up", words="I will look at the clock.")
    speak(desk)
    play_out(desk)
    at(desk, 4.0)
    assert "Let me see." not in [task.text for task in desk.all(Speak)]


def test_no_bridge_is_built_under_the_callers_words_and_nobody_is_woken_for_it() -> None:
    desk = new_desk(filler="Let me see.", filler_after=0.8)
    ask(desk, "How late is it?")
    (call_id,) = calls(desk, "look_up")
    desk.hear(1.5, 0.9)
    wake = desk.last(WakeAt).when
    assert wake > desk.now
    desk.tell(ToolReturned(call_id, "noon"))
    assert not desk.all(Speak)


def test_a_function_that_never_answers_is_given_up_and_the_agent_says_so(desk: Desk) -> None:
    ask(desk, "How late is it?")
    (call_id,) = calls(desk, "look_up")
    at(desk, 4.9)
    assert not desk.all(StopTool)
    at(desk, 0.2)
    assert desk.last(StopTool).call_id == call_id
    assert json.loads(outputs(desk)[0]) == {"error": "no answer within 5 s"}
    assert "no answer within 5 s" in desk.last(Respond).messages[-1].content
    answer(desk, "I could not find out.")
    play_out(desk)
    desk.tell(ToolReturned(call_id, "noon"))
    assert len(outputs(desk)) == 1
    assert replies(desk) == 2


def test_a_client_that_never_answers_does_not_leave_the_caller_in_silence(desk: Desk) -> None:
    ask(desk, "Book a table.")
    (call_id,) = calls(desk, "book")
    at(desk, 4.9)
    assert replies(desk) == 1
    at(desk, 0.2)
    assert replies(desk) == 2
    assert desk.last(Respond).messages[-1] == Message("tool", OVERDUE, call_id=call_id)
    answer(desk, "I have no answer yet.")
    play_out(desk)
    desk.tell(CreateItem(ClientItem("function_call_output", call_id=call_id, text="booked")))
    assert not desk.all(Trouble)
    assert desk.last(ItemAccepted).item.text == "booked"
    desk.tell(RespondNow())
    assert "booked" in [m.content for m in desk.last(Respond).messages]


def test_a_client_that_begins_all_replies_itself_gets_none_by_time(desk: Desk) -> None:
    desk.tell(Configure(create_response=False))
    ask(desk, "Book a table.")
    desk.tell(RespondNow())
    calls(desk, "book")
    at(desk, 30.0)
    assert replies(desk) == 1


def test_nobody_is_asked_whether_he_is_there_while_a_function_runs() -> None:
    desk = new_desk(idle_after=2.0)
    ask(desk, "How late is it?")
    (call_id,) = calls(desk, "look_up")
    at(desk, 4.0)
    assert replies(desk) == 1
    desk.tell(ToolReturned(call_id, "noon"))
    assert replies(desk) == 2


# ---- interruptions -------------------------------------------------------------------


def test_a_result_that_comes_after_the_callers_next_question_is_not_spoken(desk: Desk) -> None:
    ask(desk, "How late is it?")
    (call_id,) = calls(desk, "look_up")
    ask(desk, "And how warm is it?")
    assert desk.last(Respond).messages[-2] == Message("tool", NO_OUTPUT, call_id=call_id)
    answer(desk, "It is warm.")
    play_out(desk)
    desk.tell(ToolReturned(call_id, "noon"))
    at(desk, 10.0)
    assert outputs(desk) == ["noon"]
    assert replies(desk) == 2
    ask(desk, "Thank you.")
    assert Message("tool", "noon", call_id=call_id) in desk.last(Respond).messages


def test_a_result_that_comes_while_the_caller_speaks_is_part_of_the_one_reply(desk: Desk) -> None:
    ask(desk, "How late is it?")
    (call_id,) = calls(desk, "look_up")
    desk.hear(1.0, 0.9)
    desk.tell(ToolReturned(call_id, "noon"))
    assert replies(desk) == 1
    desk.hear(0.6, 0.0)
    task = desk.last(DecodeFinal)
    desk.tell(FinalTranscript(task.turn, task.revision, final("In Oslo.")))
    assert replies(desk) == 2
    contents = [m.content for m in desk.last(Respond).messages[-2:]]
    assert contents == ["noon", "In Oslo."]
    answer(desk, "It is noon in Oslo.")
    play_out(desk)
    at(desk, 10.0)
    assert replies(desk) == 2


def test_a_cough_while_a_function_runs_costs_nothing(desk: Desk) -> None:
    ask(desk, "How late is it?")
    (call_id,) = calls(desk, "look_up")
    ask(desk, "")
    desk.tell(ToolReturned(call_id, "noon"))
    assert replies(desk) == 2


def test_never_mind_while_a_function_runs_is_silence(desk: Desk) -> None:
    ask(desk, "How late is it?")
    (call_id,) = calls(desk, "look_up")
    ask(desk, "Never mind.")
    desk.tell(ToolReturned(call_id, "noon"))
    at(desk, 10.0)
    assert replies(desk) == 1
    assert outputs(desk) == ["noon"]


def test_a_reply_that_the_client_cancels_is_followed_by_none(desk: Desk) -> None:
    ask(desk, "How late is it?")
    (call_id,) = calls(desk, "look_up", words="I will look at the clock.")
    speak(desk)
    desk.tell(CancelReply())
    desk.tell(ToolReturned(call_id, "noon"))
    at(desk, 10.0)
    assert replies(desk) == 1
    assert outputs(desk) == ["noon"]


# ---- what ends the call --------------------------------------------------------------


def ends(desk: Desk, call_id: str) -> None:
    desk.tell(ToolReturned(call_id, "{}", False, "the agent hung up", True))


def test_hanging_up_waits_until_the_words_were_heard(desk: Desk) -> None:
    ask(desk, "Bye.")
    (call_id,) = calls(desk, "hang_up", words="Have a nice day, goodbye.")
    speak(desk)
    assert not desk.all(RunTool)
    play_out(desk)
    assert desk.last(RunTool).name == "hang_up"
    ends(desk, call_id)
    assert desk.last(HangUp).reason == "the agent hung up"


def test_a_reply_without_words_is_followed_by_the_goodbye_of_the_settings() -> None:
    desk = new_desk(goodbye="Goodbye.")
    ask(desk, "Bye.")
    (call_id,) = calls(desk, "hang_up")
    at(desk, 0.1)
    ends(desk, call_id)
    assert desk.last(Speak).text == "Goodbye."
    assert not desk.all(HangUp)
    speak(desk)
    at(desk, 3.0)
    assert desk.last(HangUp).reason == "the agent hung up"


def test_words_of_the_model_need_no_second_goodbye() -> None:
    desk = new_desk(goodbye="Goodbye.")
    ask(desk, "Bye.")
    (call_id,) = calls(desk, "hang_up", words="See you.")
    speak(desk)
    play_out(desk)
    ends(desk, call_id)
    assert desk.all(HangUp)
    assert "Goodbye." not in [task.text for task in desk.all(Speak)]


def test_a_caller_who_goes_on_speaking_is_not_hung_up_on(desk: Desk) -> None:
    ask(desk, "Bye.")
    (call_id,) = calls(desk, "hang_up", words="Have a nice day and a very good evening, goodbye.")
    speak(desk)
    at(desk, 0.5)
    ask(desk, "Wait, one more thing please.")
    assert not desk.all(RunTool)
    assert "interrupted" in json.loads(outputs(desk)[0])["error"]
    assert Message("tool", outputs(desk)[0], call_id=call_id) in desk.last(Respond).messages
    at(desk, 10.0)
    assert not desk.all(HangUp)


def test_a_transfer_that_was_given_up_ends_no_call(desk: Desk) -> None:
    ask(desk, "Give me a person.")
    (call_id,) = calls(desk, "transfer", words="I will put you through.")
    speak(desk)
    play_out(desk)
    at(desk, 6.0)
    desk.tell(ToolReturned(call_id, "{}", False, "transferred to the desk"))
    assert not desk.all(HangUp)


def test_a_transfer_is_announced_and_the_announcement_heard(desk: Desk) -> None:
    ask(desk, "Give me a person.")
    (call_id,) = calls(desk, "transfer")
    at(desk, 0.1)
    assert desk.last(Speak).text == "One moment."
    assert not desk.all(RunTool)
    speak(desk)
    play_out(desk)
    assert desk.last(RunTool).call_id == call_id
    desk.tell(ToolReturned(call_id, "{}", False, "transferred to the desk"))
    assert desk.last(HangUp).reason == "transferred to the desk"


def test_a_transfer_that_fails_is_explained(desk: Desk) -> None:
    ask(desk, "Give me a person.")
    (call_id,) = calls(desk, "transfer", words="I will put you through.")
    speak(desk)
    play_out(desk)
    desk.tell(ToolReturned(call_id, '{"error": "nobody is there"}'))
    assert "nobody is there" in desk.last(Respond).messages[-1].content
    assert not desk.all(HangUp)


def test_every_row_of_the_table_leads_on() -> None:
    for (before, change), (after, _) in _TABLE.items():
        assert after.value > before.value or (before, change) == (
            CallState.PROMISED, CallChange.HEARD)  # fmt: skip
    assert CallState.OVER not in {state for state, _ in _TABLE}


# ---- in any order --------------------------------------------------------------------


def newest_calls(desk: Desk, chance: random.Random) -> None:
    """The newest reply, if it still runs, calls one or two functions, or speaks."""
    current = desk.session.replies.current
    if (
        current is None
        or current.done is not None
        or current.generation != desk.last(Respond).generation
    ):
        return
    names = chance.choices(["look_up", "book", "hang_up", "transfer"], [6, 2, 1, 1], k=2)
    names = [name for name in names if name in {tool.name for tool in current.options.usable}]
    calls(desk, *names[: chance.choice([0, 1, 1, 2])], words=chance.choice(["", "", "Well."]))


@pytest.mark.parametrize("number", range(30))
def test_whatever_the_order_every_call_comes_to_its_end(number: int) -> None:
    chance = random.Random(number)
    desk = new_desk(filler="Let me see.", filler_after=0.8)
    for _ in range(25):
        running = desk.all(RunTool)
        match chance.randrange(8):
            case 0:
                ask(desk, chance.choice(["How late is it?", "Never mind.", "", "Stop."]))
            case 1 | 2:
                if desk.all(Respond):
                    newest_calls(desk, chance)
            case 3:
                speak(desk)
            case 4:
                at(desk, chance.choice([0.1, 1.0, 6.0]))
            case 5 if running:
                task = chance.choice(running)
                silent = chance.random() < 0.2
                desk.tell(ToolReturned(task.call_id, "noon", not silent))
            case 6 if desk.all(FunctionCallDone):
                made = chance.choice(desk.all(FunctionCallDone))
                output = ClientItem("function_call_output", call_id=made.call_id, text="booked")
                desk.tell(CreateItem(output))
                desk.tell(RespondNow())
            case 7:
                desk.tell(chance.choice([CancelReply(quiet=True), RespondNow()]))
    for _ in range(12):
        speak(desk)
        at(desk, 7.0)
        current = desk.session.replies.current
        if current is not None and current.done is None:
            answer(desk, "Yes.")
    shown = [notice.item for notice in desk.all(ItemAccepted)]
    made = [item.call_id for item in shown if item.kind == "function_call"]
    given = [item.call_id for item in shown if item.kind == "function_call_output"]
    assert set(made) <= set(given)
    assert len(given) == len(set(given))
    assert len(made) == len(set(made))
    assert not desk.session.tool_calls.busy
    assert desk.session.tool_calls._rounds == []
    before = replies(desk)
    ask(desk, "And how warm is it?")
    assert replies(desk) == before + 1
