"""The tree of drafted tokens that one pass of the base checks.

Best first: a node's value is the chance that the base says it and all before it, which falls from
parent to child. Nodes join as long as they make the expected tokens a millisecond more.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, count
from typing import Protocol

from dllm_core.draft.proposal import Candidate

_SUREST = 0.99
WIDTH = 3
"""Candidates after a token."""


class Proposes(Protocol):
    """Where candidates come from."""

    def after(self, path: Sequence[int], count: int) -> Sequence[Candidate]:
        """The best candidates, best first, after the last known token and drafted ones."""
        ...


Cost = Callable[[int], float]
"""Milliseconds of a pass over so many rows."""


@dataclass(slots=True)
class Tree:
    """Rows of a pass: the last known token, then drafted ones, parents before children."""

    tokens: list[int]
    parents: list[int] = field(default_factory=lambda: [-1])
    depths: list[int] = field(default_factory=lambda: [0])
    chances: list[float] = field(default_factory=lambda: [1.0])
    """That the base says a token and all before it."""

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, token: int, parent: int, chance: float) -> int:
        self.tokens.append(token)
        self.parents.append(parent)
        self.depths.append(self.depths[parent] + 1)
        self.chances.append(chance)
        return len(self.tokens) - 1

    def child(self, parent: int, token: int) -> int | None:
        """The row of a token right after another."""
        for row in range(parent + 1, len(self.tokens)):
            if self.parents[row] == parent and self.tokens[row] == token:
                return row
        return None

    def path(self, row: int) -> list[int]:
        """The tokens from the first row to this one."""
        found = []
        while row >= 0:
            found.append(self.tokens[row])
            row = self.parents[row]
        return found[::-1]

    @property
    def expected(self) -> float:
        """Tokens that a pass is expected to make final, the base's own included."""
        return sum(self.chances)

    @property
    def is_chain(self) -> bool:
        return all(parent == row - 1 for row, parent in enumerate(self.parents))


def grow(
    token: int,
    proposal: Proposes | None,
    *,
    cost: Cost,
    spent: float = 0.0,
    rows: int = 8,
    width: int = WIDTH,
    trust: float = 1.0,
    deepest: int,
) -> Tree:
    """The tree after a token: of at most `rows` rows, and at most `deepest` tokens deep.

    `spent` milliseconds are gone whatever comes of it, for the drafter's own pass; `trust` is
    what chances have been worth lately.
    """
    tree = Tree([token])
    if proposal is None:
        return tree
    order = count()
    waiting: list[tuple[float, int, int, int]] = []

    def offer(parent: int) -> None:
        if tree.depths[parent] >= deepest:
            return
        for candidate in proposal.after(tree.path(parent), width):
            chance = tree.chances[parent] * min(trust * candidate.chance, _SUREST)
            heapq.heappush(waiting, (-chance, next(order), parent, candidate.token))

    offer(0)
    while waiting and len(tree) < rows:
        negative, _, parent, drafted = heapq.heappop(waiting)
        # Its children are not known yet: they are taken to be as likely after it as it is itself.
        likely = -negative / tree.chances[parent]
        children = [-negative * likely**depth for depth in range(1, rows - len(tree))]
        others = [-each[0] for each in waiting] + children
        if not _worth(tree, -negative, others, cost, spent, rows):
            break
        offer(tree.add(drafted, parent, -negative))
    return tree


def _worth(
    tree: Tree, chance: float, others: Sequence[float], cost: Cost, spent: float, rows: int
) -> bool:
    """Whether a node, or it and a few after it, make more tokens a millisecond.

    The cost of rows has steps (as many rows as registers hold cost the same), so that a node may
    pay only together with the next ones.
    """
    now, expected = len(tree), tree.expected
    pace = expected / (cost(now) + spent)
    gains = [chance, *sorted(others, reverse=True)][: rows - now]
    for more, gained in enumerate(accumulate(gains), 1):
        if (expected + gained) / (cost(now + more) + spent) > pace:
            return True
    return False
