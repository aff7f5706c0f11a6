"""A real Chromium on a real server: what the browser tests stand on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from playwright.sync_api import Browser, Playwright, sync_playwright

from agent.audio.vad import SileroVad
from agent.bench import browser_page
from agent.compute import Compute
from agent.config.settings import Settings
from agent.errors import CallError
from agent.responders.scripted import ScriptedResponder
from agent.runtime.engine_tasks import Engines
from agent.runtime.engines import close_engines
from agent.server.app import serve
from agent.server.ports import listen
from asr.scripted import ScriptedTranscriber
from support.node import lacking
from tts.engine import SpeechChunk
from tts.tone import ToneSynthesizer

QUESTIONS = Path(__file__).parent.parent.parent / "agent" / "questions"
FAKE_MICROPHONE = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
START_SECONDS = 20.0


def chromium(playwright: Playwright, *flags: str) -> Browser:
    """That of the bench; a test without one is skipped, or fails where there has to be one."""
    try:
        return browser_page.chromium(playwright, *flags)
    except CallError as error:
        lacking(str(error))


class Humming(ToneSynthesizer):
    """Without the gaps between words: what ends then ends because it was stopped."""

    def _beep(self, word: str) -> SpeechChunk:
        whole = super()._beep(word)
        time = np.arange(len(whole.samples)) / self.rate
        samples = (0.3 * np.sin(2 * np.pi * 300 * time)).astype(np.float32)
        return SpeechChunk(samples, self.rate, whole.words)


@contextmanager
def listening() -> Iterator[Browser]:
    """A Chromium whose microphone plays a tone."""
    with sync_playwright() as running:
        started = chromium(running, *FAKE_MICROPHONE)
        yield started
        started.close()


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
