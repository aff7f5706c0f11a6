"""The engine's transformer over padded batches, differentiable, with an optional cache.

It uses the parameters of `dllm_core.model.transformer` in a layout for throughput over many
sequences, which training and making data need. tests/test_network.py compares the two.
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
    """Keys and values of B sequences: `store`, (layers, 2, B, kv_heads, columns, head_dim)."""

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
        """Wrap a transformer.

        Args:
            mask_row: (hidden,), replaces the embedding of the mask token.
            canvas_layers: layers that canvas rows run through; None means all.
            recompute: drop activations within blocks and compute them again in the backward pass.
        """
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
        """Hidden states (B, T, hidden) of a padded batch.

        Args:
            ids: int64 (B, T).
            positions: int64 (B, T).
            visible: bool (B, T, columns), the columns that each row attends to.
            canvas: bool (B, T), rows that run through `canvas_layers` only.
            cache: where keys and values are stored; `visible` then covers all its columns.
            column: first column of the cache to write to.
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
                # Layers before the first adapted one have no weights to train.
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
        """Logits (rows, vocab) of hidden states (rows, hidden)."""
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
    """Positions 0 .. T - 1 for every sequence of ids (B, T)."""
    return torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
