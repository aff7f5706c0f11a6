"""What drafts cost and save: the cost of passes, whether drafts pay, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dllm_core.decode.stats import DraftStats
from dllm_core.draft.tree import Tree

_MEMORY = 0.8
"""Weight of earlier rounds in what drafts are found to save."""
_PRIOR = 2.0
"""Tokens that a reply begins with, expected and accepted."""
_LEAST_TRUST, _MOST_TRUST = 0.2, 1.5
_LONGEST_PAUSE = 32
"""Plain tokens between two attempts, where drafts do not pay."""


@dataclass(frozen=True, slots=True)
class DraftCosts:
    """Milliseconds of what a round is made of, on this machine (calibrate.py)."""

    rows: tuple[float, ...]
    """Of a pass over 1, 2, ... rows; more cost as the last two let expect."""
    draft: float
    """Of drafting a block."""

    def of(self, rows: int) -> float:
        """Milliseconds of a pass over so many rows."""
        known = len(self.rows)
        if rows <= known:
            return self.rows[rows - 1]
        slope = self.rows[-1] - self.rows[-2] if known > 1 else self.rows[-1]
        return self.rows[-1] + slope * (rows - known)


TYPICAL = DraftCosts(tuple(1 + 0.1 * more for more in range(8)), 0.2)
"""Before anything was measured; only ratios matter."""


@dataclass(slots=True)
class DraftWorth:
    """Whether drafts pay: what they saved lately, and how long to do without."""

    saved: float = 0.0
    """Milliseconds a round, lately."""
    pause: int = 0
    waiting: int = 0
    expected: float = _PRIOR
    accepted: float = _PRIOR

    def drafts_now(self) -> bool:
        """Whether to ask the drafter in this round; counts the rounds of a pause."""
        if self.waiting:
            self.waiting -= 1
            return False
        return True

    @property
    def trust(self) -> float:
        """Tokens that were accepted by those that were expected to be."""
        return min(max(self.accepted / self.expected, _LEAST_TRUST), _MOST_TRUST)

    def learn(self, accepted: int, tree: Tree, costs: DraftCosts) -> None:
        """A round with this draft gave `accepted` tokens more than one without."""
        rows = len(tree)
        self.expected = _MEMORY * self.expected + (tree.expected - 1) / self.trust
        self.accepted = _MEMORY * self.accepted + accepted
        gain = accepted * costs.of(1) - (costs.of(rows) - costs.of(1)) - costs.draft
        self.saved = _MEMORY * self.saved + (1 - _MEMORY) * gain
        if self.saved >= 0:
            self.pause = 0
        elif gain < 0:
            self.pause = min(max(2, 2 * self.pause), _LONGEST_PAUSE)
            self.waiting = self.pause


@dataclass(slots=True)
class DraftCounts:
    """Figures of a reply's rounds."""

    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    tried: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    unverified: int = 0

    def add(self, tree: Tree, path: Sequence[int]) -> None:
        """Count a round with this tree, of which the rows `path` stand."""
        self.rounds += 1
        self.drafted += len(tree) - 1
        self.accepted += len(path) - 1
        for depth, row in enumerate(path):
            if row not in tree.parents:
                break
            if depth == len(self.tried):
                self.tried.append(0)
                self.right.append(0)
            self.tried[depth] += 1
            self.right[depth] += depth + 1 < len(path)

    def stats(self) -> DraftStats:
        """The figures so far."""
        tried, right = tuple(self.tried), tuple(self.right)
        return DraftStats(self.rounds, self.drafted, self.accepted, tried, right, self.unverified)
