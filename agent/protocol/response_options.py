"""Reader of the options of ``response.create``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from agent.audio.wire_format import WireFormat
from agent.protocol.abilities import Reading
from agent.protocol.client_schema import Noted
from agent.protocol.item_schema import read_items
from agent.protocol.older_names import modern
from agent.protocol.problems import bad_value, checked
from agent.protocol.session_schema import MAX_INSTRUCTIONS, Audio, Modalities
from agent.protocol.session_settings import extra_fields, other_voice, read_limit, wire_format
from agent.protocol.structured_output import read_schema
from agent.protocol.tool_schema import names_unusable_tool, read_choice, read_tools
from agent.session.events import RespondNow, ToolChoice

PATH = "response"
MAX_METADATA = 64
"""Fields of a reply's metadata, at most."""
MAX_METADATA_TEXT = 4096
"""Characters of one value in it, at most."""


class ResponseConfig(Noted):
    """A reply as its client wants it."""

    instructions: str | None = Field(None, max_length=MAX_INSTRUCTIONS)
    output_modalities: Modalities | None = None
    conversation: str | None = None
    audio: Audio | None = None
    metadata: dict[str, Any] | None = None
    max_output_tokens: int | Literal["inf"] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    input: list[Any] | None = None
    text: Any = None
    response_format: Any = None


def read_response(value: dict[str, Any] | None, reading: Reading) -> RespondNow:
    """The options; what is left out is as the session has it.

    Raises:
        BadEvent: a field has a value that makes no sense.
    """
    if not value:
        return RespondNow()
    given = checked(ResponseConfig, modern(value), PATH)
    items, ignored = None, list(_ignored(given, reading))
    if given.input is not None:
        items, left_out = read_items(given.input, reading.input_format, f"{PATH}.input")
        ignored += left_out
        if any(item.sound is not None for item in items):
            raise bad_value(f"{PATH}.input", "sound needs a transcript here")
    tools, choice = _tools(given, reading, ignored)
    schema = read_schema(given.text, given.response_format, PATH)
    return RespondNow(
        instructions=given.instructions,
        items=items,
        metadata=_metadata(given.metadata),
        text_only=_text_only(given.output_modalities, schema),
        max_tokens=_limit(given.max_output_tokens, reading),
        tools=tools,
        tool_choice=choice,
        apart=given.conversation == "none",
        output_format=_output_format(given.audio),
        schema=schema,
        ignored=tuple(ignored),
    )


def _ignored(given: ResponseConfig, reading: Reading) -> Iterator[str]:
    """The wishes that cannot be applied."""
    for name, value in (given.model_extra or {}).items():
        if value is not None:
            yield f"{PATH}.{name[:40]}"
    if given.audio is not None:
        yield from extra_fields(given.audio, f"{PATH}.audio")
        if given.audio.output is not None:
            yield from other_voice(given.audio.output, reading, f"{PATH}.audio.output")


def _output_format(audio: Audio | None) -> WireFormat | None:
    output = None if audio is None else audio.output
    return None if output is None or output.format is None else wire_format(output.format)


def _text_only(modalities: list[Any] | None, schema: Mapping[str, Any] | None) -> bool | None:
    """Whether a reply is without sound; a document is never spoken."""
    if schema is not None:
        return True
    return None if not modalities else "audio" not in modalities


def _limit(value: int | str | None, reading: Reading) -> float | None:
    if value is None:
        return None
    limit = read_limit(value, PATH)
    return limit if reading.abilities.tools else math.inf


def _tools(
    given: ResponseConfig, reading: Reading, ignored: list[str]
) -> tuple[Any, ToolChoice | None]:
    """(functions, choice among them); ``ignored`` gets the functions that cannot be called."""
    tools = None
    if given.tools is not None:
        tools, unusable = read_tools(given.tools, f"{PATH}.tools", reading.abilities.refuses)
        ignored += unusable
    known = (*(reading.tools if tools is None else tools), *reading.abilities.own_tools())
    choice = None
    if names_unusable_tool(given.tool_choice, given.tools, known):
        ignored.append(f"{PATH}.tool_choice (it names a tool that is left out)")
    elif given.tool_choice is not None:
        choice = read_choice(given.tool_choice, known, f"{PATH}.tool_choice")
    if reading.abilities.tools:
        return tools, choice
    if tools:
        ignored.append(f"{PATH}.tools (this responder calls no functions)")
    return None, None


def _metadata(given: dict[str, Any] | None) -> dict[str, str] | None:
    if given is None:
        return None
    if len(given) > MAX_METADATA:
        raise bad_value(f"{PATH}.metadata", f"at most {MAX_METADATA} fields are allowed")
    for name, value in given.items():
        if not isinstance(value, str | int | float | bool | None):
            raise bad_value(f"{PATH}.metadata.{name[:40]}", "a value is a string", "invalid_type")
        if len(name) + len(_metadata_text(value)) > MAX_METADATA_TEXT:
            message = f"more than {MAX_METADATA_TEXT} characters"
            raise bad_value(f"{PATH}.metadata", message, "string_above_max_length")
    return {name: _metadata_text(value) for name, value in given.items() if value is not None}


def _metadata_text(value: Any) -> str:
    """A value as the text that the API wants; numbers and truth are written as in JSON."""
    return value if isinstance(value, str) else json.dumps(value)
