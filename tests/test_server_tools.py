"""Functions that the server runs, as a standard client of a real server sees them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from test_server import close_code, dial, server
from test_standard_client import Client

from agent.cli import main as cli
from agent.config.tools import ToolSettings
from agent.reply import FunctionTool, ToolCall
from agent.responders.engine_tools import schema_problem
from agent.tools.toolbox import load_tools

PAGE = (Path(__file__).parents[1] / "docs" / "tools.md").read_text()
BAD = {"type": "object", "properties": {"when": {"type": "string", "pattern": "x"}}}


@pytest.fixture
def booking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The module of the page is there; the functions that the page's command names."""
    name, code = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL)[0]
    (tmp_path / name).write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    (command,) = re.findall(r"^    PYTHONPATH=\. onebreath serve (.*)$", PAGE, re.MULTILINE)
    words = command.split()
    assert words[::2] == ["--tools"] * (len(words) // 2)
    return tuple(words[1::2])


@asynccontextmanager
async def client(answers: dict[str, Any], tools: dict[str, Any]) -> AsyncIterator[Client]:
    async with (
        server(answers={"Hello.": "Good day.", **answers}, tools=tools) as (address, engines),
        dial(address, "") as line,
    ):
        opened = Client(line)
        opened.engines = engines
        await opened.until("session.created")
        yield opened


async def ask(it: Client, text: str) -> None:
    await it.type_text(text)
    await it.send("response.create")


async def test_the_example_of_the_page_runs_as_it_is_written(booking: tuple[str, ...]) -> None:
    good = {"guests": 4, "day": "2026-12-04", "area": "terrace"}
    answers = {
        "a table": ToolCall("", "book_table", json.dumps(good)),
        "a big one": ToolCall("", "book_table", json.dumps({**good, "guests": 40})),
        "when": ToolCall("", "opening_hours", "{}"),
    }
    async with client(answers, {"functions": booking}) as it:
        outputs = []
        for words in answers:
            await ask(it, words)
            await it.until("response.done")
            await it.until("response.done")
            done = [e["item"] for e in it.seen if e["type"] == "conversation.item.done"]
            outputs.append([e for e in done if e["type"] == "function_call_output"][-1]["output"])
        offered = it.engines.responder.options[0].tools
    assert outputs == [
        "Booked for 4 on Friday, terrace.",
        '{"error": "We seat at most twelve; the caller should write to us."}',
        '{"monday":"closed","other days":"6 pm to 11 pm"}',
    ]
    book, hours = offered
    assert book.description == "Book a table at the restaurant."
    assert book.parameters["properties"]["day"]["format"] == "date"
    assert schema_problem(book) is None
    assert schema_problem(hours) is None


async def test_the_items_are_those_of_the_api_and_no_client_runs_them(
    booking: tuple[str, ...],
) -> None:
    async with client(
        {"when": ToolCall("c1", "opening_hours", "{}")}, {"functions": booking}
    ) as it:
        await ask(it, "when")
        first = (await it.until("response.done"))["response"]
        second = (await it.until("response.done"))["response"]
        call, output = (
            e["item"]
            for e in it.seen
            if e["type"] == "conversation.item.added" and e["item"]["type"] != "message"
        )
        await it.send("conversation.item.retrieve", item_id=output["id"])
        assert (await it.until("conversation.item.retrieved"))["item"] == output
        await it.send("conversation.item.create", item={**output, "id": "mine"})
        assert (await it.error())["code"] == "item_create_invalid_call_id"
    assert (first["status"], first["output"]) == ("completed", [])
    assert second["output"][0]["type"] == "message"
    ids = {"object": "realtime.item", "status": "completed", "call_id": "c1"}
    kind = {"type": "function_call", "name": "opening_hours", "arguments": "{}"}
    assert {**call, "id": ""} == {**ids, **kind, "id": ""}
    assert output["type"] == "function_call_output"
    assert not [kind for kind in it.kinds() if "function_call" in kind]


async def test_the_agent_says_goodbye_and_hangs_up() -> None:
    async with client({"bye": ToolCall("", "hang_up", "{}")}, {"built_in": ["hang_up"]}) as it:
        await ask(it, "bye")
        await it.until("response.done")
        goodbye = (await it.until("response.done"))["response"]
        assert goodbye["output"][0]["content"][0]["transcript"] == "Goodbye."
        assert await close_code(it.line) == 1000


async def test_a_client_may_choose_a_function_of_the_server(booking: tuple[str, ...]) -> None:
    async with client({}, {"functions": booking}) as it:
        choice = {"type": "function", "name": "opening_hours"}
        await it.send("session.update", session={"type": "realtime", "tool_choice": choice})
        session = (await it.until("session.updated"))["session"]
        assert (session["tool_choice"], session["tools"]) == (choice, [])
        choice = {"type": "function", "name": "explode"}
        await it.send("session.update", session={"type": "realtime", "tool_choice": choice})
        error = await it.error()
    assert (error["param"], "book_table" in error["message"]) == ("session.tool_choice.name", True)


async def test_a_schema_that_cannot_be_filled_is_told_and_the_rest_applied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.responders.scripted.ScriptedResponder.refuses",
                        staticmethod(schema_problem), raising=False)  # fmt: skip
    good = {"type": "function", "name": "good", "parameters": {"type": "object"}}
    bad = {"type": "function", "name": "bad", "parameters": BAD}
    async with client({}, {}) as it:
        update = {"type": "realtime", "tools": [good, bad], "onebreath": {"events": True}}
        await it.send("session.update", session={**update, "instructions": "Be kind."})
        session = (await it.until("session.updated"))["session"]
        notice = await it.until("onebreath.notice")
        assert [tool["name"] for tool in session["tools"]] == ["good"]
        assert session["instructions"] == "Be kind."
        assert "session.tools[1].parameters.properties.when (" in notice["message"]
        assert "'pattern'" in notice["message"]
        await it.send("response.create", response={"tools": [bad]})
        notice = await it.until("onebreath.notice")
        assert "response.tools[0].parameters.properties.when (" in notice["message"]
        await it.until("response.done")
        assert not [tool for tool in it.engines.responder.options[-1].tools if tool.name == "bad"]


def test_the_scaffold_says_where() -> None:
    assert schema_problem(FunctionTool("x", "", {"type": "object"})) is None
    assert "#/properties/when" in (schema_problem(FunctionTool("x", "", BAD)) or "")


@pytest.mark.parametrize("spec", ["nothing", "no_such_module:x", "json:dumps", "json:decoder"])
def test_a_mistake_on_the_command_line_is_one_sentence(
    spec: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["onebreath", "serve", "--port", "0", "--responder", "scripted", "--tools", spec]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert spec in said.replace("\n", " ").replace("  ", " ")
    assert "Traceback" not in said


def test_the_flag_takes_the_place_of_the_settings(booking: tuple[str, ...]) -> None:
    from agent.config.sources import load_settings

    settings = load_settings({"tools": {"functions": list(booking)}})
    assert settings.tools == ToolSettings(functions=booking)
    assert [offer.name for offer in load_tools(settings.tools).offered()] == [
        "book_table", "opening_hours"]  # fmt: skip
