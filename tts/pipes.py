"""Messages between a synthesiser and its worker process: a JSON header and raw bytes.

Each message is framed by the two lengths, little-endian. JSON rather than pickle: a worker process
cannot make its parent run code.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

_LENGTHS = struct.Struct("<II")
MAX_HEADER = 1 << 20
MAX_PAYLOAD = 1 << 26


class PipeError(Exception):
    """The bytes are not a message: the other side is broken, or a library printed to the pipe."""


@dataclass(frozen=True, slots=True)
class PipeMessage:
    """One message between parent and worker.

    Attributes:
        kind: ``ready``, ``fatal``, ``speak``, ``credit``, ``cancel``, ``chunk``, ``end`` or
            ``error``.
        request: number of the request that it belongs to; 0 for the worker itself.
        fields: content of the header.
        payload: bytes after the header.
    """

    kind: str
    request: int = 0
    fields: dict[str, Any] | None = None
    payload: bytes = b""

    def __getitem__(self, name: str) -> Any:
        """A field of the header.

        Raises:
            PipeError: the message lacks it.
        """
        if self.fields is None or name not in self.fields:
            raise PipeError(f"message {self.kind!r} lacks {name!r}")
        return self.fields[name]


def write_message(stream: BinaryIO, message: PipeMessage) -> None:
    """Write one message and flush. Callers on several threads need a lock of their own."""
    header = json.dumps([message.kind, message.request, message.fields]).encode()
    stream.write(_LENGTHS.pack(len(header), len(message.payload)) + header + message.payload)
    stream.flush()


def read_message(stream: BinaryIO) -> PipeMessage | None:
    """Read one message; ``None`` when the other side has closed the pipe between two messages.

    Raises:
        PipeError: the bytes are not a message, are too long, or end in the middle.
    """
    lengths = stream.read(_LENGTHS.size)
    if not lengths:
        return None
    if len(lengths) < _LENGTHS.size:
        raise PipeError("the pipe ended inside a message")
    header_size, payload_size = _LENGTHS.unpack(lengths)
    if header_size > MAX_HEADER or payload_size > MAX_PAYLOAD:
        raise PipeError(f"lengths out of bounds: {header_size} and {payload_size} bytes")
    body = stream.read(header_size + payload_size)
    if len(body) < header_size + payload_size:
        raise PipeError("the pipe ended inside a message")
    try:
        kind, request, fields = json.loads(body[:header_size])
    except ValueError as error:
        raise PipeError(f"header is not one of ours: {error}") from error
    return PipeMessage(kind, request, fields, body[header_size:])
