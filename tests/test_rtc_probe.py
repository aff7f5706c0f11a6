"""The measurements of a WebRTC line, against the echo in its own process."""

import statistics

import pytest

from agent.errors import CallError
from agent.latency import rtc_probe
from agent.latency.rtc_probe import connect_times, longest_gaps, round_trips


@pytest.fixture(scope="module")
def echo():
    with rtc_probe.echo_server() as url:
        yield url


@pytest.mark.slow
async def test_an_echo_takes_at_least_the_frame_it_is_spoken_in(echo):
    trips = await round_trips(echo, 10, 0.0)
    assert len(trips) > 5
    assert all(trip > 20.0 for trip in trips)
    assert statistics.median(trips) < 200.0


@pytest.mark.slow
async def test_a_line_that_loses_everything_echoes_nothing(echo):
    with pytest.raises(CallError, match="0 of 3 beeps"):
        await round_trips(echo, 3, 1.0)


@pytest.mark.slow
async def test_connecting_and_gaps(echo):
    assert all(0.0 < ms < 5000.0 for ms in await connect_times(echo, 2))
    gaps = await longest_gaps(echo, 2, 0.5)
    assert len(gaps) == 2
    assert all(15.0 < gap <= 500.0 for gap in gaps)
