"""Triton kernels of swiglu.py.

Predicted on an H100 for 64 rows of 2 x 12288 in bfloat16: 3.1 MB read and 1.6 MB written, from and
to the L2 cache that the preceding matrix product has filled: 1.4 us at memory speed. The plain
form cuts rows into pieces, 384 programs in all; the fp8 form needs the largest magnitude of a row,
so each program holds a whole row.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from dllm_core.ops.fp8_kernel import empty_rows, quantized
from dllm_core.ops.launch import dead, require_contiguous, rows_per_sequence, warps_for

_PIECE = 2048


@triton.jit
def _swiglu(gate_up, live, out, scales, rows, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    if dead(live, row // rows):
        return
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < WIDTH
    gate = tl.load(gate_up + row * 2 * WIDTH + columns, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * WIDTH + WIDTH + columns, mask=inside, other=0.0).to(tl.float32)
    gated = gate * tl.sigmoid(gate) * up
    if scales is None:
        tl.store(out + row * WIDTH + columns, gated.to(out.dtype.element_ty), mask=inside)
    else:
        small, scale = quantized(gated)
        tl.store(out + row * WIDTH + columns, small, mask=inside)
        tl.store(scales + row, scale)


def _launch(
    gate_up: Tensor, live: Tensor | None, out: Tensor, scales: Tensor | None, block: int
) -> None:
    require_contiguous(gate_up=gate_up, out=out)
    count, width = out.shape
    _swiglu[(count, triton.cdiv(width, block))](
        gate_up,
        live,
        out,
        scales,
        rows_per_sequence(count, live),
        WIDTH=width,
        BLOCK=block,
        num_warps=warps_for(block),
    )


def swiglu(gate_up: Tensor, live: Tensor | None = None, *, out: Tensor | None = None) -> Tensor:
    """Run the kernel; see the reference in `swiglu`."""
    count, width = gate_up.shape
    gated = gate_up.new_empty(count, width // 2) if out is None else out
    _launch(gate_up, live, gated, None, min(_PIECE, triton.next_power_of_2(width // 2)))
    return gated


def swiglu_fp8(
    gate_up: Tensor, live: Tensor | None = None, *, out: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Run the kernel; see the reference in `swiglu`."""
    width = gate_up.shape[1] // 2
    gated, scales = empty_rows(gate_up, width) if out is None else out
    _launch(gate_up, live, gated, scales, triton.next_power_of_2(width))
    return gated, scales
