"""The options of the rule `draft` in the settings, and what clients are told of the options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.checkpoints import write_checkpoint
from test_protocol import FACTS

from agent.config.decoding import DecodingSettings
from agent.config.settings import ResponderChoice
from agent.protocol import EventWriter
from agent.responders.base import ResponderError, decoding_of
from agent.responders.diffusion import DiffusionResponder
from agent.responders.scripted import ScriptedResponder
from agent.runtime.engines import make_responder


def made(model: Path, **values: Any) -> DiffusionResponder:
    choice = ResponderChoice(model=str(model), dtype="float32", **values)
    found = make_responder(choice, 1, lambda line: None)
    assert isinstance(found, DiffusionResponder)
    return found


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("llama"), "llama")


def test_options_of_drafts_reach_the_engine(llama: Path) -> None:
    options = made(llama, rule="draft", rounds=5, draft_rows=4, draft_echo=False).options
    assert (options.rounds, options.draft_rows, options.draft_echo) == (5, 4, False)


@pytest.mark.parametrize("given", [{"rounds": 5}, {"draft_rows": 4}, {"draft_echo": False}])
def test_options_of_drafts_say_nothing_to_another_rule(llama: Path, given: dict[str, Any]) -> None:
    with pytest.raises(ResponderError, match=r"says nothing to the rule fixed_point.*rule draft"):
        made(llama, rule="fixed_point", **given)


@pytest.mark.parametrize("given", [{"rounds": 0}, {"draft_rows": 33}, {"draft_rows": "many"}])
def test_options_of_drafts_have_bounds(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        DecodingSettings(**given)


def test_what_says_nothing_to_the_rule_is_not_shown(llama: Path) -> None:
    shown = made(llama, max_tokens=20).decoding
    assert shown["rule"] == "fixed_point"
    assert shown["max_tokens"] == 20
    assert not {"temperature", "steps", "threshold", "draft_rows", "rounds"} & shown.keys()
    assert made(llama, rule="sequential", temperature=0.7).decoding["temperature"] == 0.7


def test_a_responder_that_tells_nothing_is_shown_as_nothing() -> None:
    assert decoding_of(ScriptedResponder()) == {}


@pytest.mark.parametrize("own", [True, False])
def test_only_clients_that_ask_for_own_events_are_told(own: bool) -> None:
    shown = EventWriter(FACTS, own).created()["session"].get("onebreath")
    assert shown == ({"events": True, "decoding": {}} if own else None)
