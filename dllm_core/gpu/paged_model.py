"""The transformer over pages of keys and values, from the fused operations of `dllm_core.ops`.

`dllm_core.model.transformer` is the plain version. One pass takes rows of one or several sequences.
Reading a prompt and denoising a canvas differ in their attention only, which is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dllm_core.model.fp8_linear import Fp8Linear
from dllm_core.model.paged_cache import PagedCache, PagePool
from dllm_core.model.transformer import Block, Linear, Transformer, visibility
from dllm_core.ops import PAGE
from dllm_core.ops.fp8 import quantize_rows
from dllm_core.ops.linear import (
    Choice,
    linear,
    linear_fp8,
    linear_fp8_parts,
    linear_parts,
)
from dllm_core.ops.norm import add_rms_norm, add_rms_norm_fp8, rms_norm, rms_norm_fp8
from dllm_core.ops.rotary import rotate_and_store
from dllm_core.ops.swiglu import swiglu, swiglu_fp8

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Attends with queries (R, heads, head_dim) to keys and values of the layer's pool; returns (R,
heads * head_dim)."""

Rows = Tensor | tuple[Tensor, Tensor]
"""Input of a projection: (R, n), or fp8 (R, n) and its scales (R, 1)."""

SMALLEST_HEAD = 16
"""Least head size of the attention kernel, whose tiles are powers of 2."""

MOST_STREAMED = 128
"""Largest number of rows for the kernel that streams the weights."""

PROJECTIONS = ("attention.qkv", "attention.out", "mlp.gate_up", "mlp.down")
"""The matrices of a block."""

Shape = tuple[int, int, int]
"""Rows, inputs and outputs of a projection."""


@dataclass(frozen=True, slots=True)
class Where:
    """Positions and storage of the rows of a pass.

    Attributes:
        positions: int32 (R,), position of each row in its sequence.
        slots: int64 (R,), place of its key and value: page * PAGE + offset.
        live: int32 (B,), 0 for sequences whose rows are skipped; None means that all are live.
    """

    positions: Tensor
    slots: Tensor
    live: Tensor | None = None


class PagedModel:
    """Weights of a model and the pool of pages of its sequences.

    `choices` has the faster matrix product for each shape of projection that `tuning.tune` has
    measured; others run with torch's.
    """

    def __init__(self, model: Transformer, pool: PagePool) -> None:
        self.model, self.pool, self.config = model, pool, model.config
        self.dtype = model.embedding.dtype
        self.choices: dict[Shape, Choice] = {}
        half = self.config.head_dim // 2
        # The model's own tables repeat each half, with the sign of the rotation in the sine.
        self._cos = model.rotary.cos[:, 0, :half].contiguous()
        self._sin = model.rotary.sin[:, 0, half:].contiguous()

    @staticmethod
    def serves(model: Transformer) -> bool:
        """Whether the kernels support the head size and the kinds of all projections."""
        size = model.config.head_dim
        if size < SMALLEST_HEAD or size & (size - 1):
            return False
        layers = [block.get_submodule(path) for block in model.blocks for path in PROJECTIONS]
        if model.head is not None:
            layers.append(model.head)
        return all(type(layer) in (Linear, Fp8Linear) for layer in layers)

    @property
    def positions(self) -> int:
        """Positions in the rotary table."""
        return len(self._cos)

    @property
    def head(self) -> Tensor:
        """Weight of the language-model head, (vocab, hidden_size)."""
        head = self.model.head
        if head is None:
            assert isinstance(self.model.embedding, Tensor), "a packed head is a copy"
            return self.model.embedding
        assert isinstance(head.weight, Tensor)
        return head.weight

    def run(
        self, ids: Tensor, where: Where, attend: Attend, layers: Sequence[int] | None = None
    ) -> Tensor:
        """Run int64 ids (R,) through the blocks; returns normalised hidden states (R, hidden)."""
        chosen = range(self.config.num_layers) if layers is None else layers
        x, hidden = self.model.embedding[ids], None
        for i in chosen:
            block: Block = self.model.blocks[i]  # type: ignore[assignment]
            rows, x = self._normed(hidden, x, block.attention_norm, block.attention.qkv, where)
            hidden = self._attention(block, rows, where, attend, *self.pool.layers[i])
            rows, x = self._normed(hidden, x, block.mlp_norm, block.mlp.gate_up, where)
            hidden = self._feed_forward(block, rows, where)
        assert hidden is not None
        eps = self.config.norm_eps
        return add_rms_norm(hidden, x, self.model.norm, eps, where.live)[0]

    def _normed(
        self, hidden: Tensor | None, x: Tensor, weight: Tensor, into: nn.Module, where: Where
    ) -> tuple[Rows, Tensor]:
        """Add a block's output to the residual and normalise the sum for the projection `into`."""
        eps, live = self.config.norm_eps, where.live
        eight_bits = isinstance(into, Fp8Linear)
        if hidden is None:
            if eight_bits:
                return rms_norm_fp8(x, weight, eps, live), x
            return rms_norm(x, weight, eps, live), x
        if eight_bits:
            *rows, x = add_rms_norm_fp8(hidden, x, weight, eps, live)
            return (rows[0], rows[1]), x
        return add_rms_norm(hidden, x, weight, eps, live)

    def _attention(
        self,
        block: Block,
        rows: Rows,
        where: Where,
        attend: Attend,
        keys: Tensor,
        values: Tensor,
    ) -> Tensor:
        part = block.attention
        qk_norm = self.config.qk_norm
        q = rotate_and_store(
            self._project(part.qkv, rows, where),
            self._cos,
            self._sin,
            where.positions,
            where.slots,
            keys,
            values,
            part.q_norm if qk_norm else None,
            part.k_norm if qk_norm else None,
            self.config.norm_eps,
            where.live,
        )
        return self._project(part.out, attend(q, keys, values), where, sums=True)

    def _feed_forward(self, block: Block, rows: Rows, where: Where) -> Tensor:
        gate_up = self._project(block.mlp.gate_up, rows, where)
        gate = swiglu_fp8 if isinstance(block.mlp.down, Fp8Linear) else swiglu
        return self._project(block.mlp.down, gate(gate_up, where.live), where, sums=True)

    def _project(self, layer: nn.Module, rows: Rows, where: Where, *, sums: bool = False) -> Tensor:
        """Apply a projection: (R, n), or with `sums` possibly its unsummed parts (p, R, n)."""
        assert isinstance(layer, Linear | Fp8Linear)
        first = rows[0] if isinstance(rows, tuple) else rows
        shape = (len(first), layer.in_features, layer.out_features)
        choice = self.choices.get(shape, "torch")
        in_parts = sums and choice == "triton"
        if isinstance(layer, Fp8Linear):
            x, scale = rows if isinstance(rows, tuple) else quantize_rows(rows, where.live)
            if in_parts:
                return linear_fp8_parts(x, scale, layer.weight, layer.scale, where.live)
            return linear_fp8(
                x, scale, layer.weight, layer.scale, layer.bias, where.live, choice=choice
            )
        assert not isinstance(rows, tuple)
        if in_parts:
            return linear_parts(rows, layer.weight, where.live)
        return linear(rows, layer.weight, layer.bias, where.live, choice=choice)

    def read(
        self,
        cache: PagedCache,
        ids: Sequence[int],
        *,
        canvas: int | None = None,
        layers: Sequence[int] | None = None,
    ) -> Tensor:
        """Run `ids` after the cached tokens and store their keys and values, without committing.

        From index `canvas` on the ids are open positions of a canvas, which attend to each other in
        a model with blocks of one. Returns the normalised hidden states (len(ids), hidden_size).

        Raises:
            PromptTooLongError, PagesFullError: see PagedCache.reserve.
        """
        start, count = len(cache), len(ids)
        stop = start + count
        cache.reserve(count)
        device = self.pool.device
        table = torch.tensor(cache.pages, device=device)
        positions = torch.arange(start, stop, device=device)
        slots = table[positions // PAGE] * PAGE + positions % PAGE
        first = None if canvas is None else start + canvas
        # Plain causal rows need no mask, with which torch has no flash attention.
        causal = self.config.causal and start == 0 and canvas is None
        mask = None if causal else visibility(self.config, start, count, stop, first)
        mask = None if mask is None else mask.to(device)

        def attend(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            return _attend_pages(q, keys[table], values[table], stop, mask, causal=causal)

        where = Where(positions.int(), slots)
        return self.run(torch.tensor(ids, device=device), where, attend, layers)


def _attend_pages(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    visible: int,
    mask: Tensor | None,
    *,
    causal: bool = False,
) -> Tensor:
    """Attention of one sequence: q (R, heads, d), keys and values (pages, kv_heads, PAGE, d).

    With `causal` a row attends to itself and those before it. Under a mask, key heads are repeated
    for their queries: of torch's kernels only the unfused one shares them and takes a mask.
    """
    k, v = (part.transpose(0, 1).flatten(1, 2)[None, :, :visible] for part in (keys, values))
    shared = q.shape[1] // k.shape[1]
    if mask is not None and shared > 1:
        k, v = (part.repeat_interleave(shared, dim=1) for part in (k, v))
    attended = F.scaled_dot_product_attention(
        q.transpose(0, 1)[None],
        k,
        v,
        attn_mask=mask,
        is_causal=causal,
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return attended[0].transpose(0, 1).flatten(1)
