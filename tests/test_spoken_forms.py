"""The table of written lines and spoken forms: how it is read, compared, and how much is right."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from agent.bench.spoken_forms import SpokenForm, compared, misses, read_forms
from agent.errors import ConfigError
from tts.segments import Segmenter
from tts.speakable import speakable

FORMS = read_forms()
KINDS = Counter(form.kind for form in FORMS)


def spoken(written: str) -> str:
    return speakable(written).text


def test_the_table_has_every_class_with_lines_enough() -> None:
    assert len(FORMS) >= 600
    assert len(KINDS) >= 25
    assert min(KINDS.values()) >= 14


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_is_spoken_right(kind: str) -> None:
    wrong = misses([form for form in FORMS if form.kind == kind], spoken)
    assert len(wrong) <= 0.01 * KINDS[kind], wrong


@pytest.mark.parametrize(
    ("right", "said", "accepted"),
    [
        ("five [US] dollars", "Five US dollars.", True),
        ("five [US] dollars", "five dollars", True),
        ("five [US] dollars", "six dollars", False),
        ("{one|a} half", "a half", True),
        ("<PM>", "P M", True),
        ("<PM>", "pm", True),
        ("three zero five", "three oh five", True),
        ("one hundred five", "one hundred and five", True),
        ("two", "", False),
        ("", "", True),
        ("no . yes .", "No. Yes.", True),
        ("no . yes .", "No, yes.", False),
    ],
)
def test_a_spoken_form_is_compared_by_its_words(right: str, said: str, accepted: bool) -> None:
    assert SpokenForm("x", "", right).accepts(said) is accepted


def test_a_line_that_is_said_wrongly_is_a_miss() -> None:
    form = SpokenForm("money", "$5", "five dollars")
    assert [miss.said for miss in misses([form], lambda _: "six dollars")] == ["six dollars"]


@pytest.mark.parametrize("content", ["", "[x]\nno arrow here", None])
def test_a_table_without_lines_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "table.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"table\.txt"):
        read_forms(path)


PLACES = (
    ("Thank you for asking me that, my dear friend, it says ", " and that is what I was told."),
    ("Well, yes: ", " is it, as far as I know, and that is all."),
    ("I looked it up for you and I think that it may be the following one here: ", ""),
)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES, ids=["inside", "clause", "last"])
def test_a_reply_that_streams_word_by_word_is_spoken_as_the_whole(place: tuple[str, str]) -> None:
    """No segment ends within a number, a code or the words that decide how it is said."""
    for form in FORMS[PLACES.index(place) :: len(PLACES)]:
        if "\n" in form.written:
            continue
        text = place[0] + form.written + place[1]
        segmenter = Segmenter(first_words=6)
        segments = [s for word in text.split(" ") for s in segmenter.feed(f"{word} ")]
        segments += segmenter.flush()
        said, before = [], ""
        for segment in segments:
            said.append(speakable(segment, before=before).text)
            before = segment
        assert compared(" ".join(said)) == compared(spoken(text)), segments
