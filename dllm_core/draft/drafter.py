"""A drafter at work beside its base: the context grows with the prompt, blocks are drafted.

Its layers are the engine's own transformer, over packed weights where the base's are packed, so
that drafts of several sequences share one pass; in float32 the plain one. Rows of a block attend
to the context and to each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from dllm_core.config import ModelConfig
from dllm_core.cpu.product import Norm
from dllm_core.draft import files
from dllm_core.draft.cache import DraftCache
from dllm_core.draft.config import DrafterConfig
from dllm_core.draft.network import DraftNetwork, rotated
from dllm_core.draft.proposal import Markov, Proposal
from dllm_core.model.quantize import Int8Linear, PackedLinear
from dllm_core.model.transformer import Block, Linear, Span, Taps, Transformer
from dllm_core.model.weights import build

_CLIP = 8.0
_ROWS = 128
"""Rows of features that are taken in at once."""


class Drafter:
    """Drafts for the sequences of one base.

    Attributes:
        config: its shape, and the base's.
        calibration: from its probabilities to the chance that the base agrees.
        layers: of the base, whose hidden states it reads (Taps).
    """

    def __init__(self, found: files.DrafterFile, base: Transformer, context: int) -> None:
        """Raises DrafterError where the base is not the one that it was trained for."""
        found.config.check(base)
        self.config, self.calibration = found.config, found.calibration
        self.layers = found.config.features
        self.context = context
        self._network = found.network(base.embedding)
        packed = isinstance(base.head, PackedLinear)
        self._kind = Int8Linear if packed else Linear
        self._model = self._built(base)
        self._fuse = self._linear(self._network.fuse.weight)
        self._last = self._linear(self._network.last.weight)
        self._keys_values = [
            self._linear(layer.qkv.weight[layer.queries :]) for layer in self._network.layers
        ]
        self._markov = _markov_of(self._network)
        self._inverse = 1 / self._network.deviation

    @classmethod
    def load(cls, directory: Path, base: Transformer, context: int) -> Drafter:
        """Read a drafter for a base.

        Raises:
            DrafterError: it is damaged, or belongs to another base.
        """
        return cls(files.read(directory), base, context)

    def taps(self, rows: int) -> Taps:
        """What a pass of the base over so many rows is to leave."""
        return Taps(self.layers, torch.empty(rows, len(self.layers) * self.config.hidden_size))

    @property
    def network(self) -> DraftNetwork:
        """The plain network with the same weights."""
        return self._network

    def _linear(self, weight: Tensor) -> Linear | PackedLinear:
        layer = self._kind(weight.shape[1], weight.shape[0], bias=False)
        _store(layer, weight)
        return layer

    def _built(self, base: Transformer) -> Transformer:
        """The layers of a block and the head, as the engine's own transformer."""
        model = build(shape_of(self.config), self._kind, self.context, torch.float32, _CPU)
        network = self._network
        for block, layer in zip(model.blocks, network.layers, strict=True):
            assert isinstance(block, Block)
            block.attention_norm.copy_(layer.attention_norm)
            block.mlp_norm.copy_(layer.mlp_norm)
            _store(block.attention.qkv, layer.qkv.weight)
            _store(block.attention.out, layer.out.weight)
            _store(block.mlp.gate_up, layer.gate_up.weight)
            _store(block.mlp.down, layer.down.weight)
        model.norm.copy_(network.norm)
        _store(model.head, network.head)
        # Rows come embedded; the base's embedding is there for the one that is a token.
        model.embedding = base.embedding
        return model

    def new_cache(self) -> DraftCache:
        return DraftCache(self._model.config, self.context, _CPU)

    @torch.inference_mode()
    def extend(self, cache: DraftCache, features: Tensor) -> None:
        """Take in hidden states (rows, layers * hidden_size) of the positions that follow.

        Raises:
            PromptTooLongError: the cache is full.
        """
        for part in features.split(_ROWS):
            self._extend(cache, part)

    def _extend(self, cache: DraftCache, features: Tensor) -> None:
        config, network, count = self.config, self._network, len(features)
        cache.reserve(count)
        start, stop = len(cache), len(cache) + count
        white = ((features - network.mean) * self._inverse).clamp_(-_CLIP, _CLIP)
        size = (config.hidden_size,)
        fused = F.rms_norm(self._fuse(white), size, network.fused_norm, config.norm_eps)
        tables = (self._model.rotary.cos[start:stop], self._model.rotary.sin[start:stop])
        pairs = zip(network.layers, self._keys_values, cache.store.layers, strict=True)
        for layer, linear, (keys, values) in pairs:
            kv = _after_norm(linear, fused, Norm(layer.context_norm, config.norm_eps))
            kv = kv.view(count, 2, config.kv_heads, config.head_dim)
            keys[:, start:stop] = rotated(kv[:, 0], tables).transpose(0, 1)
            values[:, start:stop] = kv[:, 1].transpose(0, 1)
        cache.append(fused)

    @torch.inference_mode()
    def draft(self, sequences: Sequence[tuple[DraftCache, int]]) -> list[Proposal]:
        """Draft a block for each sequence after a token that follows its context.

        The caches keep what they had; rows beyond are scratch.
        """
        block = self.config.block
        for cache, _ in sequences:
            cache.reserve(block)
        last = self._last(torch.stack([cache.last for cache, _ in sequences]))
        network = self._network
        x = network.mask.expand(len(sequences), block, -1).clone()
        x[:, 0] = self._model.embedding[torch.tensor([token for _, token in sequences])]
        x = x * network.scale + last[:, None] + network.position
        spans = [
            Span(cache.store, len(cache), block, len(cache) + block) for cache, _ in sequences
        ]
        hidden = self._model.through(x.flatten(0, 1), spans)
        scores = self._model.logits(hidden).view(len(sequences), block, -1)
        return [
            Proposal(scores[i], self._markov, self.calibration) for i in range(len(sequences))
        ]


_CPU = torch.device("cpu")


def shape_of(config: DrafterConfig) -> ModelConfig:
    """The drafter's layers as a model of the engine."""
    return ModelConfig(
        family="drafter", vocab_size=config.words, hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size, num_layers=config.layers,
        num_heads=config.heads, num_kv_heads=config.kv_heads, head_dim=config.head_dim,
        context_length=config.block, rope_theta=config.rope_theta, norm_eps=config.norm_eps,
        eos_ids=(), attention="bidirectional", tied_head=False,
    )  # fmt: skip


def _store(layer: object, weight: Tensor) -> None:
    if isinstance(layer, PackedLinear):
        layer.store_rows(0, weight.detach())
    else:
        assert isinstance(layer, Linear)
        layer.weight.requires_grad_(False)
        layer.weight.copy_(weight.detach())


def _after_norm(layer: Linear | PackedLinear, x: Tensor, norm: Norm) -> Tensor:
    if isinstance(layer, PackedLinear):
        packed: Tensor = layer(x, norm=norm)
        return packed
    plain: Tensor = layer(F.rms_norm(x, norm.weight.shape, norm.weight, norm.eps))
    return plain


def _markov_of(network: DraftNetwork) -> Markov:
    parts = (network.before.weight, network.after.weight, network.places, network.vocabulary)
    before, after, places, vocabulary = (part.detach().numpy() for part in parts)
    return Markov(before, after, places, vocabulary)
