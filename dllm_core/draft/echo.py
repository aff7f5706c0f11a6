"""Candidates from what was said before: small models often repeat themselves or the caller.

The last tokens are looked up in the prompt and the reply so far (prompt lookup decoding); what
followed them there is proposed. It costs no pass of the drafter.
"""

from __future__ import annotations

from collections.abc import Sequence

from dllm_core.draft.proposal import Candidate

LONGEST = 4
"""Tokens that are looked up, at most."""
SHORTEST = 2
_MOST = 8
"""Tokens that are proposed after them."""


class Echo:
    """What followed the last tokens where they stood before.

    Attributes:
        length: tokens that were found again: 2 to 4.
    """

    def __init__(self, length: int, following: Sequence[int]) -> None:
        self.length, self._following = length, tuple(following)
        self._first, self._later = _CHANCES[length]

    @property
    def sure(self) -> bool:
        """Whether the drafter need not be asked beside it."""
        return self.length == LONGEST

    def after(self, path: Sequence[int], count: int) -> list[Candidate]:
        """The token that followed there, if the drafted ones are those of the echo, too."""
        depth = len(path) - 1
        if depth >= len(self._following) or tuple(path[1:]) != self._following[:depth]:
            return []
        return [Candidate(self._following[depth], self._later if depth else self._first)]


class Lookup:
    """Finds echoes in a growing sequence of tokens."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}
        self.extend(ids)

    def extend(self, ids: Sequence[int]) -> None:
        """Add tokens; the last one is looked up next, and what it ends is not its own echo."""
        for token in ids:
            end = len(self._ids)
            for length in range(SHORTEST, min(LONGEST, end) + 1):
                self._places[tuple(self._ids[end - length :])] = end
            self._ids.append(token)

    def find(self) -> Echo | None:
        """The echo of the longest run of last tokens that stood somewhere before."""
        for length in range(min(LONGEST, len(self._ids)), SHORTEST - 1, -1):
            place = self._places.get(tuple(self._ids[-length:]))
            if place is not None:
                return Echo(length, self._ids[place : place + _MOST])
        return None


_CHANCES = {4: (0.85, 0.93), 3: (0.58, 0.72), 2: (0.52, 0.62)}
"""That the first token of an echo is right, and a later one if those before it were, by its
length: of the default model's replies in a quarter of the drafter's training conversations."""
