"""Rows times packed weights, fused with the norm before and the residual or gate behind."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dllm_core.cpu import team
from dllm_core.cpu.formats import GROUP, Format
from dllm_core.cpu.jit import Kernel, compiled, tiles
from dllm_core.cpu.packed import PackedRows
from dllm_core.cpu.product_kernel import Finish, ProductKernel, grid_bytes
from dllm_core.cpu.team import Launch
from dllm_core.cpu.tile_kernel import TileKernel
from dllm_core.cpu.workspace import Workspace, float_bits

_PANEL_ROWS = (1, 2, 3, 4, 6, 8)
"""Numbers of rows that a kernel multiplies together; a kernel is compiled for each."""


class Norm(NamedTuple):
    """RMSNorm before a product: weight, float32 (in_features,), and epsilon."""

    weight: Tensor
    eps: float


_workspace = Workspace()


_SEVERAL = 5
"""Least rows of a panel where there are several."""


_TILED = 3
"""Least rows of a panel that are multiplied by tiles where the processor has them; fewer take
longer to come back from tiles than to be multiplied in vectors, with the same results."""


def _tiled(rows: int, portable: bool) -> bool:
    return rows >= _TILED and not portable and tiles()


@cache
def _kernel(form: Format, rows: int, single: bool, portable: bool, tiled: bool) -> Kernel:
    kind, name = (TileKernel, "tiles") if tiled else (ProductKernel, "product")
    name += f"_{form.name}_{rows}" + ("" if single else "_several")
    return compiled(name, kind(form, rows, single), portable=portable, keep=True)


def prepare(form: Format) -> None:
    """Compile all kernels for this format; a second or so."""
    for rows in _PANEL_ROWS:
        tiled = _tiled(rows, False)
        _kernel(form, rows, True, False, tiled)
        if rows >= _SEVERAL:
            _kernel(form, rows, False, False, tiled)


def panel(rows: int) -> tuple[int, int]:
    """Rows per panel and number of panels for a matrix of `rows` rows."""
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
    """Compute `norm(x) @ W.T + bias` in float32.

    Args:
        x: (rows, in_features); converted to float32 if it has another dtype.
        weights: the packed matrix W.
        norm: normalisation of the rows before the product.
        bias: float32 (out_features,).
        into: (rows, out_features) float32, contiguous; the products are added to it in place.
        swiglu: with paired weights, return silu(gate) * values (arXiv 2002.05202).
        portable: use only instructions that all processors of this kind have.

    Returns:
        (rows, out_features), half as many columns with `swiglu`; `into` if it was given.

    Raises:
        ValueError: x is not a matrix with in_features columns.
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
    """Normalised rows, padded with zeros to whole groups."""
    if norm is not None:
        x = F.rms_norm(x, (weights.in_features,), norm.weight, norm.eps)
    return F.pad(x.float(), (0, -weights.in_features % GROUP))


def workspace_sizes(rows: int, weights: PackedRows) -> tuple[int, int, int]:
    """Bytes of the workspaces for quantised rows, their scales and their sums."""
    size, panels = panel(rows)
    grid = size * panels * grid_bytes(weights.groups)
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
    """Prepare a launch of the kernel, which `team.run` or a `team.Program` runs.

    Args:
        x: float32 (rows, groups * 32).
        out: float32 (rows, tiles * 32), half as many columns with `Finish.SWIGLU`.
        workspace: addresses of `workspace_sizes` bytes each.
        finish: operation on the products.

    For the others see `multiply`.
    """
    size, panels = panel(len(x))
    arguments = (
        x.data_ptr(), 4 * x.stride(0), len(x), panels, weights.groups,
        0 if norm is None else norm.weight.data_ptr(),
        0 if norm is None else float_bits(norm.eps),
        *workspace, weights.data.data_ptr(), weights.tiles,
        0 if bias is None else bias.data_ptr(),
        out.data_ptr(), 4 * out.stride(0), finish,
    )  # fmt: skip
    tiled = _tiled(size, portable)
    return Launch(_kernel(weights.form, size, panels == 1, portable, tiled), arguments)
