"""``onebreath bench neighbours``: what one client at its limits costs the others."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from agent.bench.figures import Progress
from agent.bench.floods import KINDS
from agent.bench.server_process import SCRIPTED, running_server

TURN_SECONDS = 1.0
"""Seconds from the beginning of one typed turn to the next, for each neighbour."""
REPLY_SECONDS = 20.0
"""Seconds after which a turn counts as lost."""
SETTLE_SECONDS = 10.0
"""Seconds of flood before the measurement: its bursts are over then."""
TARGET = 1.3
"""p95 beside a flood, in those of an idle server, at most."""
VARIABLES = {
    "ONEBREATH_SERVER__MAX_CALLS": "16",
    # What another machine may have by default; all addresses here are of this one.
    "ONEBREATH_SERVER__MAX_CALLS_PER_ADDRESS": "8",
    "ONEBREATH_LOG_LEVEL": "error",
}
QUESTION = {
    "type": "conversation.item.create",
    "item": {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "How are you?"}],
    },
}


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The turns of the neighbours beside one flood.

    Attributes:
        flood: what the client at its limits sends; empty for an idle server.
        seconds: from each typed turn to the first sound of its reply.
        lost: turns without one.
    """

    flood: str
    seconds: Sequence[float]
    lost: int

    @property
    def p95(self) -> float:
        """The 95th percentile, in seconds; infinite if no turn was answered."""
        return float(np.percentile(self.seconds, 95)) if self.seconds else float("inf")

    def row(self, idle: Sequence[float]) -> dict[str, Any]:
        """The figures in milliseconds, beside the p95 of the idle server before and after."""
        base = max(idle)
        ratio = self.p95 / base
        return {
            "flood": self.flood or "idle",
            "turns": len(self.seconds) + self.lost,
            "lost": self.lost,
            "p50_ms": round(1000 * float(np.median(self.seconds)), 1) if self.seconds else None,
            "p95_ms": round(1000 * self.p95, 1) if self.seconds else None,
            "of_idle": round(ratio, 2) if self.seconds else None,
            "met": self.lost == 0 and ratio <= TARGET,
        }


def run_neighbours_bench(
    neighbours: int, turns: int, config: Path | None, scripted: bool, progress: Progress
) -> list[dict[str, Any]]:
    """Measure typed turns beside each kind of flood, and before and after on an idle server.

    Args:
        neighbours: calls whose turns are measured.
        turns: turns of each of them, for each flood.
        config: settings file.
        scripted: whether the engines are scripted ones, so that everything else is measured.
        progress: called with a description of each step.

    Raises:
        CallError: the server does not start.
    """
    flags = SCRIPTED if scripted else ()
    found: list[Neighbourhood] = []
    with running_server(progress, config=config, flags=flags, variables=VARIABLES) as (port, _):
        asyncio.run(_measured("", port, neighbours, 3))  # warm
        for kind in ("", *KINDS, ""):
            progress(f"{neighbours} calls beside {kind or 'nothing'}")
            with _flooding(kind, port):
                found.append(asyncio.run(_measured(kind, port, neighbours, turns)))
    idle = [each.p95 for each in found if not each.flood]
    return [each.row(idle) for each in found]


@contextmanager
def _flooding(kind: str, port: int) -> Iterator[None]:
    if not kind:
        yield
        return
    command = [sys.executable, "-m", "agent.bench.floods", kind, str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as flooder:
        try:
            time.sleep(SETTLE_SECONDS)
            yield
        finally:
            flooder.kill()


async def _measured(kind: str, port: int, neighbours: int, turns: int) -> Neighbourhood:
    calls = [_neighbour(port, turns, index / neighbours) for index in range(neighbours)]
    taken = [seconds for call in await asyncio.gather(*calls) for seconds in call]
    answered = [seconds for seconds in taken if seconds is not None]
    return Neighbourhood(kind, answered, len(taken) - len(answered))


async def _neighbour(port: int, turns: int, delay: float) -> list[float | None]:
    """The seconds of each turn of one call; None for a turn that was lost."""
    taken: list[float | None] = []
    await asyncio.sleep(delay * TURN_SECONDS)
    try:
        async with asyncio.timeout(REPLY_SECONDS):
            line = await connect(f"ws://127.0.0.1:{port}/v1/realtime", compression=None)
        async with line:
            for _ in range(turns):
                began = time.monotonic()
                taken.append(await _turn(line))
                await asyncio.sleep(max(0.0, began + TURN_SECONDS - time.monotonic()))
    except (OSError, TimeoutError, WebSocketException):
        pass  # the turns that are missing count as lost
    return taken + [None] * (turns - len(taken))


async def _turn(line: ClientConnection) -> float | None:
    began, first = time.monotonic(), None
    await line.send(json.dumps(QUESTION))
    await line.send('{"type": "response.create"}')
    try:
        async with asyncio.timeout(REPLY_SECONDS):
            async for message in line:
                kind = json.loads(message)["type"]
                if kind == "response.output_audio.delta" and first is None:
                    first = time.monotonic() - began
                if kind == "response.done":
                    return first
    except TimeoutError:
        return None
    return None
