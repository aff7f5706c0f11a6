"""What every kernel and its launcher ask first: dead calls, layouts, the size of the device."""

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


@triton.jit
def dead(live, call):
    """Whether a call's rows need no work; every kernel asks this first and returns."""
    if live is None:
        return False
    else:
        return tl.load(live + call) == 0


def require_contiguous(**tensors: Tensor | None) -> None:
    """Raises OptionError if a kernel would read one of these in the wrong order."""
    for name, tensor in tensors.items():
        if tensor is not None and not tensor.is_contiguous():
            raise OptionError(
                f"{name} of shape {tuple(tensor.shape)} has strides {tensor.stride()}, but the "
                "kernel reads it in one piece: call .contiguous() where it is made."
            )


def rows_per_call(rows: int, live: Tensor | None) -> int:
    """How many consecutive rows belong to one call."""
    if live is None:
        return rows
    if rows % len(live):
        raise OptionError(f"{rows} rows cannot belong to {len(live)} calls of equal size.")
    return rows // len(live)


@lru_cache
def processors(device: torch.device) -> int:
    """Streaming multiprocessors of a device; those of an H100 where there is none."""
    if device.type != "cuda":
        return H100_PROCESSORS
    count: int = torch.cuda.get_device_properties(device).multi_processor_count
    return count


def warps_for(elements: int, per_thread: int = 8) -> int:
    """Warps that hold a row with that many elements per thread, between 1 and 32.

    Eight elements of two bytes are one 16-byte load.
    """
    return max(1, min(32, elements // (32 * per_thread)))
