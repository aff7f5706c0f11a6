"""The slots of a JSON scaffold, and the values that they permit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite
from typing import Any

from dllm_core.errors import OptionError

FORMS = {"date": "2026-01-01", "time": "12:00:00Z", "date-time": "2026-01-01T12:00:00Z"}
"""Formats of a string that are filled piece by piece, with an example each."""
_LISTED = 32
"""Most whole numbers of a range that are chosen from instead of written."""
_LARGEST = 1e300
"""Bound on numbers in schemas: whole numbers of JSON may be too large for a float."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several JSON texts.

    Attributes:
        options: the texts; at least one.
    """

    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A string.

    Attributes:
        low, high: bounds of its length in characters.
        form: a key of `FORMS`, or empty for free text.
    """

    low: int
    high: int
    form: str = ""


@dataclass(frozen=True, slots=True)
class Number:
    """A number.

    Attributes:
        whole: whether it has no decimals.
        low, high: inclusive bounds; None for none.
        open_low, open_high: whether the bound itself is excluded.
        step: whole number that it is a multiple of, or None.
    """

    whole: bool
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False
    step: int | None = None

    def nearest(self, value: float) -> int | float:
        """The permitted number nearest to `value`, or one inside where a bound is excluded."""
        value = 0 if not isfinite(value) else value
        if self.low is not None and (value < self.low or (self.open_low and value == self.low)):
            value = self._inside() if self.open_low else self.low
        if self.high is not None and (value > self.high or (self.open_high and value == self.high)):
            value = self._inside() if self.open_high else self.high
        if self.step is not None:
            return self._stepped(value, self.step)
        return round(value) if self.whole else value

    def _inside(self) -> float:
        if self.low is not None and self.high is not None:
            return (self.low + self.high) / 2
        return self.low + 1 if self.low is not None else (self.high or 0) - 1

    def _stepped(self, value: float, step: int) -> int:
        found = round(value / step)
        if self.low is not None:
            least = ceil(self.low / step)
            found = max(found, least + (self.open_low and least * step == self.low))
        if self.high is not None:
            most = floor(self.high / step)
            found = min(found, most - (self.open_high and most * step == self.high))
        return found * step


@dataclass(frozen=True, slots=True)
class Items:
    """An array.

    Attributes:
        item: every item.
        low, high: bounds of their number.
        distinct: whether no item may occur twice; `item` is a `Choice` then.
    """

    item: Node
    low: int
    high: int
    distinct: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """A property of an object; an optional one may be left out."""

    name: str
    node: Node
    required: bool

    @property
    def key(self) -> str:
        return f"{json.dumps(self.name)}: "


@dataclass(frozen=True, slots=True)
class Fields:
    """An object."""

    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Variants:
    """A value of one of several kinds, which differ in their first character."""

    nodes: tuple[Node, ...]


Node = Choice | Text | Number | Items | Fields | Variants
"""Any value of a document."""


def openings(node: Node) -> tuple[str, ...]:
    """Texts one of which a value of this kind begins with."""
    match node:
        case Choice(options):
            return options
        case Text():
            return ('"',)
        case Number(low=low):
            return (*"0123456789", *(() if low is not None and low >= 0 else ("-",)))
        case Items():
            return ("[",)
        case Fields():
            return ("{",)
        case Variants(parts):
            return tuple(text for part in parts for text in openings(part))


def outline(node: Node) -> str:
    """The fixed text of a value, with nothing in its slots, to stand behind an earlier slot."""
    match node:
        case Choice(options):
            return options[0] if len(options) == 1 else ""
        case Text():
            return '""'
        case Items(item, low):
            return "[" + ", ".join([outline(item)] * low) + "]"
        case Fields(fields):
            parts = [field.key + outline(field.node) for field in fields if field.required]
            return "{" + ", ".join(parts) + "}"
        case _:
            return ""


def variants(found: Sequence[Node], path: str, *, exclusive: bool) -> Node:
    """One of several kinds of values.

    Raises:
        OptionError: two of them begin alike, so that their first character does not decide.
    """
    flat = [
        part for node in found for part in (node.nodes if isinstance(node, Variants) else [node])
    ]
    choices = [part for part in flat if isinstance(part, Choice)]
    others: list[Node] = [part for part in flat if not isinstance(part, Choice)]
    if exclusive and (len(choices) > 1 and _overlap(choices)):
        raise OptionError(f"The schemas of {path} permit the same value, which oneOf forbids.")
    if choices:
        options = tuple(dict.fromkeys(text for part in choices for text in part.options))
        others = [Choice(options), *others]
    firsts = [{text[0] for text in openings(part)} for part in others]
    for i, first in enumerate(firsts):
        if any(first & other for other in firsts[:i]):
            raise OptionError(
                f"Two schemas of {path} are of the same type: they cannot be told apart."
            )
    return others[0] if len(others) == 1 else Variants(tuple(others))


def _overlap(choices: Sequence[Choice]) -> bool:
    texts = [text for part in choices for text in part.options]
    return len(set(texts)) < len(texts)


def number(schema: Mapping[str, Any], path: str, *, whole: bool) -> Node:
    """The slot of a number.

    Raises:
        OptionError: no number fits its bounds, or it is a multiple of a fraction.
    """
    low, open_low = _bound(schema, "minimum", "exclusiveMinimum", path, max)
    high, open_high = _bound(schema, "maximum", "exclusiveMaximum", path, min)
    step = schema.get("multipleOf")
    if step is not None and (not _is_number(step) or step <= 0 or step % 1):
        raise OptionError(f"multipleOf at {path} must be a whole number to be supported.")
    every = int(step) if step is not None else 1 if whole else None
    if every is not None:
        low = None if low is None else _edge(low, every, open_low, 1)
        high = None if high is None else _edge(high, every, open_high, -1)
        open_low = open_high = False
    if (
        low is not None
        and high is not None
        and (low > high or (low == high and (open_low or open_high)))
    ):
        raise OptionError(f"No number fits the bounds at {path}.")
    if every is not None and low is not None and high is not None:
        first, last = int(low), int(high)
        if (last - first) // every < _LISTED:
            return Choice(tuple(map(str, range(first, last + 1, every))))
    return Number(whole or every is not None, low, high, open_low, open_high, every)


def _bound(
    schema: Mapping[str, Any], inclusive: str, exclusive: str, path: str, tighter: Any
) -> tuple[float | None, bool]:
    """(bound, whether it is excluded); the old form of a true `exclusiveMinimum` is read, too."""
    given, opened = schema.get(inclusive), schema.get(exclusive)
    for name, value in ((inclusive, given), (exclusive, opened)):
        if value is not None and not isinstance(value, bool) and not _is_number(value):
            raise OptionError(f"{name} at {path} must be a number.")
    if isinstance(opened, bool) or opened is None:
        return given, bool(opened) and given is not None
    if given is None or tighter(given, opened) == opened:
        return opened, True
    return given, False


def _edge(bound: float, step: int, excluded: bool, direction: int) -> float:
    """The outermost permitted multiple of `step`."""
    steps = ceil(bound / step) if direction > 0 else floor(bound / step)
    if excluded and steps * step == bound:
        steps += direction
    return steps * step


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < _LARGEST


_PYTHON_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list, tuple),
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def permits(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether a value of an enum fits the other simple keywords of its schema."""
    kinds = schema.get("type", list(_PYTHON_TYPES))
    kinds = kinds if isinstance(kinds, list | tuple) else [kinds]
    if not any(_is(kind, value) for kind in kinds):
        return False
    if isinstance(value, float) and not isfinite(value):
        return False
    if isinstance(value, str):
        return bool(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)))
    if _is_number(value):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        return bool(low <= value <= high)
    return True


def _is(kind: Any, value: Any) -> bool:
    if kind == "integer":
        return _is_number(value) and value % 1 == 0
    if kind == "number":
        return _is_number(value)
    return kind in _PYTHON_TYPES and isinstance(value, _PYTHON_TYPES[kind])
