"""The rule `draft`: a drafter proposes, the model checks, and the reply is the model's own.

Every round a tree of drafted tokens runs through the model beside the last known token. What the
model itself would say after each of these rows, greedily or drawn at a temperature, decides which
branch stands; its own token follows. So the reply is that of decoding token by token, in fewer
passes: greedy ones to the last bit (a row's logits do not depend on the rows beside it), drawn
ones in distribution, for every token is drawn from the model's own and drafts only spare passes
(the deterministic case of speculative sampling, arXiv 2211.17192).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from dllm_core.config import DecodeOptions, ModelConfig
from dllm_core.decode import unmask
from dllm_core.decode.canvas import CanvasView
from dllm_core.decode.denoise import Forward
from dllm_core.decode.stats import DraftRound, DraftStats
from dllm_core.draft.cache import DraftCache
from dllm_core.draft.drafter import Drafter
from dllm_core.draft.proposal import Proposal
from dllm_core.draft.tree import Tree, grow
from dllm_core.model.cache import PromptCache
from dllm_core.model.transformer import Span, Taps

_CONFIDENT = 0.5
"""Chance from which a drafted token may stand unverified."""
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
class _Worth:
    """Whether drafts pay: what they saved lately, and how long to do without."""

    saved: float = 0.0
    """Milliseconds a round, lately."""
    pause: int = 0
    waiting: int = 0
    expected: float = _PRIOR
    accepted: float = _PRIOR

    def drafts_now(self) -> bool:
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
class _Counts:
    """Figures of a reply's rounds."""

    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    tried: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    unverified: int = 0

    def add(self, tree: Tree, path: Sequence[int]) -> None:
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
        tried, right = tuple(self.tried), tuple(self.right)
        return DraftStats(self.rounds, self.drafted, self.accepted, tried, right, self.unverified)


@dataclass(frozen=True, slots=True)
class _Planned:
    """A round under way."""

    tree: Tree
    forward: Forward
    drafted: bool
    """Whether the drafter was asked."""


class Drafting:
    """A reply under the rule `draft`; without a drafter, token by token.

    `last` is the token before the reply; it is not in the cache yet, whose `drafts` know as many
    positions as the cache has, unless the drafter was not there when they were read: then nothing
    is drafted. At most `max_tokens` are made.
    """

    planned: int | None = None

    def __init__(
        self,
        config: ModelConfig,
        cache: PromptCache,
        last: int,
        options: DecodeOptions,
        max_tokens: int,
        *,
        drafter: Drafter | None = None,
        costs: DraftCosts = TYPICAL,
        starts_word: Callable[[int], bool] = lambda token: True,
    ) -> None:
        """`starts_word` tells where a reply without a check may be cut."""
        self.done = False
        self.round: DraftRound | None = None
        """What became of the last draft."""
        self._config, self._cache, self._last = config, cache, last
        self._options, self._max_tokens = options, max_tokens
        self._drafter, self._costs, self._starts_word = drafter, costs, starts_word
        self._generator = torch.Generator().manual_seed(options.seed)
        self._ids: list[int] = []
        self._confidence: list[float] = []
        self._proposal: Proposal | None = None
        self._planned: _Planned | None = None
        self._worth, self._counts, self._asked = _Worth(), _Counts(), False
        self._open = False
        self._most_rows = options.draft_rows

    # Drafting

    def limit_rows(self, rows: int) -> None:
        """Take at most `rows` rows in the steps to come, for others share them."""
        self._most_rows = max(1, min(self._options.draft_rows, rows))

    @property
    def request(self) -> tuple[DraftCache, int] | None:
        """What the drafter is to draft from for the next round, if it is to draft at all."""
        drafts = self._cache.drafts
        if self._planned is not None or self._asked or self._drafter is None:
            return None
        self._asked = True
        known = isinstance(drafts, DraftCache) and 0 < len(drafts) == len(self._cache)
        if not known or self._room <= 1 or self._most_rows < 2 or not self._worth.drafts_now():
            return None
        assert isinstance(drafts, DraftCache)
        return drafts, self._last

    @property
    def _room(self) -> int:
        return self._max_tokens - len(self._ids)

    def propose(self, proposal: Proposal) -> None:
        """Take the drafter's answer to `request`."""
        self._proposal = proposal

    def plan(self) -> Forward:
        if self._planned is None:
            draft_together([self])
            self._planned = self._made()
        return self._planned.forward

    def _made(self) -> _Planned:
        drafter, cache = self._drafter, self._cache
        # Near the end of the context there may be room for the reply, but not for branches.
        rows = min(self._most_rows, cache.store.limit - len(cache))
        tree = grow(
            self._last, self._proposal, cost=self._costs.of, spent=self._costs.draft,
            rows=rows, deepest=self._room - 1, trust=self._worth.trust,
        )  # fmt: skip
        rows, start = len(tree), len(cache)
        cache.reserve(rows)
        device = cache.store.device
        span = Span(
            cache.store, start, rows, start + rows, _ancestors(tree, start, device),
            start + torch.tensor(tree.depths, device=device) if not tree.is_chain else None,
        )  # fmt: skip
        taps = None if drafter is None else Taps.after(drafter.layers, rows, self._config)
        ids = torch.tensor(tree.tokens, device=device)
        wanted = torch.arange(rows, device=device)
        return _Planned(tree, Forward(ids, (span,), wanted, None, taps), self._proposal is not None)

    # Checking

    def absorb(self, logits: Tensor) -> None:
        assert self._planned is not None, "plan the pass first"
        planned, tree = self._planned, self._planned.tree
        self._planned, self._proposal, self._asked = None, None, False
        path, said, sure = self._followed(tree, logits)
        self._keep(planned, path)
        before = len(self._ids)
        self._say(said, sure)
        accepted = min(len(path) - 1, len(self._ids) - before)
        self.round = DraftRound(len(tree) - 1, accepted, path[-1] in tree.parents)
        self._counts.add(tree, path)
        if planned.drafted:
            self._worth.learn(len(path) - 1, tree, self._costs)
        rounds = self._options.rounds
        if not self.done and rounds is not None and self._counts.rounds >= rounds:
            self.conclude()

    def _followed(self, tree: Tree, logits: Tensor) -> tuple[list[int], list[int], list[float]]:
        """The rows that stand, and what the model says after each, with its probability."""
        options = self._options
        if options.top_k is not None:
            logits = unmask.best(logits, options.top_k)
        best, chances = unmask.predict(logits)
        path, said, sure = [0], list[int](), list[float]()
        while True:
            row = path[-1]
            token, chance = int(best[row]), float(chances[row])
            if options.temperature > 0:
                token, chance = self._drawn(logits[row : row + 1])
            said.append(token)
            sure.append(chance)
            following = tree.child(row, token)
            if following is None or token in self._config.eos_ids:
                return path, said, sure
            path.append(following)

    def _drawn(self, logits: Tensor) -> tuple[int, float]:
        options = self._options
        ids = unmask.sample(logits, options.temperature, options.top_p, self._generator)
        sure = unmask.confidences(logits, ids, "probability", self._generator)
        return int(ids), float(sure)

    def _keep(self, planned: _Planned, path: list[int]) -> None:
        """Leave the rows of the path in the caches, right after one another."""
        cache, tree = self._cache, planned.tree
        cache.store.move(len(cache), path)
        drafts, taps = cache.drafts, planned.forward.taps
        drafter, known = self._drafter, isinstance(drafts, DraftCache) and len(drafts) == len(cache)
        if drafter is not None and taps is not None and known:
            assert isinstance(drafts, DraftCache)
            drafter.extend(drafts, taps.features[path], later=True)
        cache.commit([tree.tokens[row] for row in path])

    def _say(self, said: Sequence[int], sure: Sequence[float]) -> None:
        """Add tokens, up to the end of the reply or its bound."""
        for token, chance in zip(said, sure, strict=True):
            self._ids.append(token)
            self._confidence.append(chance)
            self._last = token
            self.done = token in self._config.eos_ids or len(self._ids) == self._max_tokens
            if self.done:
                return

    def conclude(self) -> None:
        """End here: add what is drafted with confidence, unverified, up to a whole word."""
        if self.done:
            return
        draft_together([self])
        chain = self._confident()
        self._ids += [token for token, _ in chain]
        self._confidence += [chance for _, chance in chain]
        self._counts.unverified += len(chain)
        if self.round is not None:
            r = self.round
            self.round = DraftRound(r.drafted, r.accepted, r.corrected, len(chain))
        ended = bool(self._ids) and self._ids[-1] in self._config.eos_ids
        self.done, self._open = True, not ended and len(self._ids) < self._max_tokens

    def _confident(self) -> list[tuple[int, float]]:
        """The likeliest chain while its tokens are likely enough, all together; whole words."""
        chain: list[tuple[int, float]] = []
        proposal, whole = self._proposal, 1.0
        while proposal is not None and len(chain) < self._room:
            best = proposal.after(chain[-1][0] if chain else self._last, len(chain), 1)
            if not best or whole * best[0].chance < _CONFIDENT:
                if best and self._starts_word(best[0].token):
                    return chain
                break
            whole *= best[0].chance
            chain.append((best[0].token, best[0].chance))
            if best[0].token in self._config.eos_ids:
                return chain
        # The last word may go on: it is left out, up to its beginning.
        while chain and not self._starts_word(chain.pop()[0]):
            pass
        return chain

    # Telling

    def final(self) -> list[int]:
        return list(self._ids)

    def view(self) -> CanvasView:
        """All that is said; a reply that was cut has an open place at its end."""
        ids, sure = tuple(self._ids), tuple(self._confidence)
        masked = (False,) * len(ids)
        if self._open:
            return CanvasView((*ids, self._last), (*masked, True), (*sure, 0.0))
        return CanvasView(ids, masked, sure)

    def stats(self) -> DraftStats:
        return self._counts.stats()


def _ancestors(tree: Tree, start: int, device: torch.device) -> Tensor | None:
    """Which positions every row sees: the prompt, its ancestors and itself."""
    rows = len(tree)
    if rows == 1:
        return None
    own = torch.zeros(rows, rows, dtype=torch.bool)
    for row, parent in enumerate(tree.parents):
        if parent >= 0:
            own[row] = own[parent]
        own[row, row] = True
    return torch.cat([torch.ones(rows, start, dtype=torch.bool), own], 1).to(device)


@runtime_checkable
class Drafts(Protocol):
    """A denoiser that may be under the rule `draft`."""

    @property
    def drafting(self) -> Drafting | None:
        """The denoiser that drafts, or None under another rule."""


def draft_together(denoisers: Sequence[Drafting]) -> None:
    """Draft for several replies in one pass of their drafter."""
    wanted: dict[int, list[tuple[Drafting, tuple[DraftCache, int]]]] = {}
    for each in denoisers:
        if (request := each.request) is not None:
            wanted.setdefault(id(each._drafter), []).append((each, request))
    for group in wanted.values():
        drafter = group[0][0]._drafter
        assert drafter is not None
        proposals = drafter.draft([request for _, request in group])
        for (each, _), proposal in zip(group, proposals, strict=True):
            each.propose(proposal)
