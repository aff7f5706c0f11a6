from __future__ import annotations

import pytest

from asr.gates import (
    Decoded,
    compression_ratio,
    is_doubtful,
    is_hallucination,
    is_loop,
    max_tokens,
)


def decoded(
    text: str, *, avg_logprob: float = -0.3, no_speech_prob: float = 0.0, complete: bool = True
) -> Decoded:
    return Decoded(text, avg_logprob, no_speech_prob, complete)


def test_a_plain_sentence_is_believed() -> None:
    heard = decoded("What is the capital of France?")
    assert not is_loop(heard)
    assert not is_doubtful(heard)
    assert not is_hallucination(heard)


def test_a_decoder_that_did_not_end_by_itself_loops() -> None:
    assert is_loop(decoded("What is", complete=False))


def test_a_text_that_deflates_too_well_is_a_loop() -> None:
    assert is_loop(decoded("he was not an ill-disposed young man. " * 8))
    assert compression_ratio("he was not an ill-disposed young man.") < 1.2


@pytest.mark.parametrize(
    "text",
    [
        "5 5 5",
        "No, no, no!",
        "How are you? How are you?",
        "he was he was",
        "Had he married a more amiable woman, he might have been. Had he married a more amiable",
    ],
)
def test_a_repeat_is_doubtful_but_no_loop(text: str) -> None:
    heard = decoded(text)
    assert is_doubtful(heard)
    assert not is_loop(heard)


@pytest.mark.parametrize(
    "text", ["five five", "555-1234", "no, no", "I had had it", "the man and the woman and the"]
)
def test_what_people_say_is_not_doubtful(text: str) -> None:
    assert not is_doubtful(decoded(text))


def test_an_unsure_decoder_is_doubtful() -> None:
    assert is_doubtful(decoded("you", avg_logprob=-1.5))


@pytest.mark.parametrize("text", ["", ".", " ... ", "♪"])
def test_a_text_without_words_is_nothing(text: str) -> None:
    assert is_hallucination(decoded(text))


def test_words_over_no_speech_are_made_up_only_when_the_decoder_is_unsure_as_well() -> None:
    assert is_hallucination(decoded("Thank you.", no_speech_prob=0.8, avg_logprob=-1.4))
    assert not is_hallucination(decoded("Yes.", no_speech_prob=0.8, avg_logprob=-0.4))
    assert not is_hallucination(decoded("Yes.", no_speech_prob=0.1, avg_logprob=-1.4))


def test_the_bound_on_tokens_grows_with_the_sound() -> None:
    assert max_tokens(0) > 0
    assert max_tokens(30) < 448 // 2
