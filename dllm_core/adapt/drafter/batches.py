"""From recordings to batches of blocks with what they should have drafted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dllm_core.adapt.drafter.shards import Corpus

NOTHING = -1
"""Stands where a reply is over."""
_STEP = 32
"""Lengths are rounded up to multiples: products of few different sizes are set up once."""


class Batch(NamedTuple):
    """n conversations with A blocks each."""

    features: Tensor
    """(n, S, features) float32, zero where a conversation is over."""
    tokens: Tensor
    """(n, A): the first row of each block, the last token that is known."""
    positions: Tensor
    """(n, A)"""
    previous: Tensor
    """(n, A, block): the token before each that is to be drafted."""
    targets: Tensor
    """(n, A, block): tokens of the base's vocabulary, or NOTHING."""


@dataclass(frozen=True, slots=True)
class Anchors:
    """Where blocks may begin in a conversation."""

    starts: NDArray[np.int32]
    """The prompt's last token, before each reply."""
    every: NDArray[np.int32]
    ends: NDArray[np.int32]
    """Of the reply that each of `every` lies in."""


def anchors_of(replies: NDArray[np.int32]) -> Anchors:
    """All positions that are followed by at least one token of the base's own."""
    parts = [np.arange(start - 1, stop - 1, dtype=np.int32) for start, stop in replies]
    ends = [np.full(stop - start, stop, np.int32) for start, stop in replies]
    return Anchors(replies[:, 0] - 1, np.concatenate(parts), np.concatenate(ends))


def _chosen(anchors: Anchors, count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Indices of `count` anchors: the first of a reply, and others drawn; repeated only where
    there are not as many."""
    first = random.choice(np.flatnonzero(np.isin(anchors.every, anchors.starts)))
    others = random.permutation(len(anchors.every))[:count]
    return np.concatenate([[first], np.resize(others, count - 1)])


def batch_of(
    corpus: Corpus, indices: NDArray[np.int64], count: int, block: int, seed: tuple[int, ...]
) -> Batch:
    """`count` blocks of each of these conversations."""
    random = np.random.default_rng(seed)
    drawn = [(i, anchors_of(corpus.replies[i])) for i in indices]
    picks = [(i, a, _chosen(a, count, random)) for i, a in drawn]
    last = max(int(a.every[pick].max()) for _, a, pick in picks)
    longest = -(-(last + 1) // _STEP) * _STEP
    width = corpus.features(int(indices[0])).shape[1]
    features = torch.zeros(len(indices), longest, width)
    tokens = np.zeros((len(indices), count), np.int64)
    positions = np.zeros_like(tokens)
    previous = np.zeros((len(indices), count, block), np.int64)
    targets = np.full_like(previous, NOTHING)
    for row, (i, anchors, pick) in enumerate(picks):
        known = corpus.features(i)[:longest]
        features[row, : len(known)] = torch.from_numpy(known.astype(np.float32))
        ids, at, end = corpus.ids[i], anchors.every[pick], anchors.ends[pick]
        positions[row], tokens[row] = at, ids[at]
        for j in range(block):
            place = np.minimum(at + 1 + j, len(ids) - 1)
            inside = at + 1 + j < end
            targets[row, :, j] = np.where(inside, ids[place], NOTHING)
            previous[row, :, j] = ids[place - 1]
    return Batch(features, *map(torch.from_numpy, (tokens, positions, previous, targets)))
