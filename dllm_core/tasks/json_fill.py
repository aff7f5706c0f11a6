"""Writes a JSON document of a schema: the model decides on the slots of its scaffold."""

from __future__ import annotations

import json
from calendar import monthrange
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dllm_core.config import DecodeOptions
from dllm_core.decode.backend import Cache
from dllm_core.decode.branches import is_tree
from dllm_core.engine import Engine
from dllm_core.errors import OptionError
from dllm_core.tasks.nodes import (
    Choice,
    Fields,
    Items,
    Node,
    Number,
    Text,
    Variants,
    openings,
    outline,
)
from dllm_core.tasks.scaffold import scaffold
from dllm_core.tasks.vocabulary import Vocabulary
from dllm_core.tasks.writer import CachedWriter, PlainWriter, Writer

STRING_TOKENS = 24
"""Most tokens of a string."""
DIGITS = 12
"""Most digits of a number."""
_YEARS = (1900, 2100)

Steps = Generator[None, None, str]
"""Writes a part of a document; yields before each slot, so that other work may come between."""


class JsonFiller:
    """Fills scaffolds with one engine; the classes of its tokens are found once.

    Args:
        engine: the engine; a model taught to denoise sees the text behind a slot.
        options: those of `Engine.fill`, of models taught to denoise.
        string_tokens: most tokens of a string.

    Raises:
        OptionError: no token of the model is made of digits or plain text only.
    """

    def __init__(
        self,
        engine: Engine,
        options: DecodeOptions | None = None,
        *,
        string_tokens: int = STRING_TOKENS,
    ) -> None:
        self._engine, self._options, self._string_tokens = engine, options, string_tokens
        self._words = Vocabulary(engine)

    def fill(
        self,
        prompt: Sequence[int],
        schema: Mapping[str, Any],
        cache: Cache | None = None,
        *,
        plain: bool = False,
    ) -> Any:
        """A document of `schema` that answers `prompt`, slot by slot from left to right.

        Args:
            prompt: token ids, at least one.
            schema: a JSON schema; see docs/tools.md for its keywords.
            cache: cache of an autoregressive model that holds the prompt, or the beginning of it;
                it holds the prompt in the end. None for a new one.
            plain: whether to compute the whole sequence for every token (the plain version).

        Raises:
            OptionError: the schema uses a keyword that cannot be guaranteed, or the prompt
                is empty.
            PromptTooLongError: prompt and document do not fit the context.
        """
        steps = self.steps(prompt, schema, cache, plain=plain)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    def steps(
        self,
        prompt: Sequence[int],
        schema: Mapping[str, Any],
        cache: Cache | None = None,
        *,
        plain: bool = False,
    ) -> Generator[None, None, Any]:
        """As `fill`, slot by slot: it yields before each, and returns the document.

        Closing it early leaves the prompt in the cache.
        """
        node = scaffold(schema)
        if not prompt:
            raise OptionError("The prompt is empty: a document needs something to be about.")
        if not is_tree(self._engine.config) or plain:
            plain_writer = PlainWriter(self._engine, self._words, prompt, self._options)
            return (yield from self._document(plain_writer, node))
        own = self._engine.contiguous_cache() if cache is None else cache.contiguous
        writer = CachedWriter(self._engine, self._words, prompt, own)
        try:
            return (yield from self._document(writer, node))
        finally:
            writer.close()

    def _document(self, writer: Writer, node: Node) -> Generator[None, None, Any]:
        walk = _Walk(writer, self._words, self._string_tokens)
        return json.loads((yield from walk.write(node, "")))


class _Walk:
    """Writes one document; the steps of every method return the JSON text that it has added."""

    def __init__(self, writer: Writer, vocabulary: Vocabulary, string_tokens: int) -> None:
        self._writer, self._words, self._string_tokens = writer, vocabulary, string_tokens

    def write(self, node: Node, behind: str) -> Steps:
        """Write a value; `behind` is the fixed text that will follow it."""
        match node:
            case Choice(options):
                return (yield from self._choose(options))
            case Text(form=""):
                return (yield from self._string(node, behind))
            case Text():
                return (yield from self._formatted(node.form))
            case Number():
                return (yield from self._number(node, behind))
            case Items():
                return (yield from self._items(node, behind))
            case Fields():
                return (yield from self._fields(node, behind))
            case Variants(parts):
                yield
                return (yield from self.write(self._variant(parts), behind))

    def _add(self, text: str) -> str:
        self._writer.add(text)
        return text

    def _choose(self, options: Sequence[str]) -> Steps:
        yield
        return self._add(options[self._writer.choose(options)])

    def _variant(self, parts: Sequence[Node]) -> Node:
        begins = [(text, part) for part in parts for text in openings(part)]
        return begins[self._writer.choose([text for text, _ in begins])][1]

    def _string(self, node: Text, behind: str) -> Steps:
        yield
        self._add('"')
        words = self._words

        def allowed(text: str) -> Tensor:
            return words.text if len(text) < node.low else words.text | words.closing

        tokens = max(node.low, min(self._string_tokens, node.high))
        text = self._writer.slot(allowed, words.closing, tokens, f'"{behind}') if tokens else ""
        text = text.partition('"')[0]
        if len(text.strip()) >= node.low:
            text = text.strip()
        return '"' + self._add(json.dumps(text[: node.high], ensure_ascii=False)[1:])

    def _number(self, node: Number, behind: str) -> Steps:
        yield
        ends = self._words.stop
        text = self._writer.slot(lambda text: self._digits(node, text), ends, DIGITS, behind)
        return self._add(json.dumps(node.nearest(_parsed(text))))

    def _digits(self, node: Number, text: str) -> Tensor:
        """The tokens that may follow the beginning of a number."""
        words = self._words
        if not text:
            negative = node.low is None or node.low < 0
            return words.digits | words.minus if negative else words.digits
        if text[-1] in "-.":
            return words.digits
        found = words.digits | words.stop
        return found if node.whole or "." in text else found | words.point

    def _formatted(self, form: str) -> Steps:
        found = self._add('"')
        if form in ("date", "date-time"):
            found += yield from self._date()
        if form == "date-time":
            found += self._add("T")
        if form in ("time", "date-time"):
            found += yield from self._choose([f"{hour:02}:" for hour in range(24)])
            found += yield from self._choose([f"{minute:02}" for minute in range(60)])
            found += self._add(":00Z")
        return found + self._add('"')

    def _date(self) -> Steps:
        yield
        digits = self._words.digits
        text = self._writer.slot(lambda _: digits, torch.zeros_like(digits), 4, "-01-01")
        year = min(max(int(_parsed(text[:4])), _YEARS[0]), _YEARS[1])
        found = self._add(f"{year}-")
        month = yield from self._choose([f"{each:02}-" for each in range(1, 13)])
        days = monthrange(year, int(month[:2]))[1]
        day = yield from self._choose([f"{day:02}" for day in range(1, days + 1)])
        return found + month + day

    def _items(self, node: Items, behind: str) -> Steps:
        found, item, used = self._add("["), node.item, list[str]()
        for i in range(node.high):
            if i >= node.low and not self._goes_on(i, item):
                break
            found += self._add(", ") if i else ""
            if node.distinct and isinstance(item, Choice):
                item = Choice(tuple(text for text in item.options if text not in used))
            rest = ", ".join([outline(item)] * max(0, node.low - i - 1))
            used.append((yield from self.write(item, f"{', ' if rest else ''}{rest}]{behind}")))
            found += used[-1]
        return found + self._add("]")

    def _goes_on(self, count: int, item: Node) -> bool:
        """Whether the model begins another item rather than end the array."""
        options = [", "] if count else list(openings(item))
        return self._writer.choose(["]", *options]) > 0

    def _fields(self, node: Fields, behind: str) -> Steps:
        found, place, fields = self._add("{"), 0, node.fields
        while place < len(fields):
            comma = ", " if len(found) > 1 else ""
            # The fields up to the next required one, or the end of the object.
            stop = next((i for i in range(place, len(fields)) if fields[i].required), None)
            last = len(fields) - 1 if stop is None else stop
            options = [comma + field.key for field in fields[place : last + 1]]
            options += ["}"] if stop is None else []
            chosen = self._writer.choose(options)
            if options[chosen] == "}":
                break
            found += self._add(options[chosen])
            place += chosen + 1
            later = [each.key + outline(each.node) for each in fields[place:] if each.required]
            rest = "".join(f", {part}" for part in later)
            found += yield from self.write(fields[place - 1].node, f"{rest}}}{behind}")
        return found + self._add("}")


def _parsed(text: str) -> float:
    """The number that a text begins with; 0 without one."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    whole = digits[: next((i for i, c in enumerate(digits) if not c.isdecimal()), len(digits))]
    rest = digits[len(whole) + 1 :] if digits[len(whole) :].startswith(".") else ""
    decimals = rest[: next((i for i, c in enumerate(rest) if not c.isdecimal()), len(rest))]
    value = float(f"{whole or '0'}.{decimals or '0'}")
    return sign * (int(value) if value.is_integer() and not decimals else value)
