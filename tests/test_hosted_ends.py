"""The ends of a hosted model's stream: complete, cut, and a model that thinks before it speaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk
from support.fakes import in_virtual_time
from test_hosted_garbage import DONE, WORD, event, reply, upstream

from agent.responders.base import (
    FunctionTool,
    Message,
    ReplyDone,
    ReplyOptions,
    ResponderError,
    ToolCall,
)
from agent.responders.hosted import HostedResponder
from agent.responders.patience import Patience
from agent.responders.service import Service

STOP = event(index=0, delta={}, finish_reason="stop")
NO_REASON = event(index=0, delta={"content": "."}, finish_reason="")
FILTER = event(index=0, finish_reason=None, content_filter_offsets={"check_offset": 12})
"""As Azure sends it where its filter runs beside the model."""
USAGE = b'data: {"id": "c", "usage": {"completion_tokens": 1}}\n\n'
CALL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(WORD + STOP + DONE, id="both"),
        pytest.param(WORD + STOP, id="a reason and a closed connection"),
        pytest.param(WORD + DONE, id="the end without a reason"),
        pytest.param([WORD + b"data: [DO", b"NE]\n\n"], id="the end in two parts"),
        pytest.param(WORD.replace(b"data: ", b"data:") + b"data:[DONE]\r\n\r\n", id="no space"),
        pytest.param(FILTER + WORD + FILTER + STOP + DONE, id="with notes of a filter"),
        pytest.param(WORD + STOP + USAGE + DONE, id="with a usage that has no choices"),
    ],
)
async def test_a_reply_is_complete_by_a_reason_or_by_the_end_of_its_stream(
    body: bytes | list[bytes],
) -> None:
    async with upstream(body) as host:
        *_, done = await reply(host)
    assert isinstance(done, ReplyDone)
    assert done.text == "Fine"


async def test_a_connection_that_breaks_behind_the_reason_has_brought_the_whole_reply() -> None:
    chunked = [b"%x\r\n%s\r\n" % (len(part), part) for part in (WORD, STOP)]
    async with upstream(chunked, more="Transfer-Encoding: chunked\r\n") as host:
        *_, done = await reply(host)
    assert isinstance(done, ReplyDone)
    assert done.text == "Fine"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(WORD, id="after a word"),
        pytest.param(WORD + NO_REASON, id="with empty reasons"),
        pytest.param(event(index=0, delta={"reasoning_content": "Hm"}), id="in a thought"),
        pytest.param(event(index=0, delta={"content": "<think>Hm"}), id="in a thought of words"),
        pytest.param(event(index=0, delta={"content": "data: [DONE]"}), id="behind words like it"),
    ],
)
async def test_a_stream_that_was_cut_is_no_complete_reply(body: bytes) -> None:
    """A proxy that closes cleanly ended it like a service that has said everything."""
    async with upstream(body) as host:
        with pytest.raises(ResponderError, match="broke off a reply"):
            await reply(host)


async def test_a_call_of_a_cut_stream_is_not_carried_out() -> None:
    """Its arguments may look whole: ``{}`` of what was to be more."""
    async with upstream(event(index=0, delta={"tool_calls": [CALL]})) as host:
        call = HostedResponder(Service(f"http://{host}/v1", "m", max_retries=0)).open()
        options = ReplyOptions(tools=(FunctionTool("f", "", {"type": "object"}),))
        pieces = []
        said = ""
        try:
            async for piece in call.reply([Message("user", "go")], options=options):
                pieces.append(piece)
        except ResponderError as error:
            said = str(error)
        await call.close()
    assert "broke off a reply" in said
    assert not any(isinstance(piece, ToolCall) for piece in pieces)


# ---- thoughts are a sign of life ---------------------------------------------------------


def test_patience_grows_with_thoughts_up_to_a_bound() -> None:
    patience = Patience(10.0, 30.0, 100.0)
    assert patience.until == 110.0
    patience.thought(108.0)
    assert patience.until == 118.0
    patience.thought(125.0)
    assert patience.until == 130.0
    assert patience.thought_too_long(130.0)
    patience.word(129.0)
    assert patience.until == 139.0
    assert not patience.thought_too_long(139.0)


def test_a_short_bound_of_thoughts_takes_nothing_from_that_of_words() -> None:
    patience = Patience(10.0, 1.0, 0.0)
    patience.thought(5.0)
    assert patience.until == 10.0


class Stream:
    """A stream whose chunks come after seconds of the loop's clock."""

    def __init__(self, chunks: list[tuple[float, dict[str, Any], str | None]]) -> None:
        self._chunks = self._come(chunks)
        self.response = SimpleNamespace(stream=None)

    async def _come(
        self, chunks: list[tuple[float, dict[str, Any], str | None]]
    ) -> AsyncIterator[ChatCompletionChunk]:
        for wait, delta, reason in chunks:
            await asyncio.sleep(wait)
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            row = {"id": "c", "choices": [choice], "created": 0, "model": "m"}
            row["object"] = "chat.completion.chunk"
            yield ChatCompletionChunk.model_validate_json(json.dumps(row))

    def __aiter__(self) -> AsyncIterator[ChatCompletionChunk]:
        return self._chunks

    async def close(self) -> None:
        pass


def ask(chunks: list[tuple[float, dict[str, Any], str | None]]) -> tuple[str, float]:
    """The words of a reply, or of its error; and the second at which they were complete."""

    async def whole() -> tuple[str, float]:
        service = Service("http://127.0.0.1:9/v1", "m", word_timeout=10.0, thinking_timeout=30.0)
        call = HostedResponder(service).open()
        call._client = SimpleNamespace(  # type: ignore[assignment]
            chat=SimpleNamespace(completions=SimpleNamespace(create=create))
        )
        loop = asyncio.get_running_loop()
        try:
            pieces = [piece async for piece in call.reply([Message("user", "hello")])]
        except ResponderError as error:
            return str(error), loop.time()
        assert isinstance(pieces[-1], ReplyDone)
        return pieces[-1].text, loop.time()

    async def create(**_: Any) -> Stream:
        return Stream(chunks)

    return in_virtual_time(whole())


def thoughts(field: str, count: int, wait: float) -> list[tuple[float, dict[str, Any], None]]:
    return [(wait, {field: "hm "}, None)] * count


END: tuple[float, dict[str, Any], str] = (0.1, {}, "stop")


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_a_model_that_shows_its_thoughts_is_waited_for(field: str) -> None:
    said, at = ask([*thoughts(field, 5, 5.0), (1.0, {"content": "Yes."}, None), END])
    assert said == "Yes."
    assert at == pytest.approx(26.1)


def test_it_is_waited_for_between_its_words_too() -> None:
    said, _ = ask(
        [
            (1, {"content": "One, "}, None),
            *thoughts("reasoning", 5, 4.0),
            (4, {"content": "two."}, None),
            END,
        ]
    )
    assert said == "One, two."


@pytest.mark.parametrize("field", ["reasoning_content", "content"])
def test_thoughts_without_a_word_have_a_bound_of_their_own(field: str) -> None:
    """Those between tags used to have none but the tokens of a reply."""
    begin = (0.0, {field: "<think>"}, None)
    said, at = ask([begin, *thoughts(field, 100, 1.0)])
    assert "thought for 30 s without a word" in said
    assert "responder.thinking_timeout" in said
    assert at == pytest.approx(30.0)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param([(60.0, {}, None)], id="open"),
        pytest.param([(0.1, {}, "stop")] * 600, id="ends again and again"),
        pytest.param(thoughts("reasoning", 600, 0.1), id="thoughts"),
    ],
)
def test_a_complete_reply_does_not_wait_for_the_end_of_its_stream(more: Any) -> None:
    """It failed after ``word_timeout``, with an apology behind words that were all there."""
    said, at = ask([(1.0, {"content": "Yes."}, None), END, *more])
    assert said == "Yes."
    assert at == pytest.approx(2.1, abs=0.11)


def test_thoughts_that_stop_are_no_sign_of_life() -> None:
    said, at = ask([*thoughts("reasoning", 2, 3.0), (60.0, {"content": "Yes."}, None)])
    assert "did not send a first word within 10 s" in said
    assert at == pytest.approx(16.0)
