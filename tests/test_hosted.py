"""The hosted responder against a chat API by script, and against a real llama.cpp server."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from support.chat_server import Answer, ChatServer, chat_server
from support.smollm import SYSTEM, smollm_path

from agent.config.settings import Settings
from agent.reply import ReplyPiece
from agent.responders.base import Message, Prefilled, ReplyDone, ReplyText, ResponderError
from agent.responders.hosted import HostedResponder
from agent.responders.service import Service
from agent.runtime.engines import load_responder

ASKED = [Message("system", "be short"), Message("user", "how are you")]
KEY = "sk-very-secret"


def service(server: ChatServer, **changes: Any) -> Service:
    return replace(Service(server.url, "tiny", SecretStr(KEY), word_timeout=5.0), **changes)


async def pieces_of(service: Service) -> list[ReplyPiece]:
    call = HostedResponder(service).open()
    try:
        return [piece async for piece in call.reply(ASKED)]
    finally:
        await call.close()


async def test_the_words_come_as_they_are_sent_and_the_reply_is_their_sum() -> None:
    with chat_server(Answer(["Fine", ", thank", " you."])) as server:
        first, *pieces, done = await pieces_of(service(server))
    assert isinstance(first, Prefilled)
    assert first.ms > 0
    assert pieces == [ReplyText("Fine"), ReplyText(", thank"), ReplyText(" you.")]
    assert isinstance(done, ReplyDone)
    assert done.text == "Fine, thank you."
    assert done.stats == {"cut": 0.0, "pieces": 3, "tokens": 4, "prompt_tokens": 9}


async def test_the_request_has_the_conversation_the_bound_the_key_and_what_was_added() -> None:
    with chat_server(Answer(["Yes."], finish="length"), Answer(["No."])) as server:
        asked = service(server, max_tokens=17, request={"temperature": 0.5})
        *_, done = await pieces_of(asked)
        newer = service(server, request={"max_completion_tokens": 9})
        await pieces_of(newer)
    old, new = server.bodies
    assert old["messages"] == [
        {"role": "system", "content": "be short"},
        {"role": "user", "content": "how are you"},
    ]
    assert (old["model"], old["max_tokens"], old["temperature"]) == ("tiny", 17, 0.5)
    assert old["stream"] is True
    assert "max_tokens" not in new
    assert new["max_completion_tokens"] == 9
    assert server.keys == [f"Bearer {KEY}"] * 2
    assert isinstance(done, ReplyDone)
    assert done.stats["cut"] == 1.0


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "refuses the request .400.: .*too long"),
        (401, "set ONEBREATH_RESPONDER__API_KEY"),
        (403, "does not let this key use the model 'tiny'"),
        (404, "no model 'tiny' there .404.: check responder.model"),
    ],
)
async def test_a_refusal_is_final_and_says_what_to_do(status: int, words: str) -> None:
    with (
        chat_server(Answer(status=status, message="too long")) as server,
        pytest.raises(ResponderError, match=words),
    ):
        await pieces_of(service(server))
    assert len(server.bodies) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "words"), [(429, "429, 3 tries"), (503, "out of order .503, 3 tries")]
)
async def test_an_overloaded_service_is_tried_again_then_given_up(status: int, words: str) -> None:
    busy = [Answer(status=status)] * 3
    with chat_server(*busy) as server, pytest.raises(ResponderError, match=words):
        await pieces_of(service(server))
    assert len(server.bodies) == 3
    with chat_server(*busy[:2], Answer(["Here."])) as server:
        *_, done = await pieces_of(service(server))
    assert isinstance(done, ReplyDone)
    assert done.text == "Here."


@pytest.mark.slow
async def test_nothing_is_tried_again_after_the_first_word() -> None:
    with chat_server(Answer(["Once upon"], hangs=True)) as server:
        asked = service(server, word_timeout=0.5)
        call = HostedResponder(asked).open()
        pieces = call.reply(ASKED)
        assert isinstance(await anext(pieces), Prefilled)
        assert await anext(pieces) == ReplyText("Once upon")
        with pytest.raises(ResponderError, match=r"the rest of its reply within 0\.5 s"):
            await anext(pieces)
        await call.close()
    assert len(server.bodies) == 1


@pytest.mark.slow
async def test_a_service_without_a_first_word_is_given_up_and_its_connection_closed() -> None:
    with chat_server(Answer(hangs=True)) as server:
        with pytest.raises(ResponderError, match=r"a first word within 0\.1 s"):
            await pieces_of(service(server, word_timeout=0.1))
        assert await asyncio.to_thread(server.hung_up.wait, 5)


async def test_leaving_a_reply_hangs_up_on_the_service_at_once() -> None:
    with chat_server(Answer(["Well"], hangs=True)) as server:
        call = HostedResponder(service(server)).open()
        async with aclosing(call.reply(ASKED)) as pieces:
            async for piece in pieces:
                if isinstance(piece, ReplyText):
                    break
        assert await asyncio.to_thread(server.hung_up.wait, 5)
        await call.close()


async def test_a_closed_port_is_explained() -> None:
    with chat_server() as server:
        gone = service(server, max_retries=0)
    with pytest.raises(ResponderError, match="is the service running"):
        await pieces_of(gone)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ResponderError, match=r"set responder\.base_url"):
        Service("127.0.0.1:8000", "tiny")


async def test_the_key_is_in_no_log_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with chat_server(Answer(status=429), Answer(status=401, message=KEY)) as server:
        asked = service(server)
        with pytest.raises(ResponderError) as caught:
            await pieces_of(asked)
    assert KEY not in caplog.text
    assert KEY not in str(caught.value)
    assert KEY not in repr(asked)


@pytest.mark.slow
def test_the_settings_reach_the_service_and_warming_up_asks_it() -> None:
    with chat_server(Answer(["Hello."]), Answer(status=401)) as server:
        chosen = {"engine": "hosted", "model": "m", "base_url": server.url, "max_tokens": 9}
        settings = Settings(responder={**chosen, "word_timeout": 2.5, "api_key": KEY})  # type: ignore[arg-type]
        responder = load_responder(settings, 1, lambda line: None, None)  # type: ignore[arg-type]
        assert isinstance(responder, HostedResponder)
        assert responder.service == Service(
            server.url, "m", SecretStr(KEY), max_tokens=9, word_timeout=2.5
        )
        responder.warm_up()
        with pytest.raises(ResponderError, match="401"):
            responder.warm_up()


@pytest.mark.slow
async def test_the_connection_is_made_ahead_and_its_failure_waits_for_the_reply() -> None:
    with chat_server(Answer(["Yes."])) as server:
        call = HostedResponder(service(server)).open()
        assert await call.prepare(ASKED) == Prefilled(0, 0, 0.0)
        await call.close()
    call = HostedResponder(service(server)).open()
    assert await call.prepare(ASKED) == Prefilled(0, 0, 0.0)
    await call.close()


@pytest.fixture(scope="module")
def llama_server() -> Iterator[str]:
    """The base URL of llama.cpp's server with the default model; LLAMA_SERVER may say how."""
    command = llama_command()
    if command is None:
        pytest.skip("no llama.cpp server here: pip install 'llama-cpp-python[server]'")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command += ["--model", str(smollm_path()), "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            url = f"http://127.0.0.1:{port}/v1"
            transport = httpx.HTTPTransport(retries=8)  # the waits between them grow to minutes
            with httpx.Client(transport=transport) as client:
                client.get(f"{url}/models", timeout=60).raise_for_status()
            yield url
        finally:
            server.terminate()


def llama_command() -> list[str] | None:
    if given := os.environ.get("LLAMA_SERVER"):
        return shlex.split(given)
    if found := shutil.which("llama-server"):
        return [found]
    if importlib.util.find_spec("llama_cpp") is not None:
        return [sys.executable, "-m", "llama_cpp.server"]
    return None


@pytest.mark.model
@pytest.mark.slow
async def test_a_real_llama_cpp_server_answers_word_by_word(llama_server: str) -> None:
    greedy = {"temperature": 0.0}
    asked = Service(llama_server, "smollm2", max_tokens=24, word_timeout=60, request=greedy)
    call = HostedResponder(asked).open()
    await call.prepare([])
    messages = [Message("system", SYSTEM), Message("user", "What is the capital of Japan?")]
    pieces = [piece async for piece in call.reply(messages)]
    words = [piece for piece in pieces if isinstance(piece, ReplyText)]
    done = pieces[-1]
    assert isinstance(done, ReplyDone)
    assert "Tokyo" in done.text
    assert len(words) > 3
    async with aclosing(call.reply(messages)) as left:
        assert isinstance(await anext(left), Prefilled)
    again = [piece async for piece in call.reply(messages)][-1]
    assert isinstance(again, ReplyDone)
    assert again.text
    await call.close()
