"""Functions of this server: Python functions as tools, built-in tools, and their bounds."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import sys
import threading
import types
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from agent.config.settings import Settings
from agent.config.tools import ToolSettings
from agent.errors import ConfigError
from agent.tools.base import ToolError
from agent.tools.docstrings import read_docstring
from agent.tools.functions import PythonTool, ToolThreads
from agent.tools.toolbox import CUT, Toolbox, load_tools


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Guest(BaseModel):
    name: str
    child: bool = False


@dataclass
class Booked:
    number: int
    guests: list[str]


def book(
    guests: int,
    day: Literal["today", "tomorrow"],
    size: Size = Size.SMALL,
    people: list[Guest] | None = None,
) -> Booked:
    """Book a table at the restaurant.

    It is kept for a quarter of an hour.

    Args:
        guests: how many people come,
            children included.
        day (str): the day.
        size: of the table.

    Returns:
        The number of the booking.
    """
    assert isinstance(size, Size)
    return Booked(guests, [guest.name for guest in people or []])


async def weather(city: Annotated[str, Field(min_length=2, description="A city.")]) -> str:
    """The weather."""
    await asyncio.sleep(0)
    return f"cold in {city}"


def closed() -> str:
    """Fails."""
    raise RuntimeError("the kitchen is closed")


def where() -> str:
    """Where it runs."""
    return threading.current_thread().name


def copy(schema: int, json: int, /, self: int) -> int:
    """Parameters that are called as methods of a model are."""
    return schema * 100 + json * 10 + self


def nothing() -> None:
    """Returns nothing."""


def unwritable() -> object:
    """Returns what is no JSON."""
    return {"x": object()}


def yielding_later() -> object:
    """Returns a generator."""
    return (n for n in range(3))


def long() -> str:
    """Says much."""
    return "x" * 5000


def untyped(guests) -> None:  # type: ignore[no-untyped-def]
    """Has no type."""


def variable(*guests: int) -> None:
    """Takes any number."""


def keywords(**guests: int) -> None:
    """Takes any name."""


def strange(what: threading.Lock) -> None:
    """Takes what has no schema."""


def unresolved(what: Missing) -> None:  # type: ignore[name-defined]  # noqa: F821
    """Takes what is not there."""


def yields() -> Any:
    """Yields."""
    yield 1


class Maker:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def times(self, number: int) -> int:
        """Multiply."""
        return number * self.factor

    def __call__(self, number: int) -> int:
        """Multiply, too."""
        return number * self.factor


maker = Maker(3)
twice = functools.partial(maker.times, 2)
CONSTANT = 3


def tool(name: str) -> PythonTool:
    return PythonTool(f"{__name__}:{name}")


async def run(name: str, arguments: Any = None, **settings: Any) -> Any:
    box = load_tools(ToolSettings(functions=(f"{__name__}:{name}",), **settings))
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return (await box.run(name.rpartition(".")[2], text, None)).text


def test_signature_and_docstring_are_the_schema() -> None:
    offer = tool("book").offer
    assert offer.name == "book"
    assert offer.run_by == "server"
    about = "Book a table at the restaurant. It is kept for a quarter of an hour."
    assert offer.description == about
    properties = offer.parameters["properties"]
    assert properties["guests"] == {
        "type": "integer", "description": "how many people come, children included."}  # fmt: skip
    assert properties["day"] == {
        "type": "string", "enum": ["today", "tomorrow"], "description": "the day."}  # fmt: skip
    assert offer.parameters["required"] == ["guests", "day"]
    assert offer.parameters["additionalProperties"] is False
    assert "title" not in json.dumps(offer.parameters)


def test_a_description_of_an_annotation_stays() -> None:
    city = tool("weather").offer.parameters["properties"]["city"]
    assert city == {"type": "string", "minLength": 2, "description": "A city."}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Do it.\n\nParameters\n----------\na : int\n    The a.\nb\n    The b,\n    too.\n\n"
         "Returns\n-------\nint\n", ("Do it.", {"a": "The a.", "b": "The b, too."})),
        ("Do it.\n\n:param a: The a\n    and more.\n:param int b: The b.\n:returns: x",
         ("Do it.", {"a": "The a and more.", "b": "The b."})),
        ("Args: none of them", ("Args: none of them", {})),
        ("Do it.\nArgs:\n    a: Is this: that.\n\n    b (int, optional): b\nRaises:\n    c: no",
         ("Do it.", {"a": "Is this: that.", "b": "b"})),
        (None, ("", {})),
    ],
)  # fmt: skip
def test_docstrings(text: str | None, found: tuple[str, dict[str, str]]) -> None:
    assert read_docstring(text) == found


async def test_results_are_words_or_json() -> None:
    given = {"guests": 4, "day": "today", "size": "large", "people": [{"name": "Ann"}]}
    assert json.loads(await run("book", given)) == {"number": 4, "guests": ["Ann"]}
    assert await run("weather", {"city": "Oslo"}) == "cold in Oslo"
    assert await run("nothing") == "done"
    assert await run("copy", {"schema": 1, "json": 2, "self": 3}) == "123"
    assert await run("maker.times", {"number": 2}) == "6"
    assert await run("maker", {"number": 2}) == "6"
    assert await run("twice") == "6"


async def test_a_function_that_is_not_async_runs_off_the_event_loop() -> None:
    assert await run("where") == "tool"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"guests": "many", "day": "today"}, "guests: Input should be a valid integer"),
        ({"day": "today"}, "guests: Field required"),
        ({"guests": 1, "day": "monday"}, "day: Input should be 'today' or 'tomorrow'"),
        ({"guests": 1, "day": "today", "people": [{}]}, "people.0.name: Field required"),
        ({"guests": 1, "day": "today", "price": 3}, "price: Extra inputs are not permitted"),
        ("[1]", "the arguments are no JSON object"),
        ("{", "the arguments are not JSON"),
    ],
)
async def test_wrong_arguments_are_an_error_for_the_model(arguments: Any, error: str) -> None:
    assert error in json.loads(await run("book", arguments))["error"]


async def test_what_goes_wrong_in_a_function_is_an_output(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert json.loads(await run("closed")) == {"error": "the kitchen is closed"}
    assert "Traceback" in caplog.text
    assert "JSON" in json.loads(await run("unwritable"))["error"]
    assert "generator" in json.loads(await run("yielding_later"))["error"]


async def test_a_long_result_is_cut() -> None:
    assert await run("long", max_result=100) == "x" * 100 + CUT


async def test_so_many_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    gates = [asyncio.Event() for _ in range(3)]
    begun: list[int] = []

    async def wait(number: int) -> str:
        begun.append(number)
        await gates[number].wait()
        return "done"

    monkeypatch.setattr(sys.modules[__name__], "wait", wait, raising=False)
    box = load_tools(ToolSettings(functions=(f"{__name__}:wait",), max_running=2))
    tasks = [
        asyncio.create_task(box.run("wait", json.dumps({"number": n}), None)) for n in range(3)
    ]
    while len(begun) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert begun == [0, 1]
    gates[0].set()
    await tasks[0]
    tasks[1].cancel()  # its place becomes free, too
    gates[2].set()
    assert (await tasks[2]).text == "done"


async def test_functions_that_never_return_hold_their_threads_and_no_more() -> None:
    release = threading.Event()
    threads = ToolThreads(2)

    def hang() -> str:
        release.wait(30)
        return "late"

    for _ in range(2):
        task = asyncio.create_task(threads.run(hang))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    with pytest.raises(ToolError, match="too many functions"):
        await threads.run(lambda: "now")
    release.set()
    async with asyncio.timeout(20):
        while True:
            try:
                assert await threads.run(lambda: "now") == "now"
                break
            except ToolError:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("untyped", "its parameter guests has no type"),
        ("variable", r"it takes \*guests"),
        ("keywords", r"it takes \*\*guests"),
        ("strange", "pydantic knows no schema"),
        ("unresolved", "annotations cannot be read: NameError"),
        ("yields", "yields"),
        ("CONSTANT", "is no function but int"),
        ("Maker", "is no function but type"),
        ("absent", "AttributeError"),
        ("maker.absent", "AttributeError"),
    ],
)
def test_what_is_not_fit_to_be_a_tool_is_said_when_it_is_loaded(spec: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as error:
        tool(spec)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("spec", ["nothing", "a.b", ":x", "json:", ""])
def test_a_tool_is_named_by_module_and_function(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"package\.module:function"):
        PythonTool(spec)


def test_a_module_that_is_missing_or_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="PYTHONPATH"):
        PythonTool("no_such_module:x")
    broken = types.ModuleType("broken_module")
    broken.__getattr__ = lambda name: 1 / 0  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "broken_module", broken)
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        PythonTool("broken_module:x")


def test_two_tools_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang_up() -> None:
        """Mine."""

    monkeypatch.setattr(sys.modules[__name__], "hang_up", hang_up, raising=False)
    settings = ToolSettings(built_in=("hang_up",), functions=(f"{__name__}:hang_up",))
    with pytest.raises(ConfigError, match="two tools are called 'hang_up'"):
        load_tools(settings)


# ---- built-in tools ------------------------------------------------------------------


class Line:
    """A telephone line that takes notes."""

    def __init__(self, transfers: bool = True) -> None:
        self.transfers = transfers
        self.done: list[tuple[str, str]] = []

    async def transfer(self, destination: str) -> None:
        self.done.append(("transfer", destination))

    async def send_dtmf(self, digits: str) -> None:
        self.done.append(("send_dtmf", digits))


TARGETS = {
    "desk": {"number": "+4930123456", "description": "the front desk"},
    "pbx": {"number": "100"},
}
ALL = ToolSettings.model_validate(
    {"built_in": ["hang_up", "transfer", "send_dtmf"], "transfer": TARGETS}
)


def names(box: Toolbox, line: object) -> list[str]:
    return [offer.name for offer in box.offered(line)]


def test_tools_are_offered_where_the_line_can_do_them(caplog: pytest.LogCaptureFixture) -> None:
    box = load_tools(ALL)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert names(box, object()) == names(box, None) == ["hang_up"]
    assert [record.getMessage().split()[2] for record in caplog.records] == [
        "transfer", "send_dtmf"]  # fmt: skip
    assert names(box, Line()) == ["hang_up", "transfer", "send_dtmf"]
    assert names(box, Line(transfers=False)) == ["hang_up", "send_dtmf"]
    assert names(load_tools(ToolSettings()), Line()) == []


async def test_hanging_up_ends_the_call_with_a_reason() -> None:
    result = await load_tools(ALL).run("hang_up", "{}", None)
    assert (result.leave, result.goodbye, result.reply) == ("the agent hung up", True, False)


async def test_a_transfer_goes_to_a_name_of_the_settings_only() -> None:
    box, line = load_tools(ALL), Line()
    (offer,) = [offer for offer in box.offered(line) if offer.name == "transfer"]
    assert offer.parameters["properties"]["target"]["enum"] == ["desk", "pbx"]
    assert "+49" not in json.dumps([offer.description, dict(offer.parameters)])
    result = await box.run("transfer", '{"target": "desk"}', line)
    assert result.leave == "transferred to desk"
    assert line.done == [("transfer", "+4930123456")]
    for wrong in ('{"target": "+15550199"}', '{"number": "1"}', "{}", '{"target": ["desk"]}'):
        refused = await box.run("transfer", wrong, line)
        assert "no such destination; choose desk, pbx" in json.loads(refused.text)["error"]
        assert not refused.leave
    assert len(line.done) == 1


@pytest.mark.parametrize(
    ("digits", "sent"),
    [("12#", "12#"), ("1 2-3", "123"), ("abcdw*", "ABCDw*"), ("W1", "w1"), ("1" * 33, None),
     ("", None), ("12x", None), (5, None), ("+4930", None)],
)  # fmt: skip
async def test_keys(digits: Any, sent: str | None) -> None:
    line = Line()
    result = await load_tools(ALL).run("send_dtmf", json.dumps({"digits": digits}), line)
    assert line.done == ([] if sent is None else [("send_dtmf", sent)])
    assert ("error" in json.loads(result.text)) is (sent is None)


async def test_a_tool_that_is_gone() -> None:
    result = await Toolbox().run("nothing", "{}", None)
    assert json.loads(result.text) == {"error": "the function nothing is not there any more"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"built_in": ["transfer"]},
        {"built_in": ["explode"]},
        {"transfer": {"a": {"number": "call me"}}},
        {"transfer": {"a": {"number": "sip:"}}},
        {"transfer": {"a b": {"number": "100"}}},
        {"seconds": 0},
        {"mcp": {"a": {}}},
        {"mcp": {"a": {"command": "x", "url": "http://x"}}},
        {"mcp": {"a": {"command": "x", "headers": {"a": "b"}}}},
        {"mcp": {"a": {"url": "ftp://x"}}},
        {"mcp": {"a": {"url": "http://x", "headers": {"A": "Bearer ${NOT_SET_ANYWHERE}"}}}},
        {"mystery": 1},
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"tools": wrong})


@pytest.mark.parametrize("number", ["+4930123456", "100", "sales", "sip:desk@pbx.example.com:5060"])
def test_destinations(number: str) -> None:
    ToolSettings.model_validate({"transfer": {"desk": {"number": number}}})
