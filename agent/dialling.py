"""Places a call: to a server somewhere, or to one that is started here for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.audio import write_wav
from agent.config import Settings
from agent.engines import close_engines
from agent.latency.caller import Caller, Question
from agent.latency.results import TurnResult
from agent.protocol import WIRE_RATE
from agent.runner import Engines
from agent.server import listen, serve

Show = Callable[[TurnResult], None]


async def call_there(
    url: str, questions: Sequence[Question], show: Show, save: Path | None
) -> None:
    """Call ``url``; the recording is written even when the call breaks off."""
    caller = Caller(url)
    try:
        async for result in caller.turns(questions):
            show(result)
    finally:
        if save is not None:
            write_wav(save, [caller.line.mouth, caller.line.ear], WIRE_RATE)


async def call_here(
    settings: Settings,
    engines: Engines,
    questions: Sequence[Question],
    show: Show,
    save: Path | None,
) -> None:
    """Start a server on a free port, call it, stop it, release the engines."""
    sock = listen("127.0.0.1", 0)
    url = f"ws://127.0.0.1:{sock.getsockname()[1]}/v1/realtime"
    ready = asyncio.Event()
    server = asyncio.create_task(serve(settings, engines, sock, ready.set))
    try:
        await ready.wait()
        await call_there(url, questions, show, save)
    finally:
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)
        close_engines(engines)
