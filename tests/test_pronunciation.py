"""Heteronyms, single letters and the user's own words as phonemes in the place of a word's."""

from __future__ import annotations

import pytest

from tts.alignment import split_long, with_pronunciations
from tts.lexicon import EMPTY, make_lexicon
from tts.pronunciation import LETTER_A, pronunciations


@pytest.mark.parametrize(
    ("text", "word", "sound"),
    [
        ("Please use it.", "use", "jˈuːz"),
        ("The use of it.", "use", "jˈuːs"),
        ("I will record a record.", "record", "ɹᵻkˈɔːɹd"),
        ("A new record.", "record.", None),
        ("It is a record.", "record.", "ɹˈɛkɚd"),
        ("Close the door.", "Close", "klˈoʊz"),
        ("It was a close call.", "close", "klˈoʊs"),
        ("We are close to it.", "close", "klˈoʊs"),
        ("I live in Rome.", "live", "lˈɪv"),
        ("They have live music.", "live", "lˈaɪv"),
        ("I have read it.", "read", "ɹˈɛd"),
        ("I read it yesterday.", "read", "ɹˈɛd"),
        ("I will read it.", "read", "ɹˈiːd"),
        ("Read this.", "Read", None),
        ("She will lead the team.", "lead", None),
        ("It is a lead pipe.", "lead", "lˈɛd"),
        ("They wind it up.", "wind", "wˈaɪnd"),
        ("The wind blows.", "wind", "wˈɪnd"),
        ("To address the problem.", "address", "ɐdɹˈɛs"),
        ("Your address, please.", "address,", "ˈædɹɛs"),
        ("I am content.", "content.", "kəntˈɛnt"),
        ("seat four A is free", "A", LETTER_A),
        ("A dog barks.", "A", None),
        ("A B C", "A", LETTER_A),
    ],
)
def test_the_words_beside_it_decide(text: str, word: str, sound: str | None) -> None:
    words = text.split()
    assert pronunciations(words, EMPTY).get(words.index(word)) == sound


def test_the_users_words_come_first_and_other_languages_have_no_rules() -> None:
    lexicon = make_lexicon({"Siobhan": "/ʃɪvˈɔːn/", "use": "/x/"})
    words = ["Siobhan,", "use", "it."]
    assert pronunciations(words, lexicon) == {0: "ʃɪvˈɔːn", 1: "x"}
    assert pronunciations(words, EMPTY, english=False) == {}


def test_other_phonemes_move_the_places_of_the_words_after_them() -> None:
    sentences, ranges = with_pronunciations(
        [list("ab cd."), list(" ef")], [(0, 2), (3, 5), (7, 9)], {1: "xyz", 2: "q"}
    )
    assert sentences == [list("ab xyz."), list(" q")]
    assert ranges == [(0, 2), (3, 6), (8, 9)]


def test_a_word_without_sound_stays_without() -> None:
    assert with_pronunciations([list("ab")], [(0, 2), (2, 2)], {1: "x"}) == (
        [["a", "b"]],
        [(0, 2), (2, 2)],
    )


def test_long_sentences_are_cut_after_a_word() -> None:
    parts = split_long([list("abc def ghi"), list("x")], 8)
    assert ["".join(part) for part in parts] == ["abc def ", "ghi", "x"]
    assert ["".join(part) for part in split_long([list("abcdef")], 4)] == ["abcd", "ef"]
