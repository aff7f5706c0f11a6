"""Telephone callers that press keys and record the arrival of each frame of the reply."""

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
"""Samples per message (20 ms)."""
NOISE_DBFS = -55.0
"""Level of the caller's background noise, which keeps the speech gate busy."""


@dataclass(slots=True)
class ReceivedReply:
    """Frames of one reply. Times are wall-clock seconds.

    Attributes:
        arrived: time at which the kernel received each frame.
        read: time at which the caller, which shares the machine with the server, read each frame.
        samples: number of received samples.
    """

    arrived: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    samples: int = 0

    def gaps(self, lead: float, *, read: bool = False) -> Iterator[float]:
        """Yield the seconds between two frames after the lead.

        The last frame is left out, because it is incomplete and is sent only when it is due.

        Args:
            lead: seconds of audio that are sent ahead of playback.
            read: whether to use the times of reading instead of arrival.
        """
        begun = int(lead * 50)
        yield from np.diff((self.read if read else self.arrived)[begun:-1]).tolist()


class TelephoneCaller:
    """One telephone call over Twilio Media Streams, without a token.

    Args:
        host: address of the server.
        port: port of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._reply = ReceivedReply()

    async def press(self, keys: str, rounds: int, seconds: float) -> list[ReceivedReply]:
        """Press ``keys`` and listen for ``seconds``, ``rounds`` times; return the replies.

        Raises:
            CallError: the server does not answer, or the connection is lost.
        """
        url = f"ws://{self._host}:{self._port}/telephony/twilio"
        try:
            sock = TimestampedSocket.connected(self._host, self._port)
        except OSError as error:
            raise CallError(f"{url}: nobody answers there ({error})") from error
        connection = TwilioConnection(url, sock=sock)
        await connection.connect()
        tasks = [
            asyncio.create_task(self._send_noise(connection)),
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
            task.result()  # the tasks end only by an error
        return reply

    async def _send_noise(self, connection: TwilioConnection) -> None:
        """Send background noise in real time."""
        noise = np.random.default_rng(1).normal(0, 10 ** (NOISE_DBFS / 20), FRAME * 50)
        frames = noise.astype(np.float32).reshape(-1, FRAME)
        loop = asyncio.get_running_loop()
        began, sent = loop.time(), 0
        while True:
            await connection.send(frames[sent % len(frames)])
            sent += 1
            await asyncio.sleep(max(0.0, began + sent * 0.02 - loop.time()))

    async def _hear(self, connection: TwilioConnection, sock: TimestampedSocket) -> None:
        async for received in connection.receive():
            if isinstance(received, ReceivedAudio):
                # The socket is not read between a message and this line.
                self._reply.arrived.append(sock.arrived_at)
                self._reply.read.append(time.time())
                self._reply.samples += len(received.samples)
