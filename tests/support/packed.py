"""Weights for the tests of the CPU's kernels."""

from __future__ import annotations

import torch

from dllm_core.cpu.formats import FOUR_BITS, Format
from dllm_core.cpu.packed import PackedRows


def four_bit(rows: int, columns: int, seed: int = 3) -> torch.Tensor:
    """Random weights as a Q4_1 file has them: 16 levels in every group of 32."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(0, 16, (rows, columns // 32, 32), generator=generator)
    levels[..., 0], levels[..., 1] = 0, 15
    shape = (rows, columns // 32, 1)
    step = (torch.rand(shape, generator=generator) * 0.01 + 0.001).half().float()
    least = (torch.randn(shape, generator=generator) * 0.05).half().float()
    return (levels * step + least).view(rows, columns)


def packed(rows: int, columns: int, form: Format, *, paired: bool = False) -> PackedRows:
    """Random weights (out_features, in_features)."""
    generator = torch.Generator().manual_seed(rows + columns)
    random = torch.randn(rows, columns, generator=generator)
    weight = four_bit(rows, columns) if form is FOUR_BITS else random
    found = PackedRows(columns, rows, form, paired=paired)
    assert found.store(0, weight)
    return found
