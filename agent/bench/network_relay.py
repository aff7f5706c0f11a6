"""Relays on loopback that make a bad network of a good one: for UDP and for TCP."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.bench.network_link import Condition, DatagramLink, StreamLink

HERE: Final = "127.0.0.1"
MAX_WAITING: Final = 4 * 2**20
"""Bytes of datagrams that may wait in one direction; more are dropped."""
WINDOW_BYTES: Final = 65_536
"""Bytes of a stream that may be under way in one direction; then its sender has to wait."""
READ_BYTES: Final = 4 * 1448
"""Bytes of a stream that are taken at once."""
INSTANT: Final = Condition("instant", delay=0.0)

Address = tuple[str, int]

_CANDIDATE: Final = re.compile(
    r"^a=candidate:(?P<foundation>\S+ \d+) (?P<protocol>udp|UDP) (?P<priority>\d+) "
    r"(?P<host>\S+) (?P<port>\d+) (?P<rest>typ host.*)$"
)


@dataclass(slots=True)
class Waiting:
    """Bytes that wait in one direction of a relay.

    Attributes:
        bytes: that wait now.
        most: that have waited at once.
        dropped: packets that the link or a full relay has dropped.
    """

    bytes: int = 0
    most: int = 0
    dropped: int = 0

    def add(self, size: int) -> None:
        self.bytes += size
        self.most = max(self.most, self.bytes)


class _Side(asyncio.DatagramProtocol):
    """One socket of a UDP relay; knows the address of the peer that talks to it."""

    def __init__(self, received: Callable[[bytes], None]) -> None:
        self._received = received
        self.transport: asyncio.DatagramTransport | None = None
        self.peer: Address | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        opened = await loop.create_datagram_endpoint(lambda: self, local_addr=(HERE, 0))
        self.transport = opened[0]

    def datagram_received(self, data: bytes, address: Address) -> None:
        self.peer = address
        self._received(data)

    def error_received(self, error: Exception) -> None:
        """A peer that is gone; the call notices by itself."""

    @property
    def port(self) -> int:
        assert self.transport is not None, "open first"
        return int(self.transport.get_extra_info("sockname")[1])

    def send(self, data: bytes) -> None:
        if self.transport is not None and self.peer is not None:
            self.transport.sendto(data, self.peer)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()
            self.transport = None


class UdpRelay:
    """Stands between the two peers of one WebRTC call, each of which knows the relay only.

    The peers must bundle their media on one address, as all do.

    Args:
        condition: the network in each direction.
        seed: of losses and delays.

    Attributes:
        up: bytes that wait on the way to the server.
        down: bytes that wait on the way to the client.
    """

    def __init__(self, condition: Condition, seed: int) -> None:
        self.up, self.down = Waiting(), Waiting()
        self._client = _Side(self._from_client)
        self._server = _Side(self._from_server)
        self._seed = seed
        self._began: float | None = None
        self.change(condition)

    def change(self, condition: Condition) -> None:
        """Carry the packets from now on over another network."""
        up, down = (DatagramLink(condition, f"{self._seed} {way}") for way in ("up", "dn"))
        self._links = (up, down)

    async def open(self) -> None:
        """Open both sockets."""
        await self._client.open()
        await self._server.open()

    def offer(self, sdp: str) -> str:
        """The client's offer as the server is to read it: with the relay's address."""
        return self._through(sdp, self._client, self._server.port)

    def answer(self, sdp: str) -> str:
        """The server's answer as the client is to read it."""
        return self._through(sdp, self._server, self._client.port)

    @property
    def age(self) -> float:
        """Seconds since the first packet."""
        return 0.0 if self._began is None else asyncio.get_running_loop().time() - self._began

    def close(self) -> None:
        """Close both sockets; what waits is dropped."""
        self._client.close()
        self._server.close()

    @staticmethod
    def _through(sdp: str, owner: _Side, port: int) -> str:
        lines: list[str] = []
        for line in sdp.splitlines():
            found = _CANDIDATE.match(line)
            if found is None:
                if not line.startswith("a=candidate:"):  # TCP, and what lies behind a NAT
                    lines.append(line)
                continue
            owner.peer = owner.peer or (found["host"], int(found["port"]))
            head = f"a=candidate:{found['foundation']} udp {found['priority']}"
            lines.append(f"{head} {HERE} {port} {found['rest']}")
        return "\r\n".join([*lines, ""])

    def _from_client(self, data: bytes) -> None:
        self._carry(data, self._links[0], self.up, self._server)

    def _from_server(self, data: bytes) -> None:
        self._carry(data, self._links[1], self.down, self._client)

    def _carry(self, data: bytes, link: DatagramLink, waiting: Waiting, to: _Side) -> None:
        loop = asyncio.get_running_loop()
        if self._began is None:
            self._began = loop.time()
        arrivals = link.arrivals(len(data), self.age)
        if not arrivals or waiting.bytes > MAX_WAITING:
            waiting.dropped += 1
            return
        for at in arrivals:
            waiting.add(len(data))
            loop.call_at(self._began + at, _deliver, data, waiting, to)


def _deliver(data: bytes, waiting: Waiting, to: _Side) -> None:
    waiting.bytes -= len(data)
    to.send(data)  # to nobody, once the relay is closed


class TcpRelay:
    """Listens on a port and passes each connection on to another port of this machine.

    Args:
        to: the server's port.
        condition: the network in each direction.
        seed: of losses and delays.

    Attributes:
        port: where the relay listens, once it is open.
        up: bytes that wait on the way to the server.
        down: bytes that wait on the way to the client.
    """

    def __init__(self, to: int, condition: Condition = INSTANT, seed: int = 0) -> None:
        self.port = 0
        self.up, self.down = Waiting(), Waiting()
        self._to = to
        self._condition = condition
        self._seed = seed
        self._refuses = False
        self._connections = 0
        self._began: float | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen."""
        sock = _small_socket()
        sock.bind((HERE, 0))
        self._server = await asyncio.start_server(self._accept, sock=sock, limit=READ_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def age(self) -> float:
        """Seconds since the first connection."""
        return 0.0 if self._began is None else asyncio.get_running_loop().time() - self._began

    def cut(self, *, down: bool = False) -> None:
        """Break all connections without a word; ``down``: and refuse new ones."""
        self._refuses = down
        for writer in self._writers:
            writer.transport.abort()

    def up_again(self) -> None:
        """Take connections again."""
        self._refuses = False

    async def close(self) -> None:
        """Break all connections and listen no more."""
        if self._server is not None:
            self._server.close()
        self.cut(down=True)
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._take(reader, writer))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._began is None:
            self._began = asyncio.get_running_loop().time()
        sock = _small_socket()
        await asyncio.get_running_loop().sock_connect(sock, (HERE, self._to))
        there, back = await asyncio.open_connection(sock=sock, limit=READ_BYTES)
        self._writers |= {writer, back}
        self._connections += 1
        seed = f"{self._seed} {self._connections}"
        await asyncio.gather(
            self._pass(reader, back, StreamLink(self._condition, f"{seed} up"), self.up),
            self._pass(there, writer, StreamLink(self._condition, f"{seed} dn"), self.down),
        )
        self._writers -= {writer, back}

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        link: StreamLink,
        waiting: Waiting,
    ) -> None:
        """Pass one direction on until its end; a sender waits while ``WINDOW_BYTES`` are away."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        room = asyncio.Event()
        room.set()
        delivering = asyncio.create_task(self._deliver(under_way, writer, waiting, room))
        try:
            while (data := await reader.read(READ_BYTES)) and not delivering.done():
                waiting.add(len(data))
                under_way.put_nowait((link.arrival(len(data), self.age), data))
                if waiting.bytes >= WINDOW_BYTES:
                    room.clear()
                await room.wait()
            under_way.put_nowait((self.age, b""))
            await delivering
        except OSError:
            pass  # cut
        finally:
            delivering.cancel()
            writer.close()

    async def _deliver(
        self,
        under_way: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
        waiting: Waiting,
        room: asyncio.Event,
    ) -> None:
        with contextlib.suppress(OSError):
            while True:
                at, data = await under_way.get()
                if not data:
                    break
                await asyncio.sleep(max(0.0, at - self.age))
                writer.write(data)
                await writer.drain()
                waiting.bytes -= len(data)
                if waiting.bytes < WINDOW_BYTES:
                    room.set()
        room.set()


def _small_socket() -> socket.socket:
    """A TCP socket whose buffers in the kernel are no second network of megabytes."""
    sock = socket.socket()
    sock.setblocking(False)
    for side in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, side, WINDOW_BYTES)
    return sock
