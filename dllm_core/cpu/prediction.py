"""Best token of every row of logits, with the weight of all others."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from dllm_core.cpu import jit, team
from dllm_core.cpu.emit import LANES
from dllm_core.cpu.jit import Kernel, compiled
from dllm_core.cpu.prediction_kernel import emit_prediction
from dllm_core.cpu.team import Launch


@cache
def prepare() -> Kernel:
    """Compile the kernel; later calls return it at once."""
    return compiled("prediction", emit_prediction, keep=True)


def serves(logits: Tensor) -> bool:
    """Whether the kernel supports these logits; others are left to torch."""
    plain = logits.device.type == "cpu" and logits.dtype == torch.float32
    fits = logits.stride(-1) == 1 and logits.shape[-1] % LANES == 0
    return plain and fits and jit.allowed()


def best_token(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Best token of float32 logits (rows, vocab).

    Returns:
        ids, int64 (rows,), and the sum of e**(logit - best) over all other tokens, float32 (rows,).
    """
    rows, vocab = logits.shape
    ids, others = torch.empty(rows, dtype=torch.int64), torch.empty(rows)
    arguments = (
        rows, logits.data_ptr(), 4 * logits.stride(0), vocab // LANES,
        ids.data_ptr(), others.data_ptr(),
    )  # fmt: skip
    team.run(Launch(prepare(), arguments))
    return ids, others
