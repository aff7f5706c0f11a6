"""What a base usually says, counted in its own replies: after its last tokens, and at first after
the beginning of a question.

A table of contexts with the likeliest next tokens of each. Looking one up takes microseconds, so
that a round has a draft without a pass of the drafter: retrieval-based speculative decoding (REST,
arXiv 2311.08252), with counts in place of the texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dllm_core.draft.proposal import Candidate

LONGEST = 4
"""Tokens of a context, at most."""
OPENING = 3
"""Tokens of a reply that the question before it is looked up for."""
ASKED = 3
"""Tokens of that question, at most."""
NEXT = 3
"""Tokens that are kept for a context."""
_CERTAIN = 255
_MIXED = (1 << 64) - 1
_FIRST, _FIRST_OF_OPENING = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F
_STEP, _LAST = 0xD6E8FEB86659FD93, 0xBF58476D1CE4E5B9


class NgramArrays(NamedTuple):
    """A table as it is stored."""

    keys: NDArray[np.uint32]
    """(contexts,): `keys` and `opening_keys`, rising."""
    tokens: NDArray[np.int32]
    """(contexts, 3): likeliest first, -1 where there are fewer."""
    chances: NDArray[np.uint8]
    """(contexts, 3): that the base says them, in 255ths."""
    marker: NDArray[np.int32]
    """Tokens right before a caller's words in a prompt; none where there are no openings."""


class Ngrams:
    """A table, ready to be asked. Two contexts may share a key: that costs a wrong draft."""

    def __init__(self, arrays: NgramArrays) -> None:
        self.arrays, self._marker = arrays, arrays.marker.tolist()

    def __len__(self) -> int:
        return len(self.arrays.keys)

    def likely(self, ladder: Sequence[int], count: int = NEXT) -> list[Candidate]:
        """The `count` likeliest tokens after the last of these contexts that is known, best
        first."""
        wanted, stored = np.array(ladder, np.uint32), self.arrays.keys
        if not len(wanted) or not len(stored):
            return []
        places = np.minimum(stored.searchsorted(wanted), len(stored) - 1)
        known = places[stored[places] == wanted]
        if not len(known):
            return []
        tokens, chances = self.arrays.tokens[known[-1]], self.arrays.chances[known[-1]]
        pairs = zip(tokens[:count].tolist(), chances[:count].tolist(), strict=True)
        return [Candidate(token, chance / _CERTAIN) for token, chance in pairs if token >= 0]

    def asked(self, prompt: Sequence[int]) -> list[int]:
        """How the last question of a prompt begins; empty where that is not known."""
        return asked_after(self._marker, prompt)


class Remembered:
    """The candidates of a table after the last tokens of a prompt or a reply."""

    def __init__(self, table: Ngrams, before: Sequence[int]) -> None:
        """`before` are the tokens before the last known one."""
        self._table, self._before = table, list(before[1 - LONGEST :])

    def after(self, path: Sequence[int], count: int) -> list[Candidate]:
        return self._table.likely(keys([*self._before, *path]), count)


class Opening:
    """The candidates of a table for the first tokens of a reply, by its question."""

    def __init__(self, table: Ngrams, asked: Sequence[int], said: Sequence[int]) -> None:
        """`said` are all tokens of the reply so far."""
        self._table, self._asked, self._said = table, asked, said

    def after(self, path: Sequence[int], count: int) -> list[Candidate]:
        said = [*self._said, *path[1:]]
        if len(said) >= OPENING:
            return []
        return self._table.likely(opening_keys(self._asked, said), count)


def keys(context: Sequence[int]) -> list[int]:
    """Keys of the last token of a context, of the last two, and so on: 32 bits each."""
    found, mixed = [], _FIRST
    for token in reversed(context[-LONGEST:]):
        mixed = _mixed(mixed, token)
        found.append(_key(mixed))
    return found


def opening_keys(asked: Sequence[int], said: Sequence[int]) -> list[int]:
    """Keys of a reply's first tokens with the first token of its question, the first two, and so
    on."""
    found, mixed = [], _FIRST_OF_OPENING + len(said)
    for token in (*said, *asked[:ASKED]):
        mixed = _mixed(mixed, token)
        found.append(_key(mixed))
    return found[len(said) :]


def asked_after(marker: Sequence[int], prompt: Sequence[int]) -> list[int]:
    """The first tokens behind the last place where a marker stands in a prompt."""
    size, wanted = len(marker), list(marker)
    if not size:
        return []
    for end in range(len(prompt) - 1, size - 1, -1):
        if prompt[end - 1] == wanted[-1] and list(prompt[end - size : end]) == wanted:
            return list(prompt[end : end + ASKED])
    return []


def _mixed(mixed: int, token: int) -> int:
    mixed = ((mixed ^ (token + 1)) * _STEP) & _MIXED
    return mixed ^ mixed >> 32


def _key(mixed: int) -> int:
    return ((mixed * _LAST) & _MIXED) >> 32
