"""Reader of the wish for structured output: a reply that is a document of a JSON schema.

The Realtime API has no field for it; clients send those of the Responses API (``text.format``) and
of the chat API (``response_format``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.protocol.json_schema import problem_of, too_many_parts
from agent.protocol.problems import bad_value

MAX_SCHEMA = 32_768
"""Characters of a schema, at most."""


def read_schema(text: Any, response_format: Any, path: str) -> Mapping[str, Any] | None:
    """The schema of either field; None where a reply is to be words.

    Raises:
        BadEvent: the format is not known, or what should be a schema is none.
    """
    where, wish = f"{path}.response_format", response_format
    if wish is None and isinstance(text, Mapping):
        where, wish = f"{path}.text.format", text.get("format")
    if wish is None:
        return None
    kind = wish.get("type") if isinstance(wish, Mapping) else None
    if kind == "text":
        return None
    if kind == "json_object":
        raise bad_value(where, "a reply of json_object needs a schema: send json_schema")
    if kind != "json_schema":
        raise bad_value(f"{where}.type", "this must be text or json_schema")
    inner = wish.get("json_schema", wish)
    return _checked(inner.get("schema") if isinstance(inner, Mapping) else None, f"{where}.schema")


def _checked(schema: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(schema, Mapping):
        raise bad_value(where, "this field is missing", "missing_required_parameter")
    if len(str(schema)) > MAX_SCHEMA:
        raise bad_value(where, f"more than {MAX_SCHEMA} characters", "string_above_max_length")
    if (problem := too_many_parts(schema) or problem_of(schema)) is not None:
        raise bad_value(where, problem)
    return schema
