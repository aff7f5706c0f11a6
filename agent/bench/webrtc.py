"""``onebreath bench webrtc``: the WebRTC transport over loopback on this machine."""

from __future__ import annotations

import asyncio
import statistics
import time

from agent.bench.figures import Figure, Progress, figure
from agent.bench.server_process import SCRIPTED, cpu_seconds, running_server
from agent.latency import rtc_probe
from agent.runtime.engines import keep_loaded

CONNECTS = 20
"""Number of connections to measure."""
CALLS = 8
"""Number of concurrent calls."""
CALLS_SECONDS = 15.0
"""Duration of the concurrent calls, in seconds."""
ENVIRONMENT = {
    "ONEBREATH_SERVER__MAX_CALLS": str(CALLS),
    "ONEBREATH_LOG_LEVEL": "error",
    "ONEBREATH_WEBRTC__ICE_HOSTS": '["127.0.0.1"]',
}


def run_webrtc_bench(beeps: int, progress: Progress) -> list[Figure]:
    """Measure connecting, the round trip with and without loss, and concurrent calls.

    Args:
        beeps: number of beeps per round-trip figure.
        progress: called with a description of each step.

    Raises:
        CallError: a server does not start, or a call fails.
    """
    keep_loaded()
    figures = _round_trips(beeps, progress)
    with running_server(progress, flags=SCRIPTED, variables=ENVIRONMENT) as (port, process):
        url = f"http://127.0.0.1:{port}"
        progress(f"connecting {CONNECTS} times")
        times = asyncio.run(rtc_probe.connect_times(url, CONNECTS))
        progress(f"{CALLS} calls for {CALLS_SECONDS:.0f} s")
        began, used = time.monotonic(), cpu_seconds(process)
        gaps = asyncio.run(rtc_probe.longest_gaps(url, CALLS, CALLS_SECONDS))
        cpu = (cpu_seconds(process) - used) / (time.monotonic() - began) * 100
    longest = figure(f"longest gap in {CALLS} calls at once", "ms", [max(gaps)], 60.0)
    each = figure(f"  CPU of each of {CALLS} calls", "% of a core", [cpu / CALLS])
    return [figure("connect", "ms", times, 1000.0), *figures, longest, each]


def _round_trips(beeps: int, progress: Progress) -> list[Figure]:
    with rtc_probe.echo_server() as url:
        progress("round trip")
        clean = asyncio.run(rtc_probe.round_trips(url, beeps, 0.0))
        figures = [figure("round trip", "ms", clean, 120.0)]
        for percent in (1, 5):
            progress(f"round trip with {percent} % of the packets lost")
            lossy = asyncio.run(rtc_probe.round_trips(url, beeps, percent / 100))
            added = [trip - statistics.median(clean) for trip in lossy]
            figures.append(figure(f"  added by {percent} % loss", "ms", added, 40.0))
    return figures
