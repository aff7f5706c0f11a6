"""The block of model.py over packed weights: five kernels instead of some thirty operations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dllm_core.config import ModelConfig
from dllm_core.cpu import attention, prediction, product
from dllm_core.cpu.packed import GROUP
from dllm_core.model import Block, LinearKind, Span, Transformer
from dllm_core.quantize import PackedLinear


class PackedBlock(Block):
    """What `Block` computes; where an adapter stands around a layer, as `Block` computes it."""

    def __init__(self, config: ModelConfig, layer: int, kind: LinearKind) -> None:
        super().__init__(config, layer, kind)
        self._heads = heads_of(config)
        gate_up = self.mlp.gate_up
        assert isinstance(gate_up, PackedLinear)
        gate_up.pair()

    @staticmethod
    def fits(config: ModelConfig, kind: LinearKind) -> bool:
        """Whether the kernels can do models of this shape."""
        wide = (config.hidden_size, config.intermediate_size, config.num_heads * config.head_dim)
        whole = all(size % GROUP == 0 for size in wide)
        return issubclass(kind, PackedLinear) and whole and heads_of(config).fit

    @property
    def _plain(self) -> bool:
        layers = (self.attention.qkv, self.attention.out, self.mlp.gate_up, self.mlp.down)
        return all(isinstance(layer, PackedLinear) for layer in layers)

    def forward(self, x: Tensor, spans: Sequence[Span], tables: tuple[Tensor, Tensor]) -> Tensor:
        """As `Block.forward`, but what it returns is `x`, changed in place."""
        if not self._plain:
            return super().forward(x, spans, tables)
        norm = product.Norm(self.attention_norm, self.eps)
        qkv = self.attention.qkv(x, norm=norm)
        attended = torch.empty(len(x), self._heads.heads * self._heads.head_dim)
        row = 0
        for span in spans:
            rows = slice(row, row + span.rows)
            self._attend(qkv[rows], attended[rows], span, (tables[0][rows], tables[1][rows]))
            row += span.rows
        x = self.attention.out(attended, into=x)
        inner = self.mlp.gate_up(x, norm=product.Norm(self.mlp_norm, self.eps), swiglu=True)
        y: Tensor = self.mlp.down(inner, into=x)
        return y

    def _attend(self, qkv: Tensor, out: Tensor, span: Span, tables: tuple[Tensor, Tensor]) -> None:
        layer = self.attention
        attention.attend(
            qkv,
            out,
            self._heads,
            tables,
            span.store.layers[layer.layer],
            span.start,
            span.visible,
            mask=span.mask,
            norms=(layer.q_norm, layer.k_norm) if layer.config.qk_norm else None,
        )


def heads_of(config: ModelConfig) -> attention.Heads:
    """The shape of attention in a model of this configuration."""
    size = config.head_dim
    return attention.Heads(config.num_heads, config.num_kv_heads, size, config.norm_eps)


def prepare(model: Transformer) -> None:
    """Compile the kernels that a model needs, a few seconds, before anybody waits for them."""
    if model.embedding.device.type == "cpu":
        prediction.prepare()
    layers = [layer for layer in model.modules() if isinstance(layer, PackedLinear)]
    for form in {layer.packed.form for layer in layers}:
        product.prepare(form)
    if any(isinstance(block, PackedBlock) for block in model.blocks):
        attention.prepare(model.config.head_dim)
