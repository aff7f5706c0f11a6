"""MCP servers: programs or addresses whose tools this server offers to its responder."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent.config.tools import McpServerSettings, filled
from agent.errors import ConfigError
from agent.extras import install
from agent.reply import FunctionTool
from agent.tools.base import ToolError, ToolResult

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult, Tool

log = logging.getLogger("onebreath.tools")

READ_SECONDS = 300.0
"""Seconds for which a server may hold the stream of an answer open."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before another attempt to connect; they double from one to the next."""
CHECK_SECONDS = 30.0
"""Seconds between two questions whether a connected server is still there."""
MAX_TOOLS = 64
"""Tools of one server."""
MAX_TEXT = 32_768
"""Characters of a tool's description and schema."""


class McpTool:
    """One tool of an MCP server.

    Args:
        server: its server.
        name: its name there.
        offer: how it is offered here.
    """

    def __init__(self, server: McpServer, name: str, offer: FunctionTool) -> None:
        self._server = server
        self._name = name
        self.offer = offer

    def renamed(self, name: str) -> McpTool:
        """The same tool under another name."""
        return McpTool(self._server, self._name, replace(self.offer, name=name))

    def can_use(self, line: object) -> bool:
        return True

    async def run(self, arguments: Mapping[str, Any], line: object) -> ToolResult:
        return ToolResult(await self._server.call(self._name, dict(arguments)))


class McpServer:
    """The connection to one MCP server, made again whenever it breaks.

    Args:
        name: its name in the settings.

    Attributes:
        tools: the tools that may be used, as of the last connection.
        tried: set once the first attempt to connect is over.

    Raises:
        ConfigError: the package mcp is missing.
    """

    def __init__(self, name: str, settings: McpServerSettings) -> None:
        if importlib.util.find_spec("mcp") is None:
            raise ConfigError(
                f"tools.mcp.{name} needs the package mcp; install it: {install('mcp')}"
            )
        self.name = name
        self.tools: tuple[McpTool, ...] = ()
        self.tried = asyncio.Event()
        self._settings = settings
        self._client: Client | None = None
        self._broken = asyncio.Event()

    async def keep(self) -> None:
        """Connect, and connect again whenever the connection breaks, until cancelled."""
        wait = FIRST_WAIT
        while True:
            try:
                async with AsyncExitStack() as stack:
                    async with asyncio.timeout(self._settings.seconds):
                        client = await self._connect(stack)
                    wait = FIRST_WAIT
                    self._client = client
                    self.tried.set()
                    await self._watch(client)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # task groups of the library raise groups
                if isinstance(error, KeyboardInterrupt | SystemExit):
                    raise
                log.warning("the MCP server %s: %s", self.name, _reason(error))
            finally:
                self._client = None
                self.tried.set()
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    async def _connect(self, stack: AsyncExitStack) -> Client:
        from httpx2 import AsyncClient, Timeout
        from mcp import Client, StdioServerParameters
        from mcp.client.streamable_http import streamable_http_client

        chosen = self._settings
        if chosen.url is not None:
            patience = Timeout(chosen.seconds, read=READ_SECONDS)
            http = AsyncClient(headers=filled(chosen.headers), timeout=patience)
            await stack.enter_async_context(http)
            server: Any = streamable_http_client(chosen.url, http_client=http)
        else:
            server = StdioServerParameters(
                command=chosen.command or "", args=list(chosen.args), env=filled(chosen.env)
            )
        client = await stack.enter_async_context(Client(server))
        self.tools = tuple(await self._listed(client))
        names = ", ".join(tool.offer.name for tool in self.tools) or "none"
        log.info("the MCP server %s is connected; its tools: %s", self.name, names)
        self._broken.clear()
        return client

    async def _listed(self, client: Client) -> list[McpTool]:
        """The tools that may be used.

        A name of the settings that the server does not have is told in the log.
        """
        found: list[McpTool] = []
        cursor: str | None = None
        allowed = self._settings.tools
        while len(found) < MAX_TOOLS:
            page = await client.list_tools(cursor=cursor)
            for tool in page.tools:
                if allowed is None or tool.name in allowed:
                    found += self._offered(tool)
            cursor = page.next_cursor
            if not cursor:
                break
        missing = set(allowed or ()) - {tool._name for tool in found}
        if missing:
            log.warning("the MCP server %s has no tool %s", self.name, ", ".join(sorted(missing)))
        return found[:MAX_TOOLS]

    def _offered(self, tool: Tool) -> list[McpTool]:
        schema = {key: value for key, value in tool.input_schema.items() if key != "$schema"}
        about = tool.description or ""
        if len(about) + len(json.dumps(schema)) > MAX_TEXT:
            log.warning("the MCP server %s: %s has too long a schema", self.name, tool.name)
            return []
        name = re.sub(r"[^A-Za-z0-9_-]", "_", tool.name)[:64]
        return [McpTool(self, tool.name, FunctionTool(name, about, schema, "server"))]

    async def _watch(self, client: Client) -> None:
        """Return when the connection is broken.

        Raises:
            Exception: the server does not answer any more.
        """
        while not self._broken.is_set():
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._broken.wait()
            except TimeoutError:
                async with asyncio.timeout(self._settings.seconds):
                    await client.list_tools(cache_mode="refresh")

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """Call a tool; returns its result as text.

        Raises:
            ToolError: the server is not there, or the tool reports an error.
        """
        client = self._client
        if client is None or self._broken.is_set():
            raise ToolError(f"the server {self.name} cannot be reached at the moment")
        try:
            result = await client.call_tool(name, arguments)
        except Exception as error:
            if not _answered(error):
                self._broken.set()  # a connection that broke
            raise ToolError(f"the server {self.name}: {_reason(error)}") from error
        text = _text(result)
        if result.is_error:
            raise ToolError(text)
        return text


def _answered(error: Exception) -> bool:
    """Whether the server itself refused a call, so that the connection is sound."""
    from mcp import MCPError
    from mcp.types import CONNECTION_CLOSED

    return isinstance(error, MCPError) and error.error.code != CONNECTION_CLOSED


def _text(result: CallToolResult) -> str:
    """The result of a tool as words; what is no text is named."""
    parts = []
    for part in result.content:
        text = getattr(part, "text", None)
        parts.append(text if isinstance(text, str) else f"({part.type})")
    if not parts and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(parts) or "done"


def _reason(error: BaseException) -> str:
    """The innermost reason of an error, in one line."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return "no answer in time"
    # The model repeats it to the caller, and addresses may hold a key.
    words = re.sub(r"https?://[^\s'\"]+", "its address", str(error))
    return " ".join(words.split())[:300] or type(error).__name__
