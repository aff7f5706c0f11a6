"""The web client's page in a real Chromium, driven by Playwright and recorded at both ends.

Playwright comes with the extra ``browser``; it is imported only when a browser is opened.
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
from agent.extras import install
from agent.questions import bundled_questions

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Playwright, Route

INSTRUMENTS = Path(__file__).with_name("instruments.js")
FLAGS = (
    "--no-sandbox",  # Chromium has no sandbox for root in a container, and visits only our page
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
)
ACTION_MS = 10_000
"""Time limit of an action in the page, in milliseconds."""
EVENT_SECONDS = 60.0
"""Longest wait for an event, in seconds."""
CONTROLLER = "document.querySelector('ob-talk').controller"
"""JavaScript expression for the controller of the page."""


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start Chromium for the duration of the context.

    Raises:
        CallError: Playwright or Chromium is not installed.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise CallError(f"this needs Playwright; install it: {install('browser')}") from None
    with sync_playwright() as playwright:
        browser = chromium(playwright)
        try:
            yield browser
        finally:
            browser.close()


def chromium(playwright: Playwright, *flags: str) -> Browser:
    """Start the Chromium that the variable ``CHROMIUM`` names, or the system's.

    Args:
        flags: further command-line flags.

    Raises:
        CallError: Chromium is not installed.
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
    """Recording of both ends of a call in the page, on one timeline.

    Attributes:
        rate: samples per second.
        mouth: audio of the microphone, float32 mono.
        ear: audio of the speaker, float32 mono.
    """

    rate: int
    mouth: Samples
    ear: Samples

    def voice_to_voice_ms(self) -> float:
        """Milliseconds from the end of the last question to the first audible sample of its reply.

        docs/latency.md defines the figure.

        Raises:
            CallError: the recording has no question or no reply.
        """
        end = last_above(self.mouth, NOISE_FLOOR_DBFS)
        first = None if end is None else first_above(self.ear[end:], AUDIBLE_DBFS)
        if first is None:
            raise CallError("the recording of the page lacks a question or its reply")
        return first / self.rate * 1000

    def peak(self, begin: float, end: float) -> float:
        """Absolute value (0 to 1) of the loudest sample at the ear between two seconds."""
        return float(np.abs(self.ear[int(begin * self.rate) : int(end * self.rate)]).max())

    def sound_after(self, second: float) -> float:
        """Milliseconds from ``second`` to the last audible sample at the ear; 0: there is none."""
        start = int(second * self.rate)
        last = last_above(self.ear[start:], AUDIBLE_DBFS)
        return 0.0 if last is None else last / self.rate * 1000


class Visit:
    """One visit of the page, with the instruments of instruments.js.

    Args:
        page: page of Playwright.
        url: address of the server.
        real_microphone: whether the page uses the browser's microphone instead of the instruments'.
        recording: whether both ends of the call are recorded; the browser context has to bypass the
            content security policy.

    Attributes:
        complaints: errors and warnings in the console of the page.
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
        """Load the page with a query string."""
        self.page.goto(f"{self.url}/{query}")
        return self

    def start(self) -> Visit:
        """Click on the button and wait until the agent listens."""
        self.page.get_by_role("button", name="Start talking").click()
        self.page.get_by_role("status").get_by_text("Listening").wait_for()
        return self

    def say(self, question: str) -> None:
        """Play a bundled question into the microphone and wait for its end."""
        self.page.evaluate("url => instruments.say(url)", f"/test/{question}.wav")

    def type(self, words: str) -> None:
        """Type a message and send it."""
        self.page.get_by_role("textbox", name="Message").fill(words)
        self.page.keyboard.press("Enter")

    def press_escape(self) -> float:
        """Press Esc, which silences the agent; return the second of the recording."""
        pressed: float = self.page.evaluate(
            "() => { const t = instruments.now();"
            " dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'})); return t; }"
        )
        return pressed

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """Entries of the session's log with events of type ``kind``."""
        script = f"kind => {CONTROLLER}.entries.filter(({{event}}) => event.type === kind)"
        found: list[dict[str, Any]] = self.page.evaluate(script, kind)
        return found

    def wait_for(self, kind: str, count: int = 1) -> dict[str, Any]:
        """Wait for the ``count``th event of type ``kind`` and return it.

        Raises:
            CallError: the event does not come within ``EVENT_SECONDS``.
        """
        deadline = time.monotonic() + EVENT_SECONDS
        while len(found := self.entries(kind)) < count:
            if time.monotonic() >= deadline:
                raise CallError(self._state(kind))
            # wait_for_function needs eval, which the content security policy forbids
            self.page.wait_for_timeout(30)
        return found[count - 1]

    def _state(self, missing: str) -> str:
        """Description of the page for the error about a missing event."""
        problem = self.page.evaluate(f"{CONTROLLER}.session.problem")
        last = self.page.evaluate(
            f"{CONTROLLER}.entries.slice(-12).map(e => e.t + ' ' + e.event.type)"
        )
        return f"no {missing}; {problem}; {last}; {self.complaints}"

    def finish_replay(self) -> None:
        """Finish the replay of a recorded session at once."""
        self.wait_for("page.connecting")
        self.page.evaluate(f"{CONTROLLER}.replay.finish()")

    def recorded(self) -> Recorded:
        """Return the recording up to now."""
        found = self.page.evaluate("instruments.recording()")
        ends = [np.frombuffer(base64.b64decode(found[end]), np.float32) for end in ("mouth", "ear")]
        return Recorded(int(found["rate"]), *ends)

    def _listen(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _question(self, route: Route) -> None:
        wanted = route.request.url.rpartition("/")[2]
        route.fulfill(path={path.name: path for path in bundled_questions()}[wanted])
