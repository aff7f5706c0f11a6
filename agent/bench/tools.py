"""``onebreath bench tools``: spoken-style requests, the tools that are called and their arguments.

A file of requests has JSON lines: tools (`tool`, `description`, `parameters`) and requests
(`words`, `call`: the right tool or null, `arguments`: those that must agree; others are free text).
"""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final

from agent.bench.figures import Progress
from agent.errors import ConfigError
from agent.reply import FunctionTool, Message, ReplyOptions, ReplyPiece, ReplyText, ToolCall
from agent.responders.base import (
    Responder,
    ResponderCall,
    ToolUsingCall,
    WaitingCall,
    uses_tools,
)
from dllm_core.errors import OptionError
from dllm_core.tasks.scaffold import scaffold

REQUESTS: Final = Path(__file__).with_name("tool_requests.jsonl")
"""The requests that come with the program: 30, over five tools."""
INSTRUCTIONS = "You are a helpful voice assistant. Answer in one or two short sentences."


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """Words of a caller, and what a responder should do with them.

    Attributes:
        words: the words, as a recogniser writes them.
        call: name of the right tool; None for none.
        arguments: the arguments that must agree, by name.
    """

    words: str
    call: str | None
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AnsweredRequest:
    """One request with what the responder did.

    Attributes:
        words, right: the request and its right tool.
        called: the tool that was called; None for none.
        arguments: JSON text of the arguments.
        right_tool: whether the right tool, or rightly none, was called.
        right_arguments: whether the right tool was called with the right arguments; None where no
            tool should be called.
        valid: whether the arguments parse and fit the schema; None without a call.
        ms: milliseconds from the cached prompt to the complete call, or to the first text.
        cpu_ms: processor time of this process in between, over all threads.
    """

    words: str
    right: str | None
    called: str | None
    arguments: str
    right_tool: bool
    right_arguments: bool | None
    valid: bool | None
    ms: float
    cpu_ms: float

    def to_row(self) -> dict[str, Any]:
        """The request as a JSON row."""
        return {"what": "request", **asdict(self)}


def read_requests(path: Path) -> tuple[list[FunctionTool], list[ToolRequest]]:
    """The tools and requests of a file.

    Raises:
        ConfigError: the file cannot be read, or a line is wrong; the message names the line.
    """
    tools, requests = [], []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if "tool" in row:
                scaffold(row["parameters"])
                tools.append(FunctionTool(row["tool"], row["description"], row["parameters"]))
            else:
                requests.append(ToolRequest(row["words"], row["call"], row["arguments"]))
        except (ValueError, KeyError, TypeError, OptionError) as error:
            raise ConfigError(f"{path}, line {number}: {error!r}") from error
    known = {tool.name for tool in tools}
    wrong = next((r.call for r in requests if r.call is not None and r.call not in known), None)
    if wrong is not None or not requests:
        raise ConfigError(f"{path}: no requests, or one of an unknown tool: {wrong!r}")
    return tools, requests


def run_tools(
    responder: Responder,
    tools: Sequence[FunctionTool],
    requests: Sequence[ToolRequest],
    progress: Progress,
) -> list[AnsweredRequest]:
    """Ask a responder all requests, each as the first turn of a call.

    Raises:
        ConfigError: the responder does not use tools.
    """
    if not uses_tools(responder):
        raise ConfigError("this responder does not call tools: choose diffusion or hosted")
    return asyncio.run(_ask_all(responder, tools, requests, progress))


async def _ask_all(
    responder: Responder,
    tools: Sequence[FunctionTool],
    requests: Sequence[ToolRequest],
    progress: Progress,
) -> list[AnsweredRequest]:
    options = ReplyOptions(tuple(tools))
    await _ask(responder, requests[0], options)  # warm-up
    found = []
    for i, request in enumerate(requests, 1):
        progress(f"request {i} of {len(requests)}")
        found.append(await _ask(responder, request, options))
    return found


async def _ask(
    responder: Responder, request: ToolRequest, options: ReplyOptions
) -> AnsweredRequest:
    call = responder.open()
    messages = [Message("system", INSTRUCTIONS), Message("user", request.words)]
    made: ToolCall | None = None
    try:
        if isinstance(call, WaitingCall):
            await call.prepare(messages, options)
        elif isinstance(call, ToolUsingCall):
            call.prepare_with(messages, options)
        begin, busy = perf_counter(), process_time()
        async with aclosing(_pieces(call, messages, options)) as pieces:
            async for piece in pieces:
                made = piece if isinstance(piece, ToolCall) else None
                if isinstance(piece, ToolCall | ReplyText):
                    break
        took = (perf_counter() - begin) * 1e3, (process_time() - busy) * 1e3
    finally:
        closed = call.close()
        if closed is not None:
            await closed
    return judged(request, made, options.tools, took)


async def _pieces(
    call: ResponderCall | WaitingCall, messages: Sequence[Message], options: ReplyOptions
) -> AsyncGenerator[ReplyPiece, None]:
    if isinstance(call, WaitingCall):
        async with aclosing(call.reply(messages, None, options)) as pieces:
            async for piece in pieces:
                yield piece
    elif isinstance(call, ToolUsingCall):
        for piece in call.reply_with(messages, options):
            yield piece


def judged(
    request: ToolRequest,
    made: ToolCall | None,
    tools: Sequence[FunctionTool],
    took: tuple[float, float],
) -> AnsweredRequest:
    """Compare a call with the right one; strings agree without case and outer spaces.

    `took` is (wall, processor) time in milliseconds.
    """
    called = None if made is None else made.name
    valid, right_arguments = None, None if request.call is None else False
    if made is not None:
        given, valid = _checked(made, tools)
        if called == request.call:
            wanted = request.arguments.items()
            right_arguments = all(
                _plain(given.get(name)) == _plain(value) for name, value in wanted
            )
    return AnsweredRequest(
        request.words, request.call, called, "" if made is None else made.arguments,
        called == request.call, right_arguments, valid, *(round(ms, 2) for ms in took),
    )  # fmt: skip


def _checked(made: ToolCall, tools: Sequence[FunctionTool]) -> tuple[dict[str, Any], bool]:
    """(arguments, whether they parse and fit the schema)."""
    try:
        from jsonschema import Draft202012Validator as Validator
    except ImportError as error:
        raise ConfigError("this needs the package jsonschema: pip install jsonschema") from error
    try:
        given = json.loads(made.arguments)
    except ValueError:
        return {}, False
    schema: dict[str, Any] = next(
        (dict(t.parameters) for t in tools if t.name == made.name), {"not": {}}
    )
    valid = isinstance(given, dict) and Validator(schema).is_valid(given)
    return (given if isinstance(given, dict) else {}), valid


def _plain(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def summarise(answered: Sequence[AnsweredRequest]) -> dict[str, Any]:
    """The figures of all requests, as one JSON row."""
    calls = [each for each in answered if each.right is not None]
    valid = [each.valid for each in answered if each.valid is not None]
    times = [each.ms for each in answered if each.called is not None]
    busy = [each.cpu_ms for each in answered if each.called is not None]
    words = [each.ms for each in answered if each.called is None]
    return {
        "what": "tools",
        "requests": len(answered),
        "right_tool": _share([each.right_tool for each in answered]),
        "right_arguments": _share([bool(each.right_arguments) for each in calls]),
        "valid": _share(valid),
        "call_ms": round(statistics.median(times), 1) if times else None,
        "call_cpu_ms": round(statistics.median(busy), 1) if busy else None,
        "first_text_ms": round(statistics.median(words), 1) if words else None,
    }


def _share(found: Sequence[bool]) -> float | None:
    return round(sum(found) / len(found), 3) if found else None
