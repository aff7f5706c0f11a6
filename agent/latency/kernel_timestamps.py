"""Kernel timestamps of received data, which do not depend on when a busy process reads it."""

from __future__ import annotations

import socket
import struct
import sys
import time
from typing import Self

SO_TIMESTAMPNS = 35
"""Socket option of Linux (asm-generic/socket.h), missing in Python; for TCP since Linux 4.15."""
_TIMESPEC = struct.Struct("qq")


class TimestampedSocket(socket.socket):
    """A TCP socket that records when the kernel received the data that was read last.

    Attributes:
        arrived_at: wall-clock second of the kernel's timestamp, or of the read where the kernel
            gives none.
    """

    arrived_at = 0.0

    @classmethod
    def connected(cls, host: str, port: int) -> Self:
        """Open a non-blocking connection to ``host``, an IPv4 address.

        Raises:
            OSError: the connection fails.
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
        """Read up to ``size`` bytes and set ``arrived_at``."""
        data, ancillary, _, _ = self.recvmsg(size, socket.CMSG_SPACE(_TIMESPEC.size), flags)
        self.arrived_at = time.time()
        for level, kind, value in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                seconds, nanoseconds = _TIMESPEC.unpack(value)
                self.arrived_at = seconds + nanoseconds / 1e9
        return data
