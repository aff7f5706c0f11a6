"""The plain network of a drafter over padded batches: what training runs, and what the fast one
is compared with.

Read top to bottom: rotary tables, a layer, the network. The context of a block are keys and
values made of the base's hidden states, whitened and fused; within the block every row sees every
other (DFlash, arXiv 2602.06036). Beyond that the last fused state goes to every row on a way of
its own, and a low-rank Markov head adds what usually follows the token before.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dllm_core.draft.config import DrafterConfig
from dllm_core.model.stored_embedding import StoredEmbedding

_CLIP = 8.0
"""Deviations from its mean beyond which a feature says nothing more."""


class Context(NamedTuple):
    """What blocks attend to, of n sequences with S positions."""

    keys: tuple[Tensor, ...]
    """(n, kv_heads, S, head_dim) a layer, rotated."""
    values: tuple[Tensor, ...]
    fused: Tensor
    """(n, S, hidden_size)"""


def rotary(config: DrafterConfig, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and signed sine (..., head_dim) in the half-split layout (arXiv 2104.09864)."""
    half = torch.arange(0, config.head_dim, 2, dtype=torch.float32, device=positions.device)
    angles = positions[..., None].float() * config.rope_theta ** -(half / config.head_dim)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


def rotated(x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = tables
    return x * cos + x.roll(x.shape[-1] // 2, -1) * sin


def _attended(q: Tensor, k: Tensor, v: Tensor, visible: Tensor) -> Tensor:
    """Attention of queries (n, heads, rows, head_dim) to keys and values of fewer heads.

    Written out: torch's own on a CPU repeats the keys, and takes ten times as long backwards.
    """
    n, heads, rows, width = q.shape
    kv_heads, length = k.shape[1:3]
    together = q.reshape(n, kv_heads, -1, width)
    scores = (together @ k.transpose(-1, -2)).view(n, kv_heads, -1, rows, length)
    hidden = torch.zeros_like(visible, dtype=q.dtype).masked_fill(~visible, -torch.inf)
    chances = (scores * width**-0.5 + hidden[:, :, None]).softmax(-1)
    attended: Tensor = (chances.view(n, kv_heads, -1, length) @ v).view(n, heads, rows, width)
    return attended


class DraftLayer(nn.Module):
    """A Llama layer whose rows attend to the context and to their own block."""

    def __init__(self, config: DrafterConfig) -> None:
        super().__init__()
        self.config = config
        size, inner = config.hidden_size, config.intermediate_size
        self.queries = config.heads * config.head_dim
        self.keys = config.kv_heads * config.head_dim
        self.attention_norm = nn.Parameter(torch.ones(size))
        self.context_norm = nn.Parameter(torch.ones(size))
        self.mlp_norm = nn.Parameter(torch.ones(size))
        self.qkv = nn.Linear(size, self.queries + 2 * self.keys, bias=False)
        self.out = nn.Linear(self.queries, size, bias=False)
        self.gate_up = nn.Linear(size, 2 * inner, bias=False)
        self.down = nn.Linear(inner, size, bias=False)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x.float(), (self.config.hidden_size,), weight, self.config.norm_eps)

    def context(self, fused: Tensor, tables: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Keys and values (n, kv_heads, S, head_dim) of fused states (n, S, hidden_size)."""
        n, length, _ = fused.shape
        kv = F.linear(self._normed(fused, self.context_norm), self.qkv.weight[self.queries :])
        kv = kv.view(n, length, 2, self.config.kv_heads, self.config.head_dim)
        k, v = kv.permute(2, 0, 3, 1, 4)
        return rotated(k, tables), v

    def forward(
        self,
        x: Tensor,
        tables: tuple[Tensor, Tensor],
        keys: Tensor,
        values: Tensor,
        visible: Tensor,
    ) -> Tensor:
        """x (n, rows, hidden_size); `visible` (n, 1, rows, S + rows), boolean."""
        c, (n, rows, _) = self.config, x.shape
        qkv = self.qkv(self._normed(x, self.attention_norm))
        q, k, v = (
            part.view(n, rows, -1, c.head_dim).transpose(1, 2)
            for part in qkv.split([self.queries, self.keys, self.keys], -1)
        )
        k, v = torch.cat([keys, rotated(k, tables)], 2), torch.cat([values, v], 2)
        y = _attended(rotated(q, tables), k, v, visible)
        x = x + self.out(y.transpose(1, 2).reshape(n, rows, self.queries))
        gate, up = self.gate_up(self._normed(x, self.mlp_norm)).chunk(2, -1)
        whole: Tensor = x + self.down(F.silu(gate) * up)
        return whole


class DraftNetwork(nn.Module):
    """Drafts blocks after chosen tokens of padded sequences.

    `embedding` (vocab_size, hidden_size) is the base's; its rows for `vocabulary` (words,), the
    tokens that can be drafted, are the head. Neither is trained or saved.
    """

    def __init__(
        self, config: DrafterConfig, embedding: Tensor | StoredEmbedding, vocabulary: Tensor
    ) -> None:
        super().__init__()
        self.config = config
        size, wide = config.hidden_size, config.hidden_size * len(config.features)
        self.register_buffer("vocabulary", vocabulary)
        self.register_buffer("mean", torch.zeros(wide))
        self.register_buffer("deviation", torch.ones(wide))
        self.vocabulary: Tensor
        self.mean: Tensor
        self.deviation: Tensor
        self.fuse = nn.Linear(wide, size, bias=False)
        self.fused_norm = nn.Parameter(torch.ones(size))
        self.mask = nn.Parameter(torch.zeros(size))
        self.scale = nn.Parameter(torch.tensor(5.0))
        """Of embedded rows, which are small beside the others."""
        self.last = nn.Linear(size, size, bias=False)
        self.position = nn.Parameter(torch.zeros(config.block, size))
        self.layers = nn.ModuleList(DraftLayer(config) for _ in range(config.layers))
        self.norm = nn.Parameter(torch.full((size,), 0.15))
        self.before = nn.Embedding(config.words + 1, config.rank)
        """Of the token before, the last row for all that are not in the vocabulary."""
        self.after = nn.Linear(config.rank, config.words, bias=False)
        self.use(embedding)

    def use(self, embedding: Tensor | StoredEmbedding) -> None:
        """Draft with this embedding."""
        self.embedding = embedding.detach().float()
        self.head = self.embedding[self.vocabulary].contiguous()
        places = torch.full((self.config.vocab_size,), self.config.words)
        places[self.vocabulary.cpu()] = torch.arange(self.config.words)
        self.places = places.to(self.vocabulary.device)

    def start(self, seed: int) -> None:
        """Draw the first weights."""
        generator = torch.Generator().manual_seed(seed)
        for layer in self.modules():
            if isinstance(layer, nn.Linear | nn.Embedding):
                nn.init.normal_(layer.weight, std=0.02, generator=generator)
        nn.init.normal_(self.before.weight, std=0.05, generator=generator)
        nn.init.zeros_(self.after.weight)
        nn.init.normal_(self.position, std=0.02, generator=generator)
        with torch.no_grad():
            self.mask.copy_(self.embedding.mean(0))
            self.mask.add_(torch.randn(self.mask.shape, generator=generator), alpha=0.02)

    def context(self, features: Tensor, positions: Tensor) -> Context:
        """features (n, S, layers * hidden_size) at positions (S,) or (n, S)."""
        white = ((features - self.mean) / self.deviation).clamp(-_CLIP, _CLIP)
        config = self.config
        fused = F.rms_norm(
            self.fuse(white).float(), (config.hidden_size,), self.fused_norm, config.norm_eps
        )
        cos, sin = rotary(config, positions)
        tables = (cos[..., None, :, :], sin[..., None, :, :])
        pairs = [layer.context(fused, tables) for layer in self.layers]  # type: ignore[operator]
        keys, values = zip(*pairs, strict=True)
        return Context(keys, values, fused)

    def rows(self, last: Tensor, tokens: Tensor) -> Tensor:
        """First rows (..., block, hidden_size) of blocks that begin with `tokens` (...), after
        fused states `last` (..., hidden_size)."""
        config = self.config
        x = self.mask.expand(*tokens.shape, config.block, config.hidden_size).clone()
        x[..., 0, :] = self.embedding[tokens]
        every: Tensor = x * self.scale + self.last(last)[..., None, :] + self.position
        return every

    def forward(self, context: Context, tokens: Tensor, positions: Tensor) -> Tensor:
        """Hidden states (n, A, block, hidden_size), normed, of blocks that begin with the
        tokens (n, A) at these positions (n, A) of their sequences."""
        config, (n, count) = self.config, tokens.shape
        before = (positions - 1)[..., None].expand(-1, -1, config.hidden_size)
        x = self.rows(context.fused.gather(1, before), tokens)
        x = x.view(n, count * config.block, config.hidden_size)
        at = (positions[..., None] + torch.arange(config.block)).view(n, -1)
        cos, sin = rotary(config, at)
        tables = (cos[:, None], sin[:, None])
        visible = self._visible(context.fused.shape[1], positions)
        for layer, keys, values in zip(self.layers, context.keys, context.values, strict=True):
            x = layer(x, tables, keys, values, visible)
        y = F.rms_norm(x, (config.hidden_size,), self.norm, config.norm_eps)
        return y.view(n, count, config.block, config.hidden_size)

    def _visible(self, length: int, positions: Tensor) -> Tensor:
        """Every row sees the context before its block, and its block."""
        n, count = positions.shape
        block = self.config.block
        before = torch.arange(length) < positions.repeat_interleave(block, 1)[..., None]
        number = torch.arange(count).repeat_interleave(block)
        own = (number[:, None] == number).expand(n, -1, -1)
        return torch.cat([before, own], -1)[:, None]

    def logits(self, hidden: Tensor, previous: Tensor) -> Tensor:
        """Logits (..., words) of normed hidden states (..., hidden_size) after tokens (...)."""
        scores: Tensor = F.linear(hidden, self.head) + self.markov(previous)
        return scores

    def markov(self, previous: Tensor) -> Tensor:
        """What the Markov head adds (..., words) after tokens (...) of the base's vocabulary."""
        added: Tensor = self.after(self.before(self.places[previous]))
        return added
