"""The engine's transformer over padded batches, differentiable, with an optional cache.

The same parameters as in model.py, run in another layout: training and making data are about
throughput over many sequences, not about one reply. test_network.py holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dllm_core.config import ModelConfig
from dllm_core.model.transformer import Attention, Block, Transformer, rotate


class BatchCache:
    """Keys and values of B sequences, (layers, 2, B, kv_heads, columns, head_dim)."""

    def __init__(self, model: Transformer, batch: int, columns: int) -> None:
        c: ModelConfig = model.config
        shape = (c.num_layers, 2, batch, c.num_kv_heads, columns, c.head_dim)
        self.store = torch.zeros(shape, dtype=model.embedding.dtype, device=model.embedding.device)


@dataclass(slots=True)
class _Pass:
    tables: tuple[Tensor, Tensor]
    visible: Tensor
    cache: BatchCache | None
    column: int


class Network(nn.Module):
    """Hidden states and logits of padded batches."""

    def __init__(
        self,
        model: Transformer,
        *,
        mask_row: nn.Parameter | None = None,
        canvas_layers: tuple[int, ...] | None = None,
        recompute: bool = False,
    ) -> None:
        """`mask_row` (hidden,) stands in for the embedding of the mask token; `recompute` drops
        activations between blocks and computes them again in the backward pass."""
        super().__init__()
        self.model, self.mask_row = model, mask_row
        self.canvas_layers, self.recompute = canvas_layers, recompute

    def forward(
        self,
        ids: Tensor,
        positions: Tensor,
        visible: Tensor,
        canvas: Tensor | None = None,
        cache: BatchCache | None = None,
        column: int = 0,
    ) -> Tensor:
        """ids, positions (B, T), visible (B, T, columns) bool -> hidden states (B, T, hidden).

        Rows in `canvas` (B, T) run through `canvas_layers` only. With a cache, keys and values
        go to its columns from `column` on, and `visible` is over all of them.
        """
        model, (batch, length) = self.model, ids.shape
        x = self._embed(ids)
        flat = positions.reshape(-1)
        tables = (model.rotary.cos[flat], model.rotary.sin[flat])
        state = _Pass(tables, visible[:, None], cache, column)
        light = self.canvas_layers if canvas is not None else None
        only_canvas = light is not None and canvas is not None and bool(canvas.all())
        y: Tensor
        for number, block in enumerate(model.blocks):
            assert isinstance(block, Block)
            skipped = light is not None and number not in light
            if skipped and only_canvas:
                continue
            if light is not None and number < min(light):
                # Nothing before the first of these layers learns: prompts need no gradient here.
                with torch.no_grad():
                    y = _block(block, x, state)
            elif self.recompute and self.training:
                y = checkpoint(_block, block, x, state, use_reentrant=False)
            else:
                y = _block(block, x, state)
            x = torch.where(canvas[..., None], x, y) if skipped and canvas is not None else y
        return x.view(batch, length, -1)

    def _embed(self, ids: Tensor) -> Tensor:
        x = self.model.embedding[ids]
        if self.mask_row is None:
            return x
        mask_id = self.model.config.mask_id
        assert mask_id is not None
        return torch.where(ids.eq(mask_id)[..., None], self.mask_row.to(x.dtype), x)

    def logits(self, hidden: Tensor) -> Tensor:
        """(rows, hidden) -> (rows, vocab)"""
        return self.model.logits(hidden)


def _block(block: Block, x: Tensor, state: _Pass) -> Tensor:
    batch, length, size = x.shape
    normed = F.rms_norm(x, block.shape, block.attention_norm, block.eps)
    x = x + _attend(block.attention, normed, state)
    rows = F.rms_norm(x, block.shape, block.mlp_norm, block.eps).view(-1, size)
    y: Tensor = x + block.mlp(rows).view(batch, length, size)
    return y


def _attend(attention: Attention, x: Tensor, state: _Pass) -> Tensor:
    config, (batch, length, size) = attention.config, x.shape
    n_q, n_kv, head = config.num_heads, config.num_kv_heads, config.head_dim
    qkv = attention.qkv(x.view(-1, size)).view(-1, n_q + 2 * n_kv, head)
    qk, v = torch.split(qkv, [n_q + n_kv, n_kv], dim=1)
    if config.qk_norm:
        qk = attention._normalize(qk)
    q, k = torch.split(rotate(qk, state.tables), [n_q, n_kv], dim=1)
    q, k, v = (t.view(batch, length, -1, head).transpose(1, 2) for t in (q, k, v))
    if state.cache is not None:
        keys, values = state.cache.store[attention.layer]
        keys[:, :, state.column : state.column + length] = k
        values[:, :, state.column : state.column + length] = v
        k, v = keys, values
    # Repeated by hand: torch's fused kernels take a mask or grouped heads, not both.
    k, v = (t.repeat_interleave(config.group_size, 1) for t in (k, v))
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=state.visible)
    out: Tensor = attention.out(y.transpose(1, 2).reshape(batch * length, n_q * head))
    return out.view(batch, length, -1)


def positions_of(ids: Tensor) -> Tensor:
    """0 .. T - 1 for every sequence: (B, T) -> (B, T)."""
    return torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
