"""The check that parameters of a function are a JSON schema that needs no other document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

REFERENCES = ("$ref", "$dynamicRef")
REMEMBERED, LONGEST_REMEMBERED = 512, 16_384
"""Schemas whose check is remembered, and characters of one of them: clients send the same ones
again and again, and a check takes 2.6 ms for ten properties."""


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
        Draft202012Validator.check_schema(schema)
    except (SchemaError, RecursionError) as error:
        message = getattr(error, "message", "it is too deep")
        return f"this is no JSON schema: {message[:200]}"
    return None


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
