"""Several responders at the same work, prompt by prompt in turn: all meet the same machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from agent.bench.energy import EnergyMeter
from agent.bench.figures import Progress
from agent.bench.prices import Price
from agent.bench.prompts import Prompt
from agent.compute import Compute
from agent.reply import Message, Prefilled, ReplyDone, ReplyText
from agent.responders.base import Responder, ResponderError, WaitingCall
from agent.responders.computed import awaited
from tts.segments import Segmenter


@dataclass(frozen=True, slots=True)
class Candidate:
    """A loaded responder under the name it has in the table."""

    name: str
    responder: Responder
    price: Price | None = None
    here: bool = True
    """Whether it works on this machine, so that its energy can be measured."""


@dataclass(frozen=True, slots=True)
class ReplyScore:
    """One reply. None: not known, or not available."""

    responder: str
    round: int
    prompt: str
    text: str = ""
    first_clause_ms: float | None = None
    """From the request to the first words that the voice would be given."""
    whole_ms: float | None = None
    """From the request to the end of the reply."""
    tokens: float | None = None
    forwards: int | None = None
    joules: float | None = None
    cost: float | None = None
    right: bool | None = None
    error: str | None = None

    def to_row(self) -> dict[str, Any]:
        return {"kind": "reply", **asdict(self)}


@dataclass(slots=True)
class _Watch:
    """Sees the pieces of one reply."""

    segmenter: Segmenter = field(default_factory=Segmenter)
    first_clause: float | None = None
    prompt_tokens: float = 0
    done: ReplyDone | None = None

    def see(self, piece: object, seconds: float) -> None:
        match piece:
            case Prefilled():
                self.prompt_tokens = piece.cached_tokens + piece.new_tokens
            case ReplyText():
                if self.segmenter.feed(piece.text) and self.first_clause is None:
                    self.first_clause = seconds
            case ReplyDone():
                self.done = piece
                if self.first_clause is None and self.segmenter.flush():
                    self.first_clause = seconds


class ResponderBenchmark:
    """All contestants, each with one call whose cache holds the instructions.

    Args:
        instructions: the system prompt.
        meter: counts joules; None: not available.
        compute: where contestants that compute do so, as in a server.
    """

    def __init__(
        self,
        contestants: Sequence[Candidate],
        instructions: str,
        compute: Compute,
        meter: EnergyMeter | None = None,
    ) -> None:
        self._contestants = contestants
        self._system = Message("system", instructions)
        self._compute = compute
        self._meter = meter

    async def run(
        self, prompts: Sequence[Prompt], rounds: int, progress: Progress = lambda line: None
    ) -> AsyncIterator[ReplyScore]:
        """Ask every prompt of everybody, ``rounds`` times; who goes first changes each time.

        One reply of each that does not count goes before.
        """
        async with AsyncExitStack() as stack:
            calls: list[tuple[Candidate, WaitingCall]] = []
            for contestant in self._contestants:
                call = awaited(contestant.responder.open(), self._compute)
                stack.push_async_callback(call.close)
                calls.append((contestant, call))
                progress(f"warming up {contestant.name}")
                await self._ask(contestant, call, prompts[0], 0)
            for turn in range(rounds * len(prompts)):
                number, place = divmod(turn, len(prompts))
                first = turn % len(calls)
                for contestant, call in calls[first:] + calls[:first]:
                    progress(f"round {number + 1} of {rounds}: {contestant.name}")
                    yield await self._ask(contestant, call, prompts[place], number + 1)

    async def _ask(
        self, contestant: Candidate, call: WaitingCall, prompt: Prompt, number: int
    ) -> ReplyScore:
        """One reply, its prompt new but for the instructions."""
        score = ReplyScore(contestant.name, number, prompt.text)
        try:
            await call.prepare([self._system])
            joules, began, watch = self._joules(contestant), time.perf_counter(), _Watch()
            async with aclosing(call.reply([self._system, Message("user", prompt.text)])) as pieces:
                async for piece in pieces:
                    watch.see(piece, time.perf_counter() - began)
            seconds = time.perf_counter() - began
        except ResponderError as error:
            return replace(score, error=str(error))
        if watch.done is None:
            return replace(score, error="the responder ended without a complete reply")
        used = self._joules(contestant)
        spent = None if used is None or joules is None else used - joules
        return _scored(score, contestant, prompt, watch, watch.done, seconds, spent)

    def _joules(self, contestant: Candidate) -> float | None:
        return self._meter.joules() if self._meter is not None and contestant.here else None


def _scored(
    score: ReplyScore,
    contestant: Candidate,
    prompt: Prompt,
    watch: _Watch,
    done: ReplyDone,
    seconds: float,
    joules: float | None,
) -> ReplyScore:
    # Not every service counts its tokens, but mostly it sends them one by one.
    tokens = done.stats.get("tokens", done.stats.get("pieces"))
    asked = done.stats.get("prompt_tokens", watch.prompt_tokens)
    cost = None
    if contestant.price is not None and tokens is not None:
        cost = contestant.price.of_reply(asked, tokens, seconds)
    return replace(
        score,
        text=done.text,
        first_clause_ms=None if watch.first_clause is None else watch.first_clause * 1e3,
        whole_ms=seconds * 1e3,
        tokens=tokens,
        forwards=done.forwards or None,
        joules=joules,
        cost=cost,
        right=None if prompt.check is None else prompt.check.passes(done.text),
    )


def summarise(scores: Sequence[ReplyScore]) -> list[dict[str, Any]]:
    """A row for each responder, in the order in which they were first heard. Pure."""
    names = dict.fromkeys(score.responder for score in scores)
    return [_summary(name, [s for s in scores if s.responder == name]) for name in names]


def _summary(name: str, scores: Sequence[ReplyScore]) -> dict[str, Any]:
    whole = [score for score in scores if score.error is None]
    seconds = [None if score.whole_ms is None else score.whole_ms / 1e3 for score in whole]
    tokens = [score.tokens for score in whole]
    costs = [score.cost for score in whole if score.cost is not None]
    checked = [score.right for score in whole if score.right is not None]
    return {
        "kind": "summary",
        "responder": name,
        "replies": len(whole),
        "errors": len(scores) - len(whole),
        **_percentiles("first_clause_ms", [score.first_clause_ms for score in whole]),
        **_percentiles("whole_ms", [score.whole_ms for score in whole]),
        "tokens_per_second": _ratio(tokens, seconds),
        "tokens_per_forward": _ratio(tokens, [score.forwards for score in whole]),
        "joules_per_token": _ratio([score.joules for score in whole], tokens),
        "cost_per_1000": statistics.mean(costs) * 1000 if costs else None,
        "right": sum(checked),
        "checked": len(checked),
    }


def _percentiles(name: str, values: Sequence[float | None]) -> dict[str, float | None]:
    """Median and p95, values that occurred, never between two."""
    known = [value for value in values if value is not None]
    shares = {f"{name}_p50": 0.5, f"{name}_p95": 0.95}
    return {
        key: float(np.quantile(known, share, method="inverted_cdf")) if known else None
        for key, share in shares.items()
    }


def _ratio(above: Sequence[float | None], below: Sequence[float | None]) -> float | None:
    """Sum over sum, of the replies in which both are known."""
    pairs = [(a, b) for a, b in zip(above, below, strict=True) if a is not None and b is not None]
    total = sum(b for _, b in pairs)
    return sum(a for a, _ in pairs) / total if total else None
