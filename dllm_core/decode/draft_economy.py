"""What drafts cost and save: the cost of passes, whether drafts pay, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dllm_core.decode.stats import DraftStats
from dllm_core.draft.tree import Tree

_MEMORY = 0.8
"""Weight of earlier rounds in what drafts are found to be worth."""
_PRIOR = 2.0
"""Tokens that a reply begins with, expected and accepted."""
_LEAST_TRUST, _MOST_TRUST = 0.2, 1.5
_REACH, _REACH_ALONE = 1.6, 2.6
"""Tokens of a round with the drafter, before it was tried in a reply: beside n-grams less than in
the default model's held-out replies, so that in doubt it is not asked; without them more, so that
it is tried."""
_FORGOTTEN = 0.03
"""Share of the way back to that in a round without the drafter: it is tried again some time."""
_ROWS_ASKED = 5
"""Rows of a pass that checks a draft of the drafter's."""


def usual_reach(*, alone: bool) -> float:
    """Tokens of a round with the drafter, before it was tried; `alone` is without n-grams."""
    return _REACH_ALONE if alone else _REACH


@dataclass(frozen=True, slots=True)
class DraftCosts:
    """Milliseconds of what a round is made of, on this machine (calibrate.py)."""

    rows: tuple[float, ...]
    """Of a pass over 1, 2, ... rows; more cost as the last two let expect."""
    draft: float
    """Of drafting a block."""

    def may_pay(self, *, alone: bool) -> bool:
        """Whether the drafter will ever be asked: if not, its context need not be kept.

        Args:
            alone: whether it has no n-grams beside it.
        """
        return usual_reach(alone=alone) / (self.of(_ROWS_ASKED) + self.draft) > 1 / self.of(1)

    def of(self, rows: int) -> float:
        """Milliseconds of a pass over so many rows."""
        known = len(self.rows)
        if rows <= known:
            return self.rows[rows - 1]
        slope = self.rows[-1] - self.rows[-2] if known > 1 else self.rows[-1]
        return self.rows[-1] + slope * (rows - known)


TYPICAL = DraftCosts(tuple(1 + 0.1 * more for more in range(8)), 0.15)
"""Before anything was measured; only ratios matter."""


@dataclass(slots=True)
class DraftWorth:
    """What drafts have been worth lately in a reply, and whether to ask the drafter for one."""

    usual: float
    """Tokens of a round whose draft is the drafter's, before it was tried (`usual_reach`)."""
    reach: float = field(init=False)
    """The same as lately, the model's own token included."""
    expected: float = _PRIOR
    accepted: float = _PRIOR

    def __post_init__(self) -> None:
        self.reach = self.usual

    def asks(self, recalled: Tree, costs: DraftCosts) -> bool:
        """Whether the drafter is likely to make more tokens a millisecond than the tree of what
        is known without it."""
        if not costs.draft:
            return True
        asked = self.reach / (costs.of(_ROWS_ASKED) + costs.draft)
        return asked > recalled.expected / costs.of(len(recalled))

    @property
    def trust(self) -> float:
        """Tokens that were accepted by those that were expected to be."""
        return min(max(self.accepted / self.expected, _LEAST_TRUST), _MOST_TRUST)

    def learn(self, accepted: int, tree: Tree, *, asked: bool) -> None:
        """A round accepted so many drafted tokens; `asked` where the drafter took part."""
        if len(tree) > 1:
            self.expected = _MEMORY * self.expected + (tree.expected - 1) / self.trust
            self.accepted = _MEMORY * self.accepted + accepted
        if asked:
            self.reach = _MEMORY * self.reach + (1 - _MEMORY) * (accepted + 1)
        else:
            self.reach += _FORGOTTEN * (self.usual - self.reach)


@dataclass(slots=True)
class DraftCounts:
    """Figures of a reply's rounds."""

    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    tried: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    unverified: int = 0
    asked: int = 0

    def add(self, tree: Tree, path: Sequence[int], *, asked: bool) -> None:
        """Count a round with this tree, of which the rows `path` stand."""
        self.rounds += 1
        self.asked += asked
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
        return DraftStats(
            self.rounds, self.drafted, self.accepted, tried, right, self.unverified, self.asked
        )
