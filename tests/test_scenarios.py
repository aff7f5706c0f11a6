"""Every script of tests/scenarios, in virtual time; some of them through the server as well."""

from __future__ import annotations

import pytest
from scenario import SCENARIOS, Scenario, ScenarioError, load_all, load_scenario
from scenario_play import play_live, play_virtually

ALL = load_all()
PAINS = range(1, 16)


def _params(scenarios: dict[str, Scenario]) -> list[object]:
    return [
        pytest.param(
            scenario,
            id=name,
            marks=[pytest.mark.xfail(reason=f"needs {scenario.needs}")] if scenario.needs else [],
        )
        for name, scenario in scenarios.items()
    ]


@pytest.mark.parametrize("scenario", _params(ALL))
def test_in_virtual_time(scenario):
    play_virtually(scenario)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", _params({k: s for k, s in ALL.items() if s.live}))
async def test_through_the_server(scenario):
    await play_live(scenario)
