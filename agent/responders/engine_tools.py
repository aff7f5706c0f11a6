"""Function tools of the local engines: which one is called is scored, arguments fill a scaffold."""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from agent.reply import FunctionTool, Message, ReplyOptions
from dllm_core.decode.backend import Cache
from dllm_core.engine import Engine
from dllm_core.errors import OptionError
from dllm_core.tasks.json_fill import JsonFiller
from dllm_core.tasks.nodes import Fields
from dllm_core.tasks.routing import MOST_TASKS, Router
from dllm_core.tasks.scaffold import scaffold

_log = logging.getLogger(__name__)
_KEPT = 8
"""Sets of tools whose descriptions stay in memory."""
_NO_ARGUMENTS = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class Decision:
    """What a reply does: call a tool, or speak.

    Attributes:
        tool: the tool to call; None to speak.
        probability: probability of that, 0 to 1.
        ms: milliseconds that the decision took.
    """

    tool: FunctionTool | None
    probability: float
    ms: float


class EngineTools:
    """Chooses tools and writes their arguments; shared by all calls of a responder.

    Args:
        engine: the engine.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._filler: JsonFiller | None = None
        self._routers: OrderedDict[tuple[tuple[str, str], ...], Router] = OrderedDict()
        self._refused: set[str] = set()
        self._checked: OrderedDict[int, tuple[object, list[FunctionTool]]] = OrderedDict()

    def prepare(self, options: ReplyOptions) -> None:
        """Read the descriptions of the tools, ahead of a decision."""
        tools = self._usable(options)
        if tools:
            self._router(tools)
            self._json()

    def decide(self, messages: Sequence[Message], options: ReplyOptions) -> Decision:
        """Whether the reply to the last message of the caller calls a tool.

        The output of a tool is answered in words, unless the options require a call.

        Raises:
            OptionError: a call is required, but no tool has a schema that can be filled.
            PromptTooLongError: the tools do not fit the context.
        """
        begin = perf_counter()
        tools, last = self._usable(options), messages[-1] if messages else None
        if not tools and options.must_call:
            raise OptionError(f"No tool can be called: {'; '.join(sorted(self._refused))}")
        asked = last is not None and last.role == "user"
        if not tools or not (asked or options.must_call):
            return Decision(None, 1.0, 0.0)
        if options.must_call and len(tools) == 1:
            return Decision(tools[0], 1.0, 0.0)
        route = self._router(tools).route(routed_words(messages), required=options.must_call)
        tool = None if route.task is None else tools[route.task]
        return Decision(tool, route.probability, (perf_counter() - begin) * 1e3)

    def arguments(self, prompt: Sequence[int], cache: Cache, tool: FunctionTool) -> str:
        """JSON text of the arguments of a call, valid by the tool's schema.

        Args:
            prompt: token ids of the conversation, up to where the reply begins.
            cache: holds the prompt, and holds it and the name of the tool afterwards.
            tool: the tool that is called.

        Raises:
            PromptTooLongError: prompt and arguments do not fit the context.
        """
        begin = self._engine.tokenizer.encode(f'{{"name": {json.dumps(tool.name)}, "arguments": ')
        document = self._json().fill([*prompt, *begin], _schema(tool), cache)
        return json.dumps(document, ensure_ascii=False)

    def _json(self) -> JsonFiller:
        self._filler = self._filler or JsonFiller(self._engine)
        return self._filler

    def _router(self, tools: Sequence[FunctionTool]) -> Router:
        key = tuple((tool.name, tool.description) for tool in tools)
        found = self._routers.pop(key, None) or Router(self._engine, [_task(t) for t in tools])
        self._routers[key] = found
        if len(self._routers) > _KEPT:
            self._routers.popitem(last=False)
        return found

    def _usable(self, options: ReplyOptions) -> list[FunctionTool]:
        """The tools that may be called and whose schema can be filled; the others are logged."""
        # Offered with every reply of a call: checked once. The tuple is kept, so that its id is.
        known = self._checked.pop(id(options.tools), None) or (
            options.tools,
            [tool for tool in options.tools if self._can_fill(tool)],
        )
        self._checked[id(options.tools)] = known
        if len(self._checked) > _KEPT:
            self._checked.popitem(last=False)
        usable = [tool for tool in known[1] if tool in options.usable]
        if len(usable) > MOST_TASKS:
            self._refuse(f"{len(usable)} tools: the first {MOST_TASKS} are used.")
        return usable[:MOST_TASKS]

    def _can_fill(self, tool: FunctionTool) -> bool:
        problem = schema_problem(tool)
        if problem is not None:
            self._refuse(f"The tool {tool.name!r} is left out: {problem}")
        return problem is None

    def _refuse(self, reason: str) -> None:
        if reason not in self._refused and len(self._refused) < 1000:
            self._refused.add(reason)
            _log.warning("%s", reason)


def routed_words(messages: Sequence[Message]) -> str:
    """The words that a tool is chosen by: the caller's last ones.

    Where they answer a question of the agent ("for how many?"), they stand behind that question and
    the words that led to it. A question after the output of a tool begins something new.
    """
    places = [i for i, message in enumerate(messages) if message.role == "user"]
    if not places:
        return ""
    words, before = messages[places[-1]].content, messages[max(0, places[-1] - 2) : places[-1]]
    if [message.role for message in before] != ["user", "assistant"]:
        return words
    wish, question = (message.content.strip() for message in before)
    if before[1].calls or not question.endswith("?"):
        return words
    return f'{wish}" Assistant: "{question}" Caller: "{words}'


def schema_problem(tool: FunctionTool) -> str | None:
    """Why the arguments of a tool cannot be written, with the path in its schema; None if they can.

    A path begins with ``#``.
    """
    try:
        if not isinstance(scaffold(_schema(tool)), Fields):
            return "The parameters of a tool must be an object."
    except OptionError as error:
        return str(error)
    return None


def _schema(tool: FunctionTool) -> Mapping[str, Any]:
    """The schema of a tool's arguments; an object where it says nothing else.

    Raises:
        OptionError: the parameters are no schema.
    """
    given: Any = tool.parameters or _NO_ARGUMENTS
    if not isinstance(given, Mapping):
        raise OptionError("The parameters of a tool must be a JSON schema.")
    return {"type": "object", **given}


def _task(tool: FunctionTool) -> str:
    return tool.description.strip() or tool.name.replace("_", " ").replace("-", " ")
