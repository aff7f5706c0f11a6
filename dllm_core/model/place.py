"""Chooses the device and the number format of a model."""

from __future__ import annotations

from typing import Literal

import torch

from dllm_core.cpu import jit
from dllm_core.errors import OptionError
from dllm_core.model.fp8_linear import Fp8Linear
from dllm_core.model.quantize import Int4Linear, Int8Linear
from dllm_core.model.transformer import Linear, LinearKind

Dtype = Literal["auto", "float32", "bfloat16", "fp8", "int8", "int4"]

_FIRST_WITH_FP8 = (8, 9)
"""CUDA compute capability (Ada) from which tensor cores multiply 8-bit floats."""


def choose_device(name: str) -> torch.device:
    """The torch device of a name; `auto` is a GPU where there is one, else the CPU.

    Raises:
        OptionError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise OptionError(f"There is no device called {name!r}: use cpu, cuda or auto.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise OptionError("No CUDA device is visible to torch: use the device cpu or auto.")
    return device


def choose_kind(dtype: Dtype, device: torch.device) -> tuple[LinearKind, torch.dtype]:
    """The class of the linear layers, and the dtype of everything else.

    `auto` is bfloat16 on a GPU and `int4` on a CPU: a checkpoint's own quantised weights, or int8
    where it has no such weights. Where the system forbids the kernels of these (cpu/jit.py), it is
    float32.

    Raises:
        OptionError: the dtype is unknown, or does not run on this device or system.
    """
    if dtype == "auto":
        on_cpu: Dtype = "int4" if jit.allowed() else "float32"
        dtype = on_cpu if device.type == "cpu" else "bfloat16"
    kinds: dict[str, tuple[LinearKind, torch.dtype]] = {
        "float32": (Linear, torch.float32),
        "bfloat16": (Linear, torch.bfloat16),
        "fp8": (Fp8Linear, torch.bfloat16),
        "int8": (Int8Linear, torch.float32),
        "int4": (Int4Linear, torch.float32),
    }
    if dtype not in kinds:
        names = ", ".join(["auto", *kinds])
        raise OptionError(f"{dtype!r} is no dtype of this engine: use one of {names}.")
    if dtype in ("int8", "int4") and device.type != "cpu":
        raise OptionError(f"{dtype} layers run on a CPU, not on {device.type}: use bfloat16.")
    if dtype in ("int8", "int4") and not jit.allowed():
        raise OptionError(jit.FORBIDDEN)
    if dtype == "fp8":
        _require_fp8(device)
    return kinds[dtype]


def _require_fp8(device: torch.device) -> None:
    if device.type != "cuda":
        raise OptionError(f"fp8 layers run on a GPU, not on {device.type}: use int8 or bfloat16.")
    if torch.cuda.get_device_capability(device) < _FIRST_WITH_FP8:
        name = torch.cuda.get_device_name(device)
        raise OptionError(f"{name} does not multiply 8-bit floats: use bfloat16.")
