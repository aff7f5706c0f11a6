"""A file of packed weights under way, which grows weight by weight and appears when it is whole.

What was added can be mapped and its memory given up while the rest is packed, so that the weights
stand in memory once at most, and those of a layer at a time as a rule.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PAGE = 4096
MAGIC = b"onebreath packed"
DIGEST = 32
START = len(MAGIC) + 8 + 8 + DIGEST
"""Bytes before the header: magic, lengths of the header and of the file, digest of the header."""


def begin_of_weights(header: int) -> int:
    """First byte of the weights behind a header of so many bytes."""
    return -(-(START + header) // PAGE) * PAGE


class PackedWriter:
    """Writes one file beside its place.

    Attributes:
        size: bytes of the weights so far, padding included.

    Args:
        path: where the file appears in the end; its directory is there.
        room: most bytes of its header.

    Raises:
        OSError: there is no room, or no right to write.
    """

    def __init__(self, path: Path, room: int) -> None:
        self._path, self._room, self.size = path, room, 0
        self._digest = hashlib.sha256()
        handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
        self._partial = Path(partial)
        self._file = os.fdopen(handle, "w+b")
        try:
            self._file.write(bytes(begin_of_weights(room)))
        except BaseException:
            self.drop()
            raise

    def add(self, raw: memoryview) -> int:
        """Append some weights; returns their place in the weights, the beginning of a page.

        Raises:
            OSError: the disk is full.
        """
        place = self.size
        for block in (raw, memoryview(bytes(-len(raw) % PAGE))):
            self._file.write(block)
            self._digest.update(block)
            self.size += len(block)
        return place

    def mapped(self, place: int, size: int) -> NDArray[np.uint8]:
        """What was added at a place: pages of the file, read when used, private when written to.

        Raises:
            OSError: the disk is full, or there is no address space.
        """
        self._file.flush()
        begin = begin_of_weights(self._room) + place
        before = begin % mmap.ALLOCATIONGRANULARITY
        whole = mmap.mmap(
            self._file.fileno(), before + size, access=mmap.ACCESS_COPY, offset=begin - before
        )
        return np.frombuffer(whole, np.uint8, size, before)

    def finish(self, header: Mapping[str, Any]) -> None:
        """Write the header with the SHA-256 of the weights, and put the file in its place.

        Raises:
            OSError: the disk is full, or the header has no room.
        """
        text = json.dumps({**header, "sha256": self._digest.hexdigest()}).encode()
        if len(text) > self._room:
            raise OSError(f"a header of {len(text)} bytes has room for {self._room}")
        text = text.ljust(self._room)  # blanks behind it are JSON, too
        size = begin_of_weights(self._room) + self.size
        lengths = len(text).to_bytes(8, "little") + size.to_bytes(8, "little")
        self._file.seek(0)
        self._file.write(MAGIC + lengths + hashlib.sha256(text).digest() + text)
        self._file.flush()
        os.fsync(self._file.fileno())  # so that a crash leaves no file with holes
        self._file.close()
        os.replace(self._partial, self._path)

    def drop(self) -> None:
        """Leave no file. What is mapped stays as it is."""
        with contextlib.suppress(OSError):  # what is still buffered on a full disk
            self._file.close()
        with contextlib.suppress(OSError):
            os.unlink(self._partial)
