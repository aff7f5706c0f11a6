"""Small drafters for small bases, for the tests of the rule `draft`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dllm_core.config import ModelConfig
from dllm_core.draft import files
from dllm_core.draft.calibration import Calibration
from dllm_core.draft.config import DrafterConfig, fingerprint, shape_for
from dllm_core.draft.network import DraftNetwork
from dllm_core.draft.ngrams import NEXT, NgramArrays, keys
from dllm_core.draft.proposal import Candidate
from dllm_core.engine import Engine
from dllm_core.model.transformer import Transformer
from support.tiny import tiny_config, tiny_tokenizer

SHAPE: dict[str, Any] = {
    "hidden_size": 96, "intermediate_size": 160, "num_heads": 6, "num_kv_heads": 3, "head_dim": 32,
    "vocab_size": 64, "num_layers": 4, "context_length": 160, "eos_ids": (0,),
}  # fmt: skip


def base_config(**changes: object) -> ModelConfig:
    return tiny_config(**{**SHAPE, **changes})


def engine_of(model: Transformer) -> Engine:
    return Engine(model, tiny_tokenizer(model.config.vocab_size), model.config.context_length)


def drawn_network(base: Transformer, *, words: int = 48, block: int = 4) -> DraftNetwork:
    """A drafter with random weights, whose drafts are hardly ever right."""
    config = DrafterConfig(
        base="tiny", fingerprint=fingerprint(base), words=words, block=block, rank=32,
        **{**shape_for(base.config), "features": (0, 1, base.config.num_layers - 1)},
    )  # fmt: skip
    vocabulary = torch.randperm(base.config.vocab_size, generator=torch.Generator().manual_seed(1))
    network = DraftNetwork(config, base.embedding, vocabulary[:words].sort().values)
    network.start(seed=2)
    with torch.no_grad():
        network.after.weight.normal_(std=0.3, generator=torch.Generator().manual_seed(3))
        network.norm.fill_(0.5)
    return network.requires_grad_(False)


def save_drafter(
    base: Transformer, directory: Path, ngrams: NgramArrays | None = None, **shape: int
) -> Path:
    calibration = Calibration.none(shape.get("block", 4))
    files.save(drawn_network(base, **shape), calibration, directory, {}, ngrams)
    return directory


def table_of(likely: Mapping[tuple[int, ...], Sequence[tuple[int, float]]]) -> NgramArrays:
    """An n-gram table of contexts and what follows them."""
    rows = sorted((keys(context)[-1], found) for context, found in likely.items())
    tokens = np.full((len(rows), NEXT), -1, np.int32)
    chances = np.zeros((len(rows), NEXT), np.uint8)
    for row, (_, found) in enumerate(rows):
        for column, (token, chance) in enumerate(found):
            tokens[row, column], chances[row, column] = token, round(255 * chance)
    arrays = (np.array([key for key, _ in rows], np.uint32), tokens, chances)
    return NgramArrays(*arrays, np.zeros(0, np.int32))


class Oracle:
    """Stands in for a drafter: proposes what it is told, right or wrong.

    `said` maps a number of known tokens to the tokens that follow them.
    """

    def __init__(self, ids: list[int], chance: float = 0.9, depth: int = 6) -> None:
        self.ids, self._chance, self._depth = ids, chance, depth

    def after_position(self, position: int) -> OracleProposal:
        return OracleProposal(self.ids[position:], self._chance, self._depth)


class OracleProposal:
    """Proposes the tokens of a list, one a depth, with wrong ones beside."""

    def __init__(self, following: list[int], chance: float, depth: int) -> None:
        self._following, self._chance, self.depth = following, chance, depth

    def after(self, path: Sequence[int], count: int) -> list[Candidate]:
        depth = len(path) - 1
        if depth >= min(self.depth, len(self._following)):
            return []
        right = self._following[depth]
        wrong = [Candidate((right + 1 + i) % 60, (1 - self._chance) / 4) for i in range(count - 1)]
        return [Candidate(right, self._chance), *wrong]
