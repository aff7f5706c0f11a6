"""One transformer for every dense family; the families differ in their ModelConfig.

Read top to bottom: the rows of a forward pass, rotary positions, attention, feed-forward,
block, model. There is no batch dimension and no padding. Rows of several sequences are laid
one after another; the linear layers see one long matrix, attention runs per sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dllm_core.config import ModelConfig
from dllm_core.cpu.product import Norm
from dllm_core.model import exact_rows
from dllm_core.model.cache import KeyValues
from dllm_core.model.fp8_linear import Fp8Linear
from dllm_core.model.quantize import Int4Linear, Int8Linear, PackedLinear
from dllm_core.model.stored_embedding import StoredEmbedding
from dllm_core.rope import PLAIN_ROPE


class Linear(nn.Linear):
    """A linear layer without random initialisation: its weights come from a checkpoint.

    Attributes:
        exact: whether the bits of a row may not depend on its neighbours (exact_rows.py).
    """

    exact = False

    def reset_parameters(self) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        if self.exact and x.ndim == 2 and exact_rows.serves(x):
            return exact_rows.linear(x, self.weight, self.bias)
        return super().forward(x)


LinearKind = type[Linear] | type[Int8Linear] | type[Int4Linear] | type[Fp8Linear]


@dataclass(frozen=True, slots=True)
class Span:
    """The consecutive rows of one sequence in a forward pass.

    Attributes:
        store: the sequence's keys and values.
        start: position of the first row; keys and values are written from there on.
        rows: number of rows.
        visible: positions 0 .. visible - 1 are attended to.
        mask: bool (rows, visible), or None where every row attends to every visible position.
        positions: of the rows (rows,), for their rotation, where they do not follow one another:
            a tree of drafts has several rows at one position. None for `start` and on.
    """

    store: KeyValues
    start: int
    rows: int
    visible: int
    mask: Tensor | None = None
    positions: Tensor | None = None


@dataclass(slots=True)
class Taps:
    """Hidden states after some layers, which a pass leaves for a drafter (dllm_core/draft).

    Attributes:
        layers: indices of the layers, in rising order.
        features: (rows, len(layers) * hidden_size); the pass fills it.
    """

    layers: tuple[int, ...]
    features: Tensor

    @classmethod
    def after(cls, layers: tuple[int, ...], rows: int, config: ModelConfig) -> Taps:
        """Taps for a pass over so many rows."""
        return cls(layers, torch.empty(rows, len(layers) * config.hidden_size))

    def wider(self, rows: int) -> Taps:
        """Taps after the same layers for another number of rows."""
        return Taps(self.layers, self.features.new_empty(rows, self.features.shape[1]))

    def take(self, layer: int, hidden: Tensor) -> None:
        """Keep the hidden states (rows, hidden_size) after a layer, if it is one of these."""
        if layer in self.layers:
            size = hidden.shape[1]
            start = self.layers.index(layer) * size
            self.features[:, start : start + size] = hidden


def visibility(
    config: ModelConfig,
    start: int,
    rows: int,
    visible: int,
    canvas: int | None = None,
    padding: int = 0,
) -> Tensor | None:
    """Attention mask of `rows` positions from `start` on over the first `visible` positions.

    Returns bool (rows, visible), or None where every row attends to all. In block-causal models a
    position attends to its own block and all before it; with blocks of one, positions from
    `canvas` on attend to each other, too. The first block is shorter by `padding`.
    """
    if config.attention == "bidirectional":
        return None
    positions = torch.arange(start, start + rows)
    limit = ((positions + padding) // config.block_length + 1) * config.block_length - padding
    if canvas is not None and config.block_length == 1:
        limit = torch.where(positions >= canvas, visible, limit)
    if int(limit[0]) >= visible:
        return None
    return torch.arange(visible) < limit[:, None]


class Rotary(nn.Module):
    """Rotary position embedding in the half-split layout (RoFormer, arXiv 2104.09864).

    Where a part of the head is rotated, each half ends with dimensions that are not: their weights
    are put there when they are loaded (`weights.arrange_heads`).
    """

    def __init__(self, config: ModelConfig, length: int) -> None:
        super().__init__()
        angles = torch.outer(torch.arange(length, dtype=torch.float32), _frequencies(config))
        turned = config.rope.width(config.head_dim) // 2
        scale = torch.ones(config.head_dim // 2)
        scale[:turned] = config.rope.attention
        cos, sin = angles.cos() * scale, angles.sin() * scale
        # Rotating by half a head swaps the halves; the sign of the first one sits in the table.
        self.register_buffer("cos", torch.cat([cos, cos], -1)[:, None])
        self.register_buffer("sin", torch.cat([-sin, sin], -1)[:, None])
        self.cos: Tensor
        self.sin: Tensor

    def select(self, spans: Sequence[Span]) -> tuple[Tensor, Tensor]:
        """(cosines, sines), each (rows, 1, head_dim), for all rows of a forward pass."""
        found = [self.of(span) for span in spans]
        if len(found) == 1:
            return found[0]
        cos, sin = zip(*found, strict=True)
        return torch.cat(cos), torch.cat(sin)

    def of(self, span: Span) -> tuple[Tensor, Tensor]:
        """(cosines, sines), each (rows, 1, head_dim), for the rows of one sequence."""
        if span.positions is not None:
            return self.cos[span.positions], self.sin[span.positions]
        rows = slice(span.start, span.start + span.rows)
        return self.cos[rows], self.sin[rows]


def _frequencies(config: ModelConfig) -> Tensor:
    """Radians per position of each pair of a head, (head_dim / 2,); 0 for those not rotated."""
    if config.rope == PLAIN_ROPE:
        half = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
        return torch.as_tensor(config.rope_theta**-half)
    found = config.rope.frequencies(config.head_dim, config.rope_theta)
    whole = torch.zeros(config.head_dim // 2)
    whole[: len(found)] = torch.from_numpy(found).float()
    return whole


def rotate(x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate (rows, heads, head_dim) in float32; returns the dtype of `x`."""
    cos, sin = tables
    wide = x.float()
    return (wide * cos + wide.roll(x.shape[-1] // 2, -1) * sin).to(x.dtype)


class Attention(nn.Module):
    """Grouped-query attention (arXiv 2305.13245) over cached keys and those of the pass."""

    def __init__(self, config: ModelConfig, layer: int, kind: LinearKind) -> None:
        super().__init__()
        self.layer = layer
        self.config = config
        heads = config.num_heads + 2 * config.num_kv_heads
        self.qkv = kind(config.hidden_size, heads * config.head_dim, bias=config.qkv_bias)
        self.out = kind(config.num_heads * config.head_dim, config.hidden_size, bias=False)
        if config.qk_norm:
            self.q_norm = nn.Parameter(torch.empty(config.head_dim))
            self.k_norm = nn.Parameter(torch.empty(config.head_dim))

    def forward(self, x: Tensor, spans: Sequence[Span], tables: tuple[Tensor, Tensor]) -> Tensor:
        config = self.config
        n_q, n_kv = config.num_heads, config.num_kv_heads
        qkv: Tensor = self.qkv(x).view(len(x), n_q + 2 * n_kv, config.head_dim)
        qk, v = torch.split(qkv, [n_q + n_kv, n_kv], dim=1)
        if config.qk_norm:
            qk = self._normalize(qk)
        q, k = torch.split(rotate(qk, tables), [n_q, n_kv], dim=1)
        sizes = [span.rows for span in spans]
        parts = zip(spans, *(torch.split(t, sizes) for t in (q, k, v)), strict=True)
        attended = [self._attend(*part) for part in parts]
        y: Tensor = self.out(attended[0] if len(spans) == 1 else torch.cat(attended))
        return y

    def _normalize(self, qk: Tensor) -> Tensor:
        config = self.config
        weight = torch.cat(
            [
                self.q_norm.expand(config.num_heads, -1),
                self.k_norm.expand(config.num_kv_heads, -1),
            ]
        )
        return F.rms_norm(qk, (config.head_dim,), None, config.norm_eps) * weight

    def _attend(self, span: Span, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (rows, heads, head_dim), k and v (rows, kv_heads, head_dim) -> (rows, hidden)."""
        n_kv, group, size = self.config.num_kv_heads, self.config.group_size, self.config.head_dim
        keys, values = span.store.layers[self.layer]
        stop = span.start + span.rows
        keys[:, span.start : stop] = k.transpose(0, 1)
        values[:, span.start : stop] = v.transpose(0, 1)
        # Query heads that share a key head become rows of it: no key is ever repeated.
        q = q.view(span.rows, n_kv, group, size)
        if self.config.autoregressive and exact_rows.serves(q):
            seen = keys[:, : span.visible], values[:, : span.visible]
            return exact_rows.attend(q, *seen, span.mask).reshape(span.rows, n_kv * group * size)
        q = q.permute(1, 2, 0, 3)
        q = q.reshape(1, n_kv, group * span.rows, size)
        mask = None if span.mask is None else span.mask.repeat(group, 1)
        attended = F.scaled_dot_product_attention(
            q, keys[None, :, : span.visible], values[None, :, : span.visible], attn_mask=mask
        )
        attended = attended.view(n_kv, group, span.rows, size).permute(2, 0, 1, 3)
        return attended.reshape(span.rows, n_kv * group * size)


class FeedForward(nn.Module):
    """SwiGLU (arXiv 2002.05202)."""

    def __init__(self, config: ModelConfig, kind: LinearKind) -> None:
        super().__init__()
        self.gate_up = kind(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down = kind(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        y: Tensor = self.down(F.silu(gate).mul_(up))
        return y


class Block(nn.Module):
    """Attention and feed-forward, each behind an RMS norm and added to its input."""

    def __init__(self, config: ModelConfig, layer: int, kind: LinearKind) -> None:
        super().__init__()
        self.shape, self.eps = (config.hidden_size,), config.norm_eps
        self.attention_norm = nn.Parameter(torch.empty(config.hidden_size))
        self.attention = Attention(config, layer, kind)
        self.mlp_norm = nn.Parameter(torch.empty(config.hidden_size))
        self.mlp = FeedForward(config, kind)

    def forward(self, x: Tensor, spans: Sequence[Span], tables: tuple[Tensor, Tensor]) -> Tensor:
        normed = F.rms_norm(x, self.shape, self.attention_norm, self.eps)
        x = x + self.attention(normed, spans, tables)
        y: Tensor = x + self.mlp(F.rms_norm(x, self.shape, self.mlp_norm, self.eps))
        return y


class Transformer(nn.Module):
    """A dense transformer: token ids to hidden states (`forward`) and logits (`logits`).

    Args:
        config: shape and behaviour.
        kind: class of every linear layer. The weights are empty until `weights.fill`.
        context: most positions of a sequence (length of the rotary tables).
    """

    def __init__(self, config: ModelConfig, kind: LinearKind, context: int) -> None:
        super().__init__()
        self.config = config
        self.embedding: Tensor | StoredEmbedding
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, config.hidden_size))
        self.rotary = Rotary(config, context)
        self.blocks = nn.ModuleList(Block(config, i, kind) for i in range(config.num_layers))
        self.norm = nn.Parameter(torch.empty(config.hidden_size))
        # A tied head in floating point is the embedding itself; a packed one is a copy.
        own_head = not config.tied_head or issubclass(kind, PackedLinear)
        # Eight-bit floats are too coarse for the choice between tokens.
        head_kind = Linear if kind is Fp8Linear else kind
        size = (config.hidden_size, config.vocab_size)
        self.head = head_kind(*size, bias=False) if own_head else None
        for layer in self.modules():
            if isinstance(layer, Linear):
                layer.exact = config.autoregressive

    def use_embedding(self, embedding: Tensor | StoredEmbedding) -> None:
        """Look tokens up in this embedding, which another model may have, too."""
        self._parameters.pop("embedding", None)
        self.embedding = embedding

    def forward(
        self,
        ids: Tensor,
        spans: Sequence[Span],
        layers: Sequence[int] | None = None,
        taps: Taps | None = None,
    ) -> Tensor:
        """Run int64 `ids` (rows,) of all spans; returns hidden states (rows, hidden_size).

        `layers` are the indices of the blocks to run, in order; None for all. `taps` keeps the
        hidden states after some of them.
        """
        return self.through(self.embedding[ids], spans, layers, taps)

    def through(
        self,
        x: Tensor,
        spans: Sequence[Span],
        layers: Sequence[int] | None = None,
        taps: Taps | None = None,
    ) -> Tensor:
        """Run embedded rows (rows, hidden_size); the other arguments are those of `forward`."""
        tables = self.rotary.select(spans)
        for i in range(len(self.blocks)) if layers is None else layers:
            x = self.blocks[i](x, spans, tables)
            if taps is not None:
                taps.take(i, x)
        return x

    @property
    def has_plain_head(self) -> bool:
        """Whether `logits_of` can take rows of the head: it is the embedding, or in floats."""
        return self.config.tied_head or type(self.head) is Linear

    def logits_of(self, hidden: Tensor, tokens: Sequence[int]) -> Tensor:
        """Hidden states (rows, hidden_size) -> float32 (rows, tokens), of some tokens alone.

        A packed copy of the embedding rounds its input, this does not: the two differ by that.
        """
        weight = self.head.weight if type(self.head) is Linear else self.embedding
        normed = F.rms_norm(hidden, self.norm.shape, self.norm, self.config.norm_eps)
        return F.linear(normed.float(), weight[list(tokens)].float())

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (rows, hidden_size) -> (rows, vocab_size), in the head's dtype."""
        if isinstance(self.head, PackedLinear):
            ranked: Tensor = self.head(hidden, norm=Norm(self.norm, self.config.norm_eps))
            return ranked
        normed = F.rms_norm(hidden, self.norm.shape, self.norm, self.config.norm_eps)
        if self.head is None:
            assert isinstance(self.embedding, Tensor), "a packed head is a copy"
            few = self.config.autoregressive and exact_rows.serves(normed)
            product = exact_rows.linear if few else F.linear
            return product(normed, self.embedding)
        scores: Tensor = self.head(normed)
        return scores
