"""Calls of ``onebreath call`` and ``demo``, to a running server or to one started for the call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.audio.samples import write_wav
from agent.config.settings import Settings
from agent.latency.caller import REPLY_TIMEOUT, Caller
from agent.latency.question import SpokenQuestion
from agent.latency.realtime import RealtimeConnection
from agent.latency.results import TurnResult
from agent.protocol import WIRE_RATE
from agent.runtime.engine_tasks import Engines
from agent.runtime.engines import close_engines
from agent.server.ports import listen

Show = Callable[[TurnResult], None]


@dataclass(frozen=True, slots=True)
class CallPlan:
    """Plan of one call.

    Attributes:
        questions: recordings to play, in order.
        save: file for the stereo recording; None: the call is not recorded.
        reply_timeout: seconds from the end of a question until it counts as unanswered.
    """

    questions: Sequence[SpokenQuestion]
    save: Path | None = None
    reply_timeout: float = REPLY_TIMEOUT


async def call_server(url: str, plan: CallPlan, show: Show) -> None:
    """Call ``url``; the recording is written even when the call is lost.

    Args:
        url: websocket address of the server.
        plan: plan of the call.
        show: called with the result of each turn.

    Raises:
        CallError: the server does not answer, or the call is lost.
    """
    caller = Caller(RealtimeConnection(url), reply_timeout=plan.reply_timeout)
    try:
        async for result in caller.turns(plan.questions):
            show(result)
    finally:
        if plan.save is not None:
            write_wav(plan.save, [caller.audio.mouth, caller.audio.ear], WIRE_RATE)


async def call_own_server(settings: Settings, engines: Engines, plan: CallPlan, show: Show) -> None:
    """Start a server on a free port, call it, stop it and close the engines.

    Raises:
        CallError: the call is lost.
    """
    from agent.server.app import serve  # imported beside the engines, in `console.load`

    sock = listen("127.0.0.1", 0)
    url = f"ws://127.0.0.1:{sock.getsockname()[1]}/v1/realtime"
    ready = asyncio.Event()
    server = asyncio.create_task(serve(settings, engines, sock, ready.set))
    try:
        await ready.wait()
        await call_server(url, plan, show)
    finally:
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)
        close_engines(engines)
