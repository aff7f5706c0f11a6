"""The client's page in a real Chromium, with instruments at its mouth and ear.

Playwright drives it. It comes with the extra ``browser`` and is imported when a browser is opened,
so that everything else works without it.
"""

from __future__ import annotations

import base64
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.audio.samples import AUDIBLE_DBFS, NOISE_FLOOR_DBFS, Samples, first_above, last_above
from agent.errors import CallError
from agent.questions import bundled_questions

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Playwright, Route

INSTRUMENTS = Path(__file__).with_name("instruments.js")
FLAGS = (
    "--no-sandbox",  # it visits our own page only, and the superuser of a container has none
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
)
ACTION_MS = 10_000
EVENT_SECONDS = 60.0
CONTROLLER = "document.querySelector('ob-talk').controller"
"""What the page works with; every view is given it."""


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start Chromium.

    Raises:
        CallError: Playwright or Chromium is not installed.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise CallError("this needs Playwright: pip install -e '.[browser]'") from None
    with sync_playwright() as playwright:
        browser = chromium(playwright)
        try:
            yield browser
        finally:
            browser.close()


def chromium(playwright: Playwright, *flags: str) -> Browser:
    """The system's Chromium, or the one that ``CHROMIUM`` names.

    Raises:
        CallError: there is none.
    """
    path = (
        os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    )
    if path is None:
        raise CallError(
            "there is no chromium: apt-get install chromium, or name one in the variable CHROMIUM"
        )
    return playwright.chromium.launch(executable_path=path, args=[*FLAGS, *flags])


@dataclass(frozen=True, slots=True)
class Recorded:
    """Both ends of a call in the page, on one timeline."""

    rate: int
    mouth: Samples
    ear: Samples

    def voice_to_voice_ms(self) -> float:
        """Last sample of the last question -> first audible sample after it, as docs/latency.md.

        Raises:
            CallError: there is no question or no reply.
        """
        end = last_above(self.mouth, NOISE_FLOOR_DBFS)
        first = None if end is None else first_above(self.ear[end:], AUDIBLE_DBFS)
        if first is None:
            raise CallError("the recording of the page lacks a question or its reply")
        return first / self.rate * 1000

    def peak(self, begin: float, end: float) -> float:
        """The loudest sample at the ear between two seconds."""
        return float(np.abs(self.ear[int(begin * self.rate) : int(end * self.rate)]).max())

    def sound_after(self, second: float) -> float:
        """Milliseconds after ``second`` at which the ear heard something for the last time."""
        start = int(second * self.rate)
        last = last_above(self.ear[start:], AUDIBLE_DBFS)
        return 0.0 if last is None else last / self.rate * 1000


class Visit:
    """One page with its instruments; see instruments.js.

    Args:
        real_microphone: the one that the browser opens, instead of ours.
        recording: keep what mouth and ear hear; the context has to bypass the content policy.
    """

    def __init__(
        self, page: Page, url: str, *, real_microphone: bool = False, recording: bool = False
    ) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        page.set_default_timeout(ACTION_MS)
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.route("**/test/*.wav", self._question)
        if real_microphone:
            page.add_init_script("window.keepMicrophone = true")
        if recording:
            page.add_init_script("window.keepRecording = true")
        page.add_init_script(path=INSTRUMENTS)

    def open(self, query: str = "") -> Visit:
        self.page.goto(f"{self.url}/{query}")
        return self

    def start(self) -> Visit:
        """Press the button and wait until somebody listens."""
        self.page.get_by_role("button", name="Start talking").click()
        self.page.get_by_role("status").get_by_text("Listening").wait_for()
        return self

    def say(self, question: str) -> None:
        """Speak a bundled question; returns when it was said."""
        self.page.evaluate("url => instruments.say(url)", f"/test/{question}.wav")

    def type(self, words: str) -> None:
        """Send a typed message."""
        self.page.get_by_role("textbox", name="Message").fill(words)
        self.page.keyboard.press("Enter")

    def press_escape(self) -> float:
        """Silence the agent; the second on the recording's timeline at which it was asked to be."""
        pressed: float = self.page.evaluate(
            "() => { const t = instruments.now();"
            " dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'})); return t; }"
        )
        return pressed

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """Entries of the session whose event is of this type, as a download has them."""
        script = f"kind => {CONTROLLER}.entries.filter(({{event}}) => event.type === kind)"
        found: list[dict[str, Any]] = self.page.evaluate(script, kind)
        return found

    def wait_for(self, kind: str, count: int = 1) -> dict[str, Any]:
        """The ``count``th event of this type.

        Raises:
            CallError: it does not come.
        """
        deadline = time.monotonic() + EVENT_SECONDS
        while len(found := self.entries(kind)) < count:
            if time.monotonic() >= deadline:
                raise CallError(self._state(kind))
            # wait_for_function would need eval, which the page's policy forbids
            self.page.wait_for_timeout(30)
        return found[count - 1]

    def _state(self, lacking: str) -> str:
        """What to look at when an event does not come."""
        problem = self.page.evaluate(f"{CONTROLLER}.session.problem")
        newest = f"{CONTROLLER}.entries.slice(-12)"
        last = self.page.evaluate(f"{newest}.map(e => e.t + ' ' + e.event.type)")
        return f"no {lacking}; {problem}; {last}; {self.complaints}"

    def finish_replay(self) -> None:
        """Show the whole recorded session at once."""
        self.wait_for("page.connecting")
        self.page.evaluate(f"{CONTROLLER}.replay.finish()")

    def recorded(self) -> Recorded:
        found = self.page.evaluate("instruments.recording()")
        ends = [np.frombuffer(base64.b64decode(found[end]), np.float32) for end in ("mouth", "ear")]
        return Recorded(int(found["rate"]), *ends)

    def _listen(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _question(self, route: Route) -> None:
        wanted = route.request.url.rpartition("/")[2]
        route.fulfill(path={path.name: path for path in bundled_questions()}[wanted])
