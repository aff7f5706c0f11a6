"""Branches behind one cached prompt, scored in a single pass that leaves the cache as it is.

A branch is a text that continues the prompt and the answers that may follow it. All branches begin
at the same position and see the prompt and themselves, never each other: under a tree mask their
rows lie one after another in the scratch rows of the cache. In a causal model, tokens that several
branches or answers begin with are one row (as in SpecInfer, arXiv 2305.09781). In a model that was
taught to denoise, the answer is masked, a slot for each of its tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dllm_core.config import ModelConfig
from dllm_core.errors import PromptTooLongError
from dllm_core.model.cache import PromptCache
from dllm_core.model.transformer import Span, Transformer, visibility


@dataclass(frozen=True, slots=True)
class Branch:
    """A continuation of the prompt and its possible answers.

    Attributes:
        known: token ids between the prompt and the answer; at least one where the cache holds the
            whole prompt.
        answers: token ids of every answer; each has at least one.
        ends: tokens any of which ends an answer. With them, the probability of an answer includes
            that it ends; without them it is that of a text that begins so.
    """

    known: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    ends: tuple[int, ...] = ()


@dataclass(slots=True)
class Rows:
    """The rows of a pass: token, position, and which other rows each of them sees."""

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    seen: list[list[int]] = field(default_factory=list)

    def add(self, token: int, position: int, seen: list[int]) -> int:
        self.tokens.append(token)
        self.positions.append(position)
        self.seen.append(seen)
        return len(self.tokens) - 1

    def copy(self) -> Rows:
        """The same rows, to which others may be added."""
        return Rows(list(self.tokens), list(self.positions), list(self.seen))

    def follow(self, nodes: dict[tuple[int, int], int], parent: int, token: int, base: int) -> int:
        """The row of a token behind the row `parent`, added if it is not in `nodes` yet.

        Rows without a parent (-1) lie at position `base`.
        """
        if (parent, token) not in nodes:
            position = base if parent < 0 else self.positions[parent] + 1
            seen = [*([] if parent < 0 else self.seen[parent]), len(self.tokens)]
            nodes[parent, token] = self.add(token, position, seen)
        return nodes[parent, token]

    def mask(self, base: int, start: int) -> Tensor:
        """Bool (rows, start + rows): the first `base` positions and the rows seen."""
        rows = len(self.tokens)
        mask = torch.zeros(rows, start + rows, dtype=torch.bool)
        mask[:, :base] = True
        pairs = [(row, start + i) for row, seen in enumerate(self.seen) for i in seen]
        first, second = torch.tensor(pairs).T
        mask[first, second] = True
        return mask


_Reads = list[list[tuple[int, int | None]]]
"""For every answer, the (row, token) whose log-probabilities are added; None is any end."""


def score(
    model: Transformer,
    cache: PromptCache,
    prompt: Sequence[int],
    branches: Sequence[Branch],
    *,
    relative: bool = False,
) -> list[Tensor]:
    """Log-probability, in nats, of every answer of every branch, in one pass.

    Args:
        model: the transformer.
        cache: holds the prompt, except what a model trained on blocks reads with the reply; it may
            hold more. Its tokens stay as they are; its scratch rows are overwritten.
        prompt: token ids of the prompt.
        branches: at least one.
        relative: whether the scores of a branch may all be off by the same number. Then the head
            computes the tokens of the answers alone where that suffices.

    Returns:
        For each branch a float64 tensor (answers,).

    Raises:
        PromptTooLongError: the rows of all branches do not fit the context behind the prompt.
    """
    config = model.config
    base = min(cache.shared_prefix(prompt), len(prompt))
    if config.attention == "block_causal":
        base = base // config.block_length * config.block_length
    rows, reads = Rows(), []
    tail = tuple(prompt[base:])
    if is_tree(config):
        nodes: dict[tuple[int, int], int] = {}
        reads = [_tree(rows, nodes, base, tail, branch) for branch in branches]
    else:
        reads = [_chains(config, rows, base, tail, branch) for branch in branches]
    plain = _unnormalised(reads, branches) if relative and model.has_plain_head else {}
    return _gather(_logits(model, cache, base, rows, reads, plain), reads, branches)


def _unnormalised(reads: Sequence[_Reads], branches: Sequence[Branch]) -> dict[int, list[int]]:
    """The tokens that are read of each row whose normalisation is the same for all its answers."""
    tokens: dict[int, set[int]] = {}
    others: set[int] = set()
    for read, branch in zip(reads, branches, strict=True):
        counts = [Counter(row for row, _ in answer) for answer in read]
        for row in set().union(*counts):
            if len({count[row] for count in counts}) > 1:
                others.add(row)
            tokens.setdefault(row, set())
        for answer in read:
            for row, token in answer:
                tokens[row].update(branch.ends if token is None else (token,))
    return {row: sorted(found) for row, found in tokens.items() if row not in others}


def is_tree(config: ModelConfig) -> bool:
    """Whether answers are read token by token from a causal model, and not from masked slots."""
    return config.autoregressive and config.mask_id is None


def _tree(
    rows: Rows, nodes: dict[tuple[int, int], int], base: int, tail: tuple[int, ...], branch: Branch
) -> _Reads:
    """Add the rows of a branch; equal beginnings are the same rows."""
    at = -1
    for token in (*tail, *branch.known):
        at = rows.follow(nodes, at, token, base)
    reads: _Reads = []
    for answer in branch.answers:
        row, read = at, list[tuple[int, int | None]]()
        for i, token in enumerate(answer):
            read.append((row, token))
            if i < len(answer) - 1 or branch.ends:
                row = rows.follow(nodes, row, token, base)
        if branch.ends:
            read.append((row, None))
        reads.append(read)
    return reads


def _chains(
    config: ModelConfig, rows: Rows, base: int, tail: tuple[int, ...], branch: Branch
) -> _Reads:
    """Add a chain of rows for every length of an answer, with that number of masked slots."""
    mask_id = next(iter(config.eos_ids), 0) if config.mask_id is None else config.mask_id
    before = [*tail, *branch.known]
    firsts: dict[int, int] = {}
    for length in sorted({len(answer) + bool(branch.ends) for answer in branch.answers}):
        count = len(before) + length
        alone = visibility(config, base, count, base + count, base + len(before))
        first = len(rows.tokens)
        for i, token in enumerate([*before, *[mask_id] * length]):
            own = range(count) if alone is None else alone[i, base:].nonzero().flatten().tolist()
            rows.add(token, base + i, [first + j for j in own])
        firsts[length] = first + len(before) - int(config.shift)
    reads: _Reads = []
    for answer in branch.answers:
        wanted = [*answer, *([None] if branch.ends else [])]
        slot = firsts[len(wanted)]
        reads.append([(slot + i, token) for i, token in enumerate(wanted)])
    return reads


def _logits(
    model: Transformer,
    cache: PromptCache,
    base: int,
    rows: Rows,
    reads: Sequence[_Reads],
    plain: Mapping[int, Sequence[int]],
) -> dict[int, Mapping[int, Tensor] | Tensor]:
    """Log-probabilities (vocab,) of every row that is read; logits by token of those in `plain`."""
    device, count, start = cache.store.device, len(rows.tokens), len(cache)
    if start + count > cache.store.limit:
        raise PromptTooLongError(
            f"The questions and their answers take {count} positions behind the prompt of "
            f"{start}, beyond the context of {cache.store.limit}: ask fewer or shorter ones, or "
            "load a larger context."
        )
    cache.reserve(count)
    span = Span(
        cache.store, start, count, start + count,
        rows.mask(base, start).to(device), torch.tensor(rows.positions, device=device),
    )  # fmt: skip
    every = {row for read in reads for answer in read for row, _ in answer}
    wanted = sorted(every - set(plain))
    with torch.inference_mode():
        hidden = model(torch.tensor(rows.tokens, device=device), (span,))
        found: dict[int, Mapping[int, Tensor] | Tensor] = dict(_some(model, hidden, plain))
        if wanted:
            logits = model.logits(hidden[wanted]).float()
            # A masked slot never holds the mask itself.
            if model.config.mask_id is not None:
                logits[:, model.config.mask_id] = -torch.inf
            found |= zip(wanted, logits.log_softmax(-1), strict=True)
    return found


def _some(
    model: Transformer, hidden: Tensor, plain: Mapping[int, Sequence[int]]
) -> Iterator[tuple[int, Mapping[int, Tensor]]]:
    """The logits of some tokens of some rows, by token."""
    tokens = sorted({token for each in plain.values() for token in each})
    if tokens:
        logits = model.logits_of(hidden[list(plain)], tokens)
        for row, values in zip(plain, logits, strict=True):
            yield row, dict(zip(tokens, values, strict=True))


def _gather(
    found: Mapping[int, Mapping[int, Tensor] | Tensor],
    reads: Sequence[_Reads],
    branches: Sequence[Branch],
) -> list[Tensor]:
    def one(row: int, token: int | None, ends: tuple[int, ...]) -> float:
        scores = found[row]
        if token is not None:
            return float(scores[token])
        return float(torch.stack([scores[end] for end in ends]).logsumexp(0))

    return [
        torch.tensor(
            [sum(one(*each, branch.ends) for each in answer) for answer in read],
            dtype=torch.float64,
        )
        for read, branch in zip(reads, branches, strict=True)
    ]
