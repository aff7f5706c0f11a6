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

from dllm_core.cpu.product import Norm
from dllm_core.draft import dflash, files, own
from dllm_core.draft.cache import DraftCache
from dllm_core.draft.network import rotated
from dllm_core.draft.ngrams import Ngrams
from dllm_core.draft.parts import CPU, AnyLinear, ContextLayer, Parts
from dllm_core.draft.proposal import Proposal
from dllm_core.errors import DrafterError
from dllm_core.model.cache import PromptCache
from dllm_core.model.quantize import PackedLinear
from dllm_core.model.transformer import Span, Taps, Transformer

_CLIP = 8.0
"""Deviations from its mean beyond which a feature says nothing more."""
_LONGEST_BLOCK = 32
_ROWS = 128
"""Rows of features that are taken in at once."""


class Drafter:
    """Drafts for the sequences of one base.

    Attributes:
        parts: its weights.
        layers: of the base, whose hidden states it reads (Taps).
    """

    def __init__(self, parts: Parts, context: int) -> None:
        """`context` bounds the positions of a sequence and a block.

        Raises:
            DrafterError: its blocks are too long.
        """
        if parts.block > _LONGEST_BLOCK:
            raise DrafterError(
                f"The drafter's blocks have {parts.block} rows, more than {_LONGEST_BLOCK}."
            )
        self.parts, self.context = parts, context
        self.layers = parts.features
        masks = parts.mask.expand(parts.block, -1) * parts.scale
        self._masks = masks if parts.position is None else masks + parts.position

    @classmethod
    def load(cls, directory: Path, base: Transformer, context: int) -> Drafter:
        """Read a drafter for a base, of this project or a published DFlash one.

        Raises:
            DrafterError: it is damaged, of an unsupported kind, or belongs to another base.
        """
        # A block may reach beyond the last token that fits the context.
        room = context + _LONGEST_BLOCK
        if dflash.is_dflash(files.read_config(directory)):
            return cls(dflash.parts_of(directory, base, room), room)
        return cls(own.parts_of(files.read(directory), base, room), room)

    @property
    def ngrams(self) -> Ngrams | None:
        """What the base usually says after its last tokens, where that was counted."""
        return self.parts.ngrams

    @property
    def deepest(self) -> int:
        """Tokens of a draft."""
        return self.parts.block - self.parts.first

    def taps(self, rows: int) -> Taps:
        """What a pass of the base over so many rows is to leave."""
        return Taps(self.layers, torch.empty(rows, self.parts.width))

    def new_cache(self) -> DraftCache:
        return DraftCache(self.parts.model.config, self.context, CPU)

    def beside(self, cache: PromptCache) -> DraftCache:
        """The context of drafts that belongs to a prompt cache; made when it has none of ours."""
        drafts = cache.drafts
        if not isinstance(drafts, DraftCache) or drafts.config is not self.parts.model.config:
            cache.drafts = drafts = self.new_cache()
        return drafts

    @torch.inference_mode()
    def extend(self, cache: DraftCache, features: Tensor, *, later: bool = False) -> None:
        """Take in hidden states (rows, layers * hidden_size) of the positions that follow.

        `later` leaves them until a draft is asked for: where none is, they cost nothing.

        Raises:
            PromptTooLongError: the cache is full.
        """
        cache.defer(features)
        if not later:
            self._settle(cache)

    def _settle(self, cache: DraftCache) -> None:
        waiting = cache.take_waiting()
        if waiting is not None:
            for part in torch.split(waiting, _ROWS):
                self._extend(cache, part)

    def _extend(self, cache: DraftCache, features: Tensor) -> None:
        parts, count = self.parts, len(features)
        cache.reserve(count)
        start, stop = len(cache), len(cache) + count
        if parts.whitening is not None:
            mean, inverse = parts.whitening
            features = ((features - mean) * inverse).clamp_(-_CLIP, _CLIP)
        fused = _normed(parts.fuse(features), parts.fused_norm)
        tables = (parts.model.rotary.cos[start:stop], parts.model.rotary.sin[start:stop])
        for i, layer in enumerate(parts.context):
            k, v = self._keys_values(layer, fused)
            cache.store.write(i, start, rotated(k, tables).transpose(0, 1), v.transpose(0, 1))
        cache.append(fused)

    def _keys_values(self, layer: ContextLayer, fused: Tensor) -> tuple[Tensor, Tensor]:
        """Keys, not rotated yet, and values (rows, kv_heads, head_dim)."""
        config = self.parts.model.config
        kv = _after_norm(layer.keys_values, fused, layer.norm)
        k, v = kv.view(len(fused), 2, config.num_kv_heads, config.head_dim).unbind(1)
        if layer.key_norm is not None:
            k = _normed(k, Norm(layer.key_norm, config.norm_eps))
        return k, v

    @torch.inference_mode()
    def draft(self, sequences: Sequence[tuple[DraftCache, int]]) -> list[Proposal]:
        """Draft a block for each sequence after a token that follows its context.

        The caches keep what they had; rows beyond are scratch.

        Raises:
            PromptTooLongError: a cache has no room for a block.
        """
        parts = self.parts
        return [
            Proposal(each, parts.markov, parts.vocabulary, parts.calibration)
            for each in self.scores(sequences)
        ]

    @torch.inference_mode()
    def scores(self, sequences: Sequence[tuple[DraftCache, int]]) -> Tensor:
        """Logits (sequences, depths, words) of blocks, before the Markov head."""
        parts = self.parts
        for cache, _ in sequences:
            self._settle(cache)
            cache.reserve(parts.block)
        rows = self._rows(sequences).flatten(0, 1)
        spans = [
            Span(cache.store, len(cache), parts.block, len(cache) + parts.block)
            for cache, _ in sequences
        ]
        hidden = parts.model.through(rows, spans).view(len(sequences), parts.block, -1)
        wanted = hidden[:, parts.first :].flatten(0, 1)
        return parts.model.logits(wanted).view(len(sequences), self.deepest, -1)

    def _rows(self, sequences: Sequence[tuple[DraftCache, int]]) -> Tensor:
        """Embedded rows (sequences, block, hidden_size)."""
        parts = self.parts
        x = self._masks.repeat(len(sequences), 1, 1)
        known = parts.model.embedding[torch.tensor([token for _, token in sequences])]
        x[:, 0] += known * parts.scale - parts.mask * parts.scale
        if parts.last is not None:
            x += parts.last(torch.stack([cache.last for cache, _ in sequences]))[:, None]
        return x


def _normed(x: Tensor, norm: Norm) -> Tensor:
    return F.rms_norm(x, norm.weight.shape, norm.weight, norm.eps)


def _after_norm(layer: AnyLinear, x: Tensor, norm: Norm | None) -> Tensor:
    if isinstance(layer, PackedLinear):
        packed: Tensor = layer(x, norm=norm)
        return packed
    plain: Tensor = layer(x if norm is None else _normed(x, norm))
    return plain
