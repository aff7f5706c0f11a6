"""Python functions as tools: ``package.module:function``, checked when they are loaded."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError, PydanticUndefined, to_json

from agent.config.tools import NAME
from agent.errors import ConfigError
from agent.reply import FunctionTool
from agent.tools.base import ToolError, ToolResult
from agent.tools.docstrings import read_docstring

MAX_MESSAGE = 300
"""Characters of an exception's message that the model is told."""
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class PythonTool:
    """A typed function. Its signature and docstring are its schema and description.

    Args:
        spec: ``package.module:function``.
        threads: runs functions that are not async.

    Raises:
        ConfigError: it cannot be loaded, or is not fit to be a tool; the message says why.
    """

    def __init__(self, spec: str, threads: ToolThreads | None = None) -> None:
        self._threads = threads or ToolThreads(1)
        self._function = _found(spec)
        name = spec.rpartition(":")[2].rpartition(".")[2]
        if not re.fullmatch(NAME, name):
            raise ConfigError(f"the tool {spec!r}: a name has at most 64 letters, digits, _ and -")
        description, texts = read_docstring(inspect.getdoc(self._function))
        self._model, self._parameters = _model_of(spec, self._function, texts)
        try:
            schema = _plain(self._model.model_json_schema(by_alias=True))
        except PydanticUserError as error:
            raise _unfit(spec, f"its parameters have no JSON schema: {_line(error)}") from None
        description = description or name.replace("_", " ")
        self.offer = FunctionTool(name, description, schema, "server")

    def can_use(self, line: object) -> bool:
        return True

    async def run(self, arguments: Mapping[str, Any], line: object) -> ToolResult:
        try:
            given = self._model.model_validate(dict(arguments))
        except ValidationError as error:
            raise ToolError(_explained(error)) from None
        positional, named = [], {}
        for field, parameter in self._parameters.items():
            value = getattr(given, field)
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                positional.append(value)
            else:
                named[parameter.name] = value
        if inspect.iscoroutinefunction(self._function):
            return ToolResult(as_text(await self._function(*positional, **named)))
        work = partial(self._function, *positional, **named)
        return ToolResult(await self._threads.run(lambda: as_text(work())))


def _found(spec: str) -> Callable[..., Any]:
    module, _, attribute = spec.partition(":")
    if not module or not attribute:
        raise ConfigError(f"the tool {spec!r}: name it as package.module:function")
    try:
        found: Any = importlib.import_module(module)
        for each in attribute.split("."):
            found = getattr(found, each)
    except ModuleNotFoundError as error:
        where = "name its directory in PYTHONPATH, or install its package"
        raise ConfigError(
            f"the tool {spec!r} cannot be loaded: there is no module {error.name!r}; {where}"
        ) from error
    except Exception as error:
        raise ConfigError(f"the tool {spec!r} cannot be loaded: {_line(error)}") from error
    if not callable(found) or inspect.isclass(found):
        raise ConfigError(f"the tool {spec!r} is no function but {type(found).__name__}")
    if inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found):
        raise ConfigError(f"the tool {spec!r} yields; a tool returns one result")
    function: Callable[..., Any] = found
    return function


def _unfit(spec: str, why: str) -> ConfigError:
    return ConfigError(f"the tool {spec!r} cannot be offered: {why}")


def _model_of(
    spec: str, function: Callable[..., Any], texts: Mapping[str, str]
) -> tuple[type[BaseModel], dict[str, inspect.Parameter]]:
    """(model of the arguments, parameters by the model's fields)."""
    try:
        signature = inspect.signature(function)
        plain = function if inspect.isroutine(function) else getattr(function, "func", function)
        hints = get_type_hints(
            plain if inspect.isroutine(plain) else type(plain).__call__, include_extras=True
        )
    except Exception as error:
        raise _unfit(spec, f"its annotations cannot be read: {_line(error)}") from error
    fields: dict[str, Any] = {}
    parameters: dict[str, inspect.Parameter] = {}
    for index, parameter in enumerate(signature.parameters.values()):
        if parameter.kind in _VARIABLE:
            raise _unfit(spec, f"it takes {parameter}; name every parameter")
        if parameter.name not in hints:
            raise _unfit(spec, f"its parameter {parameter.name} has no type; annotate it")
        # A name of its own: parameters may be called as methods of a model are.
        field = f"argument_{index}"
        parameters[field] = parameter
        fields[field] = _field(hints[parameter.name], parameter, texts.get(parameter.name))
    try:
        config = ConfigDict(extra="forbid", arbitrary_types_allowed=False)
        model: type[BaseModel] = create_model("Arguments", __config__=config, **fields)
    except (PydanticUserError, TypeError) as error:
        raise _unfit(spec, f"pydantic knows no schema for it: {_line(error)}") from None
    return model, parameters


def _field(hint: Any, parameter: inspect.Parameter, text: str | None) -> tuple[Any, Any]:
    missing = parameter.default is inspect.Parameter.empty
    default = PydanticUndefined if missing else parameter.default
    about = Field(alias=parameter.name)
    if text:
        about = Field(alias=parameter.name, description=text)
    return Annotated[hint, about], default


def _plain(schema: Any) -> Any:
    """A schema without the titles that pydantic makes of names."""
    if not isinstance(schema, dict):
        return [_plain(each) for each in schema] if isinstance(schema, list) else schema
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            found[key] = {name: _plain(each) for name, each in value.items()}
        elif key in ("default", "const", "enum", "examples"):
            found[key] = value
        elif key != "title":
            found[key] = _plain(value)
    return found


def _explained(error: ValidationError) -> str:
    """What is wrong with arguments, in words for the model."""
    problems = error.errors(include_url=False, include_input=False)
    said = (
        f"{'.'.join(str(part) for part in each['loc']) or 'arguments'}: {each['msg']}"
        for each in problems[:5]
    )
    return "; ".join(said)


def as_text(value: object) -> str:
    """A result as text for the model: words as they are, everything else as JSON.

    Raises:
        ToolError: it cannot be written as JSON.
    """
    if value is None:
        return "done"
    if isinstance(value, str):
        return value
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        raise ToolError("the function returned a generator, which is no result")
    try:
        return to_json(value, inf_nan_mode="strings").decode()
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise ToolError(f"the result cannot be written as JSON: {_line(error)}") from error


class ToolThreads:
    """Runs functions on threads of their own, which do not keep the process when they hang.

    Args:
        most: threads at once. A function that was given up keeps its thread until it returns.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._running = 0

    async def run(self, work: Callable[[], str]) -> str:
        """Run ``work`` and wait for its result.

        Raises:
            ToolError: all threads are taken, by functions that do not return.
        """
        if self._running >= self._most:
            raise ToolError("too many functions are running; try again later")
        self._running += 1
        loop = asyncio.get_running_loop()
        done: asyncio.Future[str] = loop.create_future()

        def settle(result: str | None, fault: Exception | None) -> None:
            self._running -= 1
            if done.done():
                return  # nobody waits any more
            if fault is None:
                done.set_result(result or "")
            else:
                done.set_exception(fault)

        def body() -> None:
            result: str | None = None
            fault: Exception | None = None
            try:
                result = work()
            except StopIteration as error:  # which no future can hold
                fault = RuntimeError(str(error))
            except Exception as error:
                fault = error
            with suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(settle, result, fault)

        threading.Thread(target=body, name="tool", daemon=True).start()
        return await done


def _line(error: BaseException) -> str:
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}"[:MAX_MESSAGE]
