"""A hosted model's thoughts do not use up the tokens of its reply."""

from __future__ import annotations

import pytest
from support.chat_server import Answer, chat_server
from test_hosted import ASKED, service

from agent.responders.base import Prefilled, ReplyDone, ReplyText, ResponderError
from agent.responders.hosted import HostedResponder

THOUGHT = Answer(["<think>", "Hm.", "</think>", "Yes", ", of", " course", ", why", " not."])
FIELD = Answer(["Yes", ", of", " course."], thoughts=["Hm."])
LOST = Answer(thoughts=["Hm, ", "hm."], finish="length")


async def replies(server: object, count: int, **settings: object) -> list[list[object]]:
    responder = HostedResponder(service(server, **settings))  # type: ignore[arg-type]
    found = []
    for _ in range(count):
        call = responder.open()
        found.append([piece async for piece in call.reply(ASKED)])
        await call.close()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("thinking", [THOUGHT, FIELD], ids=["tags", "field"])
async def test_a_model_that_was_seen_to_think_has_room_for_it(thinking: Answer) -> None:
    with chat_server(thinking, thinking) as server:
        await replies(server, 2, max_tokens=10)
    assert [body["max_tokens"] for body in server.bodies] == [10, 1034]


@pytest.mark.slow
async def test_the_spoken_words_keep_to_their_limit() -> None:
    with chat_server(THOUGHT, THOUGHT) as server:
        first, second = await replies(server, 2, max_tokens=3)
    assert isinstance(first[-1], ReplyDone)
    assert first[-1].text == "Yes, of course, why not."  # as the service counts
    assert isinstance(second[-1], ReplyDone)
    assert second[-1].text == "Yes, of course"
    assert second[-1].stats["cut"] == 1.0


async def test_a_reply_of_thoughts_only_is_asked_for_again() -> None:
    with chat_server(LOST, FIELD) as server:
        ((*pieces, done),) = await replies(server, 1, max_tokens=8)
    assert [type(piece) for piece in pieces] == [Prefilled, ReplyText, ReplyText, ReplyText]
    assert isinstance(done, ReplyDone)
    assert done.text == "Yes, of course."
    assert [body["max_tokens"] for body in server.bodies] == [8, 1032]


async def test_thoughts_without_end_are_told_with_the_way_out() -> None:
    with (
        chat_server(LOST, LOST) as server,
        pytest.raises(ResponderError, match=r"1032 tokens .* on thinking: .* reasoning_effort"),
    ):
        await replies(server, 1, max_tokens=8)
    assert len(server.bodies) == 2


@pytest.mark.slow
async def test_others_are_asked_as_before() -> None:
    plain = Answer(["Yes."])
    with chat_server(plain, plain, Answer(finish="length")) as server:
        await replies(server, 2, max_tokens=8)
        with pytest.raises(ResponderError, match="without a word"):
            await replies(server, 1, max_tokens=8)
    assert [body["max_tokens"] for body in server.bodies] == [8, 8, 8]
