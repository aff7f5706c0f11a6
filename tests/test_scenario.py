"""The scenarios' own machinery: scripts are read strictly, and what is wrong is found."""

from __future__ import annotations

import re

import numpy as np
import pytest
import yaml
from support.scenario import Scenario, ScenarioError, holds, load_scenario, matches
from support.scenario_play import play_virtually
from support.tone_language import agents_tongue, callers_tongue

TEXT = "Once upon a time there was a king"
STORY = {
    "name": "A story",
    "answers": {"Tell me a story.": TEXT},
    "turns": [{"say": "Tell me a story.", "expect": TEXT}],
}


def failure(**changes):
    """Why the story, so changed, is not what was experienced."""
    with pytest.raises(AssertionError) as failed:
        play_virtually(Scenario.model_validate({**STORY, **changes}))
    return str(failed.value)


def test_the_story_passes():
    play_virtually(Scenario.model_validate(STORY))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"turns": [{"say": "Tell me a story.", "expect": "Once"}]}, "and not 'Once'"),
        ({"turns": [{"say": "Hm?", "within_ms": 50}]}, "first sound .* ms after `say: Hm\\?`"),
        ({"turns": [{"say": "Hm?", "not_before_ms": 5000}]}, "first sound already .* ms after"),
        ({"turns": [{"pause": 1.0}], "outcome": {"replies": 1}}, "replies: 0, and not 1"),
        ({"outcome": {"heard": ["no"]}}, "heard: "),
        ({"outcome": {"statuses": ["failed"]}}, "statuses: "),
        ({"outcome": {"ear": "Once"}}, "ear: "),
        ({"outcome": {"history": []}}, "history: .* and not \\[\\]"),
        ({"outcome": {"never": ["response.done"]}}, "response.done arrived"),
        ({"outcome": {"events": ["response.done", "response.created"]}}, "not in this order"),
        ({"outcome": {"errors": ["x"]}}, "errors: \\[\\], and not"),
        ({"outcome": {"closed": 1000}}, "closed: None"),
        ({"outcome": {"gap_ms": 10}}, "a gap of .* ms in resp"),
        ({"outcome": {"last": {"response.done": {"response": {"status": "x"}}}}}, "the last resp"),
    ],
)
def test_what_differs_is_named(change, reason):
    assert re.search(reason, failure(**change))


def test_a_reply_that_does_not_stop_is_found():
    steps = [
        {"say": "Tell me a story."},
        {"pause": 1.5, "interrupt_at": 0.2, "silence_within_ms": 300},
    ]
    assert "sounded until" in failure(turns=steps)


@pytest.mark.slow
def test_what_never_comes_is_named():
    assert "without a reply" in failure(turns=[{"noise": 0.05, "expect": "Yes."}])
    steps = [{"press": "hang_up"}, {"say": "Hello"}]
    assert "the call was over before he spoke" in failure(turns=steps)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"turn": []}, "x.yaml: turn: there is no such field"),
        ({"turns": []}, "x.yaml: turns"),
        ({"turns": [{"say": "a", "noise": 1}]}, "one action; this one has say and noise"),
        ({"turns": [{"after": 1}]}, "a step needs an action"),
        ({"turns": [{"say": "a", "press": "panic"}]}, "turns.0"),
        ({"turns": [{"say": "a", "after": 1, "interrupt_at": 2}]}, "not both"),
        ({"engines": {"speed": 2}}, "engines.speed: there is no such field"),
        ({"pain": 16}, "x.yaml: pain"),
    ],
)
def test_a_script_that_cannot_be_read_is_refused_with_the_place(tmp_path, change, message):
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({**STORY, **change}))
    with pytest.raises(ScenarioError, match=message):
        load_scenario(path)


def test_a_file_that_is_no_yaml_is_named(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("name: [")
    with pytest.raises(ScenarioError, match=r"x\.yaml: not valid YAML"):
        load_scenario(path)


def test_events_are_matched_by_the_fields_that_are_given():
    event = {"type": "t", "a": {"b": 3, "c": None}}
    assert matches(event, "t")
    assert matches(event, {"t": {"a": {"b": "<= 4"}}})
    assert not matches(event, {"t": {"a": {"b": ">= 4"}}})
    assert not matches(event, {"t": {"x": 1}})
    assert not holds(None, "<= 4")


WORDS = "five five is not six , said the king"


@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_tones_are_read_back_word_for_word(rate):
    tongue = callers_tongue(0.3)
    found = tongue.read(tongue.say(WORDS, rate), rate)
    assert " ".join(word.text for word in found) == WORDS
    assert [word.start for word in found] == pytest.approx(np.arange(len(found)) * 0.3, abs=0.03)


def test_a_word_that_was_cut_is_not_read_and_one_with_a_hole_is():
    tongue = agents_tongue(0.2)
    sound = tongue.say("one two", 16_000)
    half = sound[: int(0.28 * 16_000)]
    assert [word.text for word in tongue.read(half, 16_000, whole=0.9)] == ["one"]
    hole = np.concatenate([half, np.zeros(8000, np.float32), sound[len(half) :]])
    assert [word.text for word in tongue.read(hole, 16_000, whole=0.9)] == ["one", "two"]


def test_neither_noise_nor_the_other_tongue_is_read():
    callers, agents = callers_tongue(0.3), agents_tongue(0.2)
    callers.say(WORDS, 16_000)
    agents.say(WORDS, 16_000)
    noise = np.random.default_rng(1).normal(0, 0.2, 16_000).astype(np.float32)
    assert callers.read(noise, 16_000) == []
    assert callers.read(agents.say(WORDS, 16_000), 16_000) == []
