"""Listening sockets, bound before anything is loaded."""

from __future__ import annotations

import contextlib
import errno
import socket

from agent.errors import ConfigError, PortInUse

UNSENT_BYTES = 8192
"""Bytes of a connection that wait in the kernel unsent, beside those that are under way; the rest
waits where sound that is no longer wanted can be dropped. 0.13 s of PCM, 0.8 s of G.711."""


def listen(host: str, port: int) -> socket.socket:
    """Bind the port, before any model is loaded, so that a taken port is known at once.

    Raises:
        PortInUse: another program listens there.
        ConfigError: the address is not of this machine, or needs other rights.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # accepted connections inherit it
        with contextlib.suppress(OSError):  # some sandboxes do not know it
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    try:
        sock.bind((host, port))
        sock.listen(64)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(host, port) from None
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return sock
