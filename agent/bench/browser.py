"""The figures of the browser client, taken in a real Chromium on this machine.

A server runs in a process of its own; the page in Chromium is visited anew for each round, asks a
bundled question, then for a story, and is silenced while it tells one. Its own AudioContext is
recorded at both ends, which is what its displays are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.bench.browser_page import CONTROLLER, Visit, open_browser
from agent.bench.figures import Figure, Progress, figure
from agent.bench.server_process import running_server
from agent.errors import CallError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TRANSPORTS = ("webrtc", "websocket")
ENVIRONMENT = {"ONEBREATH_WEBRTC__ICE_HOSTS": '["127.0.0.1"]', "ONEBREATH_LOG_LEVEL": "error"}
STORY = "Tell me a story about a dog."
"""Typed: its reply is long enough to be silenced."""
HEARD_MS = 250
"""Of that reply, before it is: within its first words."""
BEFORE = 0.15
"""Seconds before the key in which it must have been heard; gaps between words are shorter."""
LATE_MS = 400
"""What comes late comes by then."""


@dataclass(frozen=True, slots=True)
class Round:
    """One visit, in milliseconds."""

    connect: float
    """From the button to a line that listens."""
    shown: float
    """Voice to voice of the first question, as the page says."""
    recorded: float
    """The same, as docs/latency.md defines it, from the recording."""
    silence: float
    """From the key to the last sound of the reply."""


def run_browser_bench(config: Path | None, rounds: int, progress: Progress) -> list[Figure]:
    """Visit the page ``rounds`` times over each transport; some 15 s each.

    Raises:
        CallError: Playwright or Chromium is not installed, the server does not start, or a reply
            does not come.
    """
    with (
        open_browser() as browser,
        running_server(progress, config=config, variables=ENVIRONMENT) as (port, _),
    ):
        url = f"http://127.0.0.1:{port}"
        visit_page(browser, url, TRANSPORTS[0])  # warms up
        found: list[Figure] = []
        for transport in TRANSPORTS:
            taken = []
            for number in range(rounds):
                progress(f"{transport}: round {number + 1} of {rounds}")
                taken.append(visit_page(browser, url, transport))
            found += figures(transport, taken)
    return found


def visit_page(browser: Browser, url: str, transport: str) -> Round:
    """Ask, ask for a story, and press Esc while it is told.

    Raises:
        CallError: a reply does not come, or is over before it can be silenced.
    """
    # The recorder is a worklet from a blob, which the page's own policy forbids.
    with browser.new_context(bypass_csp=True) as context:
        visit = Visit(context.new_page(), url, recording=True)
        visit.open(f"?transport={transport}").start()
        connected = visit.wait_for("page.connected")["event"]
        if connected["transport"] != transport:
            raise CallError(f"the page fell back from {transport} to {connected['transport']}")
        visit.say("capital_of_france")
        visit.wait_for("page.sound.first")
        visit.wait_for("response.done")
        shown = visit.page.evaluate(f"{CONTROLLER}.session.turns[0].voiceToVoice")
        recorded = visit.recorded().voice_to_voice_ms()
        return Round(connected["ms"], shown, recorded, _silence(visit))


def _silence(visit: Visit) -> float:
    visit.type(STORY)
    visit.wait_for("page.sound.first", 2)
    visit.page.wait_for_timeout(HEARD_MS)
    pressed = visit.press_escape()
    visit.wait_for("response.done", 2)
    visit.page.wait_for_timeout(LATE_MS)
    recorded = visit.recorded()
    if recorded.sound_after(pressed - BEFORE) == 0.0:
        raise CallError("the reply was over before it could be silenced")
    return recorded.sound_after(pressed)


def figures(transport: str, rounds: Sequence[Round]) -> list[Figure]:
    """The lines of the table for one transport."""
    apart = [abs(each.shown - each.recorded) for each in rounds]
    return [
        figure(f"{transport}: connect", "ms", [each.connect for each in rounds], 1000.0),
        figure("  voice to voice, as shown", "ms", [each.shown for each in rounds]),
        figure("  as recorded", "ms", [each.recorded for each in rounds]),
        figure("  between the two", "ms", apart, 30.0),
        figure("  Esc to silence", "ms", [each.silence for each in rounds], 60.0),
    ]
