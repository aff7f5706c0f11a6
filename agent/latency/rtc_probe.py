"""Measurements of the WebRTC transport: callers here, the server in a process of its own."""

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
from agent.protocol import AppendedAudio, EventWriter, Reading, SessionFacts
from agent.runtime.calls import HUNG_UP, CallEnd, CallRegistry
from agent.server.access import Access
from agent.server.keys import Keys
from agent.server.sessions import OpenedSession
from agent.server.webrtc_offers import WebRtcOffers
from agent.session.events import Configure
from agent.session.notices import Play
from agent.session.playback import Delivery
from agent.transports.opus import FRAME, RATE
from agent.transports.webrtc import WebRtcTransport

HERE = ("127.0.0.1",)
BEEP_SECONDS = 0.1
BEEP_DBFS = -20.0
BEEP_TIMEOUT = 5.0
PAUSE_SECONDS = 0.3
"""Time from one beep to the next, in seconds; a later echo cannot be told from the next one."""
MAX_ECHO_BACKLOG = 0.04
"""Most audio in the echo server's queue, in seconds: one stall must not delay all echoes."""


async def connect_times(url: str, count: int) -> list[float]:
    """Measure the connection time of ``count`` calls, one after the other.

    Returns:
        Milliseconds from making the peer connection to the first event, for each call.

    Raises:
        CallError: a call fails.
    """
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
    """Detects the onsets of beeps in received audio."""

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
    """Measure the time from a beep at the mouth to its echo at the ear.

    A frame is sent when its last sample has been spoken, and a packet is heard as it arrives; a
    browser's jitter buffer and sound card are not included.

    Args:
        url: address of an echo server.
        beeps: number of beeps; one more is sent first as a warm-up.
        loss: share of the media packets that is lost in each direction, from 0 to 1.

    Returns:
        Milliseconds of each beep whose echo came back in time.

    Raises:
        CallError: the call fails, or fewer than half of the beeps come back.
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
    """Send a beep; return the monotonic second at which it begins at the mouth."""
    phase = np.arange(int(BEEP_SECONDS * RATE)) / RATE
    spoken: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    caller.on_speech = lambda: spoken.set_result(time.monotonic() - FRAME / RATE)
    caller.say(0.5 * np.sin(2 * np.pi * 1000 * phase).astype(np.float32))
    try:
        async with asyncio.timeout(BEEP_TIMEOUT):
            return await spoken
    except TimeoutError:
        raise CallError(f"the connection accepted no audio for {BEEP_TIMEOUT:.0f} s") from None


async def longest_gaps(url: str, calls: int, seconds: float) -> list[float]:
    """Measure the longest gap between two packets of audio during concurrent calls.

    Every caller keeps the agent speaking and sends noise.

    Args:
        url: address of the server.
        calls: number of concurrent calls.
        seconds: duration of the measurement.

    Returns:
        Milliseconds of the longest gap of each call.

    Raises:
        CallError: a call fails.
    """
    arrival_times: list[list[float]] = [[] for _ in range(calls)]
    callers = [RtcCaller(url, HERE, partial(_note, heard)) for heard in arrival_times]
    noise = np.random.default_rng(1).normal(0.0, 0.003, int(RATE * (seconds + 10)))
    talking: list[asyncio.Task[None]] = []
    try:
        for caller in callers:
            await caller.connect()
            caller.say(noise.astype(np.float32))
            talking.append(asyncio.create_task(_keep_talking(caller)))
        await asyncio.sleep(1.0)
        for heard in arrival_times:
            heard.clear()
        began = time.monotonic()
        await asyncio.sleep(seconds)
        # Silence at the end counts as a gap.
        times = [[began, *heard, began + seconds] for heard in arrival_times]
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


# ---- echo server ----------------------------------------------------------------------------


@contextmanager
def echo_server() -> Iterator[str]:
    """Run a server that sends received audio back, in a process of its own; yield its address.

    Raises:
        CallError: the server does not start within 30 s.
    """
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
    opened = OpenedSession(EventWriter(facts), Reading(), Configure(), paced=True)
    access = Access(settings.server, Keys({}))
    offers = WebRtcOffers(settings, calls, access, lambda *_, **__: opened, _echo)
    app = Starlette(routes=offers.routes())
    uvicorn.run(app, host=HERE[0], port=port, log_level="error")


async def _echo(transport: WebRtcTransport, opened: OpenedSession, delivery: Delivery) -> CallEnd:
    async for message in transport.receive():
        if isinstance(message, AppendedAudio) and transport.unplayed < MAX_ECHO_BACKLOG:
            await transport.send(Play("resp", "item", message.samples, RATE))
    return HUNG_UP
