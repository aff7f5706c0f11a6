"""The worked example of docs/decisions.md: a reminder call over Twilio's dialect, in virtual time.

Engines are scripted; the peer speaks Twilio's messages, and the runner, the session, the pacing and
the rules are the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.fakes import in_virtual_time, silence, speech
from support.telephony_peer import RATE, TwilioPeer, spoken, start
from test_telephony_transport import converse, engines

from agent.config.decisions import DecisionSettings
from agent.config.settings import Settings
from agent.config.sources import load_settings
from agent.decision import Answer, Question
from agent.reply import Message
from agent.responders.scripted import ScriptedCall, ScriptedResponder
from agent.session.notices import DecisionMade, Notice, Remark, ReplyFinished, TransferRequested
from agent.telephony.media.transport import TelephonyTransport

SETTINGS = load_settings(file=Path(__file__).parents[1] / "examples/reminder_call.toml")
KEYWORDS = {"reschedule": "another", "cancel": "cancel", "confirm": "yes"}


class DecidingResponder(ScriptedResponder):
    """Answers the intent by a keyword, in place of a model."""

    decides = True

    def open(self) -> ScriptedCall:
        return DecidingCall(self)


class DecidingCall(ScriptedCall):
    def decide(
        self,
        messages: Sequence[Message],
        questions: Sequence[Question],
        words: str = "",
        *,
        quick: bool = False,
    ) -> list[Answer]:
        return [self._answer(question, words) for question in questions]

    def _answer(self, question: Question, words: str) -> Answer:
        found = [label for label in question.labels if KEYWORDS.get(label, "-") in words]
        label = found[0] if found else question.labels[-1]
        likely = {each: float(each == label) for each in question.labels}
        return Answer(question.name, label, label, 1.0, likely)


def call(
    monkeypatch: pytest.MonkeyPatch,
    *heard: str,
    seconds: float = 60.0,
    connect_to: Callable[[str], None] | None = None,
) -> tuple[TwilioPeer, list[Notice], ScriptedResponder]:
    """A call whose other side says one of ``heard`` after the greeting, then the next."""
    notices: list[Notice] = []
    send = TelephonyTransport.send

    async def seen(self: TelephonyTransport, notice: Notice) -> None:
        notices.append(notice)
        await send(self, notice)

    monkeypatch.setattr(TelephonyTransport, "send", seen)
    if connect_to is not None:
        monkeypatch.setattr(TelephonyTransport, "__init__", _connecting(connect_to))
    responder = DecidingResponder({"another time please": "How about Thursday at three?"})

    async def whole() -> TwilioPeer:
        parts = replace(engines({}, *heard), responder=responder)
        pieces = [silence(8.0, RATE)]
        for _ in heard:
            pieces += [speech(1.2, RATE), silence(9.0, RATE)]
        peer = TwilioPeer([(0.0, start()), *spoken(*pieces)], seconds)
        await converse(parts, peer, settings=SETTINGS)
        return peer

    return in_virtual_time(whole()), notices, responder


def _connecting(connect_to: Callable[[str], None]) -> Callable[..., None]:
    """A constructor of a transport whose provider can be told of another party."""
    make = TelephonyTransport.__init__

    def made(self: TelephonyTransport, *arguments: Any) -> None:
        make(self, *arguments, connect_to=connect_to)

    return made


def said(notices: Sequence[Notice]) -> list[str]:
    """The whole sentences that were heard."""
    return [n.text for n in notices if isinstance(n, ReplyFinished) and n.status == "completed"]


@pytest.mark.slow
def test_a_machine_gets_the_whole_message_and_the_call_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    greeting = "you have reached anna please leave a message after the tone"
    peer, notices, _ = call(monkeypatch, greeting)
    assert said(notices)[-1].startswith("Hello, this is Oak Street Dental.")
    assert peer.closed is not None
    made = next(each for each in notices if isinstance(each, DecisionMade))
    assert made.effects == ("hang_up",)


@pytest.mark.slow
def test_a_machine_that_goes_on_gets_the_message_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = "you have reached anna please leave a message after the tone"
    peer, notices, _ = call(monkeypatch, first, "to send it press one", seconds=90.0)
    assert said(notices)[-1].startswith("Hello, this is Oak Street Dental.")
    assert peer.closed is not None


@pytest.mark.slow
def test_an_opt_out_is_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    peer, notices, _ = call(monkeypatch, "please stop calling me")
    assert said(notices)[-1] == "We will not call you again. Goodbye."
    assert peer.closed is not None


@pytest.mark.slow
def test_a_person_is_routed_by_intent(monkeypatch: pytest.MonkeyPatch) -> None:
    _, notices, responder = call(monkeypatch, "another time please", "another one", seconds=30.0)
    made = [each for each in notices if isinstance(each, DecisionMade)]
    assert "instructions" in [effect for each in made for effect in each.effects]
    assert responder.prompts[-1][0].content.startswith("You are Mia of Oak Street Dental.")


@pytest.mark.slow
def test_a_confirmation_is_tagged_and_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    _, notices, responder = call(monkeypatch, "yes i will be there", seconds=25.0)
    tags = [each.tags for each in notices if isinstance(each, DecisionMade)]
    assert ("confirmed",) in tags
    assert responder.prompts


@pytest.mark.slow
def test_a_wish_for_a_person_is_a_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[str] = []
    peer, notices, _ = call(
        monkeypatch, "can i talk to a real person", seconds=40.0, connect_to=wanted.append
    )
    assert "I put you through to the practice." in said(notices)
    assert wanted == ["+15550100"]
    assert peer.closed == (1000, "transferred to +15550100")


@pytest.mark.slow
def test_a_line_without_transfers_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    _, notices, _ = call(monkeypatch, "can i talk to a real person", seconds=40.0)
    asked = next(each for each in notices if isinstance(each, TransferRequested))
    assert asked.destination == "+15550100"
    assert any(isinstance(n, Remark) and n.code == "transfer_failed" for n in notices)


@pytest.mark.slow
def test_the_end_of_the_call_is_decided_on(monkeypatch: pytest.MonkeyPatch) -> None:
    _, notices, _ = call(monkeypatch, "yes i will be there", seconds=25.0)
    (ended,) = (each for each in notices if isinstance(each, DecisionMade) and each.when == "end")
    assert [answer.name for answer in ended.answers] == ["follow_up"]


@pytest.mark.slow
def test_decisions_delay_no_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    """In virtual time, in which every piece of work has its cost, replies begin as without them."""

    def first_sounds(settings: Settings) -> list[float]:
        monkeypatch.setattr("test_reminder_call.SETTINGS", settings)
        peer, _, _ = call(monkeypatch, "yes i will be there", "another time please", seconds=40.0)
        sounds = [at for at, _ in peer.events("media")]
        return [b for a, b in zip([0.0, *sounds], sounds, strict=False) if b - a > 1.0]

    plain = first_sounds(SETTINGS.model_copy(update={"decisions": DecisionSettings()}))
    asked = SETTINGS.decisions.model_copy(update={"actions": ()})
    decided = first_sounds(SETTINGS.model_copy(update={"decisions": asked}))
    assert len(plain) >= 2
    assert decided == pytest.approx(plain, abs=0.001)
