"""Calls of functions in the stream of a chat API: pieces of arguments in, checked calls out."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from openai.types.chat.chat_completion_chunk import ChoiceDeltaToolCall
from referencing import Registry
from referencing.exceptions import Unresolvable

from agent.responders.base import (
    FunctionTool,
    ReplyPiece,
    ResponderError,
    ToolArguments,
    ToolCall,
    ToolCallStarted,
)

MAX_CALLS = 16
"""Calls of functions in one reply, at most."""
MAX_ARGUMENTS = 32_768
"""Characters of the arguments of one call, at most."""
MAX_REFERENCES = 2000
"""References that one check of arguments follows: they may double at every level."""
_MAPS = ("properties", "$defs", "definitions", "dependentSchemas")
"""Keywords that hold schemas by names of the client's."""
_BY_PATTERN = {"pattern", "patternProperties"}
_REST = {"additionalProperties", "unevaluatedProperties"}


@dataclass(slots=True)
class _Growing:
    """A call whose arguments still grow."""

    call_id: str
    name: str
    arguments: str = ""


class StreamedCalls:
    """The calls of one reply, put together from the pieces of a stream.

    Args:
        tools: the functions that were offered.
    """

    def __init__(self, tools: Sequence[FunctionTool]) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._growing: dict[int, _Growing] = {}

    def take(self, pieces: Sequence[ChoiceDeltaToolCall]) -> Iterator[ReplyPiece]:
        """The pieces of a reply that the pieces of one chunk stand for.

        Raises:
            ResponderError: an unknown function is called, or there is no end of calls.
        """
        for piece in pieces:
            call = self._growing.get(piece.index)
            if call is None:
                call = self._growing[piece.index] = self._begin(piece)
                yield ToolCallStarted(call.call_id, call.name)
            delta = piece.function.arguments if piece.function else None
            if delta:
                call.arguments += delta
                if len(call.arguments) > MAX_ARGUMENTS:
                    raise ResponderError(
                        f"the service's arguments of {call.name} have more than "
                        f"{MAX_ARGUMENTS} characters"
                    )
                yield ToolArguments(call.call_id, delta)

    def _begin(self, piece: ChoiceDeltaToolCall) -> _Growing:
        name = (piece.function.name if piece.function else None) or ""
        if name not in self._tools:
            known = ", ".join(sorted(self._tools)) or "no function"
            raise ResponderError(f"the service calls {name!r}, but was offered {known}")
        if len(self._growing) >= MAX_CALLS:
            raise ResponderError(f"the service calls more than {MAX_CALLS} functions in a reply")
        return _Growing(piece.id or f"call_{secrets.token_hex(8)}", name)

    def complete(self) -> Iterator[ToolCall]:
        """The finished calls; one that cannot be run carries its problem.

        Arguments that are no JSON object are left out: a service refuses to read them again.
        """
        for call in self._growing.values():
            text = call.arguments.strip() or "{}"
            arguments, problem = self._read(call.name, text)
            if arguments is None:
                text = "{}"
            yield ToolCall(call.call_id, call.name, text, problem)

    def _read(self, name: str, text: str) -> tuple[dict[str, Any] | None, str]:
        """(the arguments; None where they are no object, what is wrong with them)."""
        try:
            arguments = json.loads(text)
        except (ValueError, RecursionError):
            return None, f"the arguments of {name} are no JSON"
        if not isinstance(arguments, dict):
            return None, f"the arguments of {name} are no JSON object"
        try:
            _validator(self._tools[name].parameters).validate(arguments)
        except Unresolvable as error:
            message = f"the schema of {name} refers to other documents: {error}"
            raise ResponderError(message[:300]) from None
        except ValidationError as error:
            where = "/".join(str(part) for part in error.path)
            place = f" at {where}" if where else ""
            said = f"the arguments of {name} do not fit its schema{place}: {error.message[:200]}"
            return arguments, said
        except Exception as error:  # a reference that leads nowhere; the schema is the client's
            return arguments, f"the schema of {name} cannot be used: {str(error)[:200]}"
        return arguments, ""


def _validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    """A check of arguments by a client's schema, in bounded time.

    Regular expressions are left out: one of a client's may take for ever. Without a registry of
    its own the validator would fetch references from anywhere.
    """
    left = MAX_REFERENCES

    def counted(follow: Callable[..., Any]) -> Callable[..., Iterator[ValidationError]]:
        def followed(*given: Any) -> Iterator[ValidationError]:
            nonlocal left
            left -= 1
            if left < 0:
                raise ValueError(f"it follows more than {MAX_REFERENCES} references")
            yield from follow(*given) or ()

        return followed

    known = Draft202012Validator.VALIDATORS
    follows = {name: counted(known[name]) for name in ("$ref", "$dynamicRef")}
    kind = extend(Draft202012Validator, follows)
    checker: Draft202012Validator = kind(_without_patterns(dict(schema)), registry=Registry())
    return checker


def _without_patterns(schema: Any) -> Any:
    """The schema without regular expressions, and without what depends on them."""
    if isinstance(schema, list):
        return [_without_patterns(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    left_out = _BY_PATTERN | (_REST if "patternProperties" in schema else set())
    kept = {name: value for name, value in schema.items() if name not in left_out}
    for name, value in kept.items():
        if name in _MAPS and isinstance(value, dict):
            kept[name] = {key: _without_patterns(each) for key, each in value.items()}
        elif name not in ("enum", "const", "default", "examples"):
            kept[name] = _without_patterns(value)
    return kept
