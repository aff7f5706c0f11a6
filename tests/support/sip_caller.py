"""A telephone: places a SIP call, speaks in real time, presses keys, records what it hears.

SIP as far as a call needs it (RFC 3261), G.711 mu-law over RTP (RFC 3550, 3551), keys by
telephone events (RFC 4733). The codec is FFmpeg's, so that ours is not tested against itself.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import struct
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np

from agent.audio.samples import Samples

RATE = 8000
FRAME = 160
FRAME_SECONDS = FRAME / RATE
PCMU = 0
EVENT = 101
SILENCE = b"\xff" * FRAME
ANSWER_SECONDS = 10.0
KEYS = "0123456789*#ABCD"


class CallRefused(Exception):
    """The call was answered with anything but 200."""


@dataclass(frozen=True)
class Packet:
    """One RTP packet of sound."""

    arrived: float
    """Monotonic seconds."""
    played: float
    """When the ear has heard all of it: packets are played as they come, one after the other."""
    payload: bytes
    loud: bool
    """Whether it can be heard."""


class _Inbox(asyncio.DatagramProtocol):
    """Puts datagrams, with the time of arrival, where they are waited for."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(10_000)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.queue.put_nowait((time.monotonic(), data))


@dataclass
class Phone:
    """One call that was answered."""

    dialog: _Dialog
    media: asyncio.DatagramTransport
    heard: list[Packet] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the other side ends the call."""
    hung_up_at: float = 0.0
    _outbox: deque[bytes] = field(default_factory=deque)
    _said: asyncio.Event = field(default_factory=asyncio.Event)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def say(self, sound: Samples) -> float:
        """Speak at 8 kHz, in real time; returns when the last sample was sent (monotonic)."""
        padded = np.concatenate([sound, np.zeros(-len(sound) % FRAME, np.float32)])
        encoded = mu_law(padded)
        self._outbox += [encoded[at : at + FRAME] for at in range(0, len(encoded), FRAME)]
        self._said.clear()
        await self._said.wait()
        return time.monotonic()

    async def press(self, key: str) -> None:
        """A key, held for 100 ms."""
        event = KEYS.index(key)
        ticks = [*range(1, 6), 5, 5]  # the last packet is sent three times
        self._outbox += [
            b"event" + struct.pack(">BBH", event, 0x80 * (at >= 4) | 10, tick * FRAME)
            for at, tick in enumerate(ticks)
        ]
        self._said.clear()
        await self._said.wait()

    async def hang_up(self) -> None:
        self.dialog.send("BYE")
        await asyncio.sleep(0)

    def recording(self, since: float) -> Samples:
        """What was heard from ``since`` (monotonic) on, at 8 kHz, silence where nothing came.

        Packets that follow closely are joined, as a phone's jitter buffer would.
        """
        pieces: list[bytes] = []
        end = since
        for packet in (packet for packet in self.heard if packet.arrived >= since):
            if packet.arrived - end > 3 * FRAME_SECONDS:
                gap = round((packet.arrived - end) / FRAME_SECONDS)
                pieces.append(SILENCE * gap)
                end += gap * FRAME_SECONDS
            pieces.append(packet.payload)
            end += len(packet.payload) / RATE
        return linear(b"".join(pieces))

    async def until_loud(self, count: int = 3, since: float = 0.0) -> float:
        """Wait for ``count`` audible packets after ``since``; when the first of them arrived."""
        while len(found := [p.arrived for p in self.heard if p.loud and p.arrived > since]) < count:
            await self._arrival()
        return found[0]

    async def until_quiet(self, seconds: float) -> float:
        """Wait until nothing was audible for ``seconds``; when the last audible packet arrived."""
        await self.until_loud(1)
        while True:
            last = next(packet.arrived for packet in reversed(self.heard) if packet.loud)
            if time.monotonic() - last >= seconds:
                return last
            await asyncio.sleep(FRAME_SECONDS)

    async def _arrival(self) -> None:
        self._arrived.clear()
        await self._arrived.wait()

    async def transmit(self, to: tuple[str, int]) -> None:
        """Send 50 packets a second, what there is to say or silence, by monotonic deadlines."""
        start = time.monotonic()
        marked = False
        event_starts = 0
        for number in itertools.count():
            await asyncio.sleep(max(0.0, start + number * FRAME_SECONDS - time.monotonic()))
            payload = self._outbox.popleft() if self._outbox else SILENCE
            if not self._outbox:
                self._said.set()
            is_event = payload.startswith(b"event")
            if is_event and not marked:
                event_starts = number
            kind = (EVENT if is_event else PCMU) | 0x80 * (is_event and not marked)
            marked = is_event
            # All packets of one event carry the time of its start.
            stamp = (event_starts if is_event else number) * FRAME
            header = struct.pack(">BBHII", 0x80, kind, number & 0xFFFF, stamp, 0x0B0E)
            self.media.sendto(header + payload.removeprefix(b"event"), to)

    async def listen(self, inbox: _Inbox) -> None:
        while True:
            arrived, data = await inbox.queue.get()
            if len(data) > 12 and data[1] & 0x7F == PCMU:
                loud = float(np.abs(linear(data[12:])).max(initial=0.0)) > 0.02
                played = max(arrived, self.heard[-1].played if self.heard else 0.0) + FRAME_SECONDS
                self.heard.append(Packet(arrived, played, data[12:], loud))
                self._arrived.set()

    async def mind_signalling(self, inbox: _Inbox) -> None:
        """Answer the other side's BYE."""
        while True:
            arrived, data = await inbox.queue.get()
            if data.startswith(b"BYE"):
                self.hung_up_at = arrived
                self.dialog.accept(data.decode())
                self.hung_up.set()


@dataclass
class _Dialog:
    """The names and numbers of one SIP call."""

    transport: asyncio.DatagramTransport
    server: tuple[str, int]
    extension: str
    port: int
    tag: str = ""
    sequence: int = 0

    def send(self, method: str, body: str = "") -> None:
        if method != "ACK":
            self.sequence += 1
        uri = f"sip:{self.extension}@{self.server[0]}:{self.server[1]}"
        own = f"127.0.0.1:{self.port}"
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {own};branch=z9hG4bK{method}{self.sequence}p{self.port};rport",
            "Max-Forwards: 70",
            f"From: <sip:+15550100@127.0.0.1>;tag=p{self.port}",
            f"To: <{uri}>{self.tag}",
            f"Call-ID: call-{self.port}-{id(self)}",
            f"CSeq: {self.sequence} {method}",
            f"Contact: <sip:phone@{own}>",
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        self._send([*lines, "", body])

    def accept(self, request: str) -> None:
        """200 for a request of the other side."""
        echoed = re.findall(r"^(?:Via|From|To|Call-ID|CSeq):.*?$", request, re.MULTILINE)
        self._send(["SIP/2.0 200 OK", *map(str.strip, echoed), "Content-Length: 0", "", ""])

    def _send(self, lines: list[str]) -> None:
        self.transport.sendto("\r\n".join(lines).encode(), self.server)

    async def invite(self, inbox: _Inbox, media_port: int) -> int:
        """Call; returns the other side's RTP port."""
        self.send("INVITE", _offer(media_port))
        while True:
            _, data = await inbox.queue.get()
            answer = data.decode()
            if re.match(r"SIP/2.0 [3-6]", answer):
                raise CallRefused(answer.partition("\r\n")[0])
            if answer.startswith("SIP/2.0 200"):
                break
        self.tag = ";" + _found(r"^To:.*?;(tag=[^\s;]+)", answer)
        self.send("ACK")
        return int(_found(r"^m=audio (\d+)", answer))


def _offer(port: int) -> str:
    lines = [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "s=-",
        "c=IN IP4 127.0.0.1",
        "t=0 0",
        f"m=audio {port} RTP/AVP {PCMU} {EVENT}",
        "a=rtpmap:0 PCMU/8000",
        f"a=rtpmap:{EVENT} telephone-event/8000",
        f"a=fmtp:{EVENT} 0-16",
        "a=ptime:20",
        "",
    ]
    return "\r\n".join(lines)


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    assert match is not None, text
    return match.group(1)


@asynccontextmanager
async def dial(sip_port: int, extension: str) -> AsyncIterator[Phone]:
    """Call an extension of the PBX on loopback; hangs up at the end, if nobody did.

    Raises:
        CallRefused: busy, unknown and so on.
        TimeoutError: nobody answers.
    """
    loop = asyncio.get_running_loop()
    signalling, letters = await loop.create_datagram_endpoint(_Inbox, ("127.0.0.1", 0))
    media, sound = await loop.create_datagram_endpoint(_Inbox, ("127.0.0.1", 0))
    port = signalling.get_extra_info("sockname")[1]
    dialog = _Dialog(signalling, ("127.0.0.1", sip_port), extension, port)
    phone = Phone(dialog, media)
    tasks: list[asyncio.Task[None]] = []
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            remote = await dialog.invite(letters, media.get_extra_info("sockname")[1])
        tasks = [
            asyncio.create_task(phone.transmit(("127.0.0.1", remote))),
            asyncio.create_task(phone.listen(sound)),
            asyncio.create_task(phone.mind_signalling(letters)),
        ]
        yield phone
        if not phone.hung_up.is_set():
            await phone.hang_up()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        signalling.close()
        media.close()


def mu_law(sound: Samples) -> bytes:
    """Float samples at 8 kHz to G.711 mu-law."""
    codec = av.CodecContext.create("pcm_mulaw", "w")
    codec.sample_rate, codec.layout, codec.format = RATE, "mono", "s16"
    codec.time_base = Fraction(1, RATE)
    pcm = (np.clip(sound, -1, 1) * 32767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(pcm[None, :], "s16", "mono")
    frame.sample_rate = RATE
    packets = [*codec.encode(frame), *codec.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


def linear(data: bytes) -> Samples:
    """G.711 mu-law to float samples (ITU-T G.711, table 2a)."""
    codes = ~np.frombuffer(data, np.uint8)
    steps = ((codes & 15).astype(np.int32) << 3) + 0x84
    size = (steps << ((codes >> 4) & 7)) - 0x84
    return (np.where(codes & 0x80, -size, size) / 32768).astype(np.float32)
