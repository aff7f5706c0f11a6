"""The two configurations of the engine: what a model is, and how it decodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dllm_core.errors import OptionError

Attention = Literal["bidirectional", "block_causal"]
Rule = Literal[
    "fixed_point",
    "sequential",
    "quota",
    "threshold",
    "factor",
    "entropy_bound",
    "dynamic",
    "remask",
    "draft",
]
Confidence = Literal["probability", "margin", "entropy", "random"]
CachePolicy = Literal["auto", "none", "prompt_frozen", "prefix", "dual", "exact"]


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

    @property
    def autoregressive(self) -> bool:
        """Causal attention and shifted logits: every token is predicted from those before it."""
        return self.shift and self.attention == "block_causal" and self.block_length == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeOptions:
    """How a reply is denoised. The rules are defined in unmask.py."""

    rule: Rule = "fixed_point"
    max_tokens: int = 64
    """Longest reply; at the bound it is cut at the end of a sentence where there is one."""
    canvas_length: int = 1
    """Positions denoised together. The fixed-point rule slides its canvas to the right as
    positions become final, other rules finish one canvas before the next. Without adaptation
    a longer canvas hardly finds more tokens per pass and costs more: 1 is the fastest on a CPU
    (`python -m dllm_core.bench reply MODEL`)."""
    first_canvas: int | None = None
    """Positions of a reply's first canvas, so that something can be spoken early; its steps are
    fewer in proportion. None is `canvas_length`."""
    block_length: int | None = None
    """A canvas is finished block by block, from left to right; None is one block. A model
    trained on blocks uses its own."""
    steps: int = 16
    """Forward passes per canvas, for the rules that commit a quota per step."""
    deadline_ms: float | None = None
    """Time for the whole reply after its prefill: its steps are as many as fit, at most one per
    position, and each canvas has its share. A rule that cannot finish early (`fixed_point`; any,
    of a model never taught to denoise) is cut there. No reply is late by more than one step."""
    cache: CachePolicy = "auto"
    """`auto` is exact for block-causal models and none for bidirectional ones."""
    confidence: Confidence = "probability"
    timesteps: bool = False
    """Quota by Dream's linear timesteps instead of evenly."""
    threshold: float = 0.9
    factor: float = 1.0
    entropy_bound: float = 0.1
    remask_below: float = 0.5
    guidance: float = 0.0
    """Classifier-free guidance: 0 is none; each step then costs a second sequence."""
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    """Only the best k tokens count, for the confidence, too; Dream's generate has 50."""
    seed: int = 0
    """Of the temperature's and the random confidence's generator."""
    eos_last: bool = True
    """Commit end-of-reply tokens only where nothing else is left in the block: otherwise the
    easy padding is committed first and floods the canvas."""
    every_step: bool = False
    """Tell every step of a reply on a GPU, for a live view, where otherwise each round is told
    when it is over. On a CPU every step is told anyway."""
    rounds: int | None = None
    """For the rule `draft`: passes of the model for a whole reply, or None for as many as it takes.
    After them, or at `deadline_ms`, what is drafted with confidence is added without a check, the
    rest is cut at a word."""
    draft_rows: int = 8
    """For the rule `draft`: rows of a pass at most, the last known token and what is drafted."""
    canvas_layers: tuple[int, ...] | None = None
    """Layers that the canvas runs through, attending to the prompt's keys and values of the
    same layers; None is all. For models trained so (a light denoiser)."""

    def __post_init__(self) -> None:
        for name in ("max_tokens", "canvas_length", "steps"):
            value = getattr(self, name)
            _require(value > 0, f"{name} must be positive, not {value}.")
        self._check_first_canvas()
        _require(
            self.rounds is None or self.rounds > 0, f"rounds must be positive, not {self.rounds}."
        )
        _require(1 <= self.draft_rows <= 32, f"draft_rows must be 1 to 32, not {self.draft_rows}.")
        block = self.block_length
        _require(block is None or block > 0, f"block_length must be positive, not {block}.")
        _require(self.top_k is None or self.top_k > 1, f"top_k must exceed 1, not {self.top_k}.")
        _require(0 < self.top_p <= 1, f"top_p must lie in (0, 1], not {self.top_p}.")
        for name in ("temperature", "guidance", "factor", "entropy_bound"):
            value = getattr(self, name)
            _require(value >= 0, f"{name} must not be negative, but is {value}.")
        for name in ("threshold", "remask_below"):
            value = getattr(self, name)
            _require(0 <= value <= 1, f"{name} is a probability, not {value}.")
        layers = self.canvas_layers
        _require(layers is None or len(layers) > 0, "canvas_layers names no layer.")
        late = self.deadline_ms
        _require(late is None or late > 0, f"deadline_ms must be positive, not {late}.")

    def _check_first_canvas(self) -> None:
        first = self.first_canvas
        if first is None:
            return
        _require(
            0 < first <= self.canvas_length,
            f"first_canvas must lie between 1 and the canvas_length of {self.canvas_length}, "
            f"not be {first}.",
        )
        _require(
            self.rule != "fixed_point",
            "first_canvas does nothing under the rule fixed_point, whose one canvas slides along "
            "the reply: leave it out.",
        )

    @property
    def counts_steps(self) -> bool:
        """Whether `steps` says how many forward passes a canvas takes."""
        return self.rule in ("quota", "dynamic")

    def for_first_canvas(self) -> DecodeOptions:
        """These options with the first canvas in place of the later ones."""
        if self.first_canvas is None:
            return self
        steps = -(-self.steps * self.first_canvas // self.canvas_length)
        return replace(self, canvas_length=self.first_canvas, steps=steps)
