"""All functions of one server: which of them a call is offered, and their bounded running."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext

from agent.config.tools import ToolSettings
from agent.errors import ConfigError
from agent.reply import FunctionTool
from agent.tools.base import ServerTool, ToolError, ToolResult
from agent.tools.built_in import built_in
from agent.tools.functions import MAX_MESSAGE, PythonTool, ToolThreads
from agent.tools.mcp_servers import McpServer

log = logging.getLogger("onebreath.tools")

CUT = " ... (cut)"


class Toolbox:
    """The functions of one server.

    Args:
        tools: the functions, each with a name of its own.
        servers: MCP servers, whose functions are known once they are connected.
    """

    def __init__(
        self,
        settings: ToolSettings | None = None,
        tools: Sequence[ServerTool] = (),
        servers: Sequence[McpServer] = (),
    ) -> None:
        self._settings = settings or ToolSettings()
        self._tools = {tool.offer.name: tool for tool in tools}
        self._servers = servers
        self._places = asyncio.Semaphore(self._settings.max_running)
        self._said: set[str] = set()

    def _all(self) -> dict[str, ServerTool]:
        """The functions by name; a function of an MCP server gives way to others of its name."""
        found = dict(self._tools)
        for server in self._servers:
            for tool in server.tools:
                name = tool.offer.name
                if name in found:
                    tool = tool.renamed(f"{server.name}_{name}"[:64])
                found.setdefault(tool.offer.name, tool)
        return found

    def offered(self, line: object = None) -> tuple[FunctionTool, ...]:
        """The functions of a call over the transport ``line``; None: those of every transport."""
        offers = []
        for tool in self._all().values():
            if tool.can_use(line):
                offers.append(tool.offer)
            elif line is not None:
                self._say_once(tool.offer.name, type(line).__name__)
        return tuple(offers)

    def _say_once(self, name: str, line: str) -> None:
        if (where := f"{name} {line}") not in self._said:
            self._said.add(where)
            log.info("the tool %s is not offered on calls that cannot do it (%s)", name, line)

    async def run(self, name: str, arguments: str, line: object) -> ToolResult:
        """Run a function; whatever goes wrong is a result that the model can explain.

        Args:
            arguments: JSON text of an object.
            line: the transport of the call.
        """
        try:
            tool = self._all().get(name)
            if tool is None:
                raise ToolError(f"the function {name} is not there any more")
            given = _object(arguments)
            # Functions of others that take long keep no caller from hanging up.
            own = name in self._settings.built_in
            async with nullcontext() if own else self._places:
                result = await tool.run(given, line)
        except ToolError as error:
            return _failed(str(error))
        except Exception as error:  # of a function of others, any
            log.warning("the tool %s failed", name, exc_info=error)
            said = " ".join(str(error).split()) or type(error).__name__
            return _failed(said[:MAX_MESSAGE])
        most = self._settings.max_result
        if len(result.text) > most:
            return ToolResult(result.text[:most] + CUT, result.reply, result.leave, result.goodbye)
        return result

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the MCP servers connected meanwhile."""
        keeping = [asyncio.create_task(server.keep()) for server in self._servers]
        try:
            await asyncio.gather(*(server.tried.wait() for server in self._servers))
            yield
        finally:
            for task in keeping:
                task.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)


def load_tools(settings: ToolSettings) -> Toolbox:
    """The functions that the settings name, checked.

    Raises:
        ConfigError: a function cannot be loaded or is not fit to be a tool, two have the same
            name, or a package is missing.
    """
    tools = built_in(settings)
    threads = ToolThreads(settings.max_running)
    tools += [PythonTool(spec, threads) for spec in dict.fromkeys(settings.functions)]
    names: set[str] = set()
    for tool in tools:
        if tool.offer.name in names:
            raise ConfigError(f"two tools are called {tool.offer.name!r}; rename one of them")
        names.add(tool.offer.name)
    servers = [McpServer(name, settings.mcp[name]) for name in sorted(settings.mcp)]
    return Toolbox(settings, tools, servers)


def _object(arguments: str) -> dict[str, object]:
    try:
        given = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        raise ToolError("the arguments are not JSON") from None
    if not isinstance(given, dict):
        raise ToolError("the arguments are no JSON object")
    return given


def _failed(message: str) -> ToolResult:
    return ToolResult(json.dumps({"error": message}, ensure_ascii=False))
