"""``onebreath bench phone``: the telephony bridge on this machine, with scripted engines."""

from __future__ import annotations

import asyncio
import statistics
import time

import numpy as np

from agent.audio.samples import StreamResampler
from agent.bench.figures import Figure, Progress, figure
from agent.bench.server_process import SCRIPTED, cpu_seconds, running_server
from agent.bench.telephony_callers import FRAME, ReceivedReply, TelephoneCaller
from agent.errors import CallError
from agent.latency.telephony import RATE
from agent.session.notices import Play, StopPlaying
from agent.telephony.check.fake_providers import Twilio
from agent.telephony.dialects.base import Started, WireMessage
from agent.telephony.dialects.twilio import TwilioStream
from agent.telephony.media.handshake import Handshake
from agent.telephony.media.transport import TelephonyTransport

KEYS = "ABCD" * 8
"""Keys that each caller presses; the scripted responder repeats them."""
REPLY_SECONDS = 0.12 * len(["You", "said:", "pressed", *KEYS])
"""Length of a reply in seconds: the tone voice speaks 0.12 s per word."""
RECOGNISER_RATE = 16_000
"""Samples per second for the recogniser."""
VOICE_RATE = 22_050
"""Samples per second of Piper's voice."""
LEAD = 0.2
"""``telephony.lead`` in seconds; the first frames of a reply are sent at once."""
SPARE_SECONDS = 3.0
"""Wait after the expected end of a reply, in seconds."""
SLICE = 0.06
"""Seconds of audio that the session sends at once."""


def run_phone_bench(calls: int, rounds: int, progress: Progress) -> list[Figure]:
    """Measure the bridge alone, then ``calls`` concurrent telephone calls to a server.

    Args:
        calls: number of concurrent calls.
        rounds: replies per call.
        progress: called with a description of each step.

    Raises:
        CallError: the server does not start, or a call is lost.
    """
    progress("one call, in this process")
    inward, outward = asyncio.run(_added(200))
    figures = [
        _median("added on the way in", inward, _held_back(RATE, RECOGNISER_RATE, 0.02)),
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
        replies = asyncio.run(_concurrent_calls(port, calls, rounds))
        cpu = (cpu_seconds(process) - used) / (time.monotonic() - began) / calls
    each = figure(f"{calls} calls: CPU of each", "% of a core", [100 * cpu])
    return [*figures, *_call_figures(calls, replies), each]


def _median(name: str, samples: list[float], held_back: float) -> Figure:
    taken = [sample + held_back for sample in samples]
    median = statistics.median(taken)
    return Figure(name, "ms", round(median, 2), round(max(taken), 2), len(taken), 25.0)


def _held_back(source: int, target: int, seconds: float) -> float:
    """Median of the audio that a resampler holds back when fed ``seconds`` at a time, in ms."""
    resampler = StreamResampler(source, target)
    piece = np.zeros(round(source * seconds), np.float32)
    kept, given, got = [], 0, 0
    for _ in range(100):
        given += len(piece)
        got += len(resampler.push(piece))
        kept.append(1000 * (given / source - got / target))
    return statistics.median(kept)


class _LoopConnection:
    """A connection without a network that records when a message is sent."""

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
        """Do nothing: no call is hung up."""


async def _added(count: int) -> tuple[list[float], list[float]]:
    """Milliseconds from peer to session, and from session to peer, ``count`` times each."""
    dialect, provider = TwilioStream(), Twilio("CA1", "")
    (started,) = dialect.read(provider.opening()[-1])
    assert isinstance(started, Started)
    connection = _LoopConnection()
    transport = TelephonyTransport(connection, Handshake("twilio", dialect, started), LEAD)
    serving = asyncio.create_task(transport.serve())
    try:
        inward = await _inward(connection, provider, transport, count)
        return inward, await _outward(connection, transport, count)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def _inward(
    connection: _LoopConnection, provider: Twilio, transport: TelephonyTransport, count: int
) -> list[float]:
    heard = transport.receive()
    taken = []
    for _ in range(count):
        await asyncio.sleep(0.02)
        message = provider.sound(np.zeros(FRAME, np.float32))
        began = time.perf_counter()
        connection.inbox.put_nowait(message)
        await anext(heard)
        taken.append(1000 * (time.perf_counter() - began))
    return taken


async def _outward(
    connection: _LoopConnection, transport: TelephonyTransport, count: int
) -> list[float]:
    """Milliseconds until the first frame of a reply is sent, ``count`` times."""
    sound = np.zeros(round(VOICE_RATE * SLICE), np.float32)
    taken = []
    for number in range(count):
        await asyncio.sleep(0.02)
        connection.sent.clear()
        began = time.perf_counter()
        await transport.send(Play("resp", f"item_{number}", sound, VOICE_RATE))
        await connection.sent.wait()
        taken.append(1000 * (connection.sent_at - began))
        await transport.send(StopPlaying("resp", f"item_{number}", 0.0))
    return taken


async def _concurrent_calls(port: int, calls: int, rounds: int) -> list[ReceivedReply]:
    """Let all callers press their keys at about the same time; return their replies."""
    seconds = REPLY_SECONDS + SPARE_SECONDS
    callers = [TelephoneCaller("127.0.0.1", port) for _ in range(calls)]
    heard = await asyncio.gather(*(caller.press(KEYS, rounds, seconds) for caller in callers))
    return [reply for replies in heard for reply in replies]


def _call_figures(calls: int, replies: list[ReceivedReply]) -> list[Figure]:
    lost = [1000 * max(0.0, REPLY_SECONDS - reply.samples / RATE) for reply in replies]
    name = f"{calls} calls: gap between frames, 99 %"
    return [
        _gap(name, [1000 * gap for reply in replies for gap in reply.gaps(LEAD)], 40.0),
        # Read times show the share of the callers, which run on the same machine.
        _gap("  as read", [1000 * gap for reply in replies for gap in reply.gaps(LEAD, read=True)]),
        Figure(f"{calls} calls: lost sound", "ms", sum(lost), max(lost), len(lost), 0.0),
    ]


def _gap(name: str, gaps: list[float], target: float | None = None) -> Figure:
    if not gaps:
        raise CallError("no reply came in time; other programs keep this machine busy")
    percentile = round(float(np.percentile(gaps, 99)), 2)
    return Figure(name, "ms", percentile, round(max(gaps), 2), len(gaps), target)
