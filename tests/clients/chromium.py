"""Runs the features of a page in Chromium: an app of another origin, with its own small server.

The app's server does what the API's documentation asks of one: it alone knows the API key, makes
client secrets for its page, and passes the page's offers on.

python chromium.py HOST:PORT PAGE_MODULE
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import threading
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Browser, async_playwright
from report import feature, note_version, run_all

HERE = Path(__file__).parent
SPOKEN = HERE.parent.parent / "agent" / "questions" / "capital_of_france.wav"
MODULES = Path(os.environ.get("CLIENTS_NODE_MODULES", "node_modules"))
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--allow-loopback-in-peer-connection",
)
LEAD_SECONDS = 2
"""Silence before the microphone's question, while the call is being set up. The question comes
again and again: on a busy machine that may take longer."""
PAGE = b"<!doctype html><meta charset=utf-8><title>an app</title>"


class App(SimpleHTTPRequestHandler):
    """The app's server: its page and modules, client secrets, offers that it passes on."""

    server_url = ""
    key = ""

    def do_GET(self) -> None:
        if self.path == "/":
            self._answer(PAGE, "text/html")
        elif self.path == "/favicon.ico":
            self._answer(b"", "image/x-icon")
        elif self.path.startswith("/own/"):
            self._answer((HERE / Path(self.path).name).read_bytes(), "text/javascript")
        else:
            super().do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self._ask(body.decode())
        self._answer(answer.content, answer.headers.get("content-type", "text/plain"), answer)

    def _ask(self, body: str) -> httpx.Response:
        bearer = {"Authorization": f"Bearer {self.key}"}
        with httpx.Client(base_url=self.server_url, headers=bearer) as web:
            if self.path == "/token":
                return web.post("/v1/realtime/client_secrets", json={"session": json.loads(body)})
            if self.path.startswith("/hangup/"):
                return web.post(f"/v1/realtime/calls/{Path(self.path).name}/hangup")
            session = {"type": "realtime", "instructions": "Be brief."}
            form: Any = {"sdp": (None, body), "session": (None, json.dumps(session))}
            return web.post("/v1/realtime/calls", files=form)

    def _answer(self, body: bytes, kind: str, answer: httpx.Response | None = None) -> None:
        self.send_response(200 if answer is None else answer.status_code)
        self.send_header("Content-Type", kind)
        if answer is not None and "location" in answer.headers:
            self.send_header("Location", answer.headers["location"])
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(address: str) -> Iterator[str]:
    """The app's server; yields its address."""
    App.server_url, App.key = f"http://{address}", os.environ["OPENAI_API_KEY"]
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(App, directory=str(MODULES)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def microphone(folder: Path) -> Path:
    """A recording for the browser's microphone: silence, a question, silence."""
    target = folder / "microphone.wav"
    with wave.open(str(SPOKEN)) as spoken, wave.open(str(target), "wb") as made:
        made.setparams(spoken.getparams())
        quiet = bytes(spoken.getframerate() * 2)
        made.writeframes(quiet * LEAD_SECONDS + spoken.readframes(spoken.getnframes()) + quiet * 5)
    return target


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Chromium, its microphone a recorded question."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or "chromium-browser"
    with tempfile.TemporaryDirectory() as folder:
        file = f"--use-file-for-fake-audio-capture={microphone(Path(folder))}"
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=path, args=[*FLAGS, file])
            yield browser
            await browser.close()


async def show(browser: Browser, origin: str, module: str, name: str) -> None:
    """Run one feature in a page of its own."""
    async with await browser.new_context() as context:
        page = await context.new_page()
        page.on("console", lambda message: print(message.text))
        await page.goto(origin)
        run = "async ([m, n, a]) => (await import(m)).features[n](a)"
        await page.evaluate(run, [f"/own/{module}", name, App.server_url.removeprefix("http://")])


async def names(browser: Browser, origin: str, module: str) -> list[str]:
    """The features of the page."""
    async with await browser.new_context() as context:
        page = await context.new_page()
        await page.goto(origin)
        run = "async (m) => Object.keys((await import(m)).features)"
        return list(await page.evaluate(run, f"/own/{module}"))


async def show_all(address: str, module: str) -> None:
    """Run all features of the page."""
    with serving(address) as origin:
        async with chromium() as browser:
            note_version(browser.version)
            for name in await names(browser, origin, module):
                feature(name)(partial(show, browser, origin, module, name))
            await run_all()


asyncio.run(show_all(sys.argv[1], sys.argv[2]))
