"""Many telephones at once, which press keys and note when each frame of the reply came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from agent.errors import CallError
from agent.latency.connection import ReceivedAudio
from agent.latency.kernel_timestamps import TimestampedSocket
from agent.latency.telephony import RATE
from agent.latency.twilio import TwilioConnection

FRAME = RATE // 50
"""Samples per message, 20 ms."""
HISS_DBFS = -55.0
"""Faint noise, which the gate must listen to."""


@dataclass(slots=True)
class ReceivedReply:
    """What came of one reply. Seconds are of the clock on the wall."""

    arrived: list[float] = field(default_factory=list)
    """When the caller's machine had each frame."""
    read: list[float] = field(default_factory=list)
    """When the caller's program came to read it, which shares the machine with the server."""
    samples: int = 0

    def gaps(self, lead: float, *, read: bool = False) -> Iterator[float]:
        """Seconds between two frames, once the lead was sent.

        Without the last one, which is not full and goes only when the ear needs it.
        """
        begun = int(lead * 50)
        yield from np.diff((self.read if read else self.arrived)[begun:-1]).tolist()


class TelephoneCaller:
    """One call in Twilio's dialect.

    Args:
        host: and ``port``, where the agent serves, at ``/telephony/twilio``, without a token.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._reply = ReceivedReply()

    async def press(self, keys: str, rounds: int, seconds: float) -> list[ReceivedReply]:
        """Press ``keys``, listen for ``seconds``, and again.

        Raises:
            CallError: nobody answers, or the connection is lost.
        """
        url = f"ws://{self._host}:{self._port}/telephony/twilio"
        try:
            sock = TimestampedSocket.connected(self._host, self._port)
        except OSError as error:
            raise CallError(f"{url}: nobody answers there ({error})") from error
        connection = TwilioConnection(url, sock=sock)
        await connection.connect()
        tasks = [
            asyncio.create_task(self._hiss(connection)),
            asyncio.create_task(self._hear(connection, sock)),
        ]
        try:
            return [await self._round(connection, keys, seconds, tasks) for _ in range(rounds)]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await connection.close()

    async def _round(
        self,
        connection: TwilioConnection,
        keys: str,
        seconds: float,
        tasks: list[asyncio.Task[None]],
    ) -> ReceivedReply:
        self._reply = reply = ReceivedReply()
        await connection.press(keys)
        ended, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()  # they end by an error only
        return reply

    async def _hiss(self, connection: TwilioConnection) -> None:
        """The caller breathes: frames in real time."""
        noise = np.random.default_rng(1).normal(0, 10 ** (HISS_DBFS / 20), FRAME * 50)
        frames = noise.astype(np.float32).reshape(-1, FRAME)
        loop = asyncio.get_running_loop()
        began, sent = loop.time(), 0
        while True:
            await connection.send(frames[sent % len(frames)])
            sent += 1
            await asyncio.sleep(max(0.0, began + sent * 0.02 - loop.time()))

    async def _hear(self, connection: TwilioConnection, sock: TimestampedSocket) -> None:
        async for arrival in connection.receive():
            if isinstance(arrival, ReceivedAudio):
                # Nothing is read from the socket between a message and this.
                self._reply.arrived.append(sock.arrived_at)
                self._reply.read.append(time.time())
                self._reply.samples += len(arrival.samples)
