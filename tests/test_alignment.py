"""Phonemes to words, also where the phonemiser ran words together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.alignment import spans_of, word_ranges
from tts.silence import AUDIBLE, LeadTrimmer, set_pause


def sounds(phonemes: str, text: str, alone: dict[str, str] | None = None) -> list[str]:
    """The phonemes that each word of the text got."""

    def pronounce(word: str) -> str:
        assert alone is not None, "asked without need"
        return alone[word]

    ranges = word_ranges(text.split(), phonemes, pronounce)
    return [phonemes[start:end] for start, end in ranges]


def test_equal_numbers_map_one_to_one() -> None:
    assert sounds("ɪt ɹeɪnz, nˈaʊ.", "It rains, now.") == ["ɪt", "ɹeɪnz", "nˈaʊ"]


def test_a_word_without_sound_gets_an_empty_range() -> None:
    assert sounds("wˈɛl sˈɔː", "- well - so -") == ["", "wˈɛl", "", "sˈɔː", ""]


def test_words_run_together_are_told_apart_by_how_they_sound_alone() -> None:
    alone = {"of": "ʌv", "the": "ðə", "people,": "pˈiːpəl", "in": "ɪn", "house": "hˈaʊs"}
    got = sounds("ʌvðə pˈiːpəl, ɪnðə hˈaʊs", "of the people, in the house", alone)
    assert got == ["ʌv", "ðə", "pˈiːpəl", "ɪn", "ðə", "hˈaʊs"]


def test_a_word_of_several_phoneme_words_keeps_them() -> None:
    got = sounds("twˈɛnti fˈaɪv kˈæts", "25 cats", {"25": "twˈɛnti fˈaɪv", "cats": "kˈæts"})
    assert got == ["twˈɛnti fˈaɪv", "kˈæts"]


def test_without_any_match_the_words_share_in_proportion() -> None:
    got = sounds("abcdefgh", "x yyy", {"x": "1", "yyy": "222"})
    assert got == ["ab", "cdefgh"]


@pytest.mark.slow
@given(
    st.lists(st.text("ab1-.", min_size=1, max_size=4), max_size=6),
    st.text("abc ,.", max_size=20),
)
def test_ranges_are_in_order_and_in_bounds(words: list[str], phonemes: str) -> None:
    ranges = word_ranges(words, phonemes, list)
    flat = [place for span in ranges for place in span]
    assert len(ranges) == len(words)
    assert flat == sorted(flat)
    assert all(0 <= place <= len(phonemes) for place in flat)


def test_spans_follow_the_bounds_of_the_phonemes() -> None:
    spans = spans_of(["a", "b"], [(0, 2), (3, 4)], [10, 20, 30, 40, 55])
    assert [(span.text, span.start, span.end) for span in spans] == [("a", 10, 30), ("b", 40, 55)]


def piece(silent: int, loud: int, tail: int = 0) -> np.ndarray:
    return np.concatenate([np.zeros(silent), np.full(loud, 0.1), np.zeros(tail)]).astype(np.float32)


def test_silence_before_the_first_sound_is_cut_to_ten_ms() -> None:
    trimmer = LeadTrimmer(1000)
    assert trimmer.trim(piece(50, 0)) == 50
    assert trimmer.trim(piece(50, 5)) == 40
    assert trimmer.trim(piece(50, 5)) == 0, "later pauses are speech"


@pytest.mark.parametrize("tail", [0, 10, 300])
def test_the_pause_after_the_last_sound_is_set(tail: int) -> None:
    done = set_pause(piece(3, 5, tail), 0.1, 1000)
    assert len(done) == 108
    assert np.abs(done[8:]).max() < AUDIBLE
    assert len(set_pause(piece(5, 0), 0.0, 1000)) == 1
