"""When the kernel took what a socket receives: a busy reader does not make it later."""

from __future__ import annotations

import socket
import struct
import sys
import time
from typing import Self

SO_TIMESTAMPNS = 35
"""Linux's asm-generic/socket.h; Python has no name for it. Works for TCP since Linux 4.15."""
_TIMESPEC = struct.Struct("qq")


class StampedSocket(socket.socket):
    """A TCP socket; ``arrived_at`` is that of the bytes that were read last.

    The kernel's second where it tells, else that of the read, both by the clock on the wall.
    """

    arrived_at = 0.0

    @classmethod
    def connected(cls, host: str, port: int) -> Self:
        """Connect.

        Raises:
            OSError: nobody listens there.
        """
        sock = cls(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.connect((host, port))
            if sys.platform == "linux":
                sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        except OSError:
            sock.close()
            raise
        sock.setblocking(False)
        return sock

    def recv(self, size: int, flags: int = 0) -> bytes:
        data, ancillary, _, _ = self.recvmsg(size, socket.CMSG_SPACE(_TIMESPEC.size), flags)
        self.arrived_at = time.time()
        for level, kind, value in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                seconds, nanoseconds = _TIMESPEC.unpack(value)
                self.arrived_at = seconds + nanoseconds / 1e9
        return data
