import asyncio
import threading
from concurrent.futures import CancelledError

import pytest

from agent.compute import Compute, Urgency


@pytest.fixture
def compute():
    compute = Compute()
    yield compute
    compute.close()


async def test_work_runs_on_one_other_thread(compute):
    names = {await compute.run(Urgency.REPLY, threading.get_ident) for _ in range(3)}
    assert len(names) == 1
    assert threading.get_ident() not in names


async def test_the_most_urgent_goes_first(compute):
    gate = threading.Event()
    order = []
    blocking = asyncio.create_task(compute.run(Urgency.FINAL, gate.wait))
    await asyncio.sleep(0)
    waiting = [
        asyncio.create_task(compute.run(urgency, lambda u=urgency: order.append(u)))
        for urgency in (Urgency.PARTIAL, Urgency.REPLY, Urgency.PREPARE, Urgency.FINAL)
    ]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(blocking, *waiting)
    assert order == [Urgency.FINAL, Urgency.REPLY, Urgency.PREPARE, Urgency.PARTIAL]


async def test_errors_reach_the_waiter_and_the_thread_lives_on(compute):
    with pytest.raises(ZeroDivisionError):
        await compute.run(Urgency.REPLY, lambda: 1 // 0)
    assert await compute.run(Urgency.REPLY, lambda: 7) == 7


async def test_cancelled_work_that_has_not_begun_is_skipped(compute):
    gate = threading.Event()
    ran = []
    blocking = asyncio.create_task(compute.run(Urgency.FINAL, gate.wait))
    await asyncio.sleep(0)
    task = asyncio.create_task(compute.run(Urgency.REPLY, lambda: ran.append(1)))
    await asyncio.sleep(0)
    task.cancel()
    for _ in range(3):  # until the loop has handed it on
        await asyncio.sleep(0)
    gate.set()
    await blocking
    with pytest.raises(asyncio.CancelledError):
        await task
    await compute.run(Urgency.PARTIAL, lambda: None)
    assert ran == []


async def test_two_iterations_take_turns(compute):
    order = []

    def pieces(name):
        for number in range(3):
            order.append((name, number))
            yield number

    async def consume(name):
        return [piece async for piece in compute.iterate(Urgency.REPLY, pieces(name))]

    assert await asyncio.gather(consume("a"), consume("b")) == [[0, 1, 2], [0, 1, 2]]
    assert order == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]


async def test_leaving_an_iteration_closes_the_generator_on_the_thread(compute):
    closed_on = []

    def pieces():
        try:
            while True:
                yield 1
        finally:
            closed_on.append(threading.get_ident())

    iteration = compute.iterate(Urgency.REPLY, pieces())
    async for _ in iteration:
        break
    await iteration.aclose()
    assert closed_on == [await compute.run(Urgency.REPLY, threading.get_ident)]


async def test_loading_can_wait_for_the_same_thread(compute):
    thread = await asyncio.to_thread(compute.do, threading.get_ident)
    assert thread == await compute.run(Urgency.REPLY, threading.get_ident)
    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(compute.do, lambda: 1 // 0)


async def test_idle_work_waits_for_all_other_work(compute):
    gate, order = threading.Event(), []

    def pieces():
        for number in range(2):
            order.append(number)
            yield

    blocking = asyncio.create_task(compute.run(Urgency.FINAL, gate.wait))
    await asyncio.sleep(0)
    compute.when_idle(pieces())
    waiting = [
        asyncio.create_task(compute.run(urgency, lambda u=urgency: order.append(u)))
        for urgency in (Urgency.PARTIAL, Urgency.REPLY)
    ]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(blocking, *waiting)
    await compute.run(Urgency.IDLE, lambda: None)  # behind the first piece
    await compute.run(Urgency.IDLE, lambda: None)
    assert order == [Urgency.REPLY, Urgency.PARTIAL, 0, 1]


def test_the_end_of_the_thread_drops_idle_work():
    compute, done = Compute(), []

    def pieces():
        while True:  # would never end
            done.append(1)
            yield

    compute.when_idle(pieces())
    compute.close()
    seen = len(done)
    assert not compute._thread.is_alive()
    assert len(done) == seen


async def test_idle_work_that_fails_is_logged(compute, caplog):
    def pieces():
        yield
        raise ZeroDivisionError("of no use")

    compute.when_idle(pieces())
    for _ in range(3):
        await compute.run(Urgency.IDLE, lambda: None)
    assert "of no use" in caplog.text
    assert await compute.run(Urgency.REPLY, lambda: 7) == 7


async def test_work_for_a_thread_that_has_ended_is_cancelled_and_not_waited_for(compute):
    """Ctrl-C while engines loaded left a thread that waited for ever."""
    compute.close()
    with pytest.raises(CancelledError):
        compute.do(lambda: 1)
    with pytest.raises(asyncio.CancelledError):
        await compute.run(Urgency.FINAL, lambda: 1)
    compute.when_idle(iter([1, 2]))
