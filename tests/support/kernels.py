"""What the tests of dllm_core.ops share: where kernels run, and tensors that betray mistakes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dllm_core import ops
from dllm_core.ops.fp8 import FP8

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""On a GPU the compiled kernels run, elsewhere the same ones in Triton's interpreter."""

needs_triton = pytest.mark.skipif(
    not ops.available(), reason="Triton is not installed: it exists for Linux only"
)

TOLERANCE = {torch.float32: (1e-4, 1e-5), torch.bfloat16: (1.6e-2, 1e-2)}
"""Relative and absolute: of bfloat16, two units in its last place."""


def drawn(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Normal numbers, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(DEVICE, dtype)


def integers(*values: int, dtype: torch.dtype = torch.int32) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=DEVICE)


def poisoned(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """NaN everywhere: what a kernel fails to write, or reads without need, shows."""
    return torch.full(shape, torch.nan, dtype=dtype, device=DEVICE)


def assert_near(actual: Tensor, expected: Tensor) -> None:
    """Equal but for rounding; `expected` may be of higher precision."""
    relative, absolute = TOLERANCE[actual.dtype]
    torch.testing.assert_close(
        actual.float(), expected.float(), rtol=relative, atol=absolute, equal_nan=False
    )


def assert_fp8_near(
    actual: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], loose: float = 0.02
) -> None:
    """Equal scales; values equal but for a few that lie between two fp8 numbers."""
    assert actual[0].dtype == FP8
    torch.testing.assert_close(actual[1], expected[1], rtol=1e-5, atol=0)
    values, wanted = actual[0].float(), expected[0].float()
    assert values.isfinite().all()
    # Neighbours of three mantissa bits differ by an eighth at most, subnormals by 2 ** -9.
    torch.testing.assert_close(values, wanted, rtol=0.126, atol=2.0**-9)
    assert (values != wanted).float().mean() <= loose
