"""Replies with a drafter beside the same replies token by token, by domain of held-out prompts.

Every prompt has been read when the clock starts, as in a call, where it is read while the caller
speaks. The two ways take turns, and llama.cpp, where it is given, takes its turn with them.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from time import monotonic, perf_counter, process_time
from typing import Any

from dllm_core.adapt.held_out import HeldOutConversation
from dllm_core.config import DecodeOptions
from dllm_core.decode.backend import Cache
from dllm_core.decode.draft_economy import DraftCosts
from dllm_core.decode.stats import DraftStats
from dllm_core.engine import Engine
from dllm_core.errors import OptionError

WORDS = 8
"""Of a first segment that can be spoken."""
Message = tuple[str, str]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """A conversation up to the reply that is measured."""

    domain: str
    messages: tuple[Message, ...]
    """(role, content)"""
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Timed:
    """One reply."""

    text: str
    ids: tuple[int, ...]
    ms: float
    cpu_ms: float
    """Of the processor, which other programs do not change."""
    first_ms: float
    """Until eight words or a whole sentence are there."""
    tokens: int
    forwards: int
    drafts: DraftStats | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """A reply in both ways, and in others where they were asked for."""

    case: Case
    plain: Timed
    drafted: Timed
    wide: Timed | None = None
    """With drafts as wide as they may be, whatever they cost."""
    bounded: Timed | None = None
    """In a bounded number of passes, the last tokens without a check."""
    llama: tuple[float, float] | None = None

    @property
    def equal(self) -> bool:
        return self.plain.ids == self.drafted.ids and self.plain.text == self.drafted.text


class Llama:
    """llama.cpp in another interpreter (benchmarks/llama_server.py): one case, one answer."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def time(self, case: Case, max_tokens: int) -> tuple[float, float]:
        """Milliseconds of the whole reply and until its first words, its prompt read before.

        Raises:
            OptionError: it has ended.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        given = {"messages": case.messages, "max_tokens": max_tokens, "words": WORDS}
        try:
            process.stdin.write(json.dumps(given) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
        except (OSError, ValueError) as error:
            raise OptionError(f"llama.cpp's interpreter does not answer: {error}") from error
        return answer["ms"], answer["first_ms"]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=20)


def is_segment(text: str) -> bool:
    """Whether this much of a reply can be spoken: eight words, or a sentence."""
    return len(text.split()) > WORDS or text.rstrip().endswith((".", "!", "?"))


def timed_reply(engine: Engine, ids: Sequence[int], cache: Cache, options: DecodeOptions) -> Timed:
    """One reply whose prompt has been read."""
    engine.read(ids, cache, options)
    begin, begin_cpu, text, first, last = perf_counter(), process_time(), "", None, None
    for last in engine.iterate(ids, cache, options):
        text += last.text
        if first is None and is_segment(text):
            first = (perf_counter() - begin) * 1e3
    whole, cpu = (perf_counter() - begin) * 1e3, (process_time() - begin_cpu) * 1e3
    assert last is not None
    assert last.stats is not None
    stats = last.stats
    return Timed(
        text,
        last.canvas.ids,
        whole,
        cpu,
        first or whole,
        stats.tokens,
        stats.forwards,
        stats.drafts,
    )


def compare(
    engine: Engine,
    cases: Iterable[Case],
    *,
    seconds: float | None = None,
    max_tokens: int = 48,
    wide: bool = False,
    rounds: int | None = None,
    llama: Llama | None = None,
    report: Callable[[str], None] = lambda text: None,
) -> Iterator[Compared]:
    """Every case both ways until the time is up; which way comes first changes every time.

    `wide` adds the reply with whole drafts, `rounds` the one in so many passes.
    """
    start = monotonic()
    plain = DecodeOptions(rule="fixed_point", max_tokens=max_tokens)
    draft = DecodeOptions(rule="draft", max_tokens=max_tokens)
    caches: dict[bool, Cache] = {}
    for number, case in enumerate(cases):
        if seconds is not None and monotonic() - start > seconds:
            return
        report(f"{number + 1} replies: {case.domain}")
        ids = engine.encode_chat(case.messages)
        found: dict[bool, Timed] = {}
        for drafts in (False, True) if number % 2 else (True, False):
            cache = caches.setdefault(drafts, engine.new_cache())
            found[drafts] = timed_reply(engine, ids, cache, draft if drafts else plain)
        cache = caches[True]
        yield Compared(
            case, found[False], found[True],
            wide=_whole_drafts(engine, ids, cache, draft) if wide else None,
            bounded=timed_reply(engine, ids, cache, replace(draft, rounds=rounds))
            if rounds else None,
            llama=None if llama is None else llama.time(case, max_tokens),
        )  # fmt: skip


def _whole_drafts(
    engine: Engine, ids: Sequence[int], cache: Cache, options: DecodeOptions
) -> Timed:
    """The reply when rows cost nothing, so that every draft is as wide as it may be."""
    host = engine.host
    costs, host.draft_costs = host.draft_costs, DraftCosts((1.0,) * options.draft_rows, 0.0)
    try:
        return timed_reply(engine, ids, cache, options)
    finally:
        host.draft_costs = costs


def rows_of(found: Sequence[Compared]) -> Iterator[Row]:
    """A row for every domain, and one for all."""
    domains = dict.fromkeys(each.case.domain for each in found)
    for domain in [*domains, "all"]:
        yield _row(domain, [each for each in found if domain in ("all", each.case.domain)])


def _row(domain: str, found: Sequence[Compared]) -> Row:
    tokens = sum(each.drafted.tokens for each in found)
    passes = sum(each.drafted.forwards for each in found)
    drafts = [each.drafted.drafts for each in found if each.drafted.drafts is not None]
    asked = [each for each in found if each.case.answers]
    row: dict[str, Any] = {
        "what": "draft",
        "domain": domain,
        "replies": len(found),
        "equal": sum(each.equal for each in found) / len(found),
        "tokens_a_pass": round(tokens / passes, 3),
        "drafted_a_pass": round(sum(d.drafted for d in drafts) / passes, 2),
        "asked_a_pass": round(sum(d.asked for d in drafts) / passes, 2),
        "acceptance": _acceptance(drafts),
        "tokens": round(tokens / len(found), 1),
        **_times(found),
    }
    row.update(_wide(found), **_bounded(found))
    if asked:
        row["facts_right"] = sum(_right(each.drafted.text, each.case) for each in asked)
        row["facts_right_plain"] = sum(_right(each.plain.text, each.case) for each in asked)
        row["facts_asked"] = len(asked)
    return row


def _times(found: Sequence[Compared]) -> Row:
    """Medians, and the ratio of sums, which long replies decide."""
    plain, drafted = ([getattr(each, n).ms for each in found] for n in ("plain", "drafted"))
    row: dict[str, Any] = {
        "ms": round(median(drafted), 1),
        "ms_sequential": round(median(plain), 1),
        "times_as_fast": round(sum(plain) / sum(drafted), 3),
        "times_as_fast_median": round(
            median(p / d for p, d in zip(plain, drafted, strict=True)), 3
        ),
        "times_as_fast_cpu": round(
            sum(each.plain.cpu_ms for each in found) / sum(each.drafted.cpu_ms for each in found), 3
        ),
        "first_ms": round(median(each.drafted.first_ms for each in found), 1),
        "first_ms_sequential": round(median(each.plain.first_ms for each in found), 1),
    }
    llama = [each.llama for each in found if each.llama is not None]
    if llama:
        row["ms_llama_cpp"] = round(median(whole for whole, _ in llama), 1)
        row["first_ms_llama_cpp"] = round(median(first for _, first in llama), 1)
        row["times_as_fast_as_llama_cpp"] = round(sum(w for w, _ in llama) / sum(drafted), 3)
    return row


def _wide(found: Sequence[Compared]) -> Row:
    """What whole drafts reach."""
    replies = [each.wide for each in found if each.wide is not None]
    if not replies:
        return {}
    passes = sum(each.forwards for each in replies)
    return {"tokens_a_pass_wide": round(sum(each.tokens for each in replies) / passes, 3)}


def _bounded(found: Sequence[Compared]) -> Row:
    """What a bounded number of passes reaches, and how far its words are the base's."""
    pairs = [(each.plain, each.bounded) for each in found if each.bounded is not None]
    if not pairs:
        return {}
    unverified = [b.drafts.unverified for _, b in pairs if b.drafts is not None]
    return {
        "ms_bounded": round(median(b.ms for _, b in pairs), 1),
        "tokens_bounded": round(sum(b.tokens for _, b in pairs) / len(pairs), 1),
        "unverified_bounded": round(sum(unverified) / len(pairs), 2),
        "beginnings_bounded": sum(p.ids[: len(b.ids)] == b.ids for p, b in pairs) / len(pairs),
    }


def _acceptance(drafts: Sequence[DraftStats]) -> list[float]:
    """Share of accepted tokens by depth, where all before were accepted."""
    deepest = max((len(d.tried) for d in drafts), default=0)
    found = []
    for depth in range(deepest):
        here = [(d.right[depth], d.tried[depth]) for d in drafts if depth < len(d.tried)]
        found.append(round(sum(r for r, _ in here) / max(1, sum(t for _, t in here)), 3))
    return found


def _right(text: str, case: Case) -> bool:
    return any(answer.lower() in text.lower() for answer in case.answers)


def cases_of(
    engine: Engine, conversations: Sequence[HeldOutConversation], system: str
) -> Iterator[Case]:
    """Conversations with the base's own earlier replies in them."""
    options = DecodeOptions(rule="fixed_point", max_tokens=48)
    for each in conversations:
        messages: list[Message] = [("system", each.system or system)]
        for turn in each.turns[:-1]:
            messages.append(("user", turn))
            said = engine.reply(engine.encode_chat(messages), options=options).text
            messages.append(("assistant", said))
        messages.append(("user", each.turns[-1]))
        yield Case(each.domain, tuple(messages), each.answers)


def in_turn(asked: Sequence[HeldOutConversation]) -> list[HeldOutConversation]:
    """One conversation of every domain, then the next of each: a time limit cuts all alike."""
    places: Counter[str] = Counter()
    numbered = []
    for each in asked:
        numbered.append((places[each.domain], each))
        places[each.domain] += 1
    return [each for _, each in sorted(numbered, key=lambda pair: pair[0])]
