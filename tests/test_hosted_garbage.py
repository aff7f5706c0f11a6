"""Answers of a hosted model that are none: each ends its reply with a sentence, never the call."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from agent.responders.base import Message, ResponderError
from agent.responders.hosted import HostedResponder
from agent.responders.service import Service

KEY = "sk-very-secret"


def event(**choice):
    return b"data: " + json.dumps({"id": "c", "choices": [choice]}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
WORD = event(index=0, delta={"content": "Fine"})


@asynccontextmanager
async def upstream(body, kind="text/event-stream", status=200):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def reply(host, credentials="ada:pa55word@"):
    service = Service(
        f"http://{credentials}{host}/v1?k=hidden", "tiny", SecretStr(KEY), max_retries=0
    )
    call = HostedResponder(service).open()
    try:
        async with asyncio.timeout(10):
            return [piece async for piece in call.reply([Message("user", "hello")])]
    finally:
        await call.close()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"data: {broken\n\n", id="broken JSON"),
        pytest.param(WORD + b"data: {broken\n\n" + DONE, id="broken JSON after a word"),
        pytest.param(b"data: null\n\n" + DONE, id="null"),
        pytest.param(b"data: []\n\n" + DONE, id="a list"),
        pytest.param(b"data: 5\n\n" + DONE, id="a number"),
        pytest.param(b'data: {"choices": null}\n\n' + DONE, id="no choices"),
        pytest.param(b'data: {"choices": [null]}\n\n' + DONE, id="a choice of null"),
        pytest.param(b'data: {"choices": 7}\n\n' + DONE, id="choices of 7"),
        pytest.param(event(index=0, delta=None) + DONE, id="no delta"),
        pytest.param(event(index=0, delta={"content": 5}) + DONE, id="a number for text"),
        pytest.param(event(index=0, delta={"content": ["a"]}) + DONE, id="a list for text"),
        pytest.param(event(index=0, delta={"content": {"a": 1}}) + DONE, id="an object for text"),
        pytest.param(b"data: \xff\xfe\xfd\n\n" + DONE, id="no UTF-8"),
        pytest.param(b"", id="nothing"),
        pytest.param(DONE, id="only the end"),
        pytest.param(event(index=0, delta={"content": "  \n"}) + DONE, id="blanks"),
        pytest.param(event(index=0, delta={}, finish_reason="stop") + DONE, id="no words"),
        pytest.param(b"<html>Sign in</html>", id="a page"),
    ],
)
async def test_garbage_is_an_error_of_the_reply(body):
    async with upstream(body) as host:
        with pytest.raises(ResponderError) as failed:
            await reply(host)
    assert_nothing_secret(str(failed.value))


@pytest.mark.parametrize(("status", "kind"), [(200, "text/html"), (400, "text/html"), (500, "x/y")])
async def test_a_page_is_an_error_of_the_reply(status, kind):
    async with upstream(b"<html>wrong key sk-very-secret of ada</html>", kind, status) as host:
        with pytest.raises(ResponderError) as failed:
            await reply(host)
    assert_nothing_secret(str(failed.value))


async def test_an_address_with_a_password_is_never_told():
    with pytest.raises(ResponderError) as failed:
        await reply("127.0.0.1:9")
    assert "127.0.0.1:9" in str(failed.value)
    assert_nothing_secret(str(failed.value))
    with pytest.raises(ResponderError) as failed:
        Service("ftp://ada:pa55word@host/v1", "tiny")
    assert_nothing_secret(str(failed.value))


def assert_nothing_secret(text):
    for secret in ("pa55word", "ada", "hidden", KEY):
        assert secret not in text
