"""The rule `draft`: a drafter proposes, the model checks, and the reply is the model's own.

Every round a tree of drafted tokens runs through the model beside the last known token. They come
from what stood before (echo.py) and from what this model usually says (ngrams.py), and from the
drafter where its pass is likely to pay. What the
model itself would say after each of these rows, greedily or drawn at a temperature, decides which
branch stands; its own token follows. So the reply is that of decoding token by token, in fewer
passes: greedy ones to the last bit (a row's logits do not depend on the rows beside it), drawn
ones in distribution, for every token is drawn from the model's own and drafts only spare passes
(the deterministic case of speculative sampling, arXiv 2211.17192).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from dllm_core.config import DecodeOptions, ModelConfig
from dllm_core.decode import unmask
from dllm_core.decode.canvas import CanvasView
from dllm_core.decode.denoise import Forward
from dllm_core.decode.draft_economy import TYPICAL, DraftCosts, DraftCounts, DraftWorth, usual_reach
from dllm_core.decode.stats import DraftRound, DraftStats
from dllm_core.draft.cache import DraftCache
from dllm_core.draft.counted import AnyDrafter, network_of
from dllm_core.draft.echo import Lookup
from dllm_core.draft.ngrams import OPENING, Opening, Remembered
from dllm_core.draft.proposal import Proposal
from dllm_core.draft.sources import Joined
from dllm_core.draft.tree import Proposes, Tree, grow
from dllm_core.model.cache import PromptCache
from dllm_core.model.transformer import Span, Taps

_CONFIDENT = 0.5
"""Chance from which a drafted token may stand unverified."""


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
    positions as the cache has; where the drafter was not there when they were read, it is not
    asked. At most `max_tokens` are made.
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
        drafter: AnyDrafter | None = None,
        costs: DraftCosts = TYPICAL,
        starts_word: Callable[[int], bool] = lambda token: True,
    ) -> None:
        """`starts_word` tells where a reply without a check may be cut."""
        self.done = False
        self.round: DraftRound | None = None
        """What became of the last draft."""
        self._config, self._cache, self._last = config, cache, last
        self._options, self._max_tokens = options, max_tokens
        self._drafter, self._costs, self._starts_word = network_of(drafter), costs, starts_word
        self._generator = torch.Generator().manual_seed(unmask.noise_seed(options.seed, cache.ids))
        self._ids: list[int] = []
        self._confidence: list[float] = []
        self._proposal: Proposal | None = None
        self._recalled: list[Proposes] = []
        """What is known without the drafter, for this round."""
        looks = drafter is not None and options.draft_echo
        self._lookup = Lookup([*cache.ids, last]) if looks else None
        self._table = drafter.ngrams if drafter is not None and options.draft_ngrams else None
        self._question = self._table.asked([*cache.ids, last]) if self._table is not None else []
        self._tree: Tree | None = None
        self._planned: _Planned | None = None
        usual = usual_reach(alone=self._table is None)
        self._worth, self._counts, self._asked = DraftWorth(usual), DraftCounts(), False
        self._open = False
        self._most_rows = options.draft_rows

    # Drafting

    def limit_rows(self, rows: int) -> None:
        """Take at most `rows` rows in the steps to come, for others share them."""
        self._most_rows = max(1, min(self._options.draft_rows, rows))

    def ask(self) -> tuple[DraftCache, int] | None:
        """What the drafter is to draft from for the next round, told once; None for no draft."""
        if self._planned is not None or self._asked:
            return None
        if self._drafter is None and self._lookup is None and self._table is None:
            return None
        if self._room <= 1 or self._most_rows < 2:
            return None
        self._asked = True
        sure = self._recall()
        self._tree = self._grown(Joined(self._recalled), 0.0)
        drafts = self._drafts
        if sure or self._drafter is None or not drafts:
            return None  # without any context there is nothing to draft from
        if not self._worth.asks(self._tree, self._costs):
            return None
        return drafts, self._last

    @property
    def _drafts(self) -> DraftCache | None:
        """The drafter's context, where it has all positions of the cache."""
        drafts = self._cache.drafts
        if isinstance(drafts, DraftCache) and len(drafts) == len(self._cache):
            return drafts
        return None

    def _recall(self) -> bool:
        """Look up what is known without the drafter; returns whether that is sure."""
        echo = self._lookup.find() if self._lookup is not None else None
        self._recalled = [] if echo is None else [echo]
        if self._table is not None:
            self._recalled.append(Remembered(self._table, self._cache.ids))
            if self._question and len(self._ids) < OPENING:
                self._recalled.append(Opening(self._table, self._question, self._ids))
        return echo is not None and echo.sure

    @property
    def _room(self) -> int:
        return self._max_tokens - len(self._ids)

    def propose(self, proposal: Proposal) -> None:
        """Take the drafter's answer to `ask`."""
        self._proposal = proposal

    def _proposals(self) -> Joined:
        mine: list[Proposes] = [] if self._proposal is None else [self._proposal]
        return Joined([*mine, *self._recalled])

    def plan(self) -> Forward:
        if self._planned is None:
            draft_together([self])
            self._planned = self._made()
        return self._planned.forward

    def _grown(self, proposals: Proposes, spent: float) -> Tree:
        cache = self._cache
        # Near the end of the context there may be room for the reply, but not for branches.
        rows = min(self._most_rows, cache.store.limit - len(cache))
        return grow(
            self._last, proposals, cost=self._costs.of, spent=spent, rows=rows,
            deepest=self._room - 1, trust=self._worth.trust,
        )  # fmt: skip

    def _made(self) -> _Planned:
        drafter, cache, tree = self._drafter, self._cache, self._tree
        if tree is None or self._proposal is not None or len(tree) > self._most_rows:
            tree = self._grown(self._proposals(), self._costs.draft if self._proposal else 0.0)
        rows, start = len(tree), len(cache)
        cache.reserve(rows)
        device = cache.store.device
        span = Span(
            cache.store, start, rows, start + rows, _ancestors(tree, start, device),
            start + torch.tensor(tree.depths, device=device) if not tree.is_chain else None,
        )  # fmt: skip
        taps = None
        if drafter is not None and self._drafts is not None:
            taps = Taps.after(drafter.layers, rows, self._config)
        ids = torch.tensor(tree.tokens, device=device)
        wanted = torch.arange(rows, device=device)
        return _Planned(tree, Forward(ids, (span,), wanted, None, taps), self._proposal is not None)

    # Checking

    def absorb(self, logits: Tensor) -> None:
        assert self._planned is not None, "plan the pass first"
        planned, tree = self._planned, self._planned.tree
        self._planned, self._proposal, self._asked = None, None, False
        self._tree, self._recalled = None, []
        path, said, sure = self._followed(tree, logits)
        self._keep(planned, path)
        before = len(self._ids)
        self._say(said, sure)
        accepted = min(len(path) - 1, len(self._ids) - before)
        self.round = DraftRound(len(tree) - 1, accepted, path[-1] in tree.parents)
        self._counts.add(tree, path, asked=planned.drafted)
        self._worth.learn(len(path) - 1, tree, asked=planned.drafted)
        rounds = self._options.rounds
        if not self.done and rounds is not None and self._counts.rounds >= rounds:
            self.conclude()

    def _followed(self, tree: Tree, logits: Tensor) -> tuple[list[int], list[int], list[float]]:
        """The rows that stand, and what the model says after each, with its probability."""
        options, mask = self._options, self._config.mask_id
        never = [*options.banned, *(() if mask is None else (mask,))]
        if never:
            logits[:, never] = -torch.inf
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
        drafts, taps = self._drafts, planned.forward.taps
        if self._drafter is not None and taps is not None and drafts is not None:
            self._drafter.extend(drafts, taps.features[path], later=True)
        cache.commit([tree.tokens[row] for row in path])

    def _say(self, said: Sequence[int], sure: Sequence[float]) -> None:
        """Add tokens, up to the end of the reply or its bound."""
        for token, chance in zip(said, sure, strict=True):
            self._ids.append(token)
            self._confidence.append(chance)
            self._last = token
            if self._lookup is not None:
                self._lookup.extend([token])
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
        proposal, whole = self._proposals(), 1.0
        never = {*self._options.banned, self._config.mask_id}
        while len(chain) < self._room:
            best = proposal.after([self._last, *(token for token, _ in chain)], 1)
            if not best or best[0].token in never or whole * best[0].chance < _CONFIDENT:
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
    visible = np.ones((rows, start + rows), np.bool_)
    own = visible[:, start:]
    own[:] = np.eye(rows, dtype=np.bool_)
    for row, parent in enumerate(tree.parents[1:], 1):
        own[row] |= own[parent]
    return torch.from_numpy(visible).to(device)


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
        if (request := each.ask()) is not None:
            wanted.setdefault(id(each._drafter), []).append((each, request))
    for group in wanted.values():
        drafter = group[0][0]._drafter
        assert drafter is not None
        proposals = drafter.draft([request for _, request in group])
        for (each, _), proposal in zip(group, proposals, strict=True):
            each.propose(proposal)
