"""What is wrong with settings, in words: where the value stands, and what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from agent.config.settings import ENV_PREFIX, Settings

Place = tuple[int | str, ...]
"""Keys from the outermost section to the setting."""


def explain(error: ValidationError, sources: Mapping[str, Mapping[str, Any]]) -> str:
    """One line for all problems.

    Args:
        error: error of pydantic.
        sources: what each source gave, nested by section, the strongest source first.
    """
    return "settings: " + "; ".join(_problem(dict(each), sources) for each in error.errors())


def _problem(problem: dict[str, Any], sources: Mapping[str, Mapping[str, Any]]) -> str:
    place: Place = problem["loc"]
    where = ".".join(map(str, place))
    source = _source_of(place, sources)
    if problem["type"] == "extra_forbidden":
        return f"{where}: no such setting{_guess(place)} ({source}); see onebreath.example.toml"
    value = str(problem["input"]) if isinstance(problem["input"], Path) else problem["input"]
    given = "" if _may_hold_a_secret(where) else f" (got {value!r})"
    reason = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {reason}{given} ({source})"


def _may_hold_a_secret(where: str) -> bool:
    """Whether a setting's value is not to be repeated: keys, passwords, addresses with them."""
    secret = ("api_key", "credential", "username", "base_url", "request", "key", "token")
    names = where.split(".")
    private = names[0] == "telephony" or names[:2] == ["tools", "mcp"]
    return private or "ice_servers" in names or any(n in secret for n in names)


def _source_of(place: Place, sources: Mapping[str, Mapping[str, Any]]) -> str:
    """The strongest source that has the place, in words."""
    for name, values in sources.items():
        if not _has(values, place):
            continue
        if name == "environment":
            return f"environment variable {variable(place)}"
        return f"file {name}" if name != "command line" else name
    return "default"


def _has(values: Any, place: Iterable[int | str]) -> bool:
    for key in place:
        if isinstance(values, Mapping) and key in values:
            values = values[key]
        elif not isinstance(values, list | tuple) and isinstance(values, Mapping):
            return False
    return True


def variable(place: Place) -> str:
    """The environment variable of a setting."""
    return ENV_PREFIX.upper() + "__".join(str(key) for key in place).upper()


def _guess(place: Place) -> str:
    """The nearest setting of the same section, or the same setting of another section."""
    name = str(place[-1])
    model = _section(place[:-1])
    near = get_close_matches(name, model.model_fields, 1) if model else []
    if near:
        return f"; did you mean {'.'.join(map(str, (*place[:-1], near[0])))}?"
    for section, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel) and name in kind.model_fields:
            return f"; did you mean {section}.{name}?"
    return ""


def _section(place: Place) -> type[BaseModel] | None:
    """The model of a section, if the place names one."""
    model: type[BaseModel] = Settings
    for key in place:
        field = model.model_fields.get(str(key))
        if field is None:
            continue  # a key of a table, such as the name of an arm
        found = [field.annotation, *get_args(field.annotation)]
        models = [each for each in found if isinstance(each, type) and issubclass(each, BaseModel)]
        if not models:
            return None
        model = models[0]
    return model
