"""The check that a client's schema is a JSON schema that needs no other document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from jsonschema_specifications import REGISTRY

REFERENCES = ("$ref", "$dynamicRef")
REMEMBERED, LONGEST_REMEMBERED = 512, 16_384
"""Schemas whose check is remembered, and characters of one of them: clients send the same ones
again and again."""
MAX_PARTS = 4000
"""Objects and items of lists in the schemas of one event: the check takes 0.01 to 0.04 ms for each,
on the event loop. 128 functions with ten parameters each, all required, have 2,944."""
_META = "https://json-schema.org/draft/2020-12/"


def too_many_parts(value: Any) -> str | None:
    """Why schemas are too large to be checked, in a few words; None if they are not."""
    waiting, parts = [value], 0
    while waiting and parts <= MAX_PARTS:
        each = waiting.pop()
        if isinstance(each, dict):
            parts += 1
            waiting += each.values()
        elif isinstance(each, list):
            parts += len(each)
            waiting += each
    most = f"more than {MAX_PARTS} objects and items of lists in schemas"
    return most if parts > MAX_PARTS else None


def problem_of(schema: Mapping[str, Any]) -> str | None:
    """Why ``schema`` cannot be used, in a few words; None if it can."""
    text = json.dumps(schema)
    return _known_problem(text) if len(text) <= LONGEST_REMEMBERED else _problem(text)


@lru_cache(REMEMBERED)
def _known_problem(text: str) -> str | None:
    return _problem(text)


def _problem(text: str) -> str | None:
    schema = json.loads(text)
    # Validators fetch other documents, from wherever a client wants.
    if foreign := next(_foreign(schema), None):
        return f"references to other documents are not read: {foreign[:100]!r}"
    try:
        error = best_match(_checker().iter_errors(schema))
    except RecursionError:
        return "this is no JSON schema: it is nested too deeply"
    return None if error is None else f"this is no JSON schema: {error.message[:200]}"


@lru_cache(1)
def _checker() -> Draft202012Validator:
    """A validator of schemas: the metaschema of 2020-12 in one piece.

    As published it is eight documents that refer to each other dynamically, and every object of a
    schema is checked by all of them: 0.2 ms each. It also wants items of lists to be different,
    which takes time by the square of a list of mixed things.
    """
    whole = REGISTRY.contents(f"{_META}schema")
    fields: dict[str, Any] = dict(whole["properties"])
    definitions: dict[str, Any] = {}
    for part in whole["allOf"]:
        vocabulary = REGISTRY.contents(_META + part["$ref"])
        fields |= vocabulary["properties"]
        definitions |= vocabulary.get("$defs", {})
    meta = {"type": ["object", "boolean"], "properties": fields, "$defs": definitions}
    text = json.dumps(meta).replace('"$dynamicRef": "#meta"', '"$ref": "#"')
    for name in ("core", "validation"):
        text = text.replace(f'"meta/{name}#/', '"#/')
    text = text.replace('"uniqueItems": true', '"uniqueItems": false')
    return Draft202012Validator(
        json.loads(text), format_checker=Draft202012Validator.FORMAT_CHECKER
    )


def _foreign(schema: Any) -> Iterator[str]:
    """The references out of the schema."""
    if isinstance(schema, dict):
        for name, value in schema.items():
            if name in REFERENCES and isinstance(value, str) and not value.startswith("#"):
                yield value
            yield from _foreign(value)
    elif isinstance(schema, list):
        for part in schema:
            yield from _foreign(part)
