"""Errors in what a client sends, in the codes of the API and with the path of the field."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from agent.errors import ProtocolError
from agent.session.notices import Trouble

M = TypeVar("M", bound=BaseModel)


class BadEvent(ProtocolError):
    """A client event that cannot be accepted; ``trouble`` is the error event to send."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.message)
        self.trouble = trouble


def bad_value(param: str, message: str, code: str = "invalid_value") -> BadEvent:
    """An error about the field at the path ``param``, such as ``session.tools[0].name``."""
    return BadEvent(Trouble(code, f"{param}: {message}" if param else message, param=param or None))


def checked(model: type[M], value: Any, path: str = "") -> M:
    """``value`` as a ``model``.

    Args:
        path: of the value in the event, for the error.

    Raises:
        BadEvent: it is none; the error names the first field that is wrong.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise explained(error.errors(include_url=False)[0], path, value) from None


def explained(problem: ErrorDetails, path: str, value: Any) -> BadEvent:
    """The error event for a problem that pydantic found in ``value``."""
    param = path
    for part in problem["loc"]:
        if isinstance(part, int):
            param += f"[{part}]"
            value = value[part] if isinstance(value, list) and part < len(value) else None
        elif isinstance(value, dict):  # else it names an alternative of the schema, not a field
            param += f".{part}" if param else part
            value = value.get(part)
    kind = problem["type"]
    if kind == "missing":
        return bad_value(param, "this field is missing", "missing_required_parameter")
    if kind == "string_too_long":
        return bad_value(param, problem["msg"], "string_above_max_length")
    if kind.endswith(("_type", "_parsing")):
        return bad_value(param, problem["msg"], "invalid_type")
    return bad_value(param, problem["msg"])
