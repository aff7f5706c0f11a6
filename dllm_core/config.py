"""The two configurations of the engine: what a model is, and how it decodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dllm_core.errors import OptionError

Attention = Literal["bidirectional", "block_causal"]
Rule = Literal["fixed_point"]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise OptionError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Shape and habits of one dense transformer; every family is a value of this type."""

    family: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    context_length: int
    rope_theta: float
    norm_eps: float
    eos_ids: tuple[int, ...]
    """Any of these ends a reply."""
    mask_id: int | None = None
    """None for an autoregressive checkpoint that was never taught to denoise."""
    attention: Attention = "block_causal"
    block_length: int = 1
    """Positions see their own block and all before it; 1 is plain causal attention."""
    shift: bool = True
    """Logits of position i predict position i + 1 (as autoregressive models do), not i."""
    qkv_bias: bool = False
    qk_norm: bool = False
    tied_head: bool = True

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_layers", "num_heads")
        for name in (*sizes, "num_kv_heads", "head_dim", "context_length", "block_length"):
            value = getattr(self, name)
            _require(value > 0, f"{name} must be positive, not {value}.")
        _require(
            self.num_heads % self.num_kv_heads == 0,
            f"{self.num_heads} query heads cannot share {self.num_kv_heads} key/value heads.",
        )
        _require(self.head_dim % 2 == 0, f"head_dim must be even to rotate, not {self.head_dim}.")
        special = (*self.eos_ids, *(() if self.mask_id is None else (self.mask_id,)))
        outside = [i for i in special if not 0 <= i < self.vocab_size]
        _require(not outside, f"Token ids {outside} lie outside the vocabulary.")

    @property
    def group_size(self) -> int:
        """Query heads that share one key/value head."""
        return self.num_heads // self.num_kv_heads


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeOptions:
    """How a reply is denoised."""

    rule: Rule = "fixed_point"
    max_tokens: int = 64
    """Longest reply; at the bound it is cut at the end of a sentence where there is one."""
    canvas_length: int = 2
    """Positions predicted by one forward pass. The fixed-point rule slides its canvas to the
    right as positions become final; on two CPU threads short canvases are the fastest
    (`python -m dllm_core.bench reply`)."""

    def __post_init__(self) -> None:
        _require(self.max_tokens > 0, f"max_tokens must be positive, not {self.max_tokens}.")
        _require(
            self.canvas_length > 0, f"canvas_length must be positive, not {self.canvas_length}."
        )
