"""SwiGLU, the gate of a feed-forward layer (arXiv 2002.05202)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from dllm_core.ops.dispatch import Operation
from dllm_core.ops.fp8 import quantize_rows_reference


def _gated(gate_up: Tensor) -> Tensor:
    gate, up = gate_up.float().chunk(2, dim=-1)
    return F.silu(gate) * up


def swiglu_reference(
    gate_up: Tensor, live: Tensor | None = None, *, out: Tensor | None = None
) -> Tensor:
    """silu(gate) * up of gate_up (R, 2 i), the gates first: (R, i) in the same dtype.

    Rows of sequences that are not `live` are skipped; `out` (R, i) is written if given.
    """
    gated = _gated(gate_up).to(gate_up.dtype)
    return gated if out is None else out.copy_(gated)


def swiglu_fp8_reference(
    gate_up: Tensor, live: Tensor | None = None, *, out: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """`swiglu` with a result in fp8 (R, i) and its scales, float32 (R, 1)."""
    return quantize_rows_reference(_gated(gate_up), out=out)


swiglu = Operation(swiglu_reference, "dllm_core.ops.swiglu_kernel:swiglu")
swiglu_fp8 = Operation(swiglu_fp8_reference, "dllm_core.ops.swiglu_kernel:swiglu_fp8")
