"""Engines of others by ``package.module:Class``, checked when they are loaded, not in a call."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agent.errors import ConfigError
from agent.responders.base import WaitingCall


@dataclass(frozen=True, slots=True)
class Part:
    """What a plug-in has to have.

    Attributes:
        name: its name in sentences.
        contract: file with the protocol.
        methods: positional arguments that each method is called with.
        values: attributes that are read, with their types.
    """

    name: str
    contract: str
    methods: dict[str, tuple[str, ...]]
    values: dict[str, type] = field(default_factory=dict)


RECOGNISER = Part("recogniser", "asr/engine.py", {"listen": (), "warm_up": (), "close": ()})
LISTENING = Part(
    "result of listen()",
    "asr/engine.py",
    {"feed": ("samples",), "hypothesis": (), "finish": (), "close": ()},
)
RESPONDER = Part("responder", "agent/responders/base.py", {"open": (), "warm_up": (), "close": ()})
CALL = Part(
    "result of open()",
    "agent/responders/base.py",
    {"prepare": ("messages",), "reply": ("messages", "deadline"), "close": ()},
)
VOICE = Part(
    "voice", "tts/engine.py", {"speak": ("text",), "warm_up": (), "close": ()}, {"rate": int}
)


def factory(part: Part, name: str) -> Callable[[], Any]:
    """The class that ``package.module:Class`` names.

    Raises:
        ConfigError: it cannot be imported, or has not the methods of the part.
    """
    module, _, attribute = name.partition(":")
    if "/" in module or module.endswith(".py"):
        dotted = module.removesuffix(".py").strip("./").replace("/", ".")
        raise ConfigError(
            f"the {part.name} {name!r} is named by a file: write it as Python imports it, such as "
            f"{dotted}:{attribute}"
        )
    try:
        found = importlib.import_module(module)
        for each in attribute.split("."):
            found = getattr(found, each)
    except ModuleNotFoundError as error:
        raise ConfigError(_not_found(part, name, module, error)) from error
    except AttributeError as error:
        raise ConfigError(f"the {part.name} {name!r} cannot be loaded: {error}") from error
    except Exception as error:
        raise ConfigError(
            f"the {part.name} {name!r} cannot be loaded: {module} raises "
            f"{type(error).__name__}: {error}"
        ) from error
    if not callable(found):
        raise ConfigError(f"{name!r} is no class, so it cannot be used as a {part.name}")
    if inspect.isclass(found):
        _check(part, name, found, bound=False)
    return found


def _not_found(part: Part, name: str, module: str, error: ModuleNotFoundError) -> str:
    if error.name and (module == error.name or module.startswith(f"{error.name}.")):
        return (
            f"the {part.name} {name!r} cannot be loaded: there is no module {error.name!r} on "
            "Python's path; name its directory in PYTHONPATH or install its package"
        )
    return f"the {part.name} {name!r} cannot be loaded: it needs {error.name!r}, not installed here"


def made(part: Part, name: str) -> Any:
    """An engine of the class that ``package.module:Class`` names, made without arguments.

    Raises:
        ConfigError: as of `factory`, or its constructor fails, or what it makes does not fit.
    """
    make = factory(part, name)
    try:
        engine = make()
    except Exception as error:
        raise ConfigError(
            f"the {part.name} {name!r} cannot be made without arguments: "
            f"{type(error).__name__}: {error}"
        ) from error
    _check(part, name, engine)
    if part is RESPONDER:
        _check_result(CALL, name, engine.open)
    elif part is RECOGNISER:
        _check_result(LISTENING, name, engine.listen)
    return engine


def _check_result(part: Part, name: str, method: Callable[[], Any]) -> None:
    """Call the method once and look at what it returns, if that can be closed again."""
    try:
        found = method()
    except Exception as error:
        raise ConfigError(
            f"{name!r}: its {part.name.removeprefix('result of ')} raises "
            f"{type(error).__name__}: {error}"
        ) from error
    _check(part, name, found)
    if isinstance(found, WaitingCall):
        return  # its close() has to be awaited; nothing was opened yet
    if part is CALL and inspect.iscoroutinefunction(found.prepare):
        raise ConfigError(
            f"{name!r}: prepare() of {part.name} is async; only a WaitingCall may wait: inherit "
            f"from {WaitingCall.__module__}.{WaitingCall.__name__}"
        )
    found.close()


def _check(part: Part, name: str, found: object, *, bound: bool = True) -> None:
    """Raise ConfigError where a method is missing or does not take its arguments."""
    whole = part in (RECOGNISER, RESPONDER, VOICE)
    where = f"{name!r} is no {part.name}" if whole else f"{name!r}: the {part.name} does not fit"
    for method, arguments in part.methods.items():
        function = getattr(found, method, None)
        if not callable(function):
            raise ConfigError(f"{where}: it has no method {method}(); see {part.contract}")
        if not _takes(function, arguments if bound else ("self", *arguments)):
            shown = ", ".join(arguments)
            raise ConfigError(
                f"{where}: {method}{_signature(function)} cannot be called as "
                f"{method}({shown}); see {part.contract}"
            )
    for value, kind in part.values.items() if bound else ():
        try:
            given = getattr(found, value)
        except Exception as error:
            raise ConfigError(
                f"{where}: it has no {value} ({error}); see {part.contract}"
            ) from error
        if not isinstance(given, kind) or isinstance(given, bool):
            raise ConfigError(
                f"{where}: its {value} is {given!r}, not {kind.__name__}; see {part.contract}"
            )


def _takes(function: Callable[..., Any], arguments: tuple[str, ...]) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # a function without a signature, of an extension module
        return True
    return True


def _signature(function: Callable[..., Any]) -> str:
    try:
        return str(inspect.signature(function))
    except (TypeError, ValueError):
        return "()"
