"""The local engines call tools: one scored choice, arguments that are valid by the schema."""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_decide import engine_of

from agent.reply import FunctionTool, Message, ReplyOptions, ReplyPiece, ToolCall, ToolCallStarted
from agent.responders.base import (
    Prefilled,
    ReplyDone,
    ReplyText,
    ResponderError,
    ToolUsingCall,
    uses_tools,
)
from agent.responders.diffusion import DiffusionCall, DiffusionResponder
from agent.responders.engine_tools import EngineTools, routed_words
from dllm_core import DecodeOptions, OptionError
from dllm_core.engine import Engine
from dllm_core.tasks.routing import Router

jsonschema = pytest.importorskip("jsonschema")

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 8},
        "day": {"enum": ["today", "tomorrow"]},
        "guests": {"type": "integer", "minimum": 1, "maximum": 50},
    },
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = FunctionTool("get_weather", "The weather in a city.", SCHEMA)
HANG_UP = FunctionTool("hang_up", "End the call.")
BAD = FunctionTool("bad", "Bad.", {"type": "object", "properties": {"a": {"pattern": "x"}}})
ASKED = [Message("system", "be short"), Message("user", "is it cold in Oslo?")]


class Chatting(Engine):
    """A tiny engine with a chat template: messages one behind another."""

    def encode_chat(self, messages: Any) -> list[int]:
        return self.tokenizer.encode("".join(f"{role}: {words}\n" for role, words in messages))


def chatting(kind: str = "causal") -> Engine:
    tiny = engine_of(kind, 2048)
    return Chatting(tiny.model, tiny.tokenizer, 2048)


def call_of(engine: Engine) -> DiffusionCall:
    rule = "fixed_point" if engine.config.autoregressive else "quota"
    options = DecodeOptions(rule=rule, max_tokens=12, canvas_length=4)  # type: ignore[arg-type]
    return DiffusionCall(engine, options)


def pieces(
    call: DiffusionCall, options: ReplyOptions, messages: list[Message] | None = None
) -> list[ReplyPiece]:
    asked = ASKED if messages is None else messages
    call.prepare_with(asked, options)
    return list(call.reply_with(asked, options))


@pytest.mark.parametrize("kind", ["causal", "bidirectional", "blocks of 4"])
@pytest.mark.parametrize("tool", [WEATHER, HANG_UP])
def test_a_required_call_has_valid_arguments(kind: str, tool: FunctionTool) -> None:
    call = call_of(chatting(kind))
    found = pieces(call, ReplyOptions((WEATHER, HANG_UP), "function", tool.name))
    prefilled, started, made, done = found
    assert isinstance(prefilled, Prefilled)
    assert isinstance(started, ToolCallStarted)
    assert isinstance(made, ToolCall)
    assert isinstance(done, ReplyDone)
    assert (started.call_id, started.name, made.name) == (made.call_id, tool.name, tool.name)
    schema = dict(tool.parameters) or {"type": "object"}
    jsonschema.validate(json.loads(made.arguments), schema)
    assert done.text == ""


def test_every_call_has_an_id_of_its_own() -> None:
    call, options = call_of(chatting()), ReplyOptions((WEATHER,), "required")
    ids = {p.call_id for _ in range(3) for p in pieces(call, options) if isinstance(p, ToolCall)}
    assert len(ids) == 3


def test_without_tools_and_after_an_output_the_reply_is_words() -> None:
    made = ToolCall("call_1", "get_weather", '{"city": "Oslo"}')
    answered = [
        *ASKED,
        Message("assistant", "", (made,)),
        Message("tool", "3 C", call_id="call_1"),
    ]
    for options, messages in (
        (ReplyOptions(), ASKED),
        (ReplyOptions((WEATHER,), "none"), ASKED),
        (ReplyOptions((WEATHER,)), answered),
        (ReplyOptions((BAD,)), ASKED),
    ):
        found = pieces(call_of(chatting()), options, messages)
        assert isinstance(found[-1], ReplyDone)
        assert not any(isinstance(piece, ToolCall | ToolCallStarted) for piece in found)


def test_the_reply_after_a_call_is_that_of_a_fresh_call() -> None:
    engine = chatting()
    used, fresh = call_of(engine), call_of(engine)
    pieces(used, ReplyOptions((WEATHER,), "required"))
    text = [
        "".join(p.text for p in c.reply(ASKED) if isinstance(p, ReplyText)) for c in (used, fresh)
    ]
    assert text[0] == text[1]


def test_a_reply_is_no_longer_than_asked_for() -> None:
    found = pieces(call_of(chatting()), ReplyOptions(max_tokens=3))
    done = found[-1]
    assert isinstance(done, ReplyDone)
    assert done.stats["tokens"] <= 3


def test_a_schema_that_cannot_be_filled_leaves_the_other_tools(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tools = EngineTools(chatting())
    options = ReplyOptions((BAD, WEATHER), "required")
    for _ in range(2):
        assert tools.decide(ASKED, options).tool == WEATHER
    assert [r.message for r in caplog.records] == [
        "The tool 'bad' is left out: The keyword 'pattern' at #/properties/a is not supported."
    ]
    with pytest.raises(ResponderError, match="'bad' is left out"):
        pieces(call_of(chatting()), ReplyOptions((BAD,), "required"))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"type": "string"}, "must be an object"),
        (["city"], "must be a JSON schema"),
        ({"properties": {"x" * 3000: {}}}, "3000 characters"),
        ({"properties": {"a": {"enum": ["y" * 2_000_000]}}}, "2000002 characters"),
        ({"properties": {f"p{i}": {"type": "string"} for i in range(50_000)}}, "too large"),
        ({"properties": {"a": {"enum": list(range(100_000))}}}, "100000 values"),
    ],
)
def test_parameters_that_are_no_schema_or_too_large(
    parameters: Any, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    tool = FunctionTool("odd", "Odd.", parameters)
    found = pieces(call_of(chatting()), ReplyOptions((tool,)))
    assert isinstance(found[-1], ReplyDone)
    assert message in caplog.text
    assert len(caplog.text) < 4000


@pytest.mark.slow
def test_many_tools_are_read_shortened_or_refused() -> None:
    few = tuple(FunctionTool(f"t{i}", f"{i}. " + "Do it. " * 200) for i in range(8))
    assert EngineTools(chatting()).decide(ASKED, ReplyOptions(few, "required")).tool in few
    many = tuple(FunctionTool(f"t{i}", f"{i}. " + "Do it. " * 200) for i in range(500))
    engine = chatting()
    with pytest.raises(ResponderError, match="do not fit the context"):
        pieces(call_of(engine), ReplyOptions(many))
    assert pieces(call_of(engine), ReplyOptions())  # the call goes on


def test_the_likeliest_task_is_chosen_and_one_can_be_required() -> None:
    engine = chatting()
    router = Router(engine, ["Say a.", "Say b."])
    route = router.route("some words")
    assert sum(route.probabilities) == pytest.approx(1)
    assert len(route.probabilities) == 3
    assert router.route("some words", required=True).task is not None
    assert router.route(" ").task is None
    plain = Router(engine, ["Say a.", "Say b."], plain=True).route("some words")
    assert plain.probabilities == pytest.approx(route.probabilities, abs=1e-5)
    for tasks in ([], ["a", " "], ["a"] * 65):
        with pytest.raises(OptionError):
            Router(engine, tasks)


def test_the_engine_responders_use_tools() -> None:
    responder = DiffusionResponder.__new__(DiffusionResponder)
    assert uses_tools(responder)
    assert isinstance(call_of(chatting()), ToolUsingCall)


USER, AGENT = "user", "assistant"
CALL = ToolCall("c", "book", "{}")


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([(USER, "a table"), (AGENT, "For how many? "), (USER, "four")],
         'a table" Assistant: "For how many?" Caller: "four'),
        ([(USER, "a table"), (AGENT, "It is booked."), (USER, "four")], "four"),
        ([(AGENT, "How can I help?"), (USER, "a table")], "a table"),
        ([("system", "x"), (AGENT, "How can I help?"), (USER, "a table")], "a table"),
        ([(USER, "a table"), ("tool", "done"), (AGENT, "Anything else?"), (USER, "no")], "no"),
        ([(USER, "a"), (USER, "b")], "b"),
        ([("system", "x")], ""),
        ([], ""),
    ],
)  # fmt: skip
def test_words_that_answer_a_question_are_read_behind_it(
    messages: list[tuple[Any, str]], words: str
) -> None:
    assert routed_words([Message(role, content) for role, content in messages]) == words


def test_a_question_beside_a_call_begins_something_new() -> None:
    asked = Message(AGENT, "Shall I?", (CALL,))  # type: ignore[arg-type]
    assert routed_words([Message("user", "a"), asked, Message("user", "b")]) == "b"
