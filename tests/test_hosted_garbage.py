"""Answers of a hosted model that are none: each ends its reply with a sentence, never the call."""

import asyncio
import contextlib
import gzip
import json
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from agent.responders import bounded_answers
from agent.responders.base import Message, ResponderError
from agent.responders.hosted import HostedResponder
from agent.responders.service import Service

KEY = "sk-very-secret"


def event(**choice):
    return b"data: " + json.dumps({"id": "c", "choices": [choice]}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
WORD = event(index=0, delta={"content": "Fine"})


@asynccontextmanager
async def upstream(body, kind="text/event-stream", status=200, more=""):
    async def answer(reader, writer):
        asked = await reader.readuntil(b"\r\n\r\n")
        assert b"accept-encoding: identity" in asked.lower()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nConnection: close\r\n{more}\r\n"
        with contextlib.suppress(ConnectionError):
            writer.write(head.encode())
            for part in [body] if isinstance(body, bytes) else body:
                writer.write(part)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def reply(host, credentials="ada:pa55word@", word_timeout=10.0):
    service = Service(
        f"http://{credentials}{host}/v1?k=hidden",
        "tiny",
        SecretStr(KEY),
        max_retries=0,
        word_timeout=word_timeout,
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


# ---- answers out of bounds ---------------------------------------------------------------


async def refused(body, word_timeout=10.0, **options):
    """The sentence of the error that an answer ends in."""
    async with upstream(body, **options) as host:
        with pytest.raises(ResponderError) as failed:
            await reply(host, word_timeout=word_timeout)
    return str(failed.value)


async def test_a_compressed_answer_is_not_unpacked():
    """Some kilobytes were two hundred thousand words, parsed in one go: minutes of all calls."""
    bomb = gzip.compress(WORD * 10_000)
    assert len(bomb) < 10_000
    assert "compressed" in await refused(bomb, more="Content-Encoding: gzip\r\n")


@pytest.mark.parametrize("status", [200, 400])
async def test_a_line_without_an_end_is_not_collected(status):
    """They were kept, and errors read to their ends: as much as came within ``word_timeout``."""
    sent = 0

    def endless():
        nonlocal sent
        while sent < 64 * 2**20:
            sent += 65_536
            yield b"x" * 65_536

    said = await refused(endless(), status=status)
    assert f"a line of more than {bounded_answers.MAX_LINE} bytes" in said
    assert sent < 32 * 2**20


async def test_a_list_of_models_may_be_one_long_line():
    listed = b'{"data": [%s]}' % b",".join([b'{"id": "m"}'] * 20_000)
    async with upstream(listed, "application/json") as host:
        call = HostedResponder(Service(f"http://{host}/v1", "tiny", max_retries=0)).open()
        found = await call._client.models.list()
        assert len(found.data) == 20_000
        await call.close()


async def test_an_answer_without_an_end_is_broken_off(monkeypatch):
    monkeypatch.setattr(bounded_answers, "MAX_ANSWER", 300_000)
    assert "more than 300000 bytes" in await refused([b"data: \n" * 10_000] * 10)


async def test_a_reply_that_goes_on_without_a_word_is_given_up():
    def endless():
        yield WORD
        for _ in range(20_000):
            yield event(index=0, delta={})

    assert "the rest of its reply" in await refused(endless(), word_timeout=1.0)


async def test_the_callers_words_follow_no_redirect():
    led = []

    async def elsewhere(reader, writer):
        led.append(await reader.readline())
        writer.close()

    other = await asyncio.start_server(elsewhere, "127.0.0.1", 0)
    async with other:
        place = f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}/"
        said = await refused(b"", status=307, more=f"Location: {place}\r\n")
    assert "redirects the request (307)" in said
    assert not led


def assert_nothing_secret(text):
    for secret in ("pa55word", "ada", "hidden", KEY):
        assert secret not in text
