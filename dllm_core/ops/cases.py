"""Every operation with operands at the true geometry of a model.

The gate (`check.py`), the test of the compiler and the benchmarks share these cases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Any

import torch
from torch import Tensor

from dllm_core.ops import PAGE, Operation, kernels, references
from dllm_core.ops.attention import canvas_attention
from dllm_core.ops.commit import commit
from dllm_core.ops.fp8 import quantize_rows, quantize_weight
from dllm_core.ops.geometry import Geometry
from dllm_core.ops.head import top1
from dllm_core.ops.linear import linear, linear_fp8, linear_fp8_parts, linear_parts
from dllm_core.ops.norm import add_rms_norm, add_rms_norm_fp8, rms_norm, rms_norm_fp8
from dllm_core.ops.rotary import rotate_and_store
from dllm_core.ops.swiglu import swiglu, swiglu_fp8

_EPS = 1e-5


class Operands:
    """Makes the same tensors on a device each time, bfloat16 unless a dtype is given."""

    def __init__(self, geometry: Geometry, device: torch.device) -> None:
        self.geometry, self.device = geometry, device
        self.count = geometry.sequences * geometry.rows
        self._generator = None if device.type == "meta" else torch.Generator(device).manual_seed(0)

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        """Normal random numbers, bfloat16."""
        drawn = torch.empty(*shape, dtype=torch.bfloat16, device=self.device)
        return drawn.normal_(0.0, scale, generator=self._generator)

    def weight(self, n: int, k: int) -> Tensor:
        """Random weight (n, k), bfloat16, scaled by its inputs."""
        return self.normal(n, k, scale=k**-0.5)

    def integers(self, values: list[int], dtype: torch.dtype = torch.int32) -> Tensor:
        """Tensor of the given integers."""
        return torch.tensor(values, dtype=dtype, device=self.device)

    def permutation(self, n: int) -> Tensor:
        """Random permutation of 0 .. n - 1."""
        return torch.randperm(n, generator=self._generator, device=self.device)

    def live(self) -> Tensor:
        """All sequences but the second, where there is one."""
        return self.integers([int(sequence != 1) for sequence in range(self.geometry.sequences)])

    def poisoned(self, *shape: int) -> Tensor:
        """Tensor filled with NaN, bfloat16."""
        return torch.full(shape, torch.nan, dtype=torch.bfloat16, device=self.device)


class Chained:
    """Several operations in sequence, all by their kernels or all by their references."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run

    def kernel(self, *arguments: Any) -> Any:
        """Run with the kernels."""
        with kernels():
            return self._run(*arguments)

    def reference(self, *arguments: Any) -> Any:
        """Run with the references."""
        with references():
            return self._run(*arguments)


@dataclass(frozen=True, slots=True)
class Case:
    """An operation and the function that makes its arguments, anew for each run.

    Attributes:
        name: name of the case in reports.
        operation: the operation under test.
        arguments: makes positional and keyword arguments from operands.
        weight: index of the argument that is the weight of a matrix product, if the operation is
            one; its kernel then takes a tile.
    """

    name: str
    operation: Operation[..., Any] | Chained
    arguments: Callable[[Operands], tuple[tuple[Any, ...], dict[str, Any]]]
    weight: int | None = None


def _rows(width: Callable[[Geometry], int], *, count: int = 1, gain: bool = False) -> Any:
    """Arguments of operations on rows: tensors (R, width), with `gain` a norm's weight, `live`."""

    def arguments(make: Operands) -> tuple[tuple[Any, ...], dict[str, Any]]:
        size = width(make.geometry)
        tensors = [make.normal(make.count, size) for _ in range(count)]
        rest = (make.normal(size), _EPS) if gain else ()
        return (*tensors, *rest, make.live()), {}

    return arguments


def _linear(n: Callable[[Geometry], int], k: Callable[[Geometry], int], *, fp8: bool) -> Any:
    def arguments(make: Operands) -> tuple[tuple[Any, ...], dict[str, Any]]:
        x, weight = (
            make.normal(make.count, k(make.geometry)),
            make.weight(n(make.geometry), k(make.geometry)),
        )
        if not fp8:
            return (x, weight, None, make.live()), {}
        operands = (*quantize_rows.reference(x), *quantize_weight(weight))
        return (*operands, None, make.live()), {}

    return arguments


def _normed_product(
    x: Tensor, weight: Tensor, residual: Tensor, gain: Tensor, live: Tensor
) -> tuple[Tensor, Tensor]:
    return add_rms_norm(linear_parts(x, weight, live), residual, gain, _EPS, live)


def _parts_arguments(make: Operands) -> tuple[tuple[Any, ...], dict[str, Any]]:
    size = make.geometry
    x, weight = make.normal(make.count, size.inner), make.weight(size.hidden, size.inner)
    return (
        x,
        weight,
        make.normal(make.count, size.hidden),
        make.normal(size.hidden),
        make.live(),
    ), {}


def _normed_fp8_product(
    x: Tensor, x_scale: Tensor, weight: Tensor, weight_scale: Tensor, *rest: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    residual, gain, live = rest
    parts = linear_fp8_parts(x, x_scale, weight, weight_scale, live)
    return add_rms_norm_fp8(parts, residual, gain, _EPS, live)


def _fp8_parts_arguments(make: Operands) -> tuple[tuple[Any, ...], dict[str, Any]]:
    (x, weight, *rest), _ = _parts_arguments(make)
    return (*quantize_rows.reference(x), *quantize_weight(weight), *rest), {}


def _head_arguments(make: Operands) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Hidden states that each lean towards one token to a different degree, so that no two logits
    are nearly equal."""
    size = make.geometry
    weight = make.normal(size.vocabulary, size.hidden)
    tokens = make.permutation(size.vocabulary)[: make.count]
    lean = torch.linspace(0.7, 1.3, make.count, device=make.device)
    lean *= log(size.vocabulary) / size.hidden
    hidden = (weight[tokens].float() * lean[:, None]).to(weight.dtype)
    return (hidden, weight, make.integers([5]), make.live()), {}


def _lengths(size: Geometry) -> list[int]:
    return [max(1, size.cached - 37 * sequence) for sequence in range(size.sequences)]


def _pool(make: Operands) -> tuple[Tensor, Tensor, Tensor, int]:
    """Keys and values filled with NaN, and the shuffled pages of each sequence."""
    size = make.geometry
    pages = -(-(size.cached + size.rows) // PAGE) + 1
    shape = (size.sequences * pages, size.kv_heads, PAGE, size.head_dim)
    table = make.permutation(size.sequences * pages).view(size.sequences, pages).to(torch.int32)
    return make.poisoned(*shape), make.poisoned(*shape), table, pages


def _rotary_arguments(make: Operands) -> tuple[tuple[Any, ...], dict[str, Any]]:
    size = make.geometry
    keys, values, table, pages = _pool(make)
    places = [n + row for n in _lengths(size) for row in range(size.rows)]
    positions = make.integers(places)
    sequence = torch.arange(make.count, device=make.device) // size.rows
    page = table.flatten()[sequence * pages + positions // PAGE]
    angles = torch.rand(
        max(places) + 1, size.head_dim // 2, generator=make._generator, device=make.device
    )
    qkv = make.normal(make.count, (size.heads + 2 * size.kv_heads) * size.head_dim)
    norms = (
        (make.normal(size.head_dim), make.normal(size.head_dim)) if size.qk_norm else (None,) * 2
    )
    slots = page.long() * PAGE + positions % PAGE
    first = (qkv, angles.cos(), angles.sin(), positions, slots, keys, values)
    return (*first, *norms, _EPS, make.live()), {}


def _attention_arguments(make: Operands) -> tuple[tuple[Any, ...], dict[str, Any]]:
    size = make.geometry
    keys, values, table, pages = _pool(make)
    visible = [n + size.rows for n in _lengths(size)]
    # Only visible positions become finite.
    for sequence, count in enumerate(visible):
        for index in range(pages):
            seen = min(PAGE, count - index * PAGE)
            if seen > 0:
                shape = (size.kv_heads, seen, size.head_dim)
                page = table[sequence, index].long()[None]
                for pool in (keys, values):
                    pool[:, :, :seen].index_copy_(0, page, make.normal(1, *shape))
    q = make.normal(size.sequences, size.rows, size.heads, size.head_dim)
    return (q, keys, values, table, make.integers(visible), make.live()), {}


def _commit_arguments(make: Operands) -> tuple[tuple[Any, ...], dict[str, Any]]:
    shape = (make.geometry.sequences, make.geometry.rows)
    uniform = torch.rand(shape, generator=make._generator, device=make.device)
    proposed = make.permutation(make.count).view(shape) % 9
    ids = torch.full_like(proposed, 7)
    # Every third position is final, and equal probabilities are frequent.
    masked = make.permutation(make.count).view(shape) % 3 != 0
    probability = (uniform * 8).ceil() / 8
    state = (ids, masked, proposed, probability, torch.zeros_like(uniform), make.live())
    steps = make.integers([0] * make.geometry.sequences)
    eos_ids = make.integers([0, 1], torch.int64)
    quota = make.integers([9] * make.geometry.sequences)
    return (*state, steps, eos_ids), {"quota": quota}


def _qkv(size: Geometry) -> int:
    return (size.heads + 2 * size.kv_heads) * size.head_dim


def _heads(size: Geometry) -> int:
    return size.heads * size.head_dim


def _hidden(size: Geometry) -> int:
    return size.hidden


def _inner(size: Geometry) -> int:
    return size.inner


def _gate_up(size: Geometry) -> int:
    return 2 * size.inner


_LAYERS = {
    "qkv": (_qkv, _hidden),
    "out": (_hidden, _heads),
    "gate_up": (_gate_up, _hidden),
    "down": (_hidden, _inner),
}

CASES = (
    Case("rms_norm", rms_norm, _rows(_hidden, gain=True)),
    Case("rms_norm_fp8", rms_norm_fp8, _rows(_hidden, gain=True)),
    Case("add_rms_norm", add_rms_norm, _rows(_hidden, count=2, gain=True)),
    Case("add_rms_norm_fp8", add_rms_norm_fp8, _rows(_hidden, count=2, gain=True)),
    Case("quantize_rows", quantize_rows, _rows(_heads)),
    Case("swiglu", swiglu, _rows(_gate_up)),
    Case("swiglu_fp8", swiglu_fp8, _rows(_gate_up)),
    Case("rotate_and_store", rotate_and_store, _rotary_arguments),
    Case("canvas_attention", canvas_attention, _attention_arguments),
    *(Case(f"linear {name}", linear, _linear(*nk, fp8=False), 1) for name, nk in _LAYERS.items()),
    *(
        Case(f"linear_fp8 {name}", linear_fp8, _linear(*nk, fp8=True), 2)
        for name, nk in _LAYERS.items()
    ),
    Case("parts and norm", Chained(_normed_product), _parts_arguments),
    Case("fp8 parts and norm", Chained(_normed_fp8_product), _fp8_parts_arguments),
    Case("top1", top1, _head_arguments, 1),
    Case("commit", commit, _commit_arguments),
)
