"""Function tools and the choice among them, as a session or a response has them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

from pydantic import Field

from agent.protocol.client_schema import Lenient
from agent.protocol.json_schema import problem_of, too_many_parts
from agent.protocol.problems import bad_value, checked
from agent.reply import FunctionTool
from agent.session.events import ToolChoice

MAX_TOOLS = 128
"""Functions of one session, at most."""
MAX_SCHEMAS = 262_144
"""Characters of the descriptions and schemas of all functions, at most."""
_PLACE = re.compile(r"#(\S*)")
CHOICES = ("auto", "none", "required")


class _Function(Lenient):
    type: Literal["function"] = "function"
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str | None = Field(None, max_length=MAX_SCHEMAS)
    parameters: dict[str, Any] | None = None


def read_tools(
    value: Any, path: str, refuses: Callable[[FunctionTool], str | None] = lambda tool: None
) -> tuple[tuple[FunctionTool, ...], list[str]]:
    """(the functions, the tools that cannot be used, each in a few words).

    Args:
        path: of the list in the event.
        refuses: why the responder cannot call a function; None if it can.

    Raises:
        BadEvent: a function has no name, its schema is none, or there are too many of them.
    """
    if not isinstance(value, list):
        raise bad_value(path, "this must be a list of tools", "invalid_type")
    if len(value) > MAX_TOOLS:
        raise bad_value(path, f"{len(value)} tools; at most {MAX_TOOLS} are allowed")
    if (problem := too_many_parts(value)) is not None:
        raise bad_value(path, problem)
    tools: dict[str, FunctionTool] = {}
    ignored: list[str] = []
    names: set[str] = set()
    size = 0
    for index, given in enumerate(value):
        where = f"{path}[{index}]"
        if isinstance(given, dict) and given.get("type", "function") != "function":
            ignored.append(f"{where} (only functions are run by the client)")
            continue
        tool = _tool(given, where)
        if tool.name in names:
            raise bad_value(f"{where}.name", f"there is another function {tool.name!r}")
        problem = refuses(tool)
        if problem is None:
            tools[tool.name] = tool
        else:
            ignored.append(_in_event(problem, f"{where}.parameters"))
        names.add(tool.name)
        size += len(tool.description) + len(json.dumps(tool.parameters))
        if size > MAX_SCHEMAS:
            raise bad_value(path, f"the functions have more than {MAX_SCHEMAS} characters")
    return tuple(tools.values()), ignored


def _in_event(problem: str, path: str) -> str:
    """A problem with a schema, with the place in the event in front of it."""
    found = _PLACE.search(problem)
    place = found[1].rstrip(".,:").replace("/", ".") if found else ""
    return f"{path}{place} ({problem.rstrip('.')})"


def _tool(given: Any, where: str) -> FunctionTool:
    if isinstance(given, dict) and (nested := _inner(given)) is not given:
        given = {**nested, "type": "function"}
    function = checked(_Function, given, where)
    schema = function.parameters or {"type": "object", "properties": {}}
    if (problem := problem_of(schema)) is not None:
        raise bad_value(f"{where}.parameters", problem)
    if schema.get("type", "object") != "object":
        raise bad_value(f"{where}.parameters.type", "arguments are an object")
    return FunctionTool(function.name, function.description or "", schema)


def names_unusable_tool(value: Any, offered: Any, usable: Sequence[FunctionTool]) -> bool:
    """Whether a choice names a tool that is left out: no function, or one that cannot be called.

    Args:
        value: the choice.
        offered: the tools that come with it, as the client has written them.
        usable: the functions that can be called.
    """
    if not isinstance(value, dict):
        return False
    if value.get("type", "function") != "function":
        return True
    name = _chosen(value)
    if not isinstance(offered, list) or any(tool.name == name for tool in usable):
        return False
    given = (_inner(tool) for tool in offered if isinstance(tool, dict))
    return any(tool.get("name") == name for tool in given)


def _inner(value: dict[str, Any]) -> dict[str, Any]:
    """The function itself: the chat API nests it, and clients that come from there send it so."""
    nested = value.get("function")
    return nested if isinstance(nested, dict) else value


def _chosen(value: dict[str, Any]) -> Any:
    return value.get("name") or _inner(value).get("name")


def read_choice(value: Any, tools: Sequence[FunctionTool], path: str) -> ToolChoice:
    """The choice among ``tools``.

    Raises:
        BadEvent: it is none, or names an unknown function.
    """
    if value in CHOICES:
        return ToolChoice(cast("Literal['auto', 'none', 'required']", value))
    if isinstance(value, dict):
        name = _chosen(value)
        if any(tool.name == name for tool in tools):
            return ToolChoice("function", str(name))
        known = ", ".join(tool.name for tool in tools) or "no function"
        raise bad_value(f"{path}.name", f"there is no function {name!r}; there is {known}")
    raise bad_value(path, f"this must be one of {', '.join(CHOICES)}, or name a function")
