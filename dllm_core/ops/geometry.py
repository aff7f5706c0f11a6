"""Sizes of known models, at which kernels are checked and measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Sizes of a model, and of the batch that it denoises."""

    name: str
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    vocabulary: int
    calls: int = 1
    rows: int = 64
    cached: int = 512
    """Prompt positions of the first call; each next one has 37 fewer."""
    qk_norm: bool = False


GEOMETRIES = {
    geometry.name: geometry
    for geometry in (
        Geometry(
            name="llada-8b",
            hidden=4096,
            heads=32,
            kv_heads=32,
            head_dim=128,
            inner=12288,
            vocabulary=126464,
        ),
        Geometry(
            name="illada-8b",
            hidden=4096,
            heads=32,
            kv_heads=8,
            head_dim=128,
            inner=14336,
            vocabulary=155136,
            calls=2,
        ),
        Geometry(
            name="dream-7b",
            hidden=3584,
            heads=28,
            kv_heads=4,
            head_dim=128,
            inner=18944,
            vocabulary=152064,
            rows=65,
        ),
        Geometry(
            name="qwen3-0.6b",
            hidden=1024,
            heads=16,
            kv_heads=8,
            head_dim=128,
            inner=3072,
            vocabulary=151936,
            calls=3,
            rows=33,
            qk_norm=True,
        ),
        Geometry(
            name="smollm2-135m",
            hidden=576,
            heads=9,
            kv_heads=3,
            head_dim=64,
            inner=1536,
            vocabulary=49152,
            calls=3,
            rows=17,
            cached=150,
        ),
    )
}
