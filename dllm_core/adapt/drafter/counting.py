"""A table of n-grams from recorded replies: what the base said after every few tokens.

Chances are interpolated from long contexts to short ones (Witten and Bell, 1991) and calibrated
on conversations that were not counted. Contexts that say what their shorter ones say are left
out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from dllm_core.adapt.drafter.shards import Corpus
from dllm_core.draft.calibration import Calibration
from dllm_core.draft.ngrams import LONGEST, NEXT, NgramArrays, keys

_LEAST_SEEN = 2
"""Times that a context must have been there."""
_SAME = 0.1
"""Difference of chances up to which a context says nothing that its shorter one does not."""

Context = tuple[int, ...]
Counts = dict[Context, Counter[int]]
Likely = list[tuple[int, float]]


def ngrams(corpus: Corpus, held_out: Sequence[int]) -> NgramArrays:
    """The table of all conversations but those that are held out, which calibrate it."""
    kept = set(held_out)
    counts = counted(corpus, [i for i in range(len(corpus)) if i not in kept])
    likely = {context: found for context, found in _interpolated(counts)}
    calibration = _calibrated(likely, corpus, held_out)
    for context, found in likely.items():
        order = len(context) - 1
        likely[context] = [(token, calibration.chance(order, p)) for token, p in found]
    return _arrays({c: found for c, found in likely.items() if _tells(likely, c)})


def counted(corpus: Corpus, indices: Sequence[int]) -> Counts:
    """What followed every context of one to four tokens in the replies of some conversations."""
    counts: Counts = defaultdict(Counter)
    for index in indices:
        for context, said in _places(corpus, index):
            for length in range(1, len(context) + 1):
                counts[context[-length:]][said] += 1
    return counts


def _places(corpus: Corpus, index: int) -> Iterator[tuple[Context, int]]:
    """The tokens of a conversation's replies, with those before them."""
    ids = corpus.ids[index].tolist()
    for start, stop in corpus.replies[index].tolist():
        for place in range(start, min(stop, len(ids))):
            yield tuple(ids[max(0, place - LONGEST) : place]), ids[place]


def _interpolated(counts: Counts) -> Iterator[tuple[Context, Likely]]:
    """The likeliest tokens after each context, with their chances."""
    for context, said in counts.items():
        if said.total() < _LEAST_SEEN:
            continue
        best = [token for token, _ in said.most_common(NEXT)]
        chances = [(token, _chance(counts, context, token)) for token in best]
        yield context, sorted(chances, key=lambda pair: -pair[1])


def _chance(counts: Counts, context: Context, token: int) -> float:
    """That a token follows: every shorter context weighs as much as different tokens followed."""
    found = 0.0
    for length in range(1, len(context) + 1):
        said = counts[context[-length:]]
        found = (said[token] + len(said) * found) / (said.total() + len(said))
    return found


def _calibrated(
    likely: dict[Context, Likely], corpus: Corpus, held_out: Sequence[int]
) -> Calibration:
    """By the length of the context that was found, fitted to the candidates of other replies."""
    tried = []
    for index in held_out:
        for context, said in _places(corpus, index):
            known = next(
                (context[-n:] for n in range(len(context), 0, -1) if context[-n:] in likely), None
            )
            if known is not None:
                tried += [(len(known) - 1, p, token == said) for token, p in likely[known]]
    return Calibration.fitted(tried, LONGEST)


def _tells(likely: dict[Context, Likely], context: Context) -> bool:
    """Whether a context says something else than the longest shorter one that is known."""
    shorter = next((likely[context[-n:]] for n in range(len(context) - 1, 0, -1)
                    if context[-n:] in likely), None)  # fmt: skip
    mine = likely[context]
    if shorter is None or [t for t, _ in shorter] != [t for t, _ in mine]:
        return True
    return any(abs(p - q) > _SAME for (_, p), (_, q) in zip(mine, shorter, strict=True))


def _arrays(likely: dict[Context, Likely]) -> NgramArrays:
    """In the order of their keys; of two contexts with the same key the first one stays."""
    by_key: dict[int, Likely] = {}
    for context, found in likely.items():
        by_key.setdefault(keys(context)[-1], found)
    order = sorted(by_key)
    tokens = np.full((len(order), NEXT), -1, np.int32)
    chances = np.zeros((len(order), NEXT), np.uint8)
    for row, key in enumerate(order):
        for column, (token, chance) in enumerate(by_key[key]):
            tokens[row, column], chances[row, column] = token, round(255 * chance)
    return NgramArrays(np.array(order, np.uint32), tokens, chances)
