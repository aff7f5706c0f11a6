"""Decisions in a call: when questions are asked, what answers them, and what answers do."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from support.fakes import Desk

from agent.config.settings import Settings
from agent.decision import Answer
from agent.reply import FunctionTool, Prefilled, ReplyDone, ReplyText
from agent.session.commands import Decide, HangUp, Respond, Speak, WakeAt
from agent.session.events import (
    CallEnding,
    Configure,
    Decided,
    DecideNow,
    FinalTranscript,
    ReplyEvent,
    RespondNow,
    SegmentSpoken,
    SoundReady,
    TextTyped,
    Tick,
)
from agent.session.notices import (
    DecisionMade,
    Remark,
    ReplyFinished,
    ReplyStarted,
    TransferRequested,
    Trouble,
)
from agent.session.session import Session
from asr.transcript import Transcript
from tts.engine import SpeechChunk


def desk(*actions: dict[str, object], ask: tuple[str, ...] = ("opt_out",), **more: object) -> Desk:
    settings = Settings.model_validate(
        {"decisions": {"ask": ask, "actions": actions, **more}, "call": {"goodbye": "Goodbye."}}
    )
    return Desk(Session(settings, 0.0))


def says(desk: Desk, words: str) -> None:
    """A spoken turn with these words, from its first sound to its final transcript."""
    desk.hear(1.0, 1.0)
    desk.hear(0.2, 0.0)
    turn = desk.session.user_turn.open
    assert turn is not None
    revision = turn.turn.revision
    desk.tell(FinalTranscript(turn.turn.id, revision, Transcript(words, len(words), final=True)))
    desk.hear(1.6, 0.0)


def speak(desk: Desk) -> None:
    """Synthesise and play all that is to be spoken."""
    import numpy as np

    for _ in range(20):
        pending = [s for s in desk.all(Speak) if s not in _done(desk)]
        for each in pending:
            _done(desk).append(each)
            chunk = SpeechChunk(np.full(1600, 0.1, np.float32), 16_000)
            desk.tell(SoundReady(each.generation, each.segment, chunk))
            desk.tell(SegmentSpoken(each.generation, each.segment))
        desk.hear(0.2, 0.0)
        desk.tell(Tick())


def later(desk: Desk) -> None:
    """Two seconds later."""
    desk.now += 2.0
    desk.tell(Tick())


def _done(desk: Desk) -> list[Speak]:
    return desk.__dict__.setdefault("spoken", [])


def answer(name: str, label: str, probability: float = 0.95) -> Answer:
    other = {"yes": "no", "no": "yes"}.get(label, "other")
    likely = {label: probability, other: 1 - probability}
    return Answer(name, {"yes": True, "no": False}.get(label, label), label, probability, likely)


HANG_UP = {"question": "opt_out", "do": "hang_up", "say": "You will not be called again."}


@pytest.mark.parametrize("words", ["Please take me off your list.", "stop calling me"])
def test_a_caller_who_opts_out_is_told_so_and_the_call_ends(words: str) -> None:
    call = desk(HANG_UP)
    says(call, words)
    made = call.last(DecisionMade)
    assert made.answers[0].value is True
    assert made.effects == ("hang_up",)
    speak(call)
    assert [each.text for each in call.all(Speak)][-1] == "You will not be called again."
    assert len(call.all(HangUp)) == 1
    assert call.last(HangUp).reason == "decision: opt_out"
    finished = [each.text for each in call.all(ReplyFinished) if each.status == "completed"]
    assert finished == ["You will not be called again."]


def test_other_words_are_answered_as_ever() -> None:
    call = desk(HANG_UP)
    says(call, "I would like to book a table.")
    assert call.last(DecisionMade).answers[0].value is False
    assert call.all(Respond)
    assert not call.session.decisions.closing


def test_last_words_that_a_machine_speaks_into_are_said_again() -> None:
    call = desk(HANG_UP | {"question": "voicemail"}, ask=("voicemail",))
    says(call, "Hi, you've reached Anna. Please leave a message after the tone.")
    assert call.session.replies.current is not None
    says(call, "If you are done, press the pound key.")
    speak(call)
    said = [each.text for each in call.all(Speak)]
    assert said.count("You will not be called again.") == 2
    assert call.all(HangUp)


def test_without_words_the_call_ends_with_its_goodbye() -> None:
    call = desk({"question": "opt_out", "do": "hang_up"})
    says(call, "Never call this number again.")
    speak(call)
    assert [each.text for each in call.all(Speak)][-1] == "Goodbye."
    assert call.all(HangUp)


def test_a_transfer_is_requested_after_its_words() -> None:
    call = desk(
        {"question": "human", "do": "transfer", "to": "+15550100", "say": "One moment."},
        ask=("human",),
    )
    says(call, "Can I speak to a human?")
    assert not call.all(TransferRequested)
    speak(call)
    assert call.last(TransferRequested).destination == "+15550100"
    assert not call.all(HangUp)


def test_tags_stay_on_the_turn() -> None:
    call = desk(
        {"question": "opt_out", "do": "tag", "to": "legal"}, {"question": "opt_out", "do": "tag"}
    )
    says(call, "Remove me from your list.")
    assert call.last(DecisionMade).tags == ("legal", "opt_out")
    assert call.session.conversation.turns[-1].tags == ["legal", "opt_out"]
    assert call.all(Respond)


def test_instructions_are_switched_for_the_reply_that_is_due() -> None:
    calm = {"question": "human", "do": "instructions", "to": "Calm the caller."}
    call = desk(calm, ask=("human",))
    says(call, "Give me a human.")
    assert call.last(Respond).messages[0].content == "Calm the caller."


def test_a_function_is_called_in_place_of_the_reply() -> None:
    call = desk({"question": "human", "do": "tool", "to": "page_staff"}, ask=("human",))
    call.tell(Configure(tools=(FunctionTool("page_staff"),)))
    says(call, "Operator.")
    options = call.last(Respond).options
    assert (options.tool_choice, options.tool_name) == ("function", "page_staff")


def test_a_function_that_is_not_there_is_said_and_harms_nothing() -> None:
    call = desk({"question": "human", "do": "tool", "to": "page_staff"}, ask=("human",))
    says(call, "Operator.")
    assert "page_staff" in call.last(Remark).message
    assert call.last(Respond).options.tool_choice == "auto"


def test_a_session_that_only_transcribes_says_nothing() -> None:
    call = desk(HANG_UP)
    call.tell(Configure(transcription_only=True))
    says(call, "Stop calling me.")
    speak(call)
    assert call.last(DecisionMade).answers[0].value is True
    assert not call.all(Speak)
    assert not call.all(HangUp)


def test_below_its_probability_nothing_is_done() -> None:
    call = desk(HANG_UP | {"probability": 0.99})
    says(call, "Stop calling me.")
    assert call.last(DecisionMade).effects == ()
    assert not call.session.decisions.closing


# ---- heads and passes ------------------------------------------------------------------


def test_heads_are_asked_in_a_pause_and_their_answers_used_when_the_turn_ends() -> None:
    call = desk(HANG_UP)
    call.session.decisions.heads = frozenset({"opt_out"})
    call.hear(1.0, 1.0)
    call.hear(0.2, 0.0)
    opened = call.session.user_turn.open
    assert opened is not None
    words = "I really do not care for this"
    call.tell(FinalTranscript(opened.turn.id, 0, Transcript(words, len(words), final=True)))
    asked = call.last(Decide)
    assert asked.quick
    assert asked.messages[-1].content == words
    call.tell(Decided(asked.number, (answer("opt_out", "yes"),)))
    assert not call.all(DecisionMade), "the turn is not over"
    call.hear(1.6, 0.0)
    assert call.session.decisions.closing
    assert len(call.all(Decide)) == 1
    assert len(call.all(ReplyStarted)) == 1, "the draft was announced beside the last words"


def test_an_answer_to_other_words_is_not_used() -> None:
    call = desk(HANG_UP)
    call.session.decisions.heads = frozenset({"opt_out"})
    call.hear(1.0, 1.0)
    call.hear(0.2, 0.0)
    opened = call.session.user_turn.open
    assert opened is not None
    call.tell(FinalTranscript(opened.turn.id, 0, Transcript("I do not", 8, final=True)))
    first = call.last(Decide)
    call.hear(0.5, 1.0)
    call.tell(Decided(first.number, (answer("opt_out", "yes"),)))
    call.hear(0.2, 0.0)
    words = "I do not see the blue one"
    revision = opened.turn.revision
    call.tell(FinalTranscript(opened.turn.id, revision, Transcript(words, len(words), final=True)))
    call.hear(1.6, 0.0)
    assert not call.session.decisions.closing
    assert call.last(Decide).messages[-1].content == words


def pass_desk() -> Desk:
    call = desk(ask=("satisfaction",), questions={"mood": {"text": "Mood", "when": ["turn"]}})
    call.session.decisions.has_model = True
    return call


def test_a_pass_waits_until_the_reply_is_generated() -> None:
    call = pass_desk()
    call.tell(TextTyped("I would like to book a table"))
    call.tell(RespondNow())
    generation = call.last(Respond).generation
    assert not call.all(Decide)
    call.tell(ReplyEvent(generation, Prefilled(0, 5, 1.0)))
    call.tell(ReplyEvent(generation, ReplyText("Sure.")))
    assert not call.all(Decide)
    call.tell(ReplyEvent(generation, ReplyDone("Sure.", 1, 1, 1.0, 1.0)))
    asked = call.last(Decide)
    assert not asked.quick
    assert [question.name for question in asked.questions] == ["mood"]
    assert asked.messages[-1].content == "I would like to book a table"


def test_a_pass_is_not_asked_while_the_caller_speaks() -> None:
    call = pass_desk()
    call.hear(0.5, 1.0)
    call.tell(TextTyped("hello there"))
    call.hear(2.0, 1.0)
    assert not call.all(Decide)


def test_a_pass_about_typed_words_lets_the_client_ask_for_a_reply_first() -> None:
    call = pass_desk()
    call.tell(TextTyped("hello there"))
    assert call.last(WakeAt).when == 1.0
    assert not call.all(Decide)
    later(call)
    assert len(call.all(Decide)) == 1


def test_decisions_that_wait_are_bounded() -> None:
    call = pass_desk()
    call.tell(TextTyped("first"))
    for number in range(20):
        call.tell(TextTyped(f"words {number}"))
    assert len(call.session.decisions._waiting) <= 4
    assert call.last(Remark).code == "decision_skipped"


def test_a_failure_is_said_once_and_the_call_goes_on() -> None:
    call = pass_desk()
    for _ in range(3):
        call.tell(TextTyped("hello there"))
        later(call)
        call.tell(Decided(call.last(Decide).number, error="out of memory"))
    assert [each.message for each in call.all(Remark)] == ["out of memory"]
    assert not call.all(Trouble)
    assert not call.all(HangUp)


def test_without_a_model_questions_of_ones_own_are_said_to_be_unanswered() -> None:
    call = desk(ask=(), questions={"mood": {"text": "Mood"}})
    call.tell(TextTyped("hello there"))
    call.tell(TextTyped("hello there"))
    assert [each.code for each in call.all(Remark)] == ["decision_unavailable"]
    assert not call.all(Decide)


def test_the_end_of_the_call_has_its_questions() -> None:
    call = pass_desk()
    call.tell(TextTyped("my order is late"))
    call.tell(CallEnding())
    asked = call.last(Decide)
    assert [question.name for question in asked.questions] == ["satisfaction"]
    assert asked.words == "my order is late"
    assert not call.session.decisions.idle
    call.tell(Decided(asked.number, (answer("satisfaction", "2"),)))
    made = call.last(DecisionMade)
    assert (made.when, made.item_id) == ("end", "")
    assert call.session.decisions.idle


def test_answers_on_demand() -> None:
    call = desk(ask=("opt_out", "human"))
    call.tell(DecideNow(("human",)))
    assert "nothing has been said" in call.last(Trouble).message
    call.tell(TextTyped("operator please"))
    call.tell(DecideNow(("human",)))
    made = call.last(DecisionMade)
    assert made.when == "demand"
    assert [(each.name, each.value) for each in made.answers] == [("human", True)]
    call.tell(DecideNow(("mood",)))
    assert "'mood'; there are opt_out, human" in call.last(Trouble).message


# ---- settings --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ask": ["opt_in"]}, "no question 'opt_in'; there are opt_out"),
        ({"actions": [{"question": "human"}]}, "'human', which is not asked"),
        ({"ask": ["human"], "actions": [{"question": "human", "answer": "maybe"}]}, "yes, no"),
        ({"ask": ["human"], "actions": [{"question": "human", "do": "transfer"}]}, "needs `to`"),
        ({"ask": ["human"], "actions": [{"question": "human", "do": "say"}]}, "needs words"),
        ({"questions": {"a": {"kind": "choice", "options": ["x"]}}}, "at least two"),
        ({"questions": {"a": {"kind": "score", "low": 5, "high": 1}}}, "1 to 20 steps"),
        ({"questions": {f"q{i}": {} for i in range(33)}}, "33 questions"),
    ],
)
def test_bad_settings_are_refused_with_a_sentence(given: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Settings.model_validate({"decisions": given})
