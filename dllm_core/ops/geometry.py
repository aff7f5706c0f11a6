"""Sizes of known models, at which kernels are checked and measured."""

from __future__ import annotations

from dataclasses import dataclass

from dllm_core.config import ModelConfig

LLADA_8B = ModelConfig(
    family="llada",
    vocab_size=126_464,
    hidden_size=4096,
    intermediate_size=12_288,
    num_layers=32,
    num_heads=32,
    num_kv_heads=32,
    head_dim=128,
    context_length=4096,
    rope_theta=500_000.0,
    norm_eps=1e-5,
    eos_ids=(126_081, 126_348),
    mask_id=126_336,
    attention="bidirectional",
    shift=False,
    tied_head=False,
)
"""The configuration of GSAI-ML/LLaDA-8B-Instruct."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Sizes of a model, and of the batch that it denoises.

    Attributes:
        name: name of the geometry on the command line.
        hidden: width of the hidden states.
        heads: query heads.
        kv_heads: key and value heads.
        head_dim: size of a head.
        inner: width of the feed-forward layers.
        vocabulary: number of tokens.
        sequences: sequences in the batch.
        rows: canvas rows per sequence.
        cached: prompt positions of the first sequence; each further one has 37 fewer.
        qk_norm: whether queries and keys are normalised per head.
    """

    name: str
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    vocabulary: int
    sequences: int = 1
    rows: int = 64
    cached: int = 512
    qk_norm: bool = False

    @classmethod
    def of(cls, name: str, config: ModelConfig) -> Geometry:
        """Geometry of a model configuration."""
        return cls(
            name=name,
            hidden=config.hidden_size,
            heads=config.num_heads,
            kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            inner=config.intermediate_size,
            vocabulary=config.vocab_size,
            qk_norm=config.qk_norm,
        )


GEOMETRIES = {
    geometry.name: geometry
    for geometry in (
        Geometry.of("llada-8b", LLADA_8B),
        Geometry(
            name="illada-8b",
            hidden=4096,
            heads=32,
            kv_heads=8,
            head_dim=128,
            inner=14336,
            vocabulary=155136,
            sequences=2,
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
            sequences=3,
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
            sequences=3,
            rows=17,
            cached=150,
        ),
    )
}
