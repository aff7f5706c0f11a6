"""The scaffold of a JSON document, built from a JSON schema.

Keys and punctuation are fixed; every value is a typed slot that may hold certain text only. A
schema is read whole before the first slot is filled: a keyword that cannot be guaranteed is refused
with the path where it stands. Keywords that JSON Schema itself does not know, and annotations
(`title`, `format` other than dates and times), are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from dllm_core.errors import OptionError
from dllm_core.tasks import nodes
from dllm_core.tasks.nodes import Choice, Field, Fields, Items, Node, Text, Variants

DEEPEST = 12
"""Deepest nesting of a schema."""
MOST_NODES = 500
"""Most values of a scaffold, over all properties."""
MOST_VALUES = 256
"""Most values of an enum."""
LONGEST_VALUE = 500
"""Most characters of a value of an enum or of the name of a property."""
MOST_ITEMS = 8
"""Items of an array without a bound of its own."""
LONGEST_ARRAY = 64
"""Longest array that a schema may require."""
LONGEST_MINIMUM = 200
"""Largest minLength of a string."""

_REFUSED = frozenset(
    """
    not if then else dependentRequired dependentSchemas dependencies patternProperties
    propertyNames contains prefixItems pattern $dynamicRef $recursiveRef
    """.split()  # noqa: SIM905
)
_BESIDE_VALUES = frozenset(
    """
    exclusiveMinimum exclusiveMaximum multipleOf minItems maxItems uniqueItems items properties
    required additionalProperties minProperties maxProperties
    """.split()  # noqa: SIM905
)
"""Keywords that are not checked against the values of an enum."""
_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
_HINTS = {
    "properties": "object",
    "items": "array",
    "minimum": "number",
    "maximum": "number",
}

Schema = Mapping[str, Any]


def scaffold(schema: Any) -> Node:
    """The scaffold of documents of `schema`.

    Raises:
        OptionError: the schema is none, permits no value, or uses a keyword that cannot be
            guaranteed; the sentence names its path.
    """
    return _Reader(schema).node(schema, "#", ())


class _Reader:
    """Reads one schema.

    Args:
        root: the whole schema, which local references point into.
    """

    def __init__(self, root: Any) -> None:
        self._root = root
        self._count = 0
        self._kinds: dict[str, Callable[[Schema, str, tuple[str, ...]], Node]] = {
            "object": self._object,
            "array": self._array,
            "string": lambda schema, path, _: _text(schema, path),
            "integer": lambda schema, path, _: nodes.number(schema, path, whole=True),
            "number": lambda schema, path, _: nodes.number(schema, path, whole=False),
            "boolean": lambda *_: Choice(("true", "false")),
            "null": lambda *_: Choice(("null",)),
        }

    def node(self, schema: Any, path: str, refs: tuple[str, ...]) -> Node:
        """The scaffold of a part; `refs` are the references that led to it."""
        self._count += 1
        if self._count > MOST_NODES or path.count("/") > 2 * DEEPEST:
            raise OptionError(
                f"The schema is too large at {path}: at most {MOST_NODES} values, {DEEPEST} deep."
            )
        schema = {} if schema is True else schema
        if not isinstance(schema, Mapping):
            raise OptionError(f"The schema at {path} is no object: {_short(schema)}.")
        refused = sorted(_REFUSED & set(schema))
        if refused:
            raise OptionError(f"The keyword {refused[0]!r} at {path} is not supported.")
        if "$ref" in schema:
            return self._referred(schema, path, refs)
        for several in ("allOf", "anyOf", "oneOf"):
            if several in schema:
                return self._several(several, schema, path, refs)
        if "enum" in schema or "const" in schema:
            return _choice(schema, path)
        kinds = _kinds(schema, path)
        if len(kinds) > 1:
            return Variants(tuple(self._kinds[kind](schema, path, refs) for kind in kinds))
        return self._kinds[kinds[0]](schema, path, refs)

    def _referred(self, schema: Schema, path: str, refs: tuple[str, ...]) -> Node:
        ref = schema["$ref"]
        if not isinstance(ref, str) or not ref.startswith("#"):
            raise OptionError(f"The reference {_short(ref)} at {path} is not within the schema.")
        if ref in refs:
            raise OptionError(f"The reference {ref!r} at {path} leads back to itself.")
        found = self._root
        for step in ref[1:].split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or key not in found:
                raise OptionError(f"The reference {ref!r} at {path} leads nowhere.")
            found = found[key]
        more = {key: value for key, value in schema.items() if key != "$ref"}
        return self.node(_merged(more, found, path), path, (*refs, ref))

    def _several(self, keyword: str, schema: Schema, path: str, refs: tuple[str, ...]) -> Node:
        parts = schema[keyword]
        if not isinstance(parts, list) or not parts:
            raise OptionError(f"{keyword} at {path} needs a list of schemas.")
        more = {key: value for key, value in schema.items() if key != keyword}
        if len(parts) == 1:
            return self.node(_merged(more, parts[0], path), path, refs)
        if keyword == "allOf":
            raise OptionError(f"allOf of several schemas at {path} is not supported.")
        found = [
            self.node(_merged(more, part, path), f"{path}/{keyword}/{i}", refs)
            for i, part in enumerate(parts)
        ]
        return nodes.variants(found, f"{path}/{keyword}", exclusive=keyword == "oneOf")

    def _object(self, schema: Schema, path: str, refs: tuple[str, ...]) -> Node:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not isinstance(properties, Mapping) or not isinstance(required, list | tuple):
            raise OptionError(f"The object at {path} needs properties and a list of required ones.")
        _check_length(max(map(str, properties), key=len, default=""), path)
        undefined = [name for name in required if name not in properties]
        if undefined:
            raise OptionError(f"The required property {undefined[0]!r} at {path} has no schema.")
        least, most = _size(schema, "Properties", path, len(properties))
        fields = [
            Field(name, self.node(part, f"{path}/properties/{name}", refs), name in required)
            for name, part in properties.items()
        ]
        # Optional properties stay optional only as far as the bounds on their number allow.
        count = sum(field.required for field in fields)
        for i, field in enumerate(fields):
            if count < least and not field.required:
                fields[i], count = Field(field.name, field.node, True), count + 1
        if most < len(fields):
            fields = [field for field in fields if field.required]
        if not least <= len(fields) or len(fields) > most:
            raise OptionError(f"The object at {path} cannot have the number of its properties.")
        return Fields(tuple(fields))

    def _array(self, schema: Schema, path: str, refs: tuple[str, ...]) -> Node:
        low, high = _size(schema, "Items", path, max(MOST_ITEMS, schema.get("minItems", 0) or 0))
        if low > LONGEST_ARRAY:
            raise OptionError(f"The array at {path} needs {low} items; {LONGEST_ARRAY} are many.")
        items = schema.get("items", {})
        if high == 0 or items is False:
            if low:
                raise OptionError(f"The array at {path} permits no item and needs {low}.")
            return Choice(("[]",))
        item = self.node(items, f"{path}/items", refs)
        distinct = bool(schema.get("uniqueItems"))
        if distinct:
            if not isinstance(item, Choice):
                raise OptionError(f"uniqueItems at {path} is supported for items of an enum only.")
            high = min(high, len(item.options))
        if low > high:
            raise OptionError(f"The array at {path} cannot have {low} different items.")
        return Items(item, low, min(high, LONGEST_ARRAY), distinct)


def _kinds(schema: Schema, path: str) -> list[str]:
    """The types of a schema; without one it is guessed from its keywords, else a string."""
    given = schema.get("type")
    if given is None:
        given = next((kind for key, kind in _HINTS.items() if key in schema), "string")
    kinds = list(given) if isinstance(given, list | tuple) else [given]
    wrong = [kind for kind in kinds if kind not in _TYPES]
    if wrong or not kinds:
        raise OptionError(
            f"The type at {path} must be one of {', '.join(_TYPES)}, not {_short(given)}."
        )
    if "number" in kinds:
        kinds = [kind for kind in kinds if kind != "integer"]
    return list(dict.fromkeys(kinds))


def _choice(schema: Schema, path: str) -> Node:
    values = [schema["const"]] if "const" in schema else schema["enum"]
    if not isinstance(values, list | tuple):
        raise OptionError(f"The enum at {path} needs a list of values.")
    if len(values) > MOST_VALUES:
        raise OptionError(f"The enum at {path} has {len(values)} values; at most {MOST_VALUES}.")
    beside = sorted(_BESIDE_VALUES & set(schema))
    if beside:
        raise OptionError(f"The keyword {beside[0]!r} beside an enum at {path} is not supported.")
    fitting = [value for value in values if nodes.permits(schema, value)]
    if "enum" in schema:
        fitting = [value for value in fitting if value in schema["enum"]]
    if not fitting:
        raise OptionError(f"The enum at {path} permits no value.")
    texts = tuple(dict.fromkeys(json.dumps(value) for value in fitting))
    _check_length(max(texts, key=len), path)
    return Choice(texts)


def _check_length(text: str, path: str) -> None:
    if len(text) > LONGEST_VALUE:
        raise OptionError(
            f"{_short(text)} at {path} has {len(text)} characters; at most {LONGEST_VALUE}."
        )


def _text(schema: Schema, path: str) -> Node:
    low, high = _size(schema, "Length", path, 1 << 20)
    if low > LONGEST_MINIMUM:
        raise OptionError(
            f"The string at {path} needs {low} characters; at most {LONGEST_MINIMUM} are written."
        )
    form = schema.get("format")
    if form in nodes.FORMS:
        length = len(nodes.FORMS[form])
        if not low <= length <= high:
            raise OptionError(f"A {form} at {path} has {length} characters, which it forbids.")
        return Text(low, high, form)
    return Text(low, high)


def _size(schema: Schema, what: str, path: str, most: int) -> tuple[int, int]:
    """(least, most) of `minItems` and the like."""
    low, high = schema.get(f"min{what}", 0), schema.get(f"max{what}", most)
    for name, value in ((f"min{what}", low), (f"max{what}", high)):
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value % 1:
            raise OptionError(f"{name} at {path} must be a whole number, not {_short(value)}.")
    if low > high:
        raise OptionError(
            f"At {path}, min{what} is {low} and max{what} {high}: that is impossible."
        )
    return int(low), int(min(high, most))


def _merged(first: Schema, second: Any, path: str) -> Any:
    """Both schemas in one; a keyword of both must be the same or an annotation."""
    if second is True or not isinstance(second, Mapping):
        return second if not first or second is not True else first
    notes = {"title", "description", "default", "examples", "$defs", "definitions", "deprecated"}
    for key in (set(first) & set(second)) - notes:
        if first[key] != second[key]:
            raise OptionError(f"The keyword {key!r} stands twice at {path}, differently.")
    return {**second, **first}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
