"""A table of n-grams from recorded replies: what the base said after every few tokens.

Chances are interpolated from long contexts to short ones (Witten and Bell, 1991) and calibrated
on conversations that were not counted. Contexts that say what their shorter ones say are left
out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from dllm_core.adapt.drafter.shards import Corpus
from dllm_core.draft.calibration import Calibration
from dllm_core.draft.ngrams import (
    ASKED,
    LONGEST,
    NEXT,
    OPENING,
    NgramArrays,
    asked_after,
    keys,
    opening_keys,
)

_LEAST_SEEN = 2
"""Times that a context must have been there."""
_SAME = 0.1
"""Difference of chances up to which a context says nothing that its shorter one does not."""

Likely = list[tuple[int, float]]


@dataclass(slots=True)
class Counts:
    """What followed every context, by its key."""

    said: dict[int, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    shorter: dict[int, int | None] = field(default_factory=dict)
    """The key of the context that is one token shorter."""
    level: dict[int, int] = field(default_factory=dict)
    """Which calibration a context has: by its kind and length."""

    def add(self, ladder: Sequence[int], level: int, token: int) -> None:
        """A token followed the contexts of a ladder, the shortest first."""
        before: int | None = None
        for step, key in enumerate(ladder):
            self.said[key][token] += 1
            self.shorter.setdefault(key, before)
            self.level.setdefault(key, level + step)
            before = key


def ngrams(corpus: Corpus, held_out: Sequence[int], marker: Sequence[int] = ()) -> NgramArrays:
    """The table of all conversations but those that are held out, which calibrate it.

    `marker` are the tokens right before a caller's words in a prompt; where there are none,
    nothing is counted of how replies to a question begin.
    """
    kept = set(held_out)
    counts = counted(corpus, [i for i in range(len(corpus)) if i not in kept], marker)
    likely = {key: _likely(counts, key) for key, said in counts.said.items()
              if said.total() >= _LEAST_SEEN}  # fmt: skip
    calibration = _calibrated(likely, counts, corpus, held_out, marker)
    for key, found in likely.items():
        level = counts.level[key]
        likely[key] = [(token, calibration.chance(level, p)) for token, p in found]
    return _arrays({key: found for key, found in likely.items() if _tells(likely, counts, key)},
                   marker)  # fmt: skip


def counted(corpus: Corpus, indices: Sequence[int], marker: Sequence[int] = ()) -> Counts:
    """What followed the contexts of every token in the replies of some conversations."""
    counts = Counts()
    for index in indices:
        for level, ladder, token in _places(corpus, index, marker):
            counts.add(ladder, level, token)
    return counts


def _places(
    corpus: Corpus, index: int, marker: Sequence[int]
) -> Iterator[tuple[int, list[int], int]]:
    """Of every token of a conversation's replies: the level and the keys of its contexts."""
    ids = corpus.ids[index].tolist()
    for start, stop in corpus.replies[index].tolist():
        asked = asked_after(marker, ids[:start])
        for place in range(start, min(stop, len(ids))):
            yield 0, keys(ids[max(0, place - LONGEST) : place]), ids[place]
            if asked and place - start < OPENING:
                yield LONGEST, opening_keys(asked, ids[start:place]), ids[place]


def _likely(counts: Counts, key: int) -> Likely:
    """The likeliest tokens after a context, with their chances."""
    chances = [(token, _chance(counts, key, token))
               for token, _ in counts.said[key].most_common(NEXT)]  # fmt: skip
    return sorted(chances, key=lambda pair: -pair[1])


def _chance(counts: Counts, key: int, token: int) -> float:
    """That a token follows: every shorter context weighs as much as different tokens followed."""
    said, shorter = counts.said[key], counts.shorter[key]
    before = 0.0 if shorter is None else _chance(counts, shorter, token)
    return (said[token] + len(said) * before) / (said.total() + len(said))


def _calibrated(
    likely: dict[int, Likely],
    counts: Counts,
    corpus: Corpus,
    held_out: Sequence[int],
    marker: Sequence[int],
) -> Calibration:
    """By the kind and length of the context that was found, fitted to candidates in other
    replies."""
    tried = []
    for index in held_out:
        for _, ladder, said in _places(corpus, index, marker):
            known = next((key for key in reversed(ladder) if key in likely), None)
            if known is not None:
                level = counts.level[known]
                tried += [(level, p, token == said) for token, p in likely[known]]
    return Calibration.fitted(tried, LONGEST + ASKED)


def _tells(likely: dict[int, Likely], counts: Counts, key: int) -> bool:
    """Whether a context says something else than the longest shorter one that is known."""
    shorter = counts.shorter[key]
    while shorter is not None and shorter not in likely:
        shorter = counts.shorter[shorter]
    if shorter is None:
        return True
    mine, known = likely[key], likely[shorter]
    if [token for token, _ in mine] != [token for token, _ in known]:
        return True
    return any(abs(p - q) > _SAME for (_, p), (_, q) in zip(mine, known, strict=True))


def _arrays(likely: dict[int, Likely], marker: Sequence[int]) -> NgramArrays:
    """In the order of the keys."""
    order = sorted(likely)
    tokens = np.full((len(order), NEXT), -1, np.int32)
    chances = np.zeros((len(order), NEXT), np.uint8)
    for row, key in enumerate(order):
        for column, (token, chance) in enumerate(likely[key]):
            tokens[row, column], chances[row, column] = token, round(255 * chance)
    return NgramArrays(np.array(order, np.uint32), tokens, chances, np.array(marker, np.int32))
