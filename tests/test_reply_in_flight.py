"""The spoken form of a reply's segments: context, the user's words, letters that are skipped."""

from __future__ import annotations

import pytest

from agent.reply import ReplyDone
from agent.session.commands import Command, Speak
from agent.session.conversation import AgentReply
from agent.session.notices import Remark
from agent.session.reply_in_flight import ReplyInFlight
from tts.lexicon import EMPTY, Lexicon, make_lexicon


def reply(*pieces: str, lexicon: Lexicon = EMPTY) -> list[Command]:
    speaking = ReplyInFlight(1, "r", AgentReply("i"), lead=0.3, began=0.0, lexicon=lexicon)
    commands = [command for piece in pieces for command in speaking.text(piece, 0.0)]
    return [*commands, *speaking.complete(ReplyDone("", 0, 0, 0.0, 0.0, {}), 0.0)]


EXCUSE = "I cannot say that."


def excused(*pieces: str, filler: str = "") -> list[str]:
    entry = AgentReply("i")
    speaking = ReplyInFlight(1, "r", entry, lead=0.3, began=0.0, unspeakable=EXCUSE)
    commands = list(speaking.fill(filler)) if filler else []
    commands += [command for piece in pieces for command in speaking.text(piece, 0.0)]
    commands += speaking.complete(ReplyDone("", 0, 0, 0.0, 0.0, {}), 0.0)
    assert entry.text == "".join(pieces)
    return spoken(commands)


def spoken(commands: list[Command]) -> list[str]:
    return [command.text for command in commands if isinstance(command, Speak)]


def test_a_number_is_said_by_the_words_before_its_segment() -> None:
    commands = reply("The last four digits, as I said, of your card are:\n", "1980. All right?")
    assert spoken(commands)[-2:] == ["one nine eight zero.", "All right?"]


def test_the_users_words_are_spoken() -> None:
    lexicon = make_lexicon({"nginx": "engine x"})
    assert spoken(reply("Use nginx.", lexicon=lexicon)) == ["Use engine x."]


@pytest.mark.slow
def test_letters_of_other_scripts_are_told_once() -> None:
    commands = reply("You say 你好. ", "Or 再见. ", "Good.")
    assert [command.code for command in commands if isinstance(command, Remark)] == [
        "unspeakable_text"
    ]
    assert spoken(commands) == ["You say.", "Or.", "Good."]
    assert [c for c in reply("Hi, Zoë.") if isinstance(c, Remark)] == []


def test_six_hundred_letters_of_another_script_cost_no_speech() -> None:
    commands = reply("中文字符" * 150)
    assert spoken(commands) == []
    assert [command.code for command in commands if isinstance(command, Remark)] == [
        "unspeakable_text"
    ]


@pytest.mark.parametrize("text", ["日本の首都はどこですか。", "Привет! Как дела?"])
def test_a_reply_of_which_no_letter_can_be_spoken_is_excused(text: str) -> None:
    assert excused(text) == [EXCUSE]
    assert excused(text, filler="Let me see.") == ["Let me see.", EXCUSE]


@pytest.mark.parametrize(
    ("text", "said"),
    [("你好 means hello.", ["means hello."]), ("Hi.", ["Hi."]), ("😀", []), ("", [])],
)
def test_other_replies_are_not(text: str, said: list[str]) -> None:
    assert excused(text) == said
