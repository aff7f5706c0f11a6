"""A telephony provider by script, in the time of the running loop: it plays, echoes and clears."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agent.audio.g711 import decode_mulaw, encode_mulaw
from agent.audio.samples import Samples
from agent.telephony.dialects.base import WireMessage
from agent.telephony.media.connection import HungUp
from agent.transports.base import Disconnected

RATE = 8000
FRAME = 160


def start(**parameters: str) -> str:
    body = {
        "streamSid": "MZ1",
        "callSid": "CA1",
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": RATE, "channels": 1},
        "customParameters": parameters,
    }
    return json.dumps({"event": "start", "start": body, "streamSid": "MZ1"})


def media(samples: Samples, at: float) -> str:
    payload = base64.b64encode(encode_mulaw(samples)).decode()
    body = {"track": "inbound", "timestamp": str(round(at * 1000)), "payload": payload}
    return json.dumps({"event": "media", "media": body, "streamSid": "MZ1"})


def key(digit: str) -> str:
    return json.dumps({"event": "dtmf", "dtmf": {"digit": digit}, "streamSid": "MZ1"})


def spoken(*pieces: Samples) -> list[tuple[float, str]]:
    """The pieces in real time, in messages of 20 ms."""
    sound = np.concatenate(pieces)
    starts = range(0, len(sound), FRAME)
    return [((at + FRAME) / RATE, media(sound[at : at + FRAME], at / RATE)) for at in starts]


@dataclass
class TwilioPeer:
    """A ``Line`` whose other end is Twilio, as its documents have it.

    Sound is played one piece after the other; a mark comes back when what was before it was
    played, or at once when a clear drops it.
    """

    script: Iterable[tuple[float, WireMessage]]
    hang_up_at: float
    echoes: bool = True
    trip: float = 0.0
    """Seconds of a message from us to the ear's buffer, or from there back."""
    sent: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    played: list[tuple[float, Samples]] = field(default_factory=list)
    closed: tuple[int, str] | None = None
    _inbox: asyncio.Queue[WireMessage | None] = field(default_factory=asyncio.Queue)
    _until: float = 0.0
    _marks: dict[str, asyncio.TimerHandle] = field(default_factory=dict)
    _begun: bool = False

    async def receive(self) -> WireMessage:
        if not self._begun:
            self._begun = True
            loop = asyncio.get_running_loop()
            for when, message in self.script:
                loop.call_at(when, self._inbox.put_nowait, message)
            loop.call_at(self.hang_up_at, self._inbox.put_nowait, None)
        message = await self._inbox.get()
        if message is None:
            raise HungUp
        return message

    async def send(self, message: WireMessage) -> None:
        if self.closed:
            raise Disconnected
        loop = asyncio.get_running_loop()
        command = json.loads(message)
        self.sent.append((loop.time(), command))
        loop.call_later(self.trip, self._arrived, command)

    def _arrived(self, command: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        match command["event"]:
            case "media":
                samples = decode_mulaw(base64.b64decode(command["media"]["payload"]))
                begins = max(now, self._until)
                self.played.append((begins, samples))
                self._until = begins + len(samples) / RATE
            case "mark":
                name = command["mark"]["name"]
                self._marks[name] = loop.call_at(max(now, self._until), self._reached, name)
            case "clear":
                self._clear(now)

    def _clear(self, now: float) -> None:
        self._until = now
        kept = []
        for begins, samples in self.played:
            heard = round((now - begins) * RATE)
            if heard > 0:
                kept.append((begins, samples[:heard]))
        self.played = kept
        for name, timer in list(self._marks.items()):
            timer.cancel()
            self._reached(name)

    def _reached(self, name: str) -> None:
        self._marks.pop(name)
        if self.echoes:
            answer = json.dumps({"event": "mark", "streamSid": "MZ1", "mark": {"name": name}})
            asyncio.get_running_loop().call_later(self.trip, self._inbox.put_nowait, answer)

    async def close(self, code: int, reason: str) -> None:
        if self.closed is None:
            self.closed = (code, reason)
            self._inbox.put_nowait(None)

    def events(self, kind: str) -> list[tuple[float, dict[str, Any]]]:
        return [(at, command) for at, command in self.sent if command["event"] == kind]

    def heard_between(self, begin: float, end: float) -> float:
        """Seconds of sound that the ear got."""
        total = 0.0
        for at, samples in self.played:
            total += max(0.0, min(at + len(samples) / RATE, end) - max(at, begin))
        return total
