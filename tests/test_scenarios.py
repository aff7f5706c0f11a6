"""Every script of tests/scenarios, in virtual time; some of them through the server as well."""

from __future__ import annotations

import pytest
from support.scenario import Scenario, load_all
from support.scenario_play import play_live, play_virtually

ALL = load_all()
OF_CONVERSATIONS = set(range(1, 16)) - {13}
"""The recurrent pains that a conversation can have; the 13th, the pins of dependencies, is no
matter of conversation and is guarded by constraints.txt and tests/test_packaging.py."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All scenarios in virtual time; in real time those marked `live`, or all when asked to."""
    if "scenario" not in metafunc.fixturenames:
        return
    every = metafunc.config.getoption("--all-live")
    live = metafunc.function is test_through_the_server
    chosen = {name: s for name, s in ALL.items() if s.live or every or not live}
    metafunc.parametrize("scenario", [_param(name, s) for name, s in chosen.items()])


def _param(name: str, scenario: Scenario) -> object:
    needs = scenario.needs
    marks = [pytest.mark.xfail(reason=f"needs {needs}", strict=False)] if needs else []
    return pytest.param(scenario, id=name, marks=marks)


def test_in_virtual_time(scenario):
    play_virtually(scenario)


@pytest.mark.slow
async def test_through_the_server(scenario):
    await play_live(scenario)


def test_every_pain_of_a_conversation_has_a_scenario():
    assert {scenario.pain for scenario in ALL.values()} - {None} == OF_CONVERSATIONS
    assert len(ALL) >= 40
