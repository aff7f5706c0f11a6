"""The user's own words: read from a file, found in text, spoken in place of the written form."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.settings import Settings
from agent.config.sources import load_settings
from agent.errors import ConfigError
from tts.engine import TtsError
from tts.lexicon import EMPTY, make_lexicon, read_lexicon
from tts.speakable import speakable

LEXICON = make_lexicon(
    {
        "nginx": "engine x",
        "Siobhan": "/ʃɪvˈɔːn/",
        "C++11": "see plus plus eleven",
        "Dr. Nguyen": "Doctor Win",
        "Polish": "polish from Poland",
        "New York": "the big apple",
        "New York City": "the very big apple",
    }
)


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Ask nginx.", "Ask engine x."),
        ("NGINX, Nginx", "engine x, engine x"),
        ("nginxes", "nginxes"),
        ("In C++11 and C++", "In see plus plus eleven and C plus plus"),
        ("Dr. Nguyen has 5", "Doctor Win has five"),
        ("Polish or polish", "polish from Poland or polish"),
        ("New York City, New York", "the very big apple, the big apple"),
        ("Siobhan's 3 cats", "Siobhan's three cats"),
    ],
)
def test_entries_come_before_all_rules(written: str, spoken: str) -> None:
    assert speakable(written, lexicon=LEXICON).text == spoken


def test_an_entry_maps_back_to_what_is_written() -> None:
    said = speakable("Use nginx now", lexicon=LEXICON)
    assert said.words == ("Use", "engine", "x", "now")
    assert [said.heard(count).rstrip() for count in range(5)] == [
        "",
        "Use",
        "Use",
        "Use nginx",
        "Use nginx now",
    ]


def test_ipa_is_for_the_voice_and_the_text_keeps_a_word() -> None:
    assert LEXICON.phonemes("Siobhan") == "ʃɪvˈɔːn"
    assert LEXICON.phonemes("siobhan") is None
    assert LEXICON.phonemes("engine") is None


def test_other_languages_have_lexicons_too() -> None:
    said = speakable("5 nginx für 3 €", "de", lexicon=LEXICON).text
    assert said == "fünf engine x für drei Euro"


@pytest.mark.slow
@given(st.text(max_size=60))
def test_no_text_raises(text: str) -> None:
    said = speakable(text, lexicon=LEXICON)
    assert all(0 <= end <= len(text) for end in said.ends)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("not toml", "not a lexicon"),
        ('"x" = 5', "needs a spoken form"),
        ('"x" = " "', "needs a spoken form"),
        ('"x" = "4 you"', "in letters"),
        ('"5" = "/faɪv/"', "no letter"),
        ('"' + "x" * 101 + '" = "y"', "longer than"),
        ("[words]\nx = 'y'", "needs a spoken form"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "words.toml"
    path.write_text(content)
    with pytest.raises(TtsError, match=reason):
        read_lexicon(path)
    with pytest.raises(ConfigError, match=reason):
        load_settings({"tts": {"lexicon": path}})


def test_a_missing_or_huge_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TtsError, match="cannot be read"):
        read_lexicon(tmp_path / "none.toml")
    huge = tmp_path / "huge.toml"
    huge.write_text("#" * (1 << 20) + "\n")
    with pytest.raises(TtsError, match="larger than"):
        read_lexicon(huge)
    with pytest.raises(TtsError, match="at most"):
        make_lexicon({f"w{number}": "x" for number in range(10_001)})


def test_settings_carry_the_entries(tmp_path: Path) -> None:
    path = tmp_path / "words.toml"
    path.write_text('"nginx" = "engine x"', encoding="utf-8")
    settings = load_settings({"tts": {"lexicon": path}})
    assert settings.tts.words.spoken == {"nginx": "engine x"}
    assert Settings().tts.words is EMPTY
