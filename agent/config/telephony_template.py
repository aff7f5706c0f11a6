"""What of a call reaches the model: the fields that a template names, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping

FIELDS = ("caller", "called", "provider", "call_id")
PARAMETER = "parameter."
MAX_VALUE = 100
"""Characters of one value: callers may have chosen it."""

_PLACE = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_template(template: str) -> None:
    """Refuse a template that could not be filled in.

    Raises:
        ValueError: an unknown field, or a brace that belongs to none.
    """
    for field in _PLACE.findall(template):
        parameter = field.startswith(PARAMETER) and _NAME.fullmatch(field[len(PARAMETER) :])
        if field not in FIELDS and not parameter:
            known = ", ".join(f"{{{name}}}" for name in (*FIELDS, "parameter.NAME"))
            raise ValueError(f"there is no field {{{field}}}; there are {known}")
    if set("{}") & set(_PLACE.sub("", template)):
        raise ValueError("a brace stands alone; fields look like {caller}")


def fill_in(template: str, fields: Mapping[str, str], parameters: Mapping[str, str]) -> str:
    """The template with the values of one call; a parameter that it lacks is empty."""

    def value(place: re.Match[str]) -> str:
        name = place[1]
        if name.startswith(PARAMETER):
            return _plain(parameters.get(name[len(PARAMETER) :], ""))
        return _plain(fields[name])

    return _PLACE.sub(value, template)


def _plain(value: str) -> str:
    """One short line: what a caller chose must not look like more instructions."""
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())[:MAX_VALUE]
