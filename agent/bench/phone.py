"""The figures of the telephone bridge, taken on this machine with scripted engines."""

from __future__ import annotations

import asyncio
import statistics
import time

import numpy as np

from agent.audio.samples import StreamResampler
from agent.bench.figures import Figure, Progress, figure
from agent.bench.phone_crowd import FRAME, HeardReply, Telephone
from agent.bench.server_process import SCRIPTED, cpu_seconds, running_server
from agent.errors import CallError
from agent.latency.phone import RATE
from agent.session.notices import Play, StopPlaying
from agent.telephony.check.fake_providers import Twilio
from agent.telephony.dialects.base import Started, WireMessage
from agent.telephony.dialects.twilio import TwilioStream
from agent.telephony.media.handshake import Handshake
from agent.telephony.media.transport import TelephonyTransport

KEYS = "ABCD" * 8
"""Pressed by each caller; the scripted responder repeats them."""
REPLY_SECONDS = 0.12 * len(["You", "said:", "pressed", *KEYS])
"""Of the tone voice, 0.12 s a word."""
EAR_RATE = 16_000
VOICE_RATE = 22_050
"""What the recogniser hears, and what Piper speaks."""
LEAD = 0.2
"""``telephony.lead``; a reply's first frames go at once."""
SPARE_SECONDS = 3.0
"""After a reply should have ended."""
SLICE = 0.06
"""Seconds of sound that the session hands out at once."""


def run_phone_bench(calls: int, rounds: int, progress: Progress) -> list[Figure]:
    """Measure the bridge alone, then ``calls`` telephone calls at once against a server.

    Raises:
        CallError: the server did not come up, or a call was lost.
    """
    progress("one call, in this process")
    inward, outward = asyncio.run(_added(200))
    figures = [
        _median("added on the way in", inward, _held_back(RATE, EAR_RATE, 0.02)),
        _median("added on the way out", outward, _held_back(VOICE_RATE, RATE, SLICE)),
    ]
    progress(f"{calls} calls against a server")
    environment = {
        "ONEBREATH_TELEPHONY__REQUIRE_TOKEN": "false",
        "ONEBREATH_TELEPHONY__MAX_CALLS": str(calls),
        "ONEBREATH_TELEPHONY__MAX_CALLS_PER_ADDRESS": str(calls),
        "ONEBREATH_SERVER__MAX_CALLS": str(calls),
        "ONEBREATH_LOG_LEVEL": "warning",
    }
    with running_server(progress, flags=SCRIPTED, variables=environment) as (port, process):
        began, used = time.monotonic(), cpu_seconds(process)
        replies = asyncio.run(_crowd(port, calls, rounds))
        cpu = (cpu_seconds(process) - used) / (time.monotonic() - began) / calls
    each = figure(f"{calls} calls: CPU of each", "% of a core", [100 * cpu])
    return [*figures, *_crowd_figures(calls, replies), each]


def _median(name: str, samples: list[float], held_back: float) -> Figure:
    taken = [sample + held_back for sample in samples]
    median = statistics.median(taken)
    return Figure(name, "ms", round(median, 2), round(max(taken), 2), len(taken), 25.0)


def _held_back(source: int, target: int, seconds: float) -> float:
    """Milliseconds of sound that a resampler keeps, fed ``seconds`` at a time; the median."""
    resampler = StreamResampler(source, target)
    piece = np.zeros(round(source * seconds), np.float32)
    kept, given, got = [], 0, 0
    for _ in range(100):
        given += len(piece)
        got += len(resampler.push(piece))
        kept.append(1000 * (given / source - got / target))
    return statistics.median(kept)


class _Loop:
    """A line without a network: notes when a message comes and when one goes."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[WireMessage] = asyncio.Queue()
        self.sent = asyncio.Event()
        self.sent_at = 0.0

    async def receive(self) -> WireMessage:
        return await self.inbox.get()

    async def send(self, message: WireMessage) -> None:
        if not self.sent.is_set():
            self.sent_at = time.perf_counter()
            self.sent.set()

    async def close(self, code: int, reason: str) -> None:
        """Nobody hangs up here."""


async def _added(count: int) -> tuple[list[float], list[float]]:
    """Milliseconds from the peer's frame to the session, and from its sound to the peer."""
    dialect, provider = TwilioStream(), Twilio("CA1", "")
    (started,) = dialect.read(provider.opening()[-1])
    assert isinstance(started, Started)
    line = _Loop()
    transport = TelephonyTransport(line, Handshake("twilio", dialect, started), LEAD)
    serving = asyncio.create_task(transport.serve())
    try:
        inward = await _inward(line, provider, transport, count)
        return inward, await _outward(line, transport, count)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def _inward(
    line: _Loop, provider: Twilio, transport: TelephonyTransport, count: int
) -> list[float]:
    heard = transport.receive()
    taken = []
    for _ in range(count):
        await asyncio.sleep(0.02)
        message = provider.sound(np.zeros(FRAME, np.float32))
        began = time.perf_counter()
        line.inbox.put_nowait(message)
        await anext(heard)
        taken.append(1000 * (time.perf_counter() - began))
    return taken


async def _outward(line: _Loop, transport: TelephonyTransport, count: int) -> list[float]:
    """The first frame of a reply, each time."""
    sound = np.zeros(round(VOICE_RATE * SLICE), np.float32)
    taken = []
    for number in range(count):
        await asyncio.sleep(0.02)
        line.sent.clear()
        began = time.perf_counter()
        await transport.send(Play("resp", f"item_{number}", sound, VOICE_RATE))
        await line.sent.wait()
        taken.append(1000 * (line.sent_at - began))
        await transport.send(StopPlaying("resp", f"item_{number}", 0.0))
    return taken


async def _crowd(port: int, calls: int, rounds: int) -> list[HeardReply]:
    """All callers press their keys at about the same time."""
    seconds = REPLY_SECONDS + SPARE_SECONDS
    callers = [Telephone("127.0.0.1", port) for _ in range(calls)]
    heard = await asyncio.gather(*(caller.press(KEYS, rounds, seconds) for caller in callers))
    return [reply for replies in heard for reply in replies]


def _crowd_figures(calls: int, replies: list[HeardReply]) -> list[Figure]:
    lost = [1000 * max(0.0, REPLY_SECONDS - reply.samples / RATE) for reply in replies]
    name = f"{calls} calls: gap between frames, 99 %"
    return [
        _gap(name, [1000 * gap for reply in replies for gap in reply.gaps(LEAD)], 40.0),
        # How much of it is the callers' own, who share the machine with the server.
        _gap("  as read", [1000 * gap for reply in replies for gap in reply.gaps(LEAD, read=True)]),
        Figure(f"{calls} calls: lost sound", "ms", sum(lost), max(lost), len(lost), 0.0),
    ]


def _gap(name: str, gaps: list[float], target: float | None = None) -> Figure:
    if not gaps:
        raise CallError("no reply came in time; other programs keep this machine busy")
    percentile = round(float(np.percentile(gaps, 99)), 2)
    return Figure(name, "ms", percentile, round(max(gaps), 2), len(gaps), target)
