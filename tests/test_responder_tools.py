"""Function tools in responders: what a prompt and a reply may hold, whichever engine replies."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.chat.chat_completion_chunk import (
    ChoiceDeltaToolCall,
    ChoiceDeltaToolCallFunction,
)
from support.chat_server import Answer, chat_server

from agent.compute import Compute
from agent.reply import FunctionTool, Message, ReplyOptions, ReplyPiece, ToolCall, ToolCallStarted
from agent.responders.base import (
    Prefilled,
    ReplyDone,
    ReplyText,
    ResponderError,
    ToolArguments,
    plain_messages,
)
from agent.responders.computed import awaited
from agent.responders.hosted import HostedResponder
from agent.responders.hosted_calls import StreamedCalls
from agent.responders.scripted import ScriptedResponder
from agent.responders.service import Service

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = FunctionTool("get_weather", "The weather in a city.", CITY)
CALL = ToolCall("call_1", "get_weather", '{"city": "Oslo"}')
ASKED = [Message("system", "be short"), Message("user", "is it cold in Oslo?")]
ANSWERED = [*ASKED, Message("assistant", "", (CALL,)), Message("tool", "3 C", call_id="call_1")]


def piece(arguments: str, index: int = 0, **begin: Any) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": begin["name"]} if begin else {})}
    return {"index": index, "function": function, **({"id": begin["id"]} if begin else {})}


async def hosted(
    answer: Answer, messages: list[Message], options: ReplyOptions
) -> tuple[list[ReplyPiece], dict[str, Any]]:
    with chat_server(answer) as server:
        call = HostedResponder(Service(server.url, "tiny", word_timeout=5.0)).open()
        try:
            pieces = [piece async for piece in call.reply(messages, None, options)]
        finally:
            await call.close()
        return pieces, server.bodies[0]


@pytest.mark.slow
async def test_a_hosted_model_is_offered_tools_and_its_arguments_stream() -> None:
    script = [
        [piece("", id="call_1", name="get_weather")],
        [piece('{"city": ')],
        [piece('"Oslo"}')],
    ]
    options = ReplyOptions((WEATHER,), max_tokens=99)
    pieces, body = await hosted(Answer(calls=script, finish="tool_calls"), ASKED, options)
    assert isinstance(pieces[0], Prefilled)
    assert pieces[1:-1] == [
        ToolCallStarted("call_1", "get_weather"),
        ToolArguments("call_1", '{"city": '),
        ToolArguments("call_1", '"Oslo"}'),
        CALL,
    ]
    assert isinstance(pieces[-1], ReplyDone)
    assert body["tools"][0]["function"]["parameters"] == CITY
    assert (body["tool_choice"], body["max_tokens"]) == ("auto", 99)


async def test_a_hosted_model_reads_the_outputs_of_its_calls() -> None:
    options = ReplyOptions((WEATHER,), "function", "get_weather")
    pieces, body = await hosted(Answer(["Three degrees."]), ANSWERED, options)
    assert pieces[1] == ReplyText("Three degrees.")
    assert body["messages"][2]["tool_calls"][0]["function"]["name"] == "get_weather"
    assert body["messages"][3] == {"role": "tool", "content": "3 C", "tool_call_id": "call_1"}
    assert body["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}


async def test_two_calls_of_a_hosted_model_are_kept_apart() -> None:
    script = [
        [piece("{}", id="a", name="now"), piece('{"city":', 1, id="b", name="get_weather")],
        [piece('"Rome"}', 1)],
    ]
    options = ReplyOptions((FunctionTool("now", parameters={"type": "object"}), WEATHER))
    pieces, _ = await hosted(Answer(["One moment."], calls=script), ASKED, options)
    calls = [piece for piece in pieces if isinstance(piece, ToolCall)]
    assert calls == [ToolCall("a", "now", "{}"), ToolCall("b", "get_weather", '{"city":"Rome"}')]


@pytest.mark.parametrize(
    ("arguments", "kept", "words"),
    [
        ('{"city": ', "{}", "no JSON"),
        ('["Oslo"]', "{}", "no JSON object"),
        ('{"town": "Oslo"}', '{"town": "Oslo"}', "'city' is a required property"),
        ('{"city": 7}', '{"city": 7}', "at city"),
    ],
)
async def test_a_hosted_models_wrong_arguments_are_a_call_with_a_problem(
    arguments: str, kept: str, words: str
) -> None:
    answer = Answer(calls=[[piece(arguments, id="a", name="get_weather")]])
    pieces, _ = await hosted(answer, ASKED, ReplyOptions((WEATHER,)))
    (call,) = [each for each in pieces if isinstance(each, ToolCall)]
    assert (call.call_id, call.arguments) == ("a", kept)
    assert words in call.problem


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("launch", "{}", "was offered get_weather"),
        ("get_weather", '{"city": "' + "x" * 40_000 + '"}', "32768 characters"),
    ],
)
async def test_a_hosted_models_bad_call_is_one_clear_error(
    name: str, arguments: str, words: str
) -> None:
    answer = Answer(calls=[[piece(arguments, id="a", name=name)]])
    with pytest.raises(ResponderError, match=words):
        await hosted(answer, ASKED, ReplyOptions((WEATHER,)))


async def test_no_tools_are_offered_where_none_may_be_called() -> None:
    _, body = await hosted(Answer(["Hi."]), ASKED, ReplyOptions((WEATHER,), "none"))
    assert "tools" not in body
    assert "tool_choice" not in body


async def test_a_scripted_reply_calls_a_function_and_answers_with_its_output() -> None:
    call = ToolCall("", "get_weather", '{"city": "Oslo"}')
    responder = ScriptedResponder({"is it cold in Oslo?": call, "3 C": "Yes, three degrees."})
    compute = Compute()
    line = awaited(responder.open(), compute)
    try:
        options = ReplyOptions((WEATHER,))
        first = [piece async for piece in line.reply(ASKED, None, options)]
        made = next(piece for piece in first if isinstance(piece, ToolCall))
        deltas = [piece.delta for piece in first if isinstance(piece, ToolArguments)]
        assert "".join(deltas) == made.arguments == call.arguments
        *_, done = [piece async for piece in line.reply(ANSWERED, None, options)]
        assert isinstance(done, ReplyDone)
        assert done.text == "Yes, three degrees."
        *_, plain = [piece async for piece in line.reply(ASKED)]
        assert isinstance(plain, ReplyDone)
        assert plain.text == "You said: is it cold in Oslo?"
    finally:
        compute.close()


def test_a_responder_without_tools_reads_outputs_as_words() -> None:
    late = [*ANSWERED, Message("system", "now be rude"), Message("user", "well?")]
    assert plain_messages(late) == [
        Message("system", "be short\n\nnow be rude"),
        Message("user", "is it cold in Oslo? (get_weather returned: 3 C) well?"),
    ]
    assert plain_messages(ASKED) is ASKED


@pytest.mark.parametrize(
    ("options", "usable", "must"),
    [
        (ReplyOptions((WEATHER,)), 1, False),
        (ReplyOptions((WEATHER,), "none"), 0, False),
        (ReplyOptions((WEATHER,), "required"), 1, True),
        (ReplyOptions((WEATHER,), "function", "get_weather"), 1, True),
        (ReplyOptions((WEATHER,), "function", "launch"), 0, False),
        (ReplyOptions((), "required"), 0, False),
    ],
)
def test_what_may_be_called(options: ReplyOptions, usable: int, must: bool) -> None:
    assert (len(options.usable), options.must_call) == (usable, must)


def test_no_document_is_fetched_for_a_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*args: Any, **options: Any) -> None:
        raise AssertionError("something was fetched")

    monkeypatch.setattr("urllib.request.urlopen", fetch)
    schema = {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/a.json"}}}
    calls = StreamedCalls([FunctionTool("f", "", schema)])
    function = ChoiceDeltaToolCallFunction(name="f", arguments='{"a": 1}')
    list(calls.take([ChoiceDeltaToolCall(index=0, id="c", function=function)]))
    with pytest.raises(ResponderError, match="refers to other documents"):
        list(calls.complete())
