"""What a WebRTC line itself costs: measured by callers against a server in another process."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import numpy as np
import uvicorn
from starlette.applications import Starlette

from agent.audio.samples import Samples, first_above
from agent.config.settings import Settings
from agent.errors import CallError
from agent.latency.rtc_caller import RtcCaller
from agent.protocol import AppendedAudio, EventWriter, SessionFacts
from agent.runtime.calls import CONNECTION_CLOSED, CallEnd, CallRegistry
from agent.server.webrtc_offers import WebRtcOffers
from agent.session.notices import Play
from agent.transports.opus import FRAME, RATE
from agent.transports.webrtc import WebRtcTransport

HERE = ("127.0.0.1",)
BEEP_SECONDS = 0.1
BEEP_DBFS = -20.0
BEEP_TIMEOUT = 5.0
PAUSE_SECONDS = 0.3
"""From one beep to the next; an echo that takes longer is not told from the next one's."""
MAX_ECHO_BACKLOG = 0.04
"""Seconds of sound that the echo keeps at most, so that a hiccup does not delay it for ever."""


async def connect_times(url: str, count: int) -> list[float]:
    """Milliseconds from the first call into aiortc to the first event, call by call."""
    times = []
    for _ in range(count):
        began = time.monotonic()
        caller = RtcCaller(url, HERE)
        try:
            await caller.connect()
            times.append((time.monotonic() - began) * 1000)
        finally:
            await caller.close()
    return times


class _Onsets:
    """When beeps begin at the ear."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[float] = asyncio.Queue()
        self._quiet = 1.0

    def __call__(self, samples: Samples, at: float) -> None:
        onset = first_above(samples, BEEP_DBFS)
        if onset is None:
            self._quiet += len(samples) / RATE
            return
        if self._quiet > PAUSE_SECONDS / 3:
            self.heard.put_nowait(at + onset / RATE)
        self._quiet = 0.0


async def round_trips(url: str, beeps: int, loss: float) -> list[float]:
    """Milliseconds from a beep at the mouth to its echo at the ear.

    The mouth's frame is sent when its last sample was spoken, the ear hears a packet as it
    arrives: what a browser's own jitter buffer and sound card add is not in it.

    Args:
        loss: share of the media packets that is lost in either direction.
    """
    ear = _Onsets()
    caller = RtcCaller(url, HERE, ear)
    try:
        await caller.connect()
        chance = random.Random(1)
        caller.lose(lambda: chance.random() < loss)
        trips = [await _round_trip(caller, ear) for _ in range(beeps + 1)]
    finally:
        await caller.close()
    echoed = [trip for trip in trips[1:] if trip is not None]  # the first warms up
    if len(echoed) < beeps / 2:
        raise CallError(f"only {len(echoed)} of {beeps} beeps came back")
    return echoed


async def _round_trip(caller: RtcCaller, ear: _Onsets) -> float | None:
    began = await _beep(caller)
    heard: list[float] = []
    while (left := began + PAUSE_SECONDS - time.monotonic()) > 0:
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                heard.append(await ear.heard.get())
    return (heard[0] - began) * 1000 if heard else None


async def _beep(caller: RtcCaller) -> float:
    """Say a beep; returns the second at which the mouth began it."""
    phase = np.arange(int(BEEP_SECONDS * RATE)) / RATE
    spoken: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    caller.on_speech = lambda: spoken.set_result(time.monotonic() - FRAME / RATE)
    caller.say(0.5 * np.sin(2 * np.pi * 1000 * phase).astype(np.float32))
    try:
        async with asyncio.timeout(BEEP_TIMEOUT):
            return await spoken
    except TimeoutError:
        raise CallError(f"the line took no sound for {BEEP_TIMEOUT:.0f} s") from None


async def longest_gaps(url: str, calls: int, seconds: float) -> list[float]:
    """Milliseconds between two packets at worst, for each of ``calls`` at once.

    Every caller keeps the agent speaking and sends noise.
    """
    arrivals: list[list[float]] = [[] for _ in range(calls)]
    callers = [RtcCaller(url, HERE, partial(_note, heard)) for heard in arrivals]
    noise = np.random.default_rng(1).normal(0.0, 0.003, int(RATE * (seconds + 10)))
    talking: list[asyncio.Task[None]] = []
    try:
        for caller in callers:
            await caller.connect()
            caller.say(noise.astype(np.float32))
            talking.append(asyncio.create_task(_keep_talking(caller)))
        await asyncio.sleep(1.0)
        for heard in arrivals:
            heard.clear()
        began = time.monotonic()
        await asyncio.sleep(seconds)
        # Silence at the end is a gap as well.
        times = [[began, *heard, began + seconds] for heard in arrivals]
    finally:
        for task in talking:
            task.cancel()
        await asyncio.gather(*[caller.close() for caller in callers])
    return [float(np.diff(heard).max() * 1000) for heard in times]


def _note(heard: list[float], samples: Samples, at: float) -> None:
    heard.append(at)


async def _keep_talking(caller: RtcCaller) -> None:
    content = [{"type": "input_text", "text": "Say this again, and again, and once more."}]
    item = {"type": "message", "role": "user", "content": content}
    while True:
        caller.send("conversation.item.create", item=item)
        caller.send("response.create")
        await caller.until("response.done")


# ---- the echo ----------------------------------------------------------------------------


@contextmanager
def echo_server() -> Iterator[str]:
    """A server that says what it hears, in a process of its own; gives its address."""
    with socket.create_server((HERE[0], 0)) as free:
        port = free.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=_serve_echo, args=(port,))
    process.start()
    try:
        _await_port(port)
        yield f"http://{HERE[0]}:{port}"
    finally:
        process.terminate()
        process.join(5.0)


def _await_port(port: int) -> None:
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((HERE[0], port), timeout=1.0):
            return
        time.sleep(0.05)
    raise CallError("the echo server did not start within 30 s")


def _serve_echo(port: int) -> None:
    settings = Settings.model_validate({"webrtc": {"ice_hosts": HERE}})
    facts = SessionFacts("sess_echo", "", "echo", "", "", "", "server_vad", 0.5, 0.5, 0.4, None)
    calls = CallRegistry(settings.server.max_calls)
    offers = WebRtcOffers(settings, calls, lambda _: True, lambda: EventWriter(facts), _echo)
    app = Starlette(routes=offers.routes())
    uvicorn.run(app, host=HERE[0], port=port, log_level="error")


async def _echo(transport: WebRtcTransport) -> CallEnd:
    async for message in transport.receive():
        if isinstance(message, AppendedAudio) and transport.unplayed < MAX_ECHO_BACKLOG:
            await transport.send(Play("resp", "item", message.samples, RATE))
    return CONNECTION_CLOSED
