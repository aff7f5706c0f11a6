"""The diffusion engine as a responder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from copy import copy
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from time import monotonic, perf_counter
from typing import Any

from agent.responders import draft_metrics
from agent.responders.base import (
    PLAIN,
    Answer,
    CanvasStep,
    DraftRound,
    FunctionTool,
    Message,
    Prefilled,
    Question,
    ReplyDone,
    ReplyOptions,
    ReplyPiece,
    ReplyText,
    ResponderError,
    Role,
    ToolCall,
    ToolCallStarted,
    TurnEnding,
    plain_messages,
)
from agent.responders.engine_decisions import EngineDecisions
from agent.responders.engine_tools import Decision, EngineTools, schema_problem
from dllm_core.config import DecodeOptions
from dllm_core.decode.backend import Cache
from dllm_core.decode.options import is_used, longest_prompt
from dllm_core.decode.stats import DenoiseStats, DenoiseStep, DraftStats, PrefillStats
from dllm_core.engine import DEFAULT_CONTEXT, Engine
from dllm_core.errors import DllmError
from dllm_core.model import packed_store
from dllm_core.model.cache import shared_prefix
from dllm_core.model.place import Dtype
from dllm_core.model.turn_head import TurnHead, word_ids

SHORTEST_MS = 1.0
"""Deadline in milliseconds of a reply that is late already; it takes one step."""

_SHOWN = (
    "rule", "max_tokens", "canvas_length", "first_canvas", "block_length", "steps", "threshold",
    "factor", "entropy_bound", "remask_below", "cache", "confidence", "guidance", "temperature",
    "top_p", "top_k", "rounds", "draft_rows",
)  # fmt: skip
"""Options that a client may be told, in this order."""


class DiffusionResponder:
    """A loaded engine, shared by all calls; each call owns its prompt cache.

    Args:
        source, dtype, device, threads, adapter, context, config, progress, packed, packed_limit:
            see `dllm_core.Engine.load`.
        max_tokens: longest reply, in tokens; None for that of the options.
        options: how replies are denoised; None for the engine's default options.
        decoding: values that replace some of these options, by name.
        drafter: directory of a drafter for the model; `auto` is the one that comes with it, if
            any; `none` is none.

    Attributes:
        uses_tools: True; see `EngineTools`.

    Raises:
        ResponderError: the model could not be loaded, or an option does not suit it; the message
            says what to do.
    """

    uses_tools = True

    @staticmethod
    def refuses(tool: FunctionTool) -> str | None:
        """See `agent.responders.engine_tools.schema_problem`."""
        return schema_problem(tool)

    def __init__(
        self,
        source: str | Path,
        *,
        dtype: Dtype = "auto",
        device: str = "auto",
        threads: int | None = None,
        max_tokens: int | None = None,
        options: DecodeOptions | None = None,
        decoding: Mapping[str, Any] | None = None,
        adapter: str | Path | None = None,
        turn_head: str | Path | None = None,
        context: int = DEFAULT_CONTEXT,
        config: Mapping[str, Any] | None = None,
        drafter: str | Path = "auto",
        progress: Callable[[float, str], None] | None = None,
        packed: str | Path = "auto",
        packed_limit: int = packed_store.LIMIT,
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
                context=context,
                config=config,
                progress=progress,
                packed=packed,
                packed_limit=packed_limit,
            )
            if turn_head is not None and self.engine.config.autoregressive:
                self.head = TurnHead.load(Path(turn_head), self.engine.model)
            self._use_drafter(drafter)
            length = {} if max_tokens is None else {"max_tokens": max_tokens}
            self.options = self.engine.options(options, **length, **(decoding or {}))
        except DllmError as error:
            raise ResponderError(str(error)) from error
        self.tools = EngineTools(self.engine)
        self.decisions = EngineDecisions(self.engine)
        self.options = replace(self.options, banned=self.engine.tokenizer.thinking_ids)

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
        return DiffusionCall(self.engine, self.options, self.tools, self.head, self.decisions)

    @property
    def decoding(self) -> dict[str, Any]:
        """The options of its replies, as far as they say something to the rule."""
        options = self.options
        names = [name for name in _SHOWN if is_used(name, options.rule)]
        found = {name: getattr(options, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def judges_turns(self) -> bool:
        """Whether its calls say of the caller's words whether they are whole."""
        return self.head is not None and self.engine.gpu is None

    @property
    def decides(self) -> bool:
        """Whether its calls answer questions: those whose cache is in one piece do."""
        return self.engine.gpu is None

    @property
    def heads(self) -> frozenset[str]:
        """Names of the questions that heads answer."""
        return self.decisions.heads if self.decides else frozenset()

    def use_decisions(
        self, questions: Sequence[Question], heads: Sequence[Path], instructions: str
    ) -> None:
        """See `EngineDecisions.use`.

        Raises:
            ResponderError: a file of heads does not fit, or a question cannot be asked.
        """
        if not self.decides:
            return
        try:
            self.decisions.use(questions, heads, instructions)
        except DllmError as error:
            raise ResponderError(str(error)) from error

    def warm_up(self) -> None:
        """See `Engine.warm_up`."""
        self.engine.warm_up(self.options)

    def warm_up_first(self) -> None:
        """See `agent.runtime.warming.Staged`."""
        self.engine.warm_up_kernels(self.options)

    def warm_up_rest(self) -> Iterator[None]:
        """Measure the cost of drafts, in pieces of some 20 ms."""
        return self.engine.measure_drafts(self.options)

    def close(self) -> None:
        """Do nothing: the weights are freed with the last reference."""


class DiffusionCall:
    """One call: its prompt cache, filled while the caller speaks and kept between turns.

    Its replies are submitted to the engine, which batches those of all calls, and advanced one
    step per piece.
    """

    def __init__(
        self,
        engine: Engine,
        options: DecodeOptions,
        tools: EngineTools | None = None,
        head: TurnHead | None = None,
        decisions: EngineDecisions | None = None,
    ) -> None:
        self._engine = engine
        self._options = options
        self._tools = tools or EngineTools(engine)
        self._head = head
        self._decisions = decisions or EngineDecisions(engine)
        self._replies = 0
        """Replies that are under way; their cache is only read meanwhile."""
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
        self._engine.share(self._engine.encode_chat_head([("system", messages[0].content)]))

    def prepare(self, messages: Sequence[Message]) -> Prefilled:
        try:
            ids, cache = self._ids(messages), self._cache(messages)
            return _prefilled(self._engine.prefill(ids, cache, self._options))
        except DllmError as error:
            raise ResponderError(str(error)) from error

    def prepare_with(self, messages: Sequence[Message], options: ReplyOptions) -> Prefilled:
        prefilled = self.prepare(plain_messages(messages))
        try:
            self._tools.prepare(options)
        except DllmError as error:
            raise ResponderError(str(error)) from error
        return prefilled

    def reply_with(
        self, messages: Sequence[Message], options: ReplyOptions, deadline: float | None = None
    ) -> Iterator[ReplyPiece]:
        """See `ToolUsingCall.reply_with`; a reply calls one function or speaks."""
        self._replies += 1
        try:
            yield from self._reply_with(messages, options, deadline)
        finally:
            self._replies -= 1

    def decide(
        self,
        messages: Sequence[Message],
        questions: Sequence[Question],
        words: str = "",
        *,
        quick: bool = False,
    ) -> list[Answer] | None:
        """See `DecidingCall.decide`."""
        plain, busy = plain_messages(messages), self._replies > 0
        try:
            cache, (ids, chat) = self._cache(plain), self._fitting(plain)
            words = words or next((m.content for m in reversed(plain) if m.role == "user"), "")
            return self._decisions.decide(
                chat, questions, cache, ids, words, quick=quick, busy=busy
            )
        except DllmError as error:
            raise ResponderError(str(error)) from error

    def _reply_with(
        self, messages: Sequence[Message], options: ReplyOptions, deadline: float | None
    ) -> Iterator[ReplyPiece]:
        plain = plain_messages(messages)
        if options.schema is not None:
            yield from self._document(plain, options.schema)
            return
        try:
            decision = self._tools.decide(messages, options)
            if decision.tool is not None:
                yield from self._call(plain, decision)
                return
        except DllmError as error:
            raise ResponderError(str(error)) from error
        yield from self.reply(plain, deadline, options)

    def _document(
        self, messages: Sequence[Message], schema: Mapping[str, Any]
    ) -> Iterator[ReplyPiece]:
        """A reply that is a document of ``schema``, slot by slot."""
        begin = perf_counter()
        try:
            ids, cache = self._ids(messages), self._cache(messages)
            prefill = self._engine.prefill(ids, cache, self._options)
            yield _prefilled(prefill)
            slots, writing = 0, self._tools.document(ids, cache, schema)
            with closing(writing):
                while True:
                    try:
                        next(writing)
                    except StopIteration as end:
                        text: str = end.value
                        break
                    slots += 1
                    # Another call's work may come between two slots.
                    yield CanvasStep(slots, None, (), (), (), 0.0)
        except DllmError as error:
            raise ResponderError(str(error)) from error
        yield ReplyText(text)
        took = (perf_counter() - begin) * 1e3 - prefill.ms
        yield ReplyDone(text, slots, slots, prefill.ms, took)

    def _call(self, messages: Sequence[Message], decision: Decision) -> Iterator[ReplyPiece]:
        tool, begin = decision.tool, perf_counter()
        assert tool is not None
        call_id = f"call_{token_hex(8)}"
        ids, cache = self._ids(messages), self._cache(messages)
        prefill = self._engine.prefill(ids, cache, self._options)
        yield _prefilled(prefill)
        yield ToolCallStarted(call_id, tool.name)
        arguments = self._tools.arguments(ids, cache, tool)
        yield ToolCall(call_id, tool.name, arguments)
        took = (perf_counter() - begin) * 1e3 - prefill.ms
        stats = {"tool_probability": decision.probability, "tool_choice_ms": decision.ms}
        yield ReplyDone("", 0, 0, prefill.ms, took, stats)

    def reply(
        self,
        messages: Sequence[Message],
        deadline: float | None = None,
        limits: ReplyOptions = PLAIN,
    ) -> Iterator[ReplyPiece]:
        text = ""
        try:
            ids, cache = self._ids(messages), self._cache(messages)
            # Read apart from the first step, so that each has a time of its own.
            prefill, ending = self._read(messages, ids, cache)
            # Submitted before the first piece, so that other calls' steps may carry it already.
            options = self._in_time(deadline)
            if limits.max_tokens is not None:
                fewer = min(limits.max_tokens, options.max_tokens)
                options = replace(options, max_tokens=max(1, fewer))
            with closing(self._engine.submit(ids, cache, options, due=deadline)) as steps:
                yield replace(_prefilled(prefill), ending=ending)
                for step in steps:
                    yield _canvas_step(step)
                    if step.text:
                        text += step.text
                        yield ReplyText(step.text)
                    if step.stats is not None:
                        draft_metrics.count(step.stats)
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
        prefill, states = self._engine.read_with_states(ids, (place,), cache, self._options)
        if states is None:
            return prefill, None
        return prefill, TurnEnding(*self._head.probabilities(states[0]))

    def _in_time(self, deadline: float | None) -> DecodeOptions:
        """The options with the time that is left as their deadline.

        Rules that keep every word of the model have no deadline; bounded rounds may end early.
        """
        if deadline is None or self._options.keeps_every_word:
            return self._options
        left = max(SHORTEST_MS, (deadline - monotonic()) * 1e3)
        return replace(self._options, deadline_ms=left)

    def close(self) -> None:
        if self._made is not None:
            self._made.close()
            self._made = None

    def _ids(self, messages: Sequence[Message]) -> list[int]:
        return self._fitting(messages)[0]

    def _fitting(self, messages: Sequence[Message]) -> tuple[list[int], list[tuple[Role, str]]]:
        """The prompt, without its oldest turns if it is too long; the instructions always stay."""
        room = longest_prompt(self._engine.config, self._engine.context, self._options)
        kept = [(message.role, message.content) for message in messages]
        ids = self._engine.encode_chat(kept)
        while len(ids) > room and (border := _second_turn(kept)):
            del kept[1:border]
            ids = self._engine.encode_chat(kept)
        return ids, kept


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
