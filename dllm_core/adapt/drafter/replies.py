"""The base's greedy replies with its hidden states, many conversations in step.

The passes are those that serve calls, packed weights and all: what a drafter learns from is what
it will see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dllm_core.adapt.drafter.conversations import Conversation
from dllm_core.adapt.drafter.shards import Recording
from dllm_core.decode.reply_text import ReplyDetokenizer
from dllm_core.engine import Engine
from dllm_core.model.cache import PromptCache
from dllm_core.model.transformer import Span, Taps, visibility

LONGEST = 512
"""Tokens of a conversation."""
_ROWS = 96
"""Prompt tokens that are read in one pass."""
_PREFIXES = 32
"""Instructions whose keys and values are kept."""

Halves = NDArray[np.float16]


@dataclass(slots=True)
class _Prefix:
    """The common beginning of conversations with the same instructions."""

    ids: list[int]
    keys_values: Tensor
    features: Halves


@dataclass(slots=True)
class _Live:
    """A conversation under way."""

    plan: Conversation
    cache: PromptCache
    features: Halves
    messages: list[tuple[str, str]]
    turn: int = 0
    todo: list[int] = field(default_factory=list)
    """Tokens that were not run yet."""
    reply: list[int] = field(default_factory=list)
    replies: list[tuple[int, int]] = field(default_factory=list)
    """Where each reply begins and ends."""
    over: bool = False

    @property
    def ids(self) -> list[int]:
        return [*self.cache.ids, *self.todo]


class Writer:
    """Writes the replies to conversations, `together` of them at a time."""

    def __init__(
        self,
        engine: Engine,
        layers: tuple[int, ...],
        *,
        together: int = 32,
        max_tokens: int = 40,
        longest: int = LONGEST,
    ) -> None:
        self._engine, self._layers = engine, layers
        self._together, self._max_tokens, self._longest = together, max_tokens, longest
        self._prefixes: dict[str | None, _Prefix] = {}

    @torch.inference_mode()
    def write(self, conversations: Iterator[Conversation]) -> Iterator[Recording]:
        """A recording of each conversation, in the order in which they end."""
        live: list[_Live] = []
        more = True
        while more or live:
            while more and len(live) < self._together:
                plan = next(conversations, None)
                more = plan is not None
                if plan is not None and (begun := self._begin(plan)) is not None:
                    live.append(begun)
            self._advance(live)
            yield from (self._recorded(each) for each in live if each.over)
            live = [each for each in live if not each.over]

    def _begin(self, plan: Conversation) -> _Live | None:
        engine = self._engine
        width = len(self._layers) * engine.config.hidden_size
        features = np.empty((self._longest, width), np.float16)
        messages = [] if plan.system is None else [("system", plan.system)]
        live = _Live(plan, engine.contiguous_cache(), features, messages)
        self._copy_prefix(live)
        return live if self._next_turn(live) else None

    def _copy_prefix(self, live: _Live) -> None:
        prefix = self._prefix(live.plan.system)
        cache, count = live.cache, len(prefix.ids)
        cache.reserve(count)
        for (keys, values), (k, v) in zip(cache.store.layers, prefix.keys_values, strict=True):
            keys[:, :count], values[:, :count] = k, v
        live.features[:count] = prefix.features
        cache.commit(prefix.ids)

    def _prefix(self, system: str | None) -> _Prefix:
        """What all conversations with these instructions begin with, read once."""
        if system in self._prefixes:
            return self._prefixes[system]
        head = [] if system is None else [("system", system)]
        ids = self._engine.encode_chat_head(head)
        cache = self._engine.contiguous_cache()
        features = self._run([(cache, ids)])[1].to(torch.float16).numpy()
        pairs = [torch.stack([k[:, : len(ids)], v[:, : len(ids)]]) for k, v in cache.store.layers]
        while len(self._prefixes) >= _PREFIXES:
            del self._prefixes[next(iter(self._prefixes))]
        self._prefixes[system] = found = _Prefix(ids, torch.stack(pairs), features)
        return found

    def _next_turn(self, live: _Live) -> bool:
        """Let the caller speak; False where nothing is left to say, or no room."""
        if live.turn == len(live.plan.turns):
            return False
        live.messages.append(("user", live.plan.turns[live.turn]))
        live.turn += 1
        ids = self._engine.encode_chat(live.messages)
        if len(ids) + self._max_tokens > self._longest:
            return False
        shared = min(live.cache.shared_prefix(ids), len(ids) - 1)
        live.cache.crop(shared)
        # The tokenizer may write an earlier reply in other tokens than the base did.
        live.replies = [(start, min(stop, shared)) for start, stop in live.replies]
        live.todo, live.reply = ids[shared:], []
        live.replies.append((len(ids), len(ids)))
        return True

    def _advance(self, live: Sequence[_Live]) -> None:
        """One more token for everybody; prompts in passes of their own."""
        prompts = [each for each in live if len(each.todo) > 1]
        while prompts:
            size = 1
            while size < len(prompts) and sum(len(p.todo) for p in prompts[: size + 1]) <= _ROWS:
                size += 1
            self._step(prompts[:size], keep_last=True)
            prompts = prompts[size:]
        self._step(live)

    def _step(self, live: Sequence[_Live], *, keep_last: bool = False) -> None:
        """Run what is to be run; `keep_last` leaves the last token of each to the next step."""
        if not live:
            return
        parts = [(each.cache, each.todo[:-1] if keep_last else each.todo) for each in live]
        starts = [len(cache) for cache, _ in parts]
        hidden, features = self._run(parts)
        halves = features.to(torch.float16).numpy()
        row = 0
        for each, start, (_, ids) in zip(live, starts, parts, strict=True):
            each.features[start : start + len(ids)] = halves[row : row + len(ids)]
            each.todo = each.todo[len(ids) :]
            row += len(ids)
        if keep_last:
            return
        for each, token in zip(live, self._engine.model.logits(hidden).argmax(-1).tolist(),
                               strict=True):  # fmt: skip
            self._append(each, token)

    def _run(self, parts: Sequence[tuple[PromptCache, list[int]]]) -> tuple[Tensor, Tensor]:
        """Hidden states and features (rows, ...) of new tokens of several sequences."""
        engine, spans, every = self._engine, [], list[int]()
        for cache, ids in parts:
            cache.reserve(len(ids))
            start, stop = len(cache), len(cache) + len(ids)
            mask = visibility(engine.config, start, len(ids), stop)
            spans.append(Span(cache.store, start, len(ids), stop, mask))
            every += ids
        taps = Taps.after(self._layers, len(every), engine.config)
        hidden = engine.model(torch.tensor(every), spans, None, taps)
        for cache, ids in parts:
            cache.commit(ids)
        return hidden, taps.features

    def _append(self, live: _Live, token: int) -> None:
        live.reply.append(token)
        live.todo = [token]
        ended = token in self._engine.config.eos_ids
        if not ended and len(live.reply) < self._max_tokens:
            return
        start = live.replies[-1][0]
        live.replies[-1] = (start, start + len(live.reply))
        text = ReplyDetokenizer(self._engine.tokenizer)
        spoken = text.push(live.reply[:-1] if ended else live.reply)
        spoken += text.finish(complete=ended)[0]
        last = live.ids
        live.messages.append(("assistant", spoken.strip()))
        if not self._next_turn(live):
            live.todo, live.over = last[len(live.cache) :], True

    def _recorded(self, live: _Live) -> Recording:
        ids, known = live.ids, len(live.cache)
        kept = [(start, stop) for start, stop in live.replies if stop > start]
        return Recording(
            np.array(ids, np.int32), live.features[:known].copy(), np.array(kept, np.int32)
        )
