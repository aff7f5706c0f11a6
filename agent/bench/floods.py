"""A client at its limits, in a process of its own: ``python -m agent.bench.floods KIND PORT``.

It sends as fast as the server reads, connects again whenever it is thrown out, and runs until it
is killed. For measurements on this machine only.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import os
import sys
from collections.abc import Awaitable, Callable

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

Send = Callable[[ClientConnection], Awaitable[None]]

SOUND = base64.b64encode(bytes(786_000)).decode()
ADDRESS = "127.0.0.2"
"""Address from which the flood comes: another client than the calls that are measured."""
PAUSE = 0.05
"""Seconds between two connections."""


def _events(*events: dict[str, object] | str) -> Send:
    wire = [event if isinstance(event, str) else json.dumps(event) for event in events]

    async def send(line: ClientConnection) -> None:
        for text in wire:
            await line.send(text)

    return send


FLOODS: dict[str, Send] = {
    "{}": _events("{}"),
    "pings": _events({"type": "onebreath.ping", "client_time_ms": 1}),
    "1 MiB appends": _events({"type": "input_audio_buffer.append", "audio": SOUND}),
    "create+cancel": _events({"type": "response.create"}, {"type": "response.cancel"}),
}
OFFERS = "offers"
KINDS = (*FLOODS, OFFERS)


async def flood(kind: str, port: int) -> None:
    """Flood a server on this machine until cancelled."""
    if kind == OFFERS:
        await _offer_for_ever(port)
        return
    while True:
        with contextlib.suppress(OSError, WebSocketException, TimeoutError):
            url = f"ws://127.0.0.1:{port}/v1/realtime"
            here = (ADDRESS, 0)
            async with connect(url, compression=None, max_queue=None, local_addr=here) as line:
                reading = asyncio.create_task(_read(line))
                try:
                    while True:
                        await FLOODS[kind](line)
                finally:
                    reading.cancel()
        await asyncio.sleep(PAUSE)


async def _read(line: ClientConnection) -> None:
    with contextlib.suppress(WebSocketException):
        async for _ in line:
            pass


async def _offer_for_ever(port: int) -> None:
    sdp = (await _an_offer()).encode()
    headers = {"Content-Type": "application/sdp"}

    def post() -> None:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=5, source_address=(ADDRESS, 0))
        with contextlib.suppress(http.client.HTTPException, OSError), contextlib.closing(line):
            line.request("POST", "/v1/realtime/calls", sdp, headers)
            line.getresponse().read()

    while True:
        await asyncio.to_thread(post)


async def _an_offer() -> str:
    from agent.latency.rtc_caller import RtcCaller

    caller = RtcCaller("", ("127.0.0.1",))
    try:
        return await caller.offer()
    finally:
        await caller.close()


if __name__ == "__main__":
    if hasattr(os, "nice"):
        os.nice(19)  # so that others pay for what the server does for it, and not for this process
    asyncio.run(flood(sys.argv[1], int(sys.argv[2])))
