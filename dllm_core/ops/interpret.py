"""Running the kernels without a GPU, in Triton's interpreter: slow, but the same code.

Triton chooses the interpreter when it is imported, so call `interpret_without_gpu` before any
import of a kernel.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import torch

from dllm_core.ops.dispatch import available


def interpret_without_gpu() -> None:
    """Select Triton's interpreter where torch sees no GPU; do nothing elsewhere."""
    if torch.cuda.is_available() or not available():
        return
    os.environ.setdefault("TRITON_INTERPRET", "1")
    _round_as_the_hardware_does()
    _multiply_bfloat16()


def _round_as_the_hardware_does() -> None:
    """Let torch convert float32 to narrower formats in the interpreter.

    Triton's own conversion (3.6 to 3.9) loses the carry of a mantissa that rounds up to the next
    power of two, and rounds ties up and subnormals down. A GPU's rounding is that of torch.
    """
    interpreter: Any = import_module("triton.runtime.interpreter")
    language: Any = import_module("triton.language")
    convert = interpreter._convert_float
    narrow = {
        language.float8e4nv: (torch.float8_e4m3fn, torch.uint8),
        language.bfloat16: (torch.bfloat16, torch.uint16),
    }

    def converted(source: Any, source_type: Any, target_type: Any, rounding: Any) -> Any:
        if source_type != language.float32 or target_type not in narrow:
            return convert(source, source_type, target_type, rounding)
        dtype, bits = narrow[target_type]
        return torch.tensor(source).to(dtype).view(bits).numpy()

    interpreter._convert_float = converted


def _multiply_bfloat16() -> None:
    """Let the interpreter's matrix product take bfloat16, which it holds as 16-bit integers.

    Triton (3.6 to 3.9) multiplies those integers.
    """
    interpreter: Any = import_module("triton.runtime.interpreter")
    language: Any = import_module("triton.language")
    builder = interpreter.InterpreterBuilder
    create_dot = builder.create_dot

    def widened(handle: Any) -> Any:
        if handle.dtype.scalar != language.bfloat16:
            return handle
        bits = torch.tensor(handle.data.astype("int32")) << 16
        return interpreter.TensorHandle(bits.view(torch.float32).numpy(), language.float32)

    def multiplied(self: Any, left: Any, right: Any, *rest: Any) -> Any:
        return create_dot(self, widened(left), widened(right), *rest)

    builder.create_dot = multiplied
