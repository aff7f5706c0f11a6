"""Scratch memory of kernels, and the encoding of their float arguments."""

from __future__ import annotations

import struct
import threading
from functools import cache

import torch

_ALIGNED = 64
"""Bytes of a cache line."""


class Workspace(threading.local):
    """Scratch memory of the calling thread; it grows to the largest size requested."""

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.uint8)

    def place(self, sizes: tuple[int, ...]) -> list[int]:
        """Addresses of buffers of the given sizes in bytes, valid until the next call."""
        starts, total = [], 0
        for size in sizes:
            starts.append(total)
            total += -(-size // _ALIGNED) * _ALIGNED
        if self._memory.numel() < total:
            grown = self._memory.numel() * 3 // 2  # what grows a little grows again
            self._memory = torch.empty(max(total, grown), dtype=torch.uint8)
        base = self._memory.data_ptr()
        return [base + start for start in starts]


@cache
def float_bits(value: float) -> int:
    """Bits of a float32 as an integer."""
    return int(struct.unpack("<i", struct.pack("<f", value))[0])
