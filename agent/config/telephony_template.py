"""Template of the facts about a telephone call that reach the model."""

from __future__ import annotations

import re
from collections.abc import Mapping

FIELDS = ("caller", "called", "provider", "call_id")
"""Fields that a template may name."""
PARAMETER = "parameter."
"""Prefix of fields for the custom parameters of a call."""
MAX_VALUE = 100
"""Longest value in characters; callers may have chosen it."""

_PLACE = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_template(template: str) -> None:
    """Check that a template can be filled in.

    Raises:
        ValueError: a field is unknown, or a brace belongs to no field.
    """
    for field in _PLACE.findall(template):
        parameter = field.startswith(PARAMETER) and _NAME.fullmatch(field[len(PARAMETER) :])
        if field not in FIELDS and not parameter:
            known = ", ".join(f"{{{name}}}" for name in (*FIELDS, "parameter.NAME"))
            raise ValueError(f"there is no field {{{field}}}; there are {known}")
    if set("{}") & set(_PLACE.sub("", template)):
        raise ValueError("a brace stands alone; fields look like {caller}")


def fill_in(template: str, fields: Mapping[str, str], parameters: Mapping[str, str]) -> str:
    """Fill in the template with the values of one call; missing parameters are empty."""

    def value(place: re.Match[str]) -> str:
        name = place[1]
        if name.startswith(PARAMETER):
            return _plain(parameters.get(name[len(PARAMETER) :], ""))
        return _plain(fields[name])

    return _PLACE.sub(value, template)


def _plain(value: str) -> str:
    """Make a value one short line, so that it cannot look like further instructions."""
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())[:MAX_VALUE]
