"""``onebreath bench responders``: compares responders prompt by prompt, on the same machine."""

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
    """A loaded responder that takes part in the comparison.

    Attributes:
        name: name in the table.
        responder: the responder.
        price: price of its replies; None: unknown.
        local: whether it runs on this machine, so that its energy can be measured.
    """

    name: str
    responder: Responder
    price: Price | None = None
    local: bool = True


@dataclass(frozen=True, slots=True)
class ReplyScore:
    """Figures of one reply; None: unknown or not available.

    Attributes:
        responder: name of the responder.
        round: number of the round, from 1; 0: warm-up.
        prompt: words of the caller.
        text: words of the reply.
        first_clause_ms: milliseconds from the request to the first segment for the synthesizer.
        whole_ms: milliseconds from the request to the end of the reply.
        tokens: tokens of the reply.
        forwards: forward passes of the model.
        joules: energy of the reply, in joules.
        cost: price of the reply, in the currency of the price file.
        right: whether the answer passes its check.
        error: reason of a failed reply.
    """

    responder: str
    round: int
    prompt: str
    text: str = ""
    first_clause_ms: float | None = None
    whole_ms: float | None = None
    tokens: float | None = None
    forwards: int | None = None
    joules: float | None = None
    cost: float | None = None
    right: bool | None = None
    error: str | None = None

    def to_row(self) -> dict[str, Any]:
        """The figures as a JSON row."""
        return {"kind": "reply", **asdict(self)}


@dataclass(slots=True)
class _ReplyObserver:
    """Observes the pieces of one reply."""

    segmenter: Segmenter = field(default_factory=Segmenter)
    first_clause: float | None = None
    prompt_tokens: float = 0
    done: ReplyDone | None = None

    def observe(self, piece: object, seconds: float) -> None:
        """Note a piece of the reply that came ``seconds`` after the request."""
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
    """Comparison of candidates, each with one call whose cache holds the instructions.

    Args:
        candidates: responders to compare.
        instructions: system prompt.
        compute: compute thread of the local responders, as in a server.
        meter: energy meter of this machine; None: energy is not measured.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        instructions: str,
        compute: Compute,
        meter: EnergyMeter | None = None,
    ) -> None:
        self._candidates = candidates
        self._system = Message("system", instructions)
        self._compute = compute
        self._meter = meter

    async def run(
        self, prompts: Sequence[Prompt], rounds: int, progress: Progress = lambda line: None
    ) -> AsyncIterator[ReplyScore]:
        """Yield the figures of every reply: all prompts to all candidates, ``rounds`` times.

        The first candidate changes with each prompt. Each candidate is warmed up with one reply
        before.
        """
        async with AsyncExitStack() as stack:
            calls: list[tuple[Candidate, WaitingCall]] = []
            for candidate in self._candidates:
                call = awaited(candidate.responder.open(), self._compute)
                stack.push_async_callback(call.close)
                calls.append((candidate, call))
                progress(f"warming up {candidate.name}")
                await self._ask(candidate, call, prompts[0], 0)
            for turn in range(rounds * len(prompts)):
                number, place = divmod(turn, len(prompts))
                first = turn % len(calls)
                for candidate, call in calls[first:] + calls[:first]:
                    progress(f"round {number + 1} of {rounds}: {candidate.name}")
                    yield await self._ask(candidate, call, prompts[place], number + 1)

    async def _ask(
        self, candidate: Candidate, call: WaitingCall, prompt: Prompt, number: int
    ) -> ReplyScore:
        """Measure one reply to a prompt of which only the instructions are cached."""
        score = ReplyScore(candidate.name, number, prompt.text)
        try:
            await call.prepare([self._system])
            joules, began, observer = self._joules(candidate), time.perf_counter(), _ReplyObserver()
            async with aclosing(call.reply([self._system, Message("user", prompt.text)])) as pieces:
                async for piece in pieces:
                    observer.observe(piece, time.perf_counter() - began)
            seconds = time.perf_counter() - began
        except ResponderError as error:
            return replace(score, error=str(error))
        if observer.done is None:
            return replace(score, error="the responder ended without a complete reply")
        used = self._joules(candidate)
        spent = None if used is None or joules is None else used - joules
        return _scored(score, candidate, prompt, observer, observer.done, seconds, spent)

    def _joules(self, candidate: Candidate) -> float | None:
        return self._meter.joules() if self._meter is not None and candidate.local else None


def _scored(
    score: ReplyScore,
    candidate: Candidate,
    prompt: Prompt,
    observer: _ReplyObserver,
    done: ReplyDone,
    seconds: float,
    joules: float | None,
) -> ReplyScore:
    # Services that do not count tokens usually send them one by one.
    tokens = done.stats.get("tokens", done.stats.get("pieces"))
    asked = done.stats.get("prompt_tokens", observer.prompt_tokens)
    cost = None
    if candidate.price is not None and tokens is not None:
        cost = candidate.price.of_reply(asked, tokens, seconds)
    return replace(
        score,
        text=done.text,
        first_clause_ms=None if observer.first_clause is None else observer.first_clause * 1e3,
        whole_ms=seconds * 1e3,
        tokens=tokens,
        forwards=done.forwards or None,
        joules=joules,
        cost=cost,
        right=None if prompt.check is None else prompt.check.passes(done.text),
    )


def summarise(scores: Sequence[ReplyScore]) -> list[dict[str, Any]]:
    """Summarise the figures by responder, in the order of their first replies. Pure."""
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
    """Median and p95 without interpolation."""
    known = [value for value in values if value is not None]
    shares = {f"{name}_p50": 0.5, f"{name}_p95": 0.95}
    return {
        key: float(np.quantile(known, share, method="inverted_cdf")) if known else None
        for key, share in shares.items()
    }


def _ratio(above: Sequence[float | None], below: Sequence[float | None]) -> float | None:
    """Ratio of the sums over the replies in which both values are known."""
    pairs = [(a, b) for a, b in zip(above, below, strict=True) if a is not None and b is not None]
    total = sum(b for _, b in pairs)
    return sum(a for a, _ in pairs) / total if total else None
