"""How much of a draft the base would have said: on recordings, without running the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dllm_core.adapt.drafter.shards import Corpus
from dllm_core.draft.network import Context, DraftNetwork


@dataclass(frozen=True, slots=True)
class Accepted:
    """Of chains of a whole block."""

    tokens_a_pass: float
    """Tokens of the replies by passes of the base, its own token counted."""
    right: tuple[float, ...]
    """Share of tokens that are right where all before were, by depth."""


@dataclass(slots=True)
class Drafted:
    """One drafted token where all before it were right: what calibration is fitted to."""

    depth: int
    probability: float
    right: bool


_CANDIDATES = 3
"""Drafted tokens at every place that calibration looks at."""


def accepted(network: DraftNetwork, corpus: Corpus, indices: Sequence[int]) -> Accepted:
    """What chains reach on the replies of some conversations."""
    drafted, tokens, passes = replayed(network, corpus, indices, candidates=1)
    return Accepted(tokens / max(1, passes), shares(drafted, network.config.block))


@torch.inference_mode()
def replayed(
    network: DraftNetwork, corpus: Corpus, indices: Sequence[int], candidates: int = _CANDIDATES
) -> tuple[list[Drafted], int, int]:
    """Replay replies with chains; the drafted tokens, and how many tokens took how many passes."""
    passes = tokens = 0
    drafted: list[Drafted] = []
    for index in indices:
        context = _context(network, corpus, index)
        for start, stop in corpus.replies[index].tolist():
            ids, at = corpus.ids[index], start - 1
            while at + 1 < stop:
                said = ids[at + 1 : stop].tolist()
                right = _follow(network, context, int(ids[at]), at, said, candidates, drafted)
                step = min(right + 1, len(said))
                at, tokens, passes = at + step, tokens + step, passes + 1
    return drafted, tokens, passes


def shares(drafted: Sequence[Drafted], block: int) -> tuple[float, ...]:
    """Share of drafted tokens that are right, by depth."""
    found = []
    for depth in range(block):
        here = [each.right for each in drafted if each.depth == depth]
        found.append(sum(here) / max(1, len(here)))
    return tuple(found)


def _context(network: DraftNetwork, corpus: Corpus, index: int) -> Context:
    features = torch.from_numpy(np.asarray(corpus.features(index), np.float32))
    return network.context(features[None], torch.arange(len(features)))


def _follow(
    network: DraftNetwork,
    context: Context,
    token: int,
    at: int,
    said: Sequence[int],
    candidates: int,
    into: list[Drafted],
) -> int:
    """How many tokens of the likeliest chain after a token are what was said."""
    hidden = network(context, torch.tensor([[token]]), torch.tensor([[at]]))[0, 0]
    scores = torch.nn.functional.linear(hidden, network.head)
    previous = token
    for depth, (row, true) in enumerate(zip(scores, said, strict=False)):
        chances = (row + network.markov(torch.tensor(previous))).softmax(-1)
        best = chances.topk(candidates)
        tokens = network.vocabulary[best.indices].tolist()
        for candidate, chance in zip(tokens, best.values.tolist(), strict=True):
            into.append(Drafted(depth, chance, candidate == true))
        if tokens[0] != true:
            return depth
        previous = tokens[0]
    return min(len(scores), len(said))
