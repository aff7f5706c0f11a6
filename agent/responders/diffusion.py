"""The diffusion engine as a responder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from copy import copy
from dataclasses import replace
from pathlib import Path
from time import monotonic

from agent.responders.base import (
    CanvasStep,
    DraftRound,
    Message,
    Prefilled,
    ReplyDone,
    ReplyPiece,
    ReplyText,
    ResponderError,
    Role,
)
from dllm_core.config import DecodeOptions
from dllm_core.decode.backend import Cache
from dllm_core.decode.stats import DenoiseStats, DenoiseStep, DraftStats, PrefillStats
from dllm_core.engine import Engine
from dllm_core.errors import DllmError
from dllm_core.model.cache import shared_prefix
from dllm_core.model.place import Dtype

SHORTEST_MS = 1.0
"""Deadline in milliseconds of a reply that is late already; it takes one step."""


class DiffusionResponder:
    """A loaded engine, shared by all calls; each call owns its prompt cache.

    Args:
        source, dtype, device, threads, adapter, progress: see `dllm_core.Engine.load`.
        max_tokens: longest reply, in tokens; None for that of the options.
        options: how replies are denoised; None for the engine's default options.
        drafter: directory of a drafter for the model; `auto` is the one that comes with it, if
            any; `none` is none.

    Raises:
        ResponderError: the model could not be loaded; the message says what to do.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        dtype: Dtype = "auto",
        device: str = "auto",
        threads: int | None = None,
        max_tokens: int | None = None,
        options: DecodeOptions | None = None,
        adapter: str | Path | None = None,
        drafter: str | Path = "auto",
        progress: Callable[[float, str], None] | None = None,
    ) -> None:
        try:
            self.engine = Engine.load(
                source,
                dtype=dtype,
                device=device,
                threads=threads,
                adapter=adapter,
                progress=progress,
            )
            self._use_drafter(drafter)
        except DllmError as error:
            raise ResponderError(str(error)) from error
        self.options = options or self.engine.default_options
        if max_tokens is not None:
            self.options = replace(self.options, max_tokens=max_tokens)

    def _use_drafter(self, drafter: str | Path) -> None:
        place = self.engine.bundled_drafter() if drafter == "auto" else drafter
        if place is not None and place != "none":
            self.engine.use_drafter(place)

    def with_steps(self, steps: int) -> DiffusionResponder:
        """The same engine with `steps` forward passes per canvas.

        Raises:
            ResponderError: the model's rule decides on the number of steps itself.
        """
        if not self.options.counts_steps:
            raise ResponderError(
                f"The rule {self.options.rule} has no number of steps to choose: leave it out."
            )
        other = copy(self)
        other.options = replace(self.options, steps=steps)
        return other

    def open(self) -> DiffusionCall:
        """A new call with an empty cache."""
        return DiffusionCall(self.engine, self.options)

    def warm_up(self) -> None:
        """See `Engine.warm_up`."""
        self.engine.warm_up(self.options)

    def close(self) -> None:
        """Do nothing: the weights are freed with the last reference."""


class DiffusionCall:
    """One call: its prompt cache, filled while the caller speaks and kept between turns.

    Its replies are submitted to the engine, which batches those of all calls, and advanced one
    step per piece.
    """

    def __init__(self, engine: Engine, options: DecodeOptions) -> None:
        self._engine = engine
        self._options = options
        self._made: Cache | None = None

    def _cache(self, messages: Sequence[Message]) -> Cache:
        """The call's cache, made when it is first needed, when the instructions are known.

        Raises:
            PagesFullError: the GPU has no room for another call.
        """
        if self._made is None:
            self._share_instructions(messages)
            self._made = self._engine.new_cache()
        return self._made

    def _share_instructions(self, messages: Sequence[Message]) -> None:
        """Read the instructions of the first call once, where the engine shares a prefix."""
        if not self._engine.can_share or not messages or messages[0].role != "system":
            return
        first, second = (
            self._engine.encode_chat([("system", messages[0].content), ("user", question)])
            for question in ("a", "b")
        )
        self._engine.share(first[: shared_prefix(first, second)])

    def prepare(self, messages: Sequence[Message]) -> Prefilled:
        try:
            ids, cache = self._ids(messages), self._cache(messages)
            return _prefilled(self._engine.prefill(ids, cache, self._options))
        except DllmError as error:
            raise ResponderError(str(error)) from error

    def reply(
        self, messages: Sequence[Message], deadline: float | None = None
    ) -> Iterator[ReplyPiece]:
        text = ""
        try:
            ids, cache = self._ids(messages), self._cache(messages)
            # Read apart from the first step, so that each has a time of its own.
            prefill = self._engine.read(ids, cache, self._options)
            # Submitted before the first piece, so that other calls' steps may carry it already.
            options = self._in_time(deadline)
            with closing(self._engine.submit(ids, cache, options, due=deadline)) as steps:
                yield _prefilled(prefill)
                for step in steps:
                    yield _canvas_step(step)
                    if step.text:
                        text += step.text
                        yield ReplyText(step.text)
                    if step.stats is not None:
                        yield _done(text, prefill, step.stats)
        except DllmError as error:
            raise ResponderError(str(error)) from error

    def _in_time(self, deadline: float | None) -> DecodeOptions:
        """The options with the time that is left as their deadline.

        Rules whose words are the model's own have no deadline: they cannot save steps, and a cut
        would lose words. Bounded rounds may end early.
        """
        exact = self._options.rule in ("fixed_point", "draft") and self._options.rounds is None
        if deadline is None or exact:
            return self._options
        left = max(SHORTEST_MS, (deadline - monotonic()) * 1e3)
        return replace(self._options, deadline_ms=left)

    def close(self) -> None:
        if self._made is not None:
            self._made.close()
            self._made = None

    def _ids(self, messages: Sequence[Message]) -> list[int]:
        """The prompt, without its oldest turns if it is too long; the instructions always stay."""
        room = self._engine.context - self._options.max_tokens - self._options.canvas_length
        kept = [(message.role, message.content) for message in messages]
        ids = self._engine.encode_chat(kept)
        while len(ids) > room and (border := _second_turn(kept)):
            del kept[1:border]
            ids = self._engine.encode_chat(kept)
        return ids


def _second_turn(messages: Sequence[tuple[Role, str]]) -> int | None:
    """Index of the second user message; None if there is only one."""
    turns = [place for place, (role, _) in enumerate(messages) if role == "user" and place > 1]
    return turns[0] if turns else None


def _prefilled(stats: PrefillStats) -> Prefilled:
    return Prefilled(stats.cached_tokens, stats.new_tokens, stats.ms)


def _canvas_step(step: DenoiseStep) -> CanvasStep:
    canvas, found = step.canvas, step.round
    draft = None
    if found is not None:
        draft = DraftRound(found.drafted, found.accepted, found.corrected, found.unverified)
    return CanvasStep(
        step.step, step.planned, step.tokens, canvas.masked, canvas.confidence, step.ms, draft
    )


def _done(text: str, prefill: PrefillStats, stats: DenoiseStats) -> ReplyDone:
    return ReplyDone(
        text=text,
        steps=stats.forwards,
        forwards=stats.forwards,
        prefill_ms=prefill.ms,
        denoise_ms=stats.ms,
        stats={
            "tokens": stats.tokens,
            "tokens_per_forward": stats.tokens_per_forward,
            "cached_tokens": prefill.cached_tokens,
            "new_tokens": prefill.new_tokens,
            "cache_bytes": stats.cache_bytes,
            "cut": float(stats.ended != "eos"),
            **_drafts(stats.drafts),
        },
    )


def _drafts(stats: DraftStats | None) -> dict[str, float]:
    """Figures of a reply's drafts, acceptance by depth among them."""
    if stats is None:
        return {}
    depths = {f"acceptance_{i}": share for i, share in enumerate(stats.acceptance, 1)}
    return {
        "rounds": stats.rounds,
        "drafted_tokens": stats.drafted,
        "accepted_tokens": stats.accepted,
        "unverified_tokens": stats.unverified,
        **depths,
    }
