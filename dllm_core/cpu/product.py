"""Rows times packed weights, with what surrounds the product in a layer of a transformer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dllm_core.cpu import team
from dllm_core.cpu.jit import Kernel, compiled
from dllm_core.cpu.packed import GROUP, Format, PackedRows
from dllm_core.cpu.product_kernel import Finish, ProductKernel
from dllm_core.cpu.team import Launch
from dllm_core.cpu.workspace import Workspace, float_bits

_PANEL_ROWS = (1, 2, 3, 4, 6, 8)
"""Rows that a kernel multiplies at once: one is compiled for each."""


class Norm(NamedTuple):
    """RMSNorm before a product: weight (in_features,) float32."""

    weight: Tensor
    eps: float


_workspace = Workspace()


@cache
def _kernel(form: Format, rows: int, portable: bool) -> Kernel:
    return compiled(f"product_{form.bits}_{rows}", ProductKernel(form, rows), portable=portable)


def prepare(form: Format) -> None:
    """Compile every kernel for this format, a second or so, before anybody waits for it."""
    for rows in _PANEL_ROWS:
        _kernel(form, rows, False)


def panel(rows: int) -> tuple[int, int]:
    """Rows of a panel, and panels, for a matrix of so many rows."""
    panels = -(-rows // _PANEL_ROWS[-1])
    least = -(-rows // panels)
    size = next(n for n in _PANEL_ROWS if n >= least)
    return size, -(-rows // size)


def multiply(
    x: Tensor,
    weights: PackedRows,
    *,
    norm: Norm | None = None,
    bias: Tensor | None = None,
    into: Tensor | None = None,
    swiglu: bool = False,
    portable: bool = False,
) -> Tensor:
    """`norm(x) @ W.T + bias`, in float32.

    Args:
        x: (rows, in_features) float32.
        norm: normalise the rows first.
        into: (rows, out_features) float32, contiguous, to which the products are added in place.
        swiglu: the halves of the paired weights give gate and values: silu(gate) * values.
        portable: without instructions that only some processors have.

    Returns:
        (rows, out_features), half as many columns with `swiglu`; `into` where it was given.

    Raises:
        ValueError: x is no matrix of in_features columns.
    """
    if x.ndim != 2 or x.shape[1] != weights.in_features:
        raise ValueError(f"x is {tuple(x.shape)}, not (rows, {weights.in_features})")
    assert not weights.paired or (bias is None and into is None), "its outputs lie elsewhere"
    columns = weights.tiles * (GROUP // 2 if swiglu else GROUP)
    if into is not None and columns != into.shape[1]:
        return into.add_(multiply(x, weights, norm=norm, bias=bias, portable=portable))
    if weights.in_features % GROUP:
        x, norm = _padded(x, norm, weights), None
    x = x if x.stride(-1) == 1 and x.dtype == torch.float32 else x.float().contiguous()
    out = torch.empty(len(x), columns) if into is None else into
    if bias is not None and bias.numel() < columns:
        bias = F.pad(bias, (0, columns - bias.numel()))
    finish = Finish.ADD if into is not None else Finish.SWIGLU if swiglu else Finish.STORE
    if len(x):
        given = _workspace.place(workspace_sizes(len(x), weights))
        team.run(
            launch(x, weights, out, given, norm=norm, bias=bias, finish=finish, portable=portable)
        )
    if weights.paired and not swiglu:
        out = out.view(len(x), weights.tiles, 2, GROUP // 2).transpose(1, 2).flatten(1)
    return out if swiglu or columns == weights.out_features else out[:, : weights.out_features]


def _padded(x: Tensor, norm: Norm | None, weights: PackedRows) -> Tensor:
    """Normalised rows, filled up with zeros to whole groups."""
    if norm is not None:
        x = F.rms_norm(x, (weights.in_features,), norm.weight, norm.eps)
    return F.pad(x.float(), (0, -weights.in_features % GROUP))


def workspace_sizes(rows: int, weights: PackedRows) -> tuple[int, int, int]:
    """Bytes of the quantised rows, their scales and their sums."""
    size, panels = panel(rows)
    grid = 4 * size * panels * weights.groups
    return 2 * GROUP * size * panels * weights.groups, grid, grid


def launch(
    x: Tensor,
    weights: PackedRows,
    out: Tensor,
    workspace: Sequence[int],
    *,
    norm: Norm | None = None,
    bias: Tensor | None = None,
    finish: Finish = Finish.STORE,
    portable: bool = False,
) -> Launch:
    """The kernel's own interface: whole groups and tiles, addresses of `workspace_sizes` bytes."""
    size, panels = panel(len(x))
    arguments = (
        x.data_ptr(), 4 * x.stride(0), len(x), panels, weights.groups,
        0 if norm is None else norm.weight.data_ptr(),
        0 if norm is None else float_bits(norm.eps),
        *workspace, weights.data.data_ptr(), weights.tiles,
        0 if bias is None else bias.data_ptr(),
        out.data_ptr(), 4 * out.stride(0), finish,
    )  # fmt: skip
    return Launch(_kernel(weights.form, size, portable), arguments)
