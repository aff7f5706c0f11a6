"""Tools of MCP servers: a real one of the official package, over stdio and streamable HTTP."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.config.tools import ToolSettings
from agent.errors import ConfigError
from agent.extras import install
from agent.tools import mcp_servers
from agent.tools.toolbox import Toolbox, load_tools

needs_mcp = pytest.mark.skipif(importlib.util.find_spec("mcp") is None, reason="mcp is missing")
PROGRAM = Path(__file__).parent / "support" / "mcp_server.py"
PATH = {"PYTHONPATH": os.pathsep.join(sys.path)}
STDIO = {"command": sys.executable, "args": [str(PROGRAM)], "env": PATH, "seconds": 60}


def box(**servers: Any) -> Toolbox:
    return load_tools(ToolSettings.model_validate({"mcp": servers}))


def names(toolbox: Toolbox) -> list[str]:
    return sorted(offer.name for offer in toolbox.offered())


async def call(toolbox: Toolbox, name: str, **arguments: Any) -> str:
    return (await toolbox.run(name, json.dumps(arguments), None)).text


async def come(toolbox: Toolbox, name: str) -> None:
    """Wait until a function answers again."""
    async with asyncio.timeout(30):
        while "error" in await call(toolbox, name, a=1, b=1):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.fixture
def http() -> Iterator[str]:
    """The address of a server over HTTP."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen([sys.executable, str(PROGRAM), str(port)], stderr=subprocess.PIPE) as it:
        assert it.stderr is not None
        for line in it.stderr:  # until uvicorn says that it runs
            if b"running on" in line:
                break
        yield f"http://127.0.0.1:{port}/mcp"
        it.kill()


@needs_mcp
@pytest.mark.slow
async def test_a_program_is_started_and_its_tools_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_GREETING", "hello")
    toolbox = box(tiny={**STDIO, "env": {**PATH, "GREETING": "${SECRET_GREETING}"}})
    assert names(toolbox) == []
    async with toolbox.running():
        assert names(toolbox) == ["add", "dies", "environment", "fails", "shout_loudly"]
        (add,) = [offer for offer in toolbox.offered() if offer.name == "add"]
        assert (add.description, add.run_by) == ("Add two numbers.", "server")
        assert add.parameters["properties"]["a"]["type"] == "integer"
        assert await call(toolbox, "add", a=2, b=3) == "5"
        assert await call(toolbox, "shout_loudly", words="hey") == "HEY"
        assert await call(toolbox, "environment") == "hello"
        assert "the oven is cold" in json.loads(await call(toolbox, "fails"))["error"]
        assert "error" in json.loads(await call(toolbox, "add", a="x", b=3))
        assert await call(toolbox, "add", a=2, b=3) == "5"


@needs_mcp
@pytest.mark.slow
async def test_an_address(http: str) -> None:
    toolbox = box(far={"url": http, "seconds": 60, "tools": ["add", "absent"]})
    async with toolbox.running():
        assert names(toolbox) == ["add"]
        assert await call(toolbox, "add", a=2, b=3) == "5"
        assert "not there any more" in await call(toolbox, "environment")


@needs_mcp
@pytest.mark.slow
async def test_a_server_that_dies_blocks_no_call_and_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mcp_servers, "FIRST_WAIT", 0.05)
    toolbox = box(tiny=STDIO)
    async with toolbox.running():
        assert "error" in await call(toolbox, "dies")
        at_once = await call(toolbox, "add", a=1, b=1)
        assert at_once == "2" or "cannot be reached" in at_once
        await come(toolbox, "add")


@pytest.mark.slow
@needs_mcp
async def test_a_server_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/mcp"
        toolbox = box(a={"command": "/no/such/program"}, b={"url": url, "seconds": 5})
        async with toolbox.running():
            assert names(toolbox) == []
    said = [record.getMessage() for record in caplog.records]
    assert any("MCP server a" in line for line in said)
    assert any("MCP server b" in line for line in said)


@needs_mcp
@pytest.mark.slow
async def test_two_servers_with_a_tool_of_the_same_name() -> None:
    toolbox = box(one={**STDIO, "tools": ["add"]}, two={**STDIO, "tools": ["add"]})
    async with toolbox.running():
        assert names(toolbox) == ["add", "two_add"]
        assert await call(toolbox, "two_add", a=2, b=3) == "5"


def test_without_the_package_the_way_to_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as error:
        box(tiny=STDIO)
    assert install("mcp") in str(error.value)
