"""What a base usually says after its last tokens, counted in its own replies.

A table of contexts of one to four tokens, with the likeliest next tokens of each. Looking one up
takes microseconds, so that a round has a draft without a pass of the drafter: retrieval-based
speculative decoding (REST, arXiv 2311.08252), with counts in place of the texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dllm_core.draft.proposal import Candidate

LONGEST = 4
"""Tokens of a context, at most."""
NEXT = 3
"""Tokens that are kept for a context."""
_CERTAIN = 255
_MIXED = (1 << 64) - 1
_FIRST, _STEP, _LAST = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, 0xBF58476D1CE4E5B9


class NgramArrays(NamedTuple):
    """A table as it is stored."""

    keys: NDArray[np.uint32]
    """(contexts,): `key` of each, rising."""
    tokens: NDArray[np.int32]
    """(contexts, 3): likeliest first, -1 where there are fewer."""
    chances: NDArray[np.uint8]
    """(contexts, 3): that the base says them, in 255ths."""


class Ngrams:
    """A table, ready to be asked. Two contexts may share a key: that costs a wrong draft."""

    def __init__(self, arrays: NgramArrays) -> None:
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays.keys)

    def likely(self, context: Sequence[int], count: int = NEXT) -> list[Candidate]:
        """The `count` likeliest tokens after these, best first, by the longest known context."""
        wanted, stored = np.array(keys(context), np.uint32), self.arrays.keys
        if not len(wanted) or not len(stored):
            return []
        places = np.minimum(stored.searchsorted(wanted), len(stored) - 1)
        known = places[stored[places] == wanted]
        if not len(known):
            return []
        tokens, chances = self.arrays.tokens[known[-1]], self.arrays.chances[known[-1]]
        pairs = zip(tokens[:count].tolist(), chances[:count].tolist(), strict=True)
        return [Candidate(token, chance / _CERTAIN) for token, chance in pairs if token >= 0]


class Remembered:
    """The candidates of a table after the last tokens of a reply."""

    def __init__(self, table: Ngrams, before: Sequence[int]) -> None:
        """`before` are the tokens before the last known one."""
        self._table, self._before = table, list(before[1 - LONGEST :])

    def after(self, path: Sequence[int], count: int) -> list[Candidate]:
        return self._table.likely([*self._before, *path], count)


def keys(context: Sequence[int]) -> list[int]:
    """Keys of the last token of a context, of the last two, and so on: 32 bits each."""
    found, mixed = [], _FIRST
    for token in reversed(context[-LONGEST:]):
        mixed = ((mixed ^ (token + 1)) * _STEP) & _MIXED
        mixed ^= mixed >> 32
        found.append(((mixed * _LAST) & _MIXED) >> 32)
    return found
