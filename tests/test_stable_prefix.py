from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asr.stable_prefix import StablePrefix


def fold(*hypotheses: str) -> list[tuple[str, int]]:
    prefix = StablePrefix()
    return [prefix.update(hypothesis) for hypothesis in hypotheses]


def stable(*hypotheses: str) -> str:
    text, length = fold(*hypotheses)[-1]
    return text[:length]


def test_one_hypothesis_settles_nothing() -> None:
    assert fold("What is the") == [("What is the", 0)]


def test_words_that_two_hypotheses_share_are_stable() -> None:
    assert stable("What is the cat", "What is the capital of") == "What is the"


def test_case_and_punctuation_do_not_break_the_agreement() -> None:
    assert stable("what, is the", "What is the capital") == "What is the"


def test_punctuation_after_the_last_stable_word_stays_open() -> None:
    text, length = fold("The capital.", "The capital.")[-1]
    assert (text, text[:length]) == ("The capital.", "The capital")


def test_the_next_word_settles_the_punctuation() -> None:
    steps = ["The capital.", "The capital.", "The capital, of", "The capital, of France"]
    text, length = fold(*steps)[-1]
    assert (text, text[:length]) == ("The capital, of France", "The capital, of")


def test_a_contradiction_does_not_take_a_stable_word_back() -> None:
    steps = fold("I want two", "I want two", "I won't to go")
    assert steps[-1] == ("I want two go", len("I want two"))


def test_a_shorter_hypothesis_keeps_what_is_stable() -> None:
    assert fold("yes please do", "yes please do", "yes")[-1] == ("yes please do", 13)


def test_agreement_must_be_between_consecutive_hypotheses() -> None:
    assert stable("go home", "stop home", "go home") == ""


def test_bare_punctuation_is_never_agreed_on() -> None:
    assert fold("- yes", "- yes")[-1] == ("- yes", 0)


WORDS = st.sampled_from(["go", "Go,", "to", "the", "end.", "—", "five", "FIVE"])
HYPOTHESES = st.lists(st.lists(WORDS, max_size=6).map(" ".join), max_size=8)


@given(HYPOTHESES)
def test_the_stable_text_only_grows(hypotheses: list[str]) -> None:
    before = ""
    for text, length in fold(*hypotheses):
        assert 0 <= length <= len(text)
        assert text[:length].startswith(before)
        before = text[:length]
