"""Checks shared by all kernels and launchers: dead sequences, layouts, the size of the device."""

from __future__ import annotations

import os
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from dllm_core.errors import OptionError

# Multiply and add in one instruction: Triton 3.9 warns that a later default will be another.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

H100_PROCESSORS = 132
"""Streaming multiprocessors of an H100."""


@triton.jit
def dead(live, sequence):
    """Whether the rows of a sequence are skipped; every kernel returns early if so."""
    if live is None:
        return False
    else:
        return tl.load(live + sequence) == 0


def require_contiguous(**tensors: Tensor | None) -> None:
    """Check the layout of tensors that a kernel reads as one piece of memory.

    Raises:
        OptionError: a tensor is not contiguous.
    """
    for name, tensor in tensors.items():
        if tensor is not None and not tensor.is_contiguous():
            raise OptionError(
                f"{name} of shape {tuple(tensor.shape)} has strides {tensor.stride()}, but the "
                "kernel reads it in one piece: call .contiguous() where it is made."
            )


def rows_per_sequence(rows: int, live: Tensor | None) -> int:
    """Number of consecutive rows of each sequence; all `rows` where `live` is None.

    Raises:
        OptionError: the rows cannot be shared out equally.
    """
    if live is None:
        return rows
    if rows % len(live):
        raise OptionError(f"{rows} rows cannot belong to {len(live)} sequences of equal size.")
    return rows // len(live)


@lru_cache
def processors(device: torch.device) -> int:
    """Number of streaming multiprocessors of a device; that of an H100 without a GPU."""
    if device.type != "cuda":
        return H100_PROCESSORS
    count: int = torch.cuda.get_device_properties(device).multi_processor_count
    return count


def warps_for(elements: int, per_thread: int = 8) -> int:
    """Number of warps, 1 to 32, that hold a row of `elements` with `per_thread` in each thread.

    Eight elements of two bytes are one 16-byte load.
    """
    return max(1, min(32, elements // (32 * per_thread)))
