"""The two configurations of the engine: the model's shape, and the options of a reply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal, get_args

from dllm_core.errors import OptionError
from dllm_core.rope import PLAIN_ROPE, Rope

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


def require_known(name: str, value: object, known: Sequence[str]) -> None:
    """Refuse a word that is not among those of an option.

    Raises:
        OptionError: it is not; the message has the nearest one.
    """
    if value in known:
        return
    near = get_close_matches(str(value), known, n=1, cutoff=0.5)
    guess = f"did you mean {near[0]!r}? There are" if near else "there are"
    raise OptionError(f"There is no {name} {value!r}: {guess} {', '.join(known)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Shape and behaviour of one dense transformer; every family is a value of this type.

    Attributes:
        family: `model_type` of the checkpoint, such as `llama` or `Dream`.
        vocab_size: rows of the embedding, in tokens; padding included.
        hidden_size: width of the residual stream.
        intermediate_size: width of the feed-forward layer (SwiGLU).
        num_layers: transformer blocks.
        num_heads: query heads of each block.
        num_kv_heads: key and value heads of each block; divides `num_heads`.
        head_dim: width of one head; even, for rotary positions.
        context_length: positions that the model was trained on.
        rope_theta: base of the rotary frequencies.
        rope: frequencies that differ from plain ones, and the part of a head that is rotated.
        norm_eps: epsilon of every RMS norm.
        eos_ids: token ids any of which ends a reply.
        mask_id: token id of an open position; None for an autoregressive checkpoint that was
            never taught to denoise.
        attention: `bidirectional`, or `block_causal`: a position attends to its own block and to
            all before it.
        block_length: positions of a block; 1 is plain causal attention.
        sub_block_length: positions of a block that are finished together, from left to right; None
            for the whole block.
        leads_blocks: whether the first token of a block is the best one after the block before it,
            committed before the block is denoised (Fast-dLLM v2).
        pads_prompts: whether a prompt ends at the edge of a block, as if it were padded on the left
            (tiny-A2D's bd3lm); otherwise blocks are counted from the start of the sequence.
        shift: whether the logits of position i predict position i + 1, as in autoregressive
            models, or position i itself.
        qkv_bias: whether the query, key and value projections have a bias.
        qk_norm: whether queries and keys pass an RMS norm before they are rotated.
        tied_head: whether the output head is the embedding.

    Raises:
        OptionError: a size is not positive, the heads do not divide, or a token id lies outside
            the vocabulary.
    """

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
    mask_id: int | None = None
    attention: Attention = "block_causal"
    block_length: int = 1
    sub_block_length: int | None = None
    leads_blocks: bool = False
    pads_prompts: bool = False
    shift: bool = True
    qkv_bias: bool = False
    qk_norm: bool = False
    tied_head: bool = True
    rope: Rope = PLAIN_ROPE

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
        sub = self.sub_block_length or self.block_length
        _require(
            sub > 0 and self.block_length % sub == 0,
            f"Blocks of {self.block_length} positions cannot be finished {sub} at a time.",
        )
        require_known("attention", self.attention, get_args(Attention))
        _require(self.rope_theta > 1, f"rope_theta must exceed 1, not be {self.rope_theta}.")
        turned = self.rope.width(self.head_dim)
        _require(
            turned % 2 == 0 and turned > 0, f"{turned} dimensions of a head cannot be rotated."
        )
        special = (*self.eos_ids, *(() if self.mask_id is None else (self.mask_id,)))
        outside = [i for i in special if not 0 <= i < self.vocab_size]
        _require(not outside, f"Token ids {outside} lie outside the vocabulary.")

    @property
    def group_size(self) -> int:
        """Query heads that share one key/value head."""
        return self.num_heads // self.num_kv_heads

    @property
    def causal(self) -> bool:
        """Whether a position attends to itself and to those before it only."""
        return self.attention == "block_causal" and self.block_length == 1

    @property
    def by_blocks(self) -> bool:
        """Whether the model was trained on blocks of several positions."""
        return self.attention == "block_causal" and self.block_length > 1

    def padding(self, prompt: int) -> int:
        """Positions by which the first block is shorter before a prompt of `prompt` tokens."""
        return -prompt % self.block_length if self.pads_prompts and self.by_blocks else 0

    def canvas_end(self, begin: int, length: int, room: int, padding: int = 0) -> int:
        """Position at which a canvas of about `length` positions from `begin` on ends.

        A block is denoised to its edge: the canvas ends at the last edge within its length, or at
        the first one behind `begin`. `room` is the length of the rest of the reply, and the last
        canvas ends behind that; a prompt that is padded ends the last block there.
        """
        if not self.by_blocks or length >= room:
            end = begin + min(length, room)
            return end if self.pads_prompts else self.block_edge(end)
        before = self.block_start(begin + length, padding)
        end = before if before > begin else self.block_edge(begin + 1, padding)
        return min(end, begin + room) if self.pads_prompts else end

    def block_edge(self, position: int, padding: int = 0) -> int:
        """The first edge of a block at or after a position; the position itself without blocks."""
        size = self.block_length
        return -(-(position + padding) // size) * size - padding if self.by_blocks else position

    def block_start(self, position: int, padding: int = 0) -> int:
        """The last edge of a block at or before a position; the position itself without blocks."""
        size = self.block_length
        edge = (position + padding) // size * size - padding
        return max(0, edge) if self.by_blocks else position

    @property
    def autoregressive(self) -> bool:
        """Whether every token is predicted from those before it (causal, shifted logits)."""
        return self.shift and self.causal


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeOptions:
    """Options of one reply: its decode rule, canvas, bounds and sampling.

    The rules are functions of decode/unmask.py, where their sources are named.

    Attributes:
        rule: decides which open positions become final after a forward pass.
            `fixed_point`: Jacobi iteration of greedy decoding, for autoregressive models.
            `sequential`: the leftmost positions.
            `quota`: the surest, so many that the canvas is complete after `steps`.
            `threshold`: all whose confidence reaches `threshold`.
            `factor`: as many of the surest as `factor` permits (Fast-dLLM).
            `entropy_bound`: those of lowest entropy, up to `entropy_bound` in sum (EB-sampler).
            `dynamic`: all above `threshold` if they fill the quota, else the quota (SDAR).
            `remask`: as `threshold`, and doubtful ones are opened again (WINO).
            `draft`: the model's own tokens from left to right, as many in a pass as a drafter has
            guessed right (DFlash), for autoregressive models.
        max_tokens: longest reply, in tokens; at the bound it is cut at the end of a sentence where
            there is one.
        canvas_length: positions denoised together. The fixed-point rule slides its canvas to the
            right as positions become final, other rules finish one canvas before the next. An
            unadapted model finds hardly more tokens per pass with a longer canvas and pays for
            it: 1 is the fastest on a CPU (`python -m dllm_core.bench reply MODEL`).
        first_canvas: positions of a reply's first canvas, so that something can be spoken early;
            its steps are fewer in proportion. None for `canvas_length`.
        block_length: positions of a block; the blocks of a canvas are finished from left to
            right. None for one block. In a model trained on blocks these are parts of its own
            blocks, whose length it divides; None is as the model was trained.
        steps: forward passes of a canvas under `quota` and `dynamic`, which commit a quota per
            step.
        deadline_ms: milliseconds for the whole reply after its prefill; None for no limit. The
            reply takes as many steps as fit, at most one per position, and each canvas has its
            share. A rule that cannot finish early (`fixed_point`; any rule, of a model never
            taught to denoise) is cut there. No reply is late by more than one step.
        cache: keys and values that are kept from step to step. `auto` is `exact` for block-causal
            models and `none` for bidirectional ones; `prompt_frozen` (FlashDLM), `prefix` and
            `dual` (Fast-dLLM) are approximations for bidirectional models.
        confidence: measure by which positions are ranked: the `probability` of the token (LLaDA),
            its `margin` over the second best, negative `entropy` (both Dream), or `random`.
        timesteps: whether the quota follows Dream's linear timesteps; otherwise it is even.
        threshold: confidence from which `threshold`, `dynamic` and `remask` commit; 0 to 1.
        factor: scale of the rule `factor`; larger commits more per step.
        entropy_bound: bound of the rule `entropy_bound`, in nats.
        remask_below: probability below which `remask` opens a committed position again; 0 to 1.
        guidance: scale of classifier-free guidance, which costs a second sequence in each step; 0
            switches it off.
        temperature: sampling temperature; 0 takes the likeliest token.
        top_p: probability mass of the tokens that sampling draws from (nucleus); above 0, at
            most 1.
        top_k: number of best tokens that count, for the confidence, too; None for all. Dream's
            generate has 50.
        seed: seed of the noise (sampling and the `random` confidence). Each canvas mixes it with
            the tokens before it: turns differ, the same prompt has the same reply.
        banned: token ids that no position becomes, such as the one that opens a chain of thought.
        eos_last: whether end-of-reply tokens are committed after all others of a block. Otherwise
            the easy padding is committed first and floods the canvas.
        every_step: whether every step of a reply on a GPU is yielded, for a live view, where
            otherwise one is yielded per round. On a CPU every step is yielded anyway.
        rounds: passes of the model for a whole reply under `draft`; None for as many as it takes.
            After them, or at `deadline_ms`, what is drafted with confidence is added without a
            check, and the rest is cut at a word.
        draft_rows: most rows of a pass under `draft`: the last known token and drafted ones; 1 to
            32.
        draft_echo: whether `draft` proposes what followed the last tokens where they stood before,
            in the prompt or the reply, beside what its drafter proposes.
        draft_ngrams: whether `draft` proposes what the model usually says after its last tokens,
            where its drafter brings a table of that.
        canvas_layers: indices of the layers that the canvas runs through, attending to the
            prompt's keys and values of the same layers; None for all. For models trained so (a
            light denoiser).

    Raises:
        OptionError: a value is out of its range, or two options contradict each other.
    """

    rule: Rule = "fixed_point"
    max_tokens: int = 64
    canvas_length: int = 1
    first_canvas: int | None = None
    block_length: int | None = None
    steps: int = 16
    deadline_ms: float | None = None
    cache: CachePolicy = "auto"
    confidence: Confidence = "probability"
    timesteps: bool = False
    threshold: float = 0.9
    factor: float = 1.0
    entropy_bound: float = 0.1
    remask_below: float = 0.5
    guidance: float = 0.0
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    seed: int = 0
    banned: tuple[int, ...] = ()
    eos_last: bool = True
    every_step: bool = False
    rounds: int | None = None
    draft_rows: int = 8
    draft_echo: bool = True
    draft_ngrams: bool = True
    canvas_layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name, words in (("rule", Rule), ("confidence", Confidence), ("cache", CachePolicy)):
            require_known(name, getattr(self, name), get_args(words))
        for name in ("max_tokens", "canvas_length", "steps"):
            value = getattr(self, name)
            _require(value > 0, f"{name} must be positive, not {value}.")
        self._check_first_canvas()
        rounds = self.rounds
        _require(rounds is None or rounds > 0, f"rounds must be positive, not {rounds}.")
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
        _require(
            layers is None or self.guidance == 0,
            "guidance runs a second prompt through all layers: leave canvas_layers out.",
        )
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

    @property
    def keeps_every_word(self) -> bool:
        """Whether the words are the model's own and none is left out, however long they take.

        Such a reply cannot be hurried: fewer steps would lose words.
        """
        return self.rule in ("fixed_point", "draft") and self.rounds is None

    def for_first_canvas(self) -> DecodeOptions:
        """These options with the first canvas in place of the later ones."""
        if self.first_canvas is None:
            return self
        steps = -(-self.steps * self.first_canvas // self.canvas_length)
        return replace(self, canvas_length=self.first_canvas, steps=steps)
