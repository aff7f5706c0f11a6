"""Where reply text is cut for speaking."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.segments import Segmenter


def cut(text: str, **options: int) -> list[str]:
    segmenter = Segmenter(**options)
    return segmenter.feed(text) + segmenter.flush()


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("Paris is in France. It rains.", ["Paris is in France. ", "It rains."]),
        ("Yes, it is true.", ["Yes, it is true."]),
        ("As you say, it rains, and more.", ["As you say, ", "it rains, and more."]),
        (
            "We walk through the town and then we eat.",
            ["We walk through the town ", "and then we eat."],
        ),
        (
            "Dr. Who met J. R. Ewing, e.g. at 3.14 p.m. sharp.",
            ["Dr. Who met J. R. Ewing, ", "e.g. at 3.14 p.m. sharp."],
        ),
        ("It is abt. five p.m. now.", ["It is abt. five p.m. now."]),
        ("It costs 1,000.50 euro.", ["It costs 1,000.50 euro."]),
        ("See https://a.b/c,d?e=f. Then go.", ["See https://a.b/c,d?e=f. ", "Then go."]),
        ("On May 5, 2024 it rained.", ["On May 5, 2024 it rained."]),
        ("No. 5 is alive. No. It is not.", ["No. 5 is alive. ", "No. ", "It is not."]),
        ('He said "go." Then left.', ['He said "go." ', "Then left."]),
        ("1. One thing.\n2. Two.", ["1. One thing.\n", "2. Two."]),
        ("What?! Oh... fine", ["What?! ", "Oh... ", "fine"]),
        ("你好。再见。", ["你好。", "再见。"]),
        ("", []),
    ],
)
def test_cuts(text: str, segments: list[str]) -> None:
    assert cut(text) == segments


def test_only_the_first_segment_is_cut_short() -> None:
    text = "word " * 30
    assert cut(text, first_words=5) == ["word " * 5, "word " * 25]
    assert cut("Just three words. The " + text, first_words=5) == [
        "Just three words. ",
        "The " + text,
    ]


def test_a_sentence_is_ready_one_character_after_its_gap() -> None:
    segmenter = Segmenter()
    assert segmenter.feed("It rains. ") == []
    assert segmenter.feed("T") == ["It rains. "]
    assert segmenter.flush() == ["T"]
    assert segmenter.feed("And so on, again ") == ["And so on, "], "a new reply starts anew"


def test_length_is_bounded() -> None:
    assert [len(part) for part in cut("x" * 25, max_chars=10)] == [10, 10, 5]
    assert cut("aaa bbb ccc ddd", first_words=9, max_chars=10) == ["aaa bbb ", "ccc ddd"]


@pytest.mark.parametrize("options", [{"first_words": 0}, {"max_chars": 0}, {"max_chars": 9999}])
def test_bad_bounds_are_errors(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Segmenter(**options)


_TEXT = st.lists(st.sampled_from([*"aB1.,!?:;-—\"') \n。é", "and "]), max_size=80).map("".join)


@given(_TEXT, st.integers(1, 12), st.integers(1, 40), st.data())
def test_segments_join_to_the_text_however_it_arrives(
    text: str, first_words: int, max_chars: int, data: st.DataObject
) -> None:
    at_once = cut(text, first_words=first_words, max_chars=max_chars)
    assert "".join(at_once) == text
    assert all(1 <= len(part) <= max_chars for part in at_once)
    segmenter = Segmenter(first_words=first_words, max_chars=max_chars)
    pieces: list[str] = []
    rest = text
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        pieces += segmenter.feed(rest[:size])
        rest = rest[size:]
    assert pieces + segmenter.flush() == at_once
