"""A tiny MCP server of the official package, over stdio, or over HTTP at ``argv[1]`` = a port."""

from __future__ import annotations

import os
import sys

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("tiny")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(name="shout.loudly")
def shout(words: str) -> str:
    """Say it loudly."""
    return words.upper()


@server.tool()
def fails() -> str:
    """Fail."""
    raise ToolError("the oven is cold")


@server.tool()
def environment() -> str:
    """The greeting of the environment."""
    return os.environ.get("GREETING", "none")


@server.tool()
def dies() -> str:
    """End the server."""
    os._exit(3)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run()
