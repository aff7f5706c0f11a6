"""Places calls: to a server somewhere, or to one that is started here for it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from agent.audio import write_wav
from agent.config import Settings
from agent.engines import close_engines
from agent.errors import CallError
from agent.latency.caller import REPLY_TIMEOUT, Caller
from agent.latency.question import Question
from agent.latency.realtime import RealtimeWire
from agent.latency.results import TurnResult
from agent.protocol import WIRE_RATE
from agent.server import listen, serve
from agent.work import Engines

START_SECONDS = 120.0
"""So long a server may take to load its engines."""

Show = Callable[[TurnResult], None]


@dataclass(frozen=True, slots=True)
class CallPlan:
    """What is to be asked, and where the recording goes."""

    questions: Sequence[Question]
    save: Path | None = None
    reply_timeout: float = REPLY_TIMEOUT


async def call_there(url: str, plan: CallPlan, show: Show) -> None:
    """Call ``url``; the recording is written even when the call breaks off."""
    caller = Caller(RealtimeWire(url), reply_timeout=plan.reply_timeout)
    try:
        async for result in caller.turns(plan.questions):
            show(result)
    finally:
        if plan.save is not None:
            write_wav(plan.save, [caller.line.mouth, caller.line.ear], WIRE_RATE)


async def call_here(settings: Settings, engines: Engines, plan: CallPlan, show: Show) -> None:
    """Start a server on a free port, call it, stop it, release the engines."""
    sock = listen("127.0.0.1", 0)
    url = f"ws://127.0.0.1:{sock.getsockname()[1]}/v1/realtime"
    ready = asyncio.Event()
    server = asyncio.create_task(serve(settings, engines, sock, ready.set))
    try:
        await ready.wait()
        await call_there(url, plan, show)
    finally:
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)
        close_engines(engines)


def config_words(config: Path | None) -> list[str]:
    """The words of a command line that name a settings file."""
    return [] if config is None else ["--config", str(config)]


@contextmanager
def running_server(
    words: Sequence[str],
    progress: Callable[[str], None],
    variables: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, psutil.Process]]:
    """A server in a process of its own, so that its CPU and memory are its own.

    Args:
        words: more of its command line.
        variables: more of its environment.

    Yields:
        Its websocket address and its process.

    Raises:
        CallError: it did not start.
    """
    progress("starting a server")
    sock = listen("127.0.0.1", 0)
    port = sock.getsockname()[1]
    sock.close()
    command = [sys.executable, "-m", "agent", "serve", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, **(variables or {})}
    with subprocess.Popen([*command, *words], stdout=subprocess.DEVNULL, env=environment) as server:
        try:
            _await_ready(f"http://127.0.0.1:{port}/readyz", server)
            yield f"ws://127.0.0.1:{port}/v1/realtime", psutil.Process(server.pid)
        finally:
            server.terminate()


def _await_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise CallError(
                "the server ended before it was ready; run `onebreath serve` to see why"
            )
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise CallError(f"the server was not ready within {START_SECONDS:.0f} s")
