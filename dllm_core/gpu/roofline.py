"""Lower bound on the time of a step, from the memory bandwidth and the tensor cores of a chip.

    python -m dllm_core.gpu.roofline

prints the tables of docs/gpu.md. Roofline model: Williams, Waterman and Patterson, "Roofline: an
insightful visual performance model for multicore architectures", 2009.
"""

from __future__ import annotations

from dataclasses import dataclass

from dllm_core.config import ModelConfig
from dllm_core.gpu.memory_plan import block_weights
from dllm_core.ops.geometry import LLADA_8B


@dataclass(frozen=True, slots=True)
class Chip:
    """Peak rates of a chip.

    Attributes:
        name: name in the tables.
        bytes: memory bandwidth in bytes per second.
        bf16: floating-point operations per second of dense bfloat16 products.
        fp8: the same of dense fp8 products.
    """

    name: str
    bytes: float
    bf16: float
    fp8: float


H100 = Chip("H100 SXM", bytes=3.35e12, bf16=800e12, fp8=1600e12)
"""NVIDIA's memory bandwidth, and the share of its 989 and 1,979 TFLOP/s that dense products
reach."""


@dataclass(frozen=True, slots=True)
class StepBound:
    """Lower bound on the time of a forward pass: the longer of its two parts.

    Attributes:
        memory_ms: milliseconds to move all bytes.
        compute_ms: milliseconds to compute all products.
    """

    memory_ms: float
    compute_ms: float

    @property
    def ms(self) -> float:
        """Milliseconds of the longer part."""
        return max(self.memory_ms, self.compute_ms)


def step_bound(
    config: ModelConfig,
    chip: Chip,
    *,
    batch: int,
    rows: int,
    cached: int,
    fp8: bool = False,
    head: bool = True,
) -> StepBound:
    """Bound on one forward pass over `rows` rows of each sequence behind `cached` positions.

    Weights are read once, keys and values once for each sequence; the head is bfloat16.
    """
    blocks = config.num_layers * block_weights(config)
    outside = config.vocab_size * config.hidden_size if head else 0
    seen = cached + rows
    kv = 2 * config.num_layers * config.num_kv_heads * config.head_dim * 2
    moved = blocks * (1 if fp8 else 2) + outside * 2 + batch * seen * kv
    heads = config.num_layers * config.num_heads * config.head_dim
    in_blocks = 2 * blocks * rows * batch
    elsewhere = (2 * outside + 4 * seen * heads) * rows * batch
    seconds = in_blocks / (chip.fp8 if fp8 else chip.bf16) + elsewhere / chip.bf16
    return StepBound(moved / chip.bytes * 1e3, seconds * 1e3)


def table(config: ModelConfig = LLADA_8B, chip: Chip = H100, cached: int = 512) -> list[str]:
    """Markdown table: a row for each batch and format with canvases of 64, and one for prefill."""
    lines = [
        f"| {chip.name}, {cached} cached | memory ms | compute ms | step ms | 8 steps ms "
        "| 16 steps ms | tokens/s at 16 |",
        "|---|---|---|---|---|---|---|",
    ]
    for fp8 in (False, True):
        name = "fp8" if fp8 else "bf16"
        for batch in (1, 8, 32):
            found = step_bound(config, chip, batch=batch, rows=64, cached=cached, fp8=fp8)
            speed = batch * 64 / (16 * found.ms / 1e3)
            lines.append(
                f"| {name}, batch {batch} | {found.memory_ms:.2f} | {found.compute_ms:.2f} "
                f"| {found.ms:.2f} | {8 * found.ms:.1f} | {16 * found.ms:.1f} | {speed:,.0f} |"
            )
        read = step_bound(config, chip, batch=1, rows=cached, cached=0, fp8=fp8, head=False)
        lines.append(
            f"| {name}, prefill of {cached} | {read.memory_ms:.2f} | {read.compute_ms:.2f} "
            f"| {read.ms:.2f} | | | |"
        )
    return lines


@dataclass(frozen=True, slots=True)
class KernelCost:
    """Memory traffic of one kernel of a step in bfloat16.

    Attributes:
        name: name in the table.
        count: launches in a step.
        bytes: bytes that one launch moves if the chip's cache holds none of them.
    """

    name: str
    count: int
    bytes: int


_PARTS = 4
"""Parts of a projection with few outputs at batch 1; they are float32, summed by the norm."""


def kernels(config: ModelConfig, *, batch: int, rows: int, cached: int) -> list[KernelCost]:
    """Kernels of a step; small batches split the attention and projections with few outputs."""
    r, h, inner, layers = (
        batch * rows,
        config.hidden_size,
        config.intermediate_size,
        config.num_layers,
    )
    query = config.num_heads * config.head_dim
    key = config.num_kv_heads * config.head_dim
    qkv = query + 2 * key

    def product(k: int, n: int) -> int:
        return 2 * (k * n + r * (k + n))

    return [
        KernelCost("qkv product", layers, product(h, qkv)),
        KernelCost("rotary and store", layers, 4 * r * qkv),
        KernelCost("attention", layers, 2 * (2 * batch * (cached + rows) * key + 2 * r * query)),
        KernelCost("combine of its parts", layers, 2 * r * query),
        KernelCost("out product", layers, product(query, h)),
        KernelCost("sum of parts and norm", 2 * layers, (4 * _PARTS + 6) * r * h),
        KernelCost("gate and up product", layers, product(h, 2 * inner)),
        KernelCost("SwiGLU", layers, 2 * r * 3 * inner),
        KernelCost("down product", layers, product(inner, h)),
        KernelCost("head and best token", 1, 2 * config.vocab_size * h),
        KernelCost("combine and commit", 2, 0),
    ]


def kernel_table(config: ModelConfig = LLADA_8B, chip: Chip = H100, cached: int = 512) -> list[str]:
    """Markdown table of the kernels of a step: one sequence, a canvas of 64, and their sum."""
    found = kernels(config, batch=1, rows=64, cached=cached)
    lines = ["| kernel | a step | MB each | us each | ms a step |", "|---|---|---|---|---|"]
    for kernel in found:
        us = kernel.bytes / chip.bytes * 1e6
        lines.append(
            f"| {kernel.name} | {kernel.count} | {kernel.bytes / 1e6:.1f} | {us:.1f} "
            f"| {kernel.count * us / 1e3:.2f} |"
        )
    moved = sum(kernel.count * kernel.bytes for kernel in found)
    launches = sum(kernel.count for kernel in found)
    lines.append(
        f"| all | {launches} | {moved / 1e6:,.0f} in all | | {moved / chip.bytes * 1e3:.2f} |"
    )
    return lines


if __name__ == "__main__":
    print("\n".join([*table(), "", *kernel_table()]))
