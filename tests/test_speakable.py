"""Text that a voice can say, and the way back to the source."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tts.speakable import speakable


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("**Bold**, _it_ `code` [a link](http://a.b/c)!", "Bold, it code a link!"),
        ("# Title\n\n- one\n- two", "Title. one. two"),
        ("42.", "forty-two."),
        ("Good 🎉 day 👍🏽", "Good day"),
        (
            "$25.99, $1 and $0.50",
            "twenty-five dollars and ninety-nine cents, one dollar and fifty cents",
        ),
        ("1,234.50", "one thousand two hundred and thirty-four point five zero"),
        ("-5 °C or 5%", "minus five degrees Celsius or five percent"),
        ("1 km, 90 km/h", "one kilometer, ninety kilometers per hour"),
        ("the 21st, 3rd", "the twenty-first, third"),
        (
            "in 1999, the 1990s, 2005",
            "in nineteen ninety-nine, the nineteen nineties, two thousand five",
        ),
        ("3:05 p.m., 10:00", "three oh five P M, ten o'clock"),
        ("at 7 pm.", "at seven P M."),
        ("1/2 or 3/4", "one half or three quarters"),
        ("10-20 minutes", "ten to twenty minutes"),
        ("6 * 7 = 42", "six times seven equals forty-two"),
        ("555-123-4567", "five, five, five, one two three, four five six seven"),
        ("$5 million, $3.5k", "five million US dollars, three point five thousand US dollars"),
        ("on May 5, 2024", "on May fifth, twenty twenty-four"),
        ("-$1,200", "minus one thousand two hundred dollars"),
        ("24/7", "twenty-four seven"),
        ("a 5-year-old, COVID-19", "a five-year-old, COVID nineteen"),
        ("007", "zero, zero seven"),
        (
            "12345678901234567",
            "one two three four, five six seven eight, nine zero one two, three four five six "
            "seven",
        ),
        ("2024-05-17", "May seventeenth, twenty twenty-four"),
        ("a.b@c-d.org", "A dot B at C dash D dot org"),
        ("https://www.example.com/docs?x=1.", "example dot com slash docs."),
        ("Dr. Who, e.g. J. Doe & Co", "Doctor Who, for example J Doe and Co"),
        ("in the U.S. It is", "in the U S. It is"),
        ("wait... what?!", "wait, what?"),
        ("well - yes — no (really)", "well, yes, no, really,"),
        ("“it’s” (a lot).", "it's, a lot."),
        ("東京 is naïve", "is naïve"),
        ("<b>x</b> < y", "x less than y"),
        ("5&nbsp;km", "five kilometers"),
        ("Hi <!-- a note --> there<|im_end|>", "Hi there"),
        ("a <| b <!- c", "a less than, b less than! c"),
        ("That is ==marked== now, a == b.", "That is marked now, a equals b."),
        ("One line\\nand Two\\n\\nThree", "One line and Two. Three"),
        ("C:\\new, x \\neq 2", "C colon backslash new, x is not equal to two"),
        (r"\nu and \theta, x \neq 2", "nu and theta, x is not equal to two"),
        ("Nice :-) I am :D and sad :'( ^_^ lol", "Nice I am and sad lol"),
        (
            "Thanks <3 but x <3 and list: (a)",
            "Thanks less than three but x less than three and list: a,",
        ),
        ("Thank you <3", "Thank you"),
        ("8:D or 3:2, see :)", "eight: D or three to two, see"),
        ("src/b/c.py, late b/c of it", "src b c. py, late because of it"),
        (
            "2024-05, 2010-12, 2023-24",
            "May twenty twenty-four, twenty ten to twelve, twenty twenty-three to twenty-four",
        ),
        (
            "Matthew 5:3, Psalm 23:1-3, 3:2",
            "Matthew five three, Psalm twenty-three one to three, three to two",
        ),
        ("4.5★, a 5★ hotel", "four point five stars, a five star hotel"),
        ("3x and COVID19", "three x and COVID nineteen"),
        ("", ""),
        ("!?", ""),
    ],
)
def test_english(written: str, spoken: str) -> None:
    assert speakable(written).text == spoken


@pytest.mark.parametrize(
    ("language", "written", "spoken"),
    [
        ("de", "25,99 € bei 5 °C", "fünfundzwanzig Euro neunundneunzig Cent bei fünf Grad Celsius"),
        ("fr", "3,5 kg", "trois virgule cinq kilogrammes"),
        ("de", "2½ Tassen, 10 - 3 = 7", "zwei Komma fünf Tassen, zehn minus drei gleich sieben"),
        ("de", "um 17:00 und 14:30", "um siebzehn Uhr und vierzehn Uhr dreißig"),
        ("de", "2*3*4 = 24", "zwei mal drei mal vier gleich vierundzwanzig"),
        ("de", "Konto 12345678", "Konto eins zwei drei vier fünf sechs sieben acht"),
        ("de", "+49 30 901", "plus vier neun, drei null, neun null eins"),
        ("fr", "10² et 2⅓", "dix deux et deux un trois"),
        ("es", "a@b.es", "a arroba b punto es"),
        ("ru", "Привет hello 東京", "Привет hello"),
    ],
)
def test_other_languages(language: str, written: str, spoken: str) -> None:
    assert speakable(written, language).text == spoken


@pytest.mark.parametrize(
    ("language", "reason"),
    [("klingon!", "use a tag such as en"), ("zh", "no number words"), ("am", "no number words")],
)
def test_a_language_it_does_not_speak_is_an_error(language: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        speakable("x", language)


def test_heard_gives_the_source_up_to_a_spoken_word() -> None:
    said = speakable("It **is** $25.50, and that is all.")
    assert said.text == "It is twenty-five dollars and fifty cents, and that is all."
    assert said.heard(0) == ""
    assert said.heard(2) == "It **is"
    assert said.heard(5).rstrip() == "It **is**", "a number counts once its last word is spoken"
    assert said.heard(7) == "It **is** $25.50,"
    assert said.heard(99) == said.source


_TEXT = st.text(st.characters(), max_size=60) | st.text(
    "0123456789.,:-/$%°€£@#*_[]()<>& \naApmx'|", max_size=40
)


@given(_TEXT, st.sampled_from(["en", "de", "fr", "ar", "ja"]))
@example("9" * 400, "en")
@example("$" + "9" * 30 + ".99", "en")
@example("0/0 ½ 99:99 2024-13-45 ¥1.5 -0.5", "de")
def test_any_string_becomes_words_that_map_back_in_order(text: str, language: str) -> None:
    said = speakable(text, language)
    assert said.text.split() == list(said.words)
    assert len(said.ends) == len(said.words)
    assert list(said.ends) == sorted(said.ends)
    assert all(0 <= end <= len(text) for end in said.ends)
    assert not re.search(r"[^\w.,!?;:' -]|[_\d]", re.sub(r"[\u0300-\uFFFF]", "", said.text))


@given(_TEXT)
def test_what_is_said_needs_no_second_pass(text: str) -> None:
    said = speakable(text)
    assert all(word[0].isalpha() for word in said.words)
    assert all(char.isalpha() or char in " .,!?;:'-" for char in said.text if ord(char) < 0x300)
