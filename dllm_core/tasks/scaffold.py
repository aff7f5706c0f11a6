"""A JSON document with open slots, built from a JSON Schema.

Keys and punctuation are fixed text; each value is a typed slot of a bounded number of
positions that may hold certain tokens only. Any tokens that the model writes there form a value
of that type, so the document always parses and always satisfies the schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any, Literal

from dllm_core.errors import OptionError

Kind = Literal["text", "digits"]

_TEXT = re.compile(r"[A-Za-z0-9 .,'!?:;()-]+")
_DIGITS = re.compile(r"[0-9]+")
PATTERNS: dict[Kind, re.Pattern[str]] = {"text": _TEXT, "digits": _DIGITS}
"""Text that a token of a slot may decode to, by kind of slot."""

_TEXT_TOKENS, _DIGIT_TOKENS = 8, 4
_KNOWN = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"maxLength"},
    "integer": {"minimum", "maximum"},
    "number": {"minimum", "maximum"},
    "boolean": set(),
    "null": set(),
}
_NOTES = {"type", "title", "description", "$schema", "default", "examples"}


@dataclass(frozen=True, slots=True)
class Slot:
    """Open positions for one value.

    Attributes:
        kind: kind of tokens that the positions may hold.
        tokens: number of positions.
        schema: the value's schema, whose bounds apply.
    """

    kind: Kind
    tokens: int
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """A value out of several; the likeliest is taken."""

    values: tuple[Any, ...]


Part = str | Slot | Choice
"""Fixed text, or a value that the model decides."""


def scaffold(schema: Mapping[str, Any]) -> list[Part]:
    """The parts of a document of `schema`, in order.

    Objects get all their properties, arrays their smallest permitted number of items, at least
    one where one is permitted.

    Raises:
        OptionError: the schema uses a keyword that cannot be guaranteed, or permits no value.
    """
    if "enum" in schema or "const" in schema:
        values = tuple(schema["enum"]) if "enum" in schema else (schema["const"],)
        if not values:
            raise OptionError("An enum without values permits nothing.")
        return [json.dumps(values[0])] if len(values) == 1 else [Choice(values)]
    kind = schema.get("type")
    if kind not in _KNOWN:
        raise OptionError(f"A schema needs a type out of {', '.join(_KNOWN)}, not {kind!r}.")
    unknown = set(schema) - _KNOWN[kind] - _NOTES
    if unknown:
        raise OptionError(f"These keywords of type {kind} are not supported: {sorted(unknown)}.")
    return _BUILDERS[kind](schema)


def _object(schema: Mapping[str, Any]) -> list[Part]:
    properties: Mapping[str, Any] = schema.get("properties", {})
    undefined = set(schema.get("required", ())) - set(properties)
    if undefined:
        raise OptionError(f"Required properties without a schema: {sorted(undefined)}.")
    parts: list[Part] = ["{"]
    for i, (key, value) in enumerate(properties.items()):
        parts += [(", " if i else "") + json.dumps(key) + ": ", *scaffold(value)]
    return [*parts, "}"]


def _array(schema: Mapping[str, Any]) -> list[Part]:
    low, high = schema.get("minItems", 0), schema.get("maxItems", 1 << 30)
    if low > high:
        raise OptionError(f"An array of at least {low} and at most {high} items is impossible.")
    count = max(low, min(1, high)) if "items" in schema else low
    if count and "items" not in schema:
        raise OptionError("An array with items needs a schema for them.")
    parts: list[Part] = ["["]
    for i in range(count):
        parts += [", "] * (i > 0) + scaffold(schema["items"])
    return [*parts, "]"]


def _string(schema: Mapping[str, Any]) -> list[Part]:
    longest = schema.get("maxLength")
    if longest == 0:
        return ['""']
    tokens = _TEXT_TOKENS if longest is None else min(_TEXT_TOKENS, longest)
    return ['"', Slot("text", tokens, schema), '"']


def _numeric(schema: Mapping[str, Any]) -> list[Part]:
    low, high = _bounds(schema)
    if low is not None and high is not None and low > high:
        raise OptionError(f"No number is at least {low} and at most {high}.")
    return [Slot("digits", _DIGIT_TOKENS, schema)]


_BUILDERS: dict[str, Callable[[Mapping[str, Any]], list[Part]]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _numeric,
    "number": _numeric,
    "boolean": lambda _: [Choice((False, True))],
    "null": lambda _: ["null"],
}


def value(slot: Slot, text: str) -> str:
    """JSON of the text that the model wrote into a slot, brought into the schema's bounds.

    A string comes without quotes, which are fixed text of the scaffold.
    """
    if slot.kind == "text":
        longest = slot.schema.get("maxLength", len(text))
        return json.dumps(text[:longest])[1:-1]
    low, high = _bounds(slot.schema)
    number: float = int(text)
    number = number if low is None else max(number, low)
    number = number if high is None else min(number, high)
    return json.dumps(number)


def _bounds(schema: Mapping[str, Any]) -> tuple[float | None, float | None]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if schema["type"] == "integer":
        low, high = (None if low is None else ceil(low)), (None if high is None else floor(high))
    return low, high


def document(parts: Sequence[str]) -> Any:
    """Parse the document of finished parts."""
    return json.loads("".join(parts))
