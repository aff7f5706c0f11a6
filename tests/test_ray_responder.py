"""A shared responder: voice server and replica over HTTP, without Ray (test_ray.py has it)."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress

import pytest
from pydantic import SecretStr
from support.ray_replica import replica

from agent.decision import Answer, Question
from agent.reply import (
    PLAIN,
    CanvasStep,
    FunctionTool,
    Message,
    Prefilled,
    ReplyDone,
    ReplyOptions,
    ReplyPiece,
    ReplyText,
    ToolCall,
    ToolCallStarted,
)
from agent.responders.base import ResponderError
from agent.responders.ray import RayCall, RayResponder
from agent.responders.ray_connection import Cluster, _lines
from agent.responders.ray_wire import (
    Answers,
    Asked,
    Failure,
    WireError,
    decode_line,
    decode_request,
    encode_line,
    encode_request,
)
from agent.responders.scripted import ScriptedResponder

ASKED = [Message("system", "Be brief."), Message("user", "how are you")]
LONGER = [*ASKED, Message("assistant", "Fine, thanks."), Message("user", "good")]
SCRIPT = {"how are you": "Fine, thanks."}
TRUST = ssl.create_default_context()


def call_of(address: str, **limits: object) -> RayCall:
    return RayCall(Cluster(address, **limits), TRUST)  # type: ignore[arg-type]


async def pieces_of(call: RayCall, messages: Sequence[Message] = ASKED) -> list[ReplyPiece]:
    return [piece async for piece in call.reply(messages)]


class Slow(ScriptedResponder):
    """Every step after the first waits until it is let go; counts the calls that were closed."""

    def __init__(self) -> None:
        super().__init__(SCRIPT)
        self.waits, self.go = threading.Event(), threading.Event()
        self.closed, self.ended = 0, 0

    def open(self):  # type: ignore[no-untyped-def]
        return _SlowCall(self)


class _SlowCall:
    def __init__(self, responder: Slow) -> None:
        self._responder, self._inner = responder, ScriptedResponder(SCRIPT).open()

    def prepare(self, messages: Sequence[Message]) -> Prefilled:
        return self._inner.prepare(messages)

    def reply(
        self, messages: Sequence[Message], deadline: float | None = None
    ) -> Iterator[ReplyPiece]:
        try:
            yield self._inner.prepare(messages)
            yield CanvasStep(1, 2, ("", ""), (True, True), (0.0, 0.0), 0.0)
            self._responder.waits.set()
            self._responder.go.wait(20)
            yield ReplyText("Fine")
            yield ReplyDone("Fine", 1, 1, 0.0, 0.0)
        finally:
            self._responder.ended += 1

    def close(self) -> None:
        self._responder.closed += 1


async def test_a_reply_comes_piece_by_piece_and_its_prompt_stays_cached() -> None:
    async with replica(lambda: ScriptedResponder(SCRIPT)) as (address, proxy):
        call = call_of(address)
        first, *steps, done = await pieces_of(call)
        assert first == Prefilled(0, 5, 0.0)
        assert isinstance(done, ReplyDone)
        assert done.text == "Fine, thanks."
        assert done.stats["network_ms"] > 0
        assert "".join(p.text for p in steps if isinstance(p, ReplyText)) == done.text
        assert await call.prepare(LONGER[:-1]) == Prefilled(5, 2, 0.0)
        again, *_ = await pieces_of(call, LONGER)
        assert again == Prefilled(7, 1, 0.0)
        await call.close()
        assert proxy.replica._sessions == {}
        other = call_of(address)
        assert (await pieces_of(other))[0] == Prefilled(0, 5, 0.0)
        await other.close()


async def test_the_responder_is_that_of_the_replicas() -> None:
    async with replica(lambda: ScriptedResponder(SCRIPT)) as (address, _):
        responder = RayResponder(Cluster(address))
        await asyncio.to_thread(responder.warm_up)
        assert responder.uses_tools
        assert not responder.judges_turns
        assert not responder.decides
        assert responder.decoding == {}


async def test_functions_and_limits_reach_the_replica() -> None:
    tool = FunctionTool("weather", "tells it", {"type": "object"}, after_reply=True)
    made = ScriptedResponder({"how are you": ToolCall("", "weather", '{"at": "Rome"}')})
    async with replica(lambda: made) as (address, _):
        call = call_of(address, max_tokens=20)
        asked = ReplyOptions((tool,), "required", max_tokens=99)
        pieces = [piece async for piece in call.reply(ASKED, None, asked)]
        await call.close()
    (started,) = (p for p in pieces if isinstance(p, ToolCallStarted))
    (called,) = (p for p in pieces if isinstance(p, ToolCall))
    assert called == ToolCall(started.call_id, "weather", '{"at": "Rome"}')
    (seen,) = made.options
    assert seen.tools == (tool,)
    assert seen.max_tokens == 20


async def test_a_dropped_reply_stops_at_the_replica_and_the_next_is_served() -> None:
    made = Slow()
    async with replica(lambda: made) as (address, proxy):
        call = call_of(address)
        async with aclosing(call.reply(ASKED)) as pieces:
            async for piece in pieces:
                if isinstance(piece, CanvasStep):
                    break
        next_one = asyncio.create_task(pieces_of(call))
        await proxy.asked_for("/reply", 2)
        made.go.set()
        done = (await next_one)[-1]
        assert isinstance(done, ReplyDone)
        assert made.ended == 2
        await call.close()
        assert made.closed == 1


async def test_a_later_request_ends_an_earlier_one_whose_connection_still_stands() -> None:
    made = Slow()
    async with replica(lambda: made) as (address, proxy):
        call = call_of(address)
        async with aclosing(call.reply(ASKED)) as old:
            assert isinstance(await anext(old), Prefilled)
            newer = asyncio.create_task(pieces_of(call))
            await proxy.asked_for("/reply", 2)
            made.go.set()
            assert isinstance((await newer)[-1], ReplyDone)
            with pytest.raises(ResponderError, match="Superseded"):
                [piece async for piece in old]
        await call.close()


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_full_queue_and_a_dead_replica_are_asked_again_then_given_up(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.responders.ray_connection.FIRST_PAUSE", 0.01)
    async with replica(lambda: ScriptedResponder(SCRIPT)) as (address, proxy):
        call = call_of(address)
        proxy.statuses = [status] * 2
        assert isinstance((await pieces_of(call))[-1], ReplyDone)
        proxy.statuses = [status] * 3
        with pytest.raises(ResponderError, match=f"asked 3 times.*{status}"):
            await pieces_of(call)
        proxy.statuses = [503]
        assert await call.prepare(ASKED) == Prefilled(0, 0, 0.0), "a turn does not fail by it"
        assert proxy.paths.count("/prepare") == 1
        await call.close()


async def test_a_cluster_that_is_away_is_explained() -> None:
    async with replica(lambda: ScriptedResponder(SCRIPT)) as (address, _):
        pass
    call = call_of(address, max_retries=1)
    with pytest.raises(ResponderError, match=r"asked 2 times: no connection.*application running"):
        await pieces_of(call)
    assert await call.prepare(ASKED) == Prefilled(0, 0, 0.0)
    await call.close()
    responder = RayResponder(Cluster(address, max_retries=0))
    with pytest.raises(ResponderError, match="asked once"):
        await asyncio.to_thread(responder.warm_up)


@pytest.mark.slow
async def test_a_replica_that_hangs_is_given_up_at_both_ends() -> None:
    made = Slow()
    async with replica(lambda: made, reply_seconds=0.3) as (address, _):
        call = call_of(address, word_timeout=0.1)
        with pytest.raises(ResponderError, match=r"the rest of a reply within 0\.1 s"):
            await pieces_of(call)
        patient = call_of(address)
        asked = asyncio.create_task(pieces_of(patient))
        await asyncio.sleep(0.4)
        made.go.set()
        with pytest.raises(ResponderError, match=r"more than 0\.3 s"):
            await asked
        await call.close()
        await patient.close()


async def test_only_the_key_opens() -> None:
    async with replica(lambda: ScriptedResponder(SCRIPT), "right") as (address, _):
        for key, words in ((None, "401"), ("wrong", "401"), ("right", "")):
            call = call_of(address, api_key=key if key is None else SecretStr(key))
            if words:
                with pytest.raises(ResponderError, match=words):
                    await pieces_of(call)
            else:
                assert isinstance((await pieces_of(call))[-1], ReplyDone)
            await call.close()


async def test_the_sessions_of_a_replica_are_bounded() -> None:
    made = Slow()
    made.go.set()
    async with replica(lambda: made, sessions=2) as (address, proxy):
        calls = [call_of(address) for _ in range(4)]
        for call in calls:
            await pieces_of(call)
        assert len(proxy.replica._sessions) == 2
        assert made.closed == 2
        assert isinstance((await pieces_of(calls[0]))[-1], ReplyDone)
        for call in calls:
            await call.close()
        assert len(proxy.replica._sessions) == 0


async def test_a_failure_of_the_responder_is_told_in_its_words() -> None:
    def fails(words: str) -> str:
        raise ResponderError("the prompt does not fit")

    async with replica(lambda: ScriptedResponder(fails)) as (address, _):
        call = call_of(address)
        with pytest.raises(ResponderError, match="the prompt does not fit"):
            await pieces_of(call)
        await call.close()


async def test_health_is_that_of_the_compute_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.runtime.ray_replica.HEALTHY_SECONDS", 0.1)
    made = Slow()
    async with replica(lambda: made) as (address, proxy):
        await proxy.replica.check_health()
        call = call_of(address)
        reply = asyncio.create_task(pieces_of(call))
        await asyncio.to_thread(made.waits.wait, 10)
        with pytest.raises(TimeoutError):
            await proxy.replica.check_health()
        made.go.set()
        await reply
        await call.close()


@pytest.mark.parametrize("url", ["", "ray.internal:8000", "ftp://ray"])
def test_an_address_is_needed(url: str) -> None:
    with pytest.raises(ResponderError, match=r"set responder\.base_url"):
        Cluster(url)


async def test_another_program_at_the_address_is_explained() -> None:
    async with replica(lambda: ScriptedResponder(SCRIPT)) as (address, proxy):
        call = call_of(address)
        proxy.statuses = [404]
        with pytest.raises(ResponderError, match=r"agent\.runtime\.ray_app"):
            await pieces_of(call)
        proxy.statuses = [200]
        with pytest.raises(ResponderError, match="before it was complete"):
            await pieces_of(call)
        await call.close()


def test_every_message_is_read_as_it_was_written() -> None:
    question = Question("done", "choice", "?", options=("a", "b"), examples=(("x", "a"),))
    asked = Asked("s", 3, tuple(LONGER), PLAIN, 0.5, (question,), "words", True)
    assert decode_request(encode_request(asked)) == asked
    sent = [
        CanvasStep(1, None, ("a", ""), (False, True), (0.5, float("inf")), 2.0),
        ReplyDone("a\nb", 1, 2, 3.0, 4.0, {"tokens": 5.0}),
        Answers((Answer("done", None, "a", 1.0, {"a": 1.0}),)),
        Answers(None),
        Failure("why"),
    ]
    for each in sent:
        line = encode_line(each)
        assert line.count(b"\n") == 1
        assert decode_line(line) == each


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[1]", b'{"session": ""}', b'{"session": "s", "messages": [1]}', b"x" * 2**21],
)
def test_what_is_no_request_is_refused_with_a_sentence(body: bytes) -> None:
    with pytest.raises(WireError):
        decode_request(body)


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b'{"kind": "Other", "value": {}}', b'{"kind": "Failure", "value": 3}'],
)
def test_what_is_no_message_of_a_replica_is_refused(line: bytes) -> None:
    with pytest.raises(WireError):
        decode_line(line)


# ---- a replica that sends what none would -------------------------------------------------


@asynccontextmanager
async def sends(*parts: bytes, then: bytes | None = None) -> AsyncIterator[str]:
    """A server that answers so; ``then`` again and again, or an open end where it is empty."""

    answering: set[asyncio.Task[object] | None] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for part in parts:
                writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            while then:
                writer.write(b"%x\r\n%b\r\n" % (len(then), then))
                await writer.drain()
            await (writer.drain() if then is None else reader.read())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with asyncio.timeout(5):  # the client is gone
            await asyncio.gather(*filter(None, answering))


DONE = encode_line(ReplyDone("Fine", 1, 1, 0.0, 0.0))
WORD = encode_line(ReplyText("Fine"))
WORDLESS = encode_line(CanvasStep(1, 2, ("", ""), (True, True), (0.0, 0.0), 0.0))


async def error_of(address: str, **limits: float) -> str:
    call = call_of(address, max_retries=0, **limits)
    try:
        async with asyncio.timeout(30):
            await pieces_of(call)
    except ResponderError as error:
        return str(error)
    finally:
        await call.close()
    return ""


@pytest.mark.parametrize(
    "part",
    [
        b"{}\n",
        b"null\n",
        b"[" * 100_000 + b"\n",
        b'{"kind":[],"value":{}}\n',
        b'{"kind":"ReplyText","value":{"text":5}}\n',
        b'{"kind":"ReplyText","value":{"text":"\\ud800"}}\n',
        b'{"kind":"Nothing","value":{}}\n',
        b"\xff\xfe\n",
        b"\n",
    ],
)
async def test_garbage_of_a_replica_is_an_error_of_the_reply(part: bytes) -> None:
    async with sends(WORD, part) as address:
        assert "sent what no replica sends" in await error_of(address)


async def test_a_replica_that_dies_within_a_line_or_without_an_end() -> None:
    async with sends(WORD, DONE[:-9]) as address:
        assert "broke off a reply" in await error_of(address)
    async with sends(WORD) as address:
        assert "broke off a reply" in await error_of(address)


async def test_steps_without_an_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each came in time, and a reply had no bound but the replica's own."""
    monkeypatch.setattr("agent.responders.ray_connection.MAX_ANSWER", 200_000)
    async with sends(then=WORDLESS) as address:
        assert "sent what no replica sends" in await error_of(address)


async def test_a_complete_reply_is_one_although_its_answer_does_not_end() -> None:
    """It failed after ``word_timeout``, and the next reply waited for that."""
    async with sends(WORD, DONE, WORD, then=b"") as address:
        call = call_of(address)
        async with asyncio.timeout(5):
            *_, done = await pieces_of(call)
        await call.close()
    assert done == ReplyDone("Fine", 1, 1, 0.0, 0.0, {"network_ms": 0.0})


async def test_a_line_that_comes_byte_by_byte_is_not_copied_for_each() -> None:
    class Answer:
        async def aiter_raw(self) -> AsyncIterator[bytes]:
            for _ in range(500_000):
                yield b"x"
            yield b"\nyz\n"

    began = time.thread_time()
    found = [line async for line in _lines(Answer())]  # type: ignore[arg-type]
    assert [len(line) for line in found] == [500_000, 2]
    assert time.thread_time() - began < 3.0
