"""A headless telephone: a Twilio media stream's far end, which presses keys and times frames."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from agent.errors import CallError

RATE = 8000
FRAME = RATE // 50
"""Samples per message, 20 ms."""
HISS = 12
"""Codes around mu-law's zero: faint noise, which the gate must listen to."""


@dataclass(slots=True)
class HeardReply:
    """What came of one reply."""

    arrivals: list[float] = field(default_factory=list)
    """Second at which each frame came."""
    samples: int = 0

    def gaps(self, lead: float) -> Iterator[float]:
        """Seconds between two frames, once the lead was sent.

        Without the last one, which is not full and goes only when the ear needs it.
        """
        begun = int(lead * 50)
        yield from np.diff(self.arrivals[begun:-1]).tolist()


class PhoneCaller:
    """One call. Marks are answered at once: nothing here is played.

    Args:
        url: a media socket that speaks Twilio's dialect and wants no token.
    """

    def __init__(self, url: str, call_id: str) -> None:
        self._url = url
        self._call_id = call_id
        self._reply = HeardReply()

    async def press(self, keys: str, rounds: int, seconds: float) -> list[HeardReply]:
        """Press ``keys``, listen for ``seconds``, and again.

        Raises:
            CallError: nobody answers, or the connection is lost.
        """
        try:
            async with connect(self._url, compression=None) as line:
                await line.send(start_message(self._call_id))
                tasks = [
                    asyncio.create_task(self._hiss(line)),
                    asyncio.create_task(self._hear(line)),
                ]
                try:
                    return [await self._round(line, keys, seconds, tasks) for _ in range(rounds)]
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
        except (OSError, InvalidHandshake, ConnectionClosed) as error:
            raise CallError(f"{self._url}: the telephone call was lost: {error}") from error

    async def _round(
        self,
        line: ClientConnection,
        keys: str,
        seconds: float,
        tasks: list[asyncio.Task[None]],
    ) -> HeardReply:
        self._reply = reply = HeardReply()
        for digit in keys:
            await line.send(json.dumps({"event": "dtmf", "dtmf": {"digit": digit}}))
        ended, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
            raise CallError(f"{self._url}: the server hung up")
        return reply

    async def _hiss(self, line: ClientConnection) -> None:
        """The caller breathes: frames in real time."""
        noise = np.random.default_rng(1).integers(0xFF - HISS, 0x100, FRAME * 50, np.uint8)
        loop = asyncio.get_running_loop()
        began, sent = loop.time(), 0
        while True:
            at = sent * FRAME % len(noise)
            await line.send(media_message(noise[at : at + FRAME].tobytes(), sent))
            sent += 1
            await asyncio.sleep(max(0.0, began + sent * 0.02 - loop.time()))

    async def _hear(self, line: ClientConnection) -> None:
        loop = asyncio.get_running_loop()
        async for message in line:
            now = loop.time()
            command = json.loads(message)
            if command["event"] == "media":
                self._reply.arrivals.append(now)
                self._reply.samples += len(base64.b64decode(command["media"]["payload"]))
            elif command["event"] == "mark":
                await line.send(message)


def start_message(call_id: str) -> str:
    """The call begins, in mu-law at 8 kHz."""
    form = {"encoding": "audio/x-mulaw", "sampleRate": RATE, "channels": 1}
    ids = {"streamSid": "MZ1", "callSid": call_id}
    return json.dumps({"event": "start", "start": {**ids, "mediaFormat": form}})


def media_message(codes: bytes, number: int) -> str:
    """The frame of this number, 20 ms each."""
    payload = base64.b64encode(codes).decode("ascii")
    media = {"track": "inbound", "timestamp": str(20 * number), "payload": payload}
    return json.dumps({"event": "media", "media": media})
