"""A real Chromium on a real server: what the browser tests stand on."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from node import lacking
from playwright.sync_api import Browser, Page, Playwright, Route

from agent.audio import AUDIBLE_DBFS, NOISE_FLOOR_DBFS, Samples, first_above, last_above
from agent.compute import Compute
from agent.config import Settings
from agent.engines import close_engines
from agent.responders.scripted import ScriptedResponder
from agent.server import listen, serve
from agent.vad import SileroVad
from agent.work import Engines
from asr.scripted import ScriptedTranscriber
from tts.engine import SpeechChunk
from tts.tone import ToneSynthesizer

JAVASCRIPT = Path(__file__).parent / "javascript"
QUESTIONS = Path(__file__).parent.parent / "agent" / "questions"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
)
FAKE_MICROPHONE = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
START_SECONDS = 20.0
EVENT_SECONDS = 60.0


def chromium(playwright: Playwright, *flags: str) -> Browser:
    """Debian's Chromium, or the one that ``CHROMIUM`` names."""
    path = (
        os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    )
    if path is None:
        lacking("there is no chromium (Debian: apt-get install chromium)")
    return playwright.chromium.launch(executable_path=path, args=[*FLAGS, *flags])


class Humming(ToneSynthesizer):
    """Without the gaps between words: what ends then ends because it was stopped."""

    def _beep(self, word: str) -> SpeechChunk:
        whole = super()._beep(word)
        time = np.arange(len(whole.samples)) / self.rate
        samples = (0.3 * np.sin(2 * np.pi * 300 * time)).astype(np.float32)
        return SpeechChunk(samples, self.rate, whole.words)


def scripted(heard: Sequence[str], answers: Mapping[str, str], steps: int = 6) -> Engines:
    """Engines without models that hear ``heard``, utterance by utterance; the ear is Silero's."""
    return Engines(
        ScriptedTranscriber([[(1, word) for word in text.split()] for text in heard]),
        ScriptedResponder(dict(answers), steps=steps),
        Humming(),
        SileroVad.load(),
        Compute(),
        ThreadPoolExecutor(4),
    )


@dataclass(frozen=True, slots=True)
class Served:
    url: str

    def calls(self) -> int:
        """Calls that are up."""
        return int(httpx.get(f"{self.url}/readyz").json()["calls"])


@contextmanager
def served(engines: Engines, **settings: Any) -> Iterator[Served]:
    """The agent in a thread of its own, media on loopback only."""
    chosen = Settings(webrtc={"ice_hosts": ["127.0.0.1"]}, **settings)
    ready = threading.Event()
    box: dict[str, Any] = {}

    async def main() -> None:
        box["loop"], box["task"] = asyncio.get_running_loop(), asyncio.current_task()
        with listen("127.0.0.1", 0) as sock:
            box["port"] = sock.getsockname()[1]
            try:
                await serve(chosen, engines, sock, ready.set)
            except asyncio.CancelledError:
                return

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        assert ready.wait(START_SECONDS)
        yield Served(f"http://127.0.0.1:{box['port']}")
    finally:
        box["loop"].call_soon_threadsafe(box["task"].cancel)
        thread.join(START_SECONDS)
        close_engines(engines)


@dataclass(frozen=True, slots=True)
class Recorded:
    """Both ends of a call in the page, on one timeline."""

    rate: int
    mouth: Samples
    ear: Samples

    def voice_to_voice_ms(self) -> float:
        """Last sample of the last question -> first audible sample after it, as docs/latency.md."""
        end = last_above(self.mouth, NOISE_FLOOR_DBFS)
        assert end is not None
        first = first_above(self.ear[end:], AUDIBLE_DBFS)
        assert first is not None
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
    """One page with its instruments; see javascript/instruments.js.

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
        page.set_default_timeout(10_000)
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.route("**/test/*.wav", self._question)
        if real_microphone:
            page.add_init_script("window.keepMicrophone = true")
        if recording:
            page.add_init_script("window.keepRecording = true")
        page.add_init_script(path=JAVASCRIPT / "instruments.js")

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

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """Entries of the session whose event is of this type, as a download has them."""
        script = "kind => desk.entries.filter(({event}) => event.type === kind)"
        found: list[dict[str, Any]] = self.page.evaluate(script.replace("desk", DESK), kind)
        return found

    def wait_for(self, kind: str, count: int = 1) -> dict[str, Any]:
        """The ``count``th event of this type."""
        deadline = time.monotonic() + EVENT_SECONDS
        while len(found := self.entries(kind)) < count:
            # wait_for_function would need eval, which the page's policy forbids
            assert time.monotonic() < deadline, self._state(kind)
            self.page.wait_for_timeout(30)
        return found[count - 1]

    def _state(self, lacking: str) -> str:
        """What to look at when an event does not come."""
        problem = self.page.evaluate(f"{DESK}.session.problem")
        last = self.page.evaluate(f"{DESK}.entries.slice(-12).map(e => e.t + ' ' + e.event.type)")
        return f"no {lacking}; {problem}; {last}; {self.complaints}"

    def finish_replay(self) -> None:
        """Show the whole recorded session at once."""
        self.wait_for("page.connecting")
        self.page.evaluate(f"{DESK}.replay.finish()")

    def recorded(self) -> Recorded:
        found = self.page.evaluate("instruments.recording()")
        ends = [np.frombuffer(base64.b64decode(found[end]), np.float32) for end in ("mouth", "ear")]
        return Recorded(int(found["rate"]), *ends)

    def _listen(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _question(self, route: Route) -> None:
        route.fulfill(path=QUESTIONS / route.request.url.rpartition("/")[2])


DESK = "document.querySelector('ob-talk').desk"
"""What the page works with; every view is given it."""
