"""The application on a real Ray: two replicas, sessions that stay, full queues, a death."""

from __future__ import annotations

import asyncio
import importlib.util
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest
from support.ray_cluster import cluster, replicas

from agent.extras import install
from agent.reply import Message, Prefilled, ReplyDone, ReplyPiece, ReplyText
from agent.responders.base import ResponderError
from agent.responders.ray import RayCall, RayResponder
from agent.responders.ray_connection import Cluster

pytestmark = [
    pytest.mark.ray,
    pytest.mark.long,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason=f"Ray is not installed: {install('ray')}"
    ),
]
TRUST = ssl.create_default_context()
SYSTEM = Message("system", "Be brief.")
BATCH, QUEUE = 2, 2


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, psutil.Process]]:
    # Not pytest's folder: Ray's sockets are files, whose paths may have 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder,
        cluster(
            Path(folder),
            engine="support.slow_words:SlowWords",
            replicas=2,
            batch=BATCH,
            queue=QUEUE,
            threads=1,
        ) as found,
    ):
        yield found


def call_of(address: str, **limits: float) -> RayCall:
    given = {"word_timeout": 60.0, **limits}
    return RayCall(Cluster(address, **given), TRUST)  # type: ignore[arg-type]


def asked(words: str) -> list[Message]:
    return [SYSTEM, Message("user", words)]


async def pieces_of(call: RayCall, messages: list[Message]) -> list[ReplyPiece]:
    return [piece async for piece in call.reply(messages)]


async def turns_of(address: str) -> list[tuple[int, int]]:
    """(cached, new) words of a prompt read ahead, its reply, and a second turn, of one call."""
    call = call_of(address)
    ahead = await call.prepare(asked("one two"))
    (first, *_, done) = await pieces_of(call, asked("one two three"))
    assert isinstance(done, ReplyDone)
    assert done.text == "one two three"
    longer = [*asked("one two three"), Message("assistant", done.text), Message("user", "four")]
    (second, *_) = await pieces_of(call, longer)
    await call.close()
    assert isinstance(first, Prefilled)
    assert isinstance(second, Prefilled)
    return [(found.cached_tokens, found.new_tokens) for found in (ahead, first, second)]


async def test_every_request_of_a_call_reaches_the_replica_that_read_ahead(
    served: tuple[str, psutil.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.responders.ray.PREPARE_SECONDS", 60.0)  # a busy machine may need it
    address, process = served
    assert len(replicas(process)) == 2
    for _ in range(6):
        assert await turns_of(address) == [(0, 4), (4, 1), (5, 4)]
    monkeypatch.setattr("agent.responders.ray_connection.SESSION_HEADER", "x-another")
    spread = [await turns_of(address) for _ in range(6)]
    assert any(found != [(0, 4), (4, 1), (5, 4)] for found in spread), "one replica answers all"


async def test_a_full_queue_is_waited_for_or_told_and_a_dropped_reply_makes_room(
    served: tuple[str, psutil.Process],
) -> None:
    address, _ = served
    words = "slowly " + "word " * 40
    calls = [call_of(address, max_retries=0) for _ in range(4 * (BATCH + QUEUE))]
    begun: asyncio.Queue[bool] = asyncio.Queue()

    async def hold(call: RayCall) -> str:
        try:
            async with aclosing(call.reply(asked(words))) as pieces:
                async for piece in pieces:
                    if isinstance(piece, ReplyText):
                        begun.put_nowait(True)
                        await asyncio.Event().wait()
        except ResponderError as error:
            return str(error)
        return "ended"

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        held = [group.create_task(hold(call)) for call in calls]
        for _ in range(2 * BATCH):
            await begun.get()
        while not any(task.done() for task in held):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        refused = next(task for task in held if task.done())
        assert "asked once: no replica is free (503)" in refused.result()
        for task in held:
            task.cancel()
    patient = call_of(address)
    async with asyncio.timeout(60):
        done = (await pieces_of(patient, asked("at once")))[-1]
    assert isinstance(done, ReplyDone)
    for call in [*calls, patient]:
        await call.close()


async def test_calls_go_on_when_a_replica_dies(served: tuple[str, psutil.Process]) -> None:
    address, process = served
    calls = [call_of(address, max_retries=10) for _ in range(6)]
    for call in calls:
        await pieces_of(call, asked("before"))
    replicas(process)[0].kill()
    for call in calls:
        done = (await pieces_of(call, asked("after")))[-1]
        assert isinstance(done, ReplyDone)
        assert done.text == "after"
        await call.close()


async def test_the_responder_starts_with_the_properties_of_the_replicas(
    served: tuple[str, psutil.Process],
) -> None:
    responder = RayResponder(Cluster(served[0], word_timeout=60.0, max_retries=10))
    await asyncio.to_thread(responder.warm_up)
    assert responder.uses_tools
    assert not responder.decides
