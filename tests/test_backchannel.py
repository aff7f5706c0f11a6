from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.turn_taking.backchannel import is_backchannel, is_stray_sound


@pytest.mark.parametrize(
    "words",
    [
        "Mhm.", "Mm-hmm.", "mm hmm", "Mmm.", "Hmm", "Uh-huh.", "uh huh", "Yeah.",
        "Yeah, yeah, yeah.", "Yep", "Okay.", "OK!", "Right.", "All right.", "I see.",
        "Oh, I see.", "Got it.", "Sure.", "Wow!", "Really?", "Oh really", "That makes sense.",
        "Ha ha ha.", "Haha", "[LAUGHTER]", "(laughs)", "*chuckles*", "Um...", "uh", "Yes.",
        "Okay, great.", "Oh, no way!", "That’s right.", "(coughing)", "Exactly.", "Of course.",
        "MMI", "MMO.",
    ],
)  # fmt: skip
def test_signs_of_listening(words: str) -> None:
    assert is_backchannel(words)


@pytest.mark.parametrize(
    "words",
    [
        "", "   ", "...", "No.", "Stop.", "Wait.", "Yes but", "Yeah, but no.", "Okay, stop.",
        "Hold on.", "I see a problem.", "Right now.", "What?", "Sorry?", "Yes, please.",
        "Good morning.", "Hello?", "Okay, what about tomorrow?", "Really bad.", "Hamburg",
        "No, no, no.", "Excuse me.", "Thanks.", "uh, can you stop", "Help.", "Never mind.",
    ],
)  # fmt: skip
def test_words_that_ask_for_something(words: str) -> None:
    assert not is_backchannel(words)


@given(st.text(), st.sampled_from(["stop", "no", "wait", "but"]))
def test_what_holds_a_wish_is_none(words: str, wish: str) -> None:
    assert not is_backchannel(f"{words} {wish}")


@pytest.mark.parametrize("piece", ["m", "mm ", "m-", "ha", "ha ", "oh ", "he", "h", "yes yes"])
def test_bad_cases_take_no_time(piece: str) -> None:
    began = time.process_time()
    is_backchannel((piece * 80)[:79] + "x")
    is_backchannel(piece * 100_000)
    assert time.process_time() - began < 0.1


@pytest.mark.parametrize("words", ["10", "M", "Yeah.", "and", "Come.", "3"])
def test_a_hum_of_a_fifth_of_a_second_is_a_stray_sound(words: str) -> None:
    assert is_stray_sound(words, 0.19)
    assert not is_stray_sound(words, 0.26)


@pytest.mark.parametrize(
    "words", ["No.", "Yes.", "What?", "Stop!", "Hi.", "B.", "Louder.", "Go on."]
)
def test_words_that_are_clipped_are_none(words: str) -> None:
    assert not is_stray_sound(words, 0.19)
