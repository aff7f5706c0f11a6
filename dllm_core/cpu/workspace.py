"""Memory that kernels use while they run, and numbers as they are given to them."""

from __future__ import annotations

import struct
import threading
from functools import cache

import torch

_ALIGNED = 64
"""Bytes of a line of the processor's caches."""


class Workspace(threading.local):
    """Memory of the calling thread; it grows to what was needed most."""

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.uint8)

    def place(self, sizes: tuple[int, ...]) -> list[int]:
        """Addresses of buffers of so many bytes, until the next call."""
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
    """A float32 as the integer of its bits."""
    return int(struct.unpack("<i", struct.pack("<f", value))[0])
