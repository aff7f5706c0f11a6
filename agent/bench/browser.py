"""``onebreath bench browser``: the web client measured in a real Chromium on this machine.

The server runs in a process of its own. Each round visits the page anew, asks a bundled question,
asks for a story, and silences the agent during the story. Both ends of the page's AudioContext are
recorded, and the page's displays are compared with the recording.
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
"""Typed message with a reply that is long enough to be silenced."""
SILENCE_AFTER_MS = 250
"""Time from the first sound of the story until it is silenced, in milliseconds."""
AUDIBLE_WITHIN = 0.15
"""Seconds before Esc within which the story must be audible; gaps between words are shorter."""
SETTLE_MS = 400
"""Wait for late audio after the reply was silenced, in milliseconds."""


@dataclass(frozen=True, slots=True)
class VisitTimings:
    """Times of one visit, in milliseconds.

    Attributes:
        connect: time from the click on the button until the call is connected.
        shown: voice to voice of the first question, as the page shows it.
        recorded: voice to voice of the first question in the recording (docs/latency.md).
        silence: time from Esc to the last audible sample of the reply.
    """

    connect: float
    shown: float
    recorded: float
    silence: float


def run_browser_bench(config: Path | None, rounds: int, progress: Progress) -> list[Figure]:
    """Visit the page ``rounds`` times over each transport; a visit takes about 15 s.

    Args:
        config: settings file of the server; None: the default one.
        rounds: visits over each transport.
        progress: called with a description of each step.

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


def visit_page(browser: Browser, url: str, transport: str) -> VisitTimings:
    """Ask a question, ask for a story, and press Esc during the story.

    Raises:
        CallError: a reply does not come, or ends before Esc.
    """
    # The recorder is a worklet from a blob, which the page's content security policy forbids.
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
        return VisitTimings(connected["ms"], shown, recorded, _silence(visit))


def _silence(visit: Visit) -> float:
    visit.type(STORY)
    visit.wait_for("page.sound.first", 2)
    visit.page.wait_for_timeout(SILENCE_AFTER_MS)
    pressed = visit.press_escape()
    visit.wait_for("response.done", 2)
    visit.page.wait_for_timeout(SETTLE_MS)
    recorded = visit.recorded()
    if recorded.sound_after(pressed - AUDIBLE_WITHIN) == 0.0:
        raise CallError("the reply was over before it could be silenced")
    return recorded.sound_after(pressed)


def figures(transport: str, rounds: Sequence[VisitTimings]) -> list[Figure]:
    """Figures of one transport."""
    apart = [abs(each.shown - each.recorded) for each in rounds]
    return [
        figure(f"{transport}: connect", "ms", [each.connect for each in rounds], 1000.0),
        figure("  voice to voice, as shown", "ms", [each.shown for each in rounds]),
        figure("  as recorded", "ms", [each.recorded for each in rounds]),
        figure("  between the two", "ms", apart, 30.0),
        figure("  Esc to silence", "ms", [each.silence for each in rounds], 60.0),
    ]
