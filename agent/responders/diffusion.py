"""The diffusion engine as a responder."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from copy import copy
from dataclasses import replace
from pathlib import Path
from time import monotonic

from agent.responders.base import (
    CanvasStep,
    Message,
    Prefilled,
    ReplyDone,
    ReplyPiece,
    ReplyText,
    ResponderError,
    Role,
    TurnEnding,
)
from dllm_core.config import DecodeOptions
from dllm_core.decode.batch import Batch
from dllm_core.decode.reply_steps import Steps
from dllm_core.decode.stats import DenoiseStats, DenoiseStep, PrefillStats
from dllm_core.engine import Cache, Engine
from dllm_core.errors import DllmError
from dllm_core.model.cache import PromptCache, shared_prefix
from dllm_core.model.place import Dtype
from dllm_core.model.turn_head import TurnHead, word_ids

SHORTEST_MS = 1.0
"""A reply that is late already is one step."""
ROWS = 32
"""Positions of all calls in one step. With more, a step costs as much as its calls' steps apart,
and urgent work would wait the longer for its end."""


class DiffusionResponder:
    """A loaded engine, shared by all calls; each call owns its prompt cache.

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
        turn_head: str | Path | None = None,
        progress: Callable[[float, str], None] | None = None,
    ) -> None:
        self.head: TurnHead | None = None
        """Judges the end of the caller's words; None without one for this model."""
        try:
            self.engine = Engine.load(
                source,
                dtype=dtype,
                device=device,
                threads=threads,
                adapter=adapter,
                progress=progress,
            )
            if turn_head is not None and self.engine.config.autoregressive:
                self.head = TurnHead.load(Path(turn_head), self.engine.model)
        except DllmError as error:
            raise ResponderError(str(error)) from error
        self.batch = Batch(self.engine.model, size=ROWS, rows=ROWS)
        self.options = options or self.engine.default_options
        if max_tokens is not None:
            self.options = replace(self.options, max_tokens=max_tokens)

    def with_steps(self, steps: int) -> DiffusionResponder:
        """The same engine with so many steps per canvas.

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
        return DiffusionCall(self.engine, self.batch, self.options, self.head)

    @property
    def judges_turns(self) -> bool:
        """Whether its calls say of the caller's words whether they are whole."""
        return self.head is not None and self.engine.gpu is None

    def warm_up(self) -> None:
        self.engine.warm_up(self.options)

    def close(self) -> None:
        """Nothing to release: the weights go with the last reference."""


class DiffusionCall:
    """One call: its prompt cache, filled while the caller speaks and kept between turns.

    Whoever takes a step takes it for all calls that are replying: the weights are read once.
    What others' steps did for this call waits in its answer until it is asked for.
    """

    def __init__(
        self, engine: Engine, batch: Batch, options: DecodeOptions, head: TurnHead | None = None
    ) -> None:
        self._engine = engine
        self._batch = batch
        self._options = options
        self._head = head
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
        """On a GPU the instructions of the first call lie in memory once for all."""
        gpu = self._engine.gpu
        if gpu is None or gpu.shares or not messages or messages[0].role != "system":
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
            # Apart from the first step, so that each is counted under its own name.
            prefill, ending = self._read(messages, ids, cache)
            # Begun before anything is told, so that on a GPU replies that are asked for
            # meanwhile share its rounds.
            with closing(self._steps(ids, cache, deadline)) as steps:
                yield replace(_prefilled(prefill), ending=ending)
                for step in steps:
                    yield _canvas_step(step)
                    if step.text:
                        text += step.text
                        yield ReplyText(step.text)
                    if step.stats is not None:
                        yield _done(text, prefill, step.stats)
        except DllmError as error:
            raise ResponderError(str(error)) from error

    def _read(
        self, messages: Sequence[Message], ids: Sequence[int], cache: Cache
    ) -> tuple[PrefillStats, TurnEnding | None]:
        """Read the prompt, and judge the end of the caller's words by the state at the last."""
        if self._head is None or not messages or messages[-1].role != "user":
            return self._engine.read(ids, cache, self._options), None
        kept = [(message.role, message.content) for message in messages]
        place = shared_prefix(word_ids(self._engine.tokenizer, kept), ids)
        prefill, state = self._engine.read_with_state(ids, place, cache, self._options)
        return prefill, None if state is None else TurnEnding(*self._head.probabilities(state))

    def _steps(self, ids: Sequence[int], cache: Cache, deadline: float | None) -> Steps:
        if isinstance(cache, PromptCache):
            return self._shared_steps(ids, cache, deadline)
        return self._engine.iterate(ids, cache, self._in_time(deadline))

    def _shared_steps(
        self,
        ids: Sequence[int],
        cache: PromptCache,
        deadline: float | None,
    ) -> Generator[DenoiseStep, None, None]:
        answer = self._engine.begin(ids, cache, self._in_time(deadline))
        ticket = self._batch.submit(answer, deadline)
        try:
            while answer.steps or not answer.done:
                if not answer.steps:
                    self._batch.step(ticket)
                if ticket.error is not None:
                    raise ticket.error
                yield answer.steps.popleft()
        finally:
            ticket.cancel()

    def _in_time(self, deadline: float | None) -> DecodeOptions:
        """The fixed-point rule has no steps to save: its words are right only when it is done."""
        if deadline is None or self._options.rule == "fixed_point":
            return self._options
        left = max(SHORTEST_MS, (deadline - monotonic()) * 1e3)
        return replace(self._options, deadline_ms=left)

    def close(self) -> None:
        if self._made is not None:
            self._made.close()
            self._made = None

    def _ids(self, messages: Sequence[Message]) -> list[int]:
        """The prompt; its oldest turns go until a reply fits after it, the instructions stay."""
        room = self._engine.context - self._options.max_tokens - self._options.canvas_length
        kept = [(message.role, message.content) for message in messages]
        ids = self._engine.encode_chat(kept)
        while len(ids) > room and (border := _second_turn(kept)):
            del kept[1:border]
            ids = self._engine.encode_chat(kept)
        return ids


def _second_turn(messages: Sequence[tuple[Role, str]]) -> int | None:
    """Where the second of the caller's turns begins; None when there is only one."""
    turns = [place for place, (role, _) in enumerate(messages) if role == "user" and place > 1]
    return turns[0] if turns else None


def _prefilled(stats: PrefillStats) -> Prefilled:
    return Prefilled(stats.cached_tokens, stats.new_tokens, stats.ms)


def _canvas_step(step: DenoiseStep) -> CanvasStep:
    canvas = step.canvas
    return CanvasStep(
        step.step, step.planned, step.tokens, canvas.masked, canvas.confidence, step.ms
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
        },
    )
