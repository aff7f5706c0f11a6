"""The C library's heap, which keeps what was freed between two tensors that stay."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import cast


def trim() -> None:
    """Give the free pages of the heap back to the system, where the C library is glibc."""
    found = _malloc_trim()
    if found is not None:
        found(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        found = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another library, or another system
        return None
    found.argtypes, found.restype = [ctypes.c_size_t], ctypes.c_int
    return cast(Callable[[int], int], found)
