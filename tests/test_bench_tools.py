"""Requests of the bench of tools: read, judged, summarised; a responder asked from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_engine_tools import WEATHER, chatting

from agent.bench.tools import REQUESTS, ToolRequest, judged, read_requests, run_tools, summarise
from agent.errors import ConfigError
from agent.reply import ToolCall
from agent.responders.diffusion import DiffusionCall
from agent.responders.engine_tools import EngineTools
from dllm_core import DecodeOptions

pytest.importorskip("jsonschema")
ASKED = ToolRequest("is it cold in Oslo", "get_weather", {"city": "oslo"})


def test_the_requests_of_the_program_are_thirty_over_five_tools() -> None:
    tools, requests = read_requests(REQUESTS)
    assert (len(tools), len(requests)) == (5, 30)
    assert {request.call for request in requests} == {tool.name for tool in tools} | {None}


@pytest.mark.parametrize(
    ("arguments", "right", "valid"),
    [
        ('{"city": " Oslo"}', True, True),
        ('{"city": "Rome"}', False, True),
        ('{"town": "Oslo"}', False, False),
        ("[]", False, False),
        ("{", False, False),
    ],
)
def test_calls_are_judged(arguments: str, right: bool, valid: bool) -> None:
    found = judged(ASKED, ToolCall("c", "get_weather", arguments), [WEATHER], (5.0, 4.0))
    assert (found.right_tool, found.right_arguments, found.valid) == (True, right, valid)


def test_missed_and_needless_calls_count_against_the_responder() -> None:
    missed = judged(ASKED, None, [WEATHER], (4.0, 4.0))
    made = ToolCall("c", "get_weather", '{"city": "Oslo"}')
    needless = judged(ToolRequest("hi", None, {}), made, [WEATHER], (6.0, 4.0))
    figures = summarise([missed, needless, judged(ASKED, made, [WEATHER], (8.0, 5.0))])
    assert figures == {
        "what": "tools", "requests": 3, "right_tool": 0.333, "right_arguments": 0.5,
        "valid": 1.0, "call_ms": 7.0, "call_cpu_ms": 4.5, "first_text_ms": 4.0,
    }  # fmt: skip


class Local:
    """A tiny engine as a responder."""

    uses_tools = True

    def __init__(self) -> None:
        self._engine = chatting()
        self._tools = EngineTools(self._engine)

    def open(self) -> DiffusionCall:
        return DiffusionCall(self._engine, DecodeOptions(max_tokens=4), self._tools)

    def warm_up(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


@pytest.mark.slow
def test_a_responder_is_asked_all_requests() -> None:
    tools, requests = read_requests(REQUESTS)
    found = run_tools(Local(), tools, requests[:6], lambda line: None)
    assert [each.words for each in found] == [each.words for each in requests[:6]]
    assert all(each.valid in (True, None) for each in found)
    assert json.dumps([each.to_row() for each in found])


@pytest.mark.parametrize(
    "text", ["", "{", '{"words": "a", "call": "x", "arguments": {}}', '{"tool": "a"}', "[]"]
)
def test_a_bad_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"requests\.jsonl"):
        read_requests(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_requests(tmp_path / "none")
