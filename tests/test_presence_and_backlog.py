"""When a client was last there, and whether sound waits for it."""

import asyncio

from agent.bench.virtual_time import in_virtual_time
from agent.runtime.backlog import LOOK_SECONDS, BacklogWatch
from agent.runtime.presence import STEADY_GAP, STEADY_SECONDS, Presence


def test_a_client_that_sends_steadily_was_last_there_at_its_last_message():
    presence = Presence(10.0)
    for step in range(30):
        presence.note(10.0 + 0.1 * step)
    assert presence.last_seen(20.0) == presence.last_message_at == 10.0 + 0.1 * 29


def test_of_a_client_that_sends_now_and_then_only_the_end_tells():
    presence = Presence(10.0)
    for second in (11.0, 12.0 + STEADY_GAP, 15.0 + STEADY_GAP):
        presence.note(second)
    assert presence.last_seen(20.0) == 20.0
    assert Presence(10.0).last_seen(10.5) == 10.5


def test_a_pause_begins_the_proof_again():
    presence = Presence(0.0)
    for second in (0.5, 1.0, 1.5, 2.0):
        presence.note(second)
    assert presence.last_seen(9.0) == STEADY_SECONDS
    presence.note(8.0)
    assert presence.last_seen(9.0) == 9.0


def test_a_full_connection_is_looked_at_until_it_is_empty():
    waiting, told = [True, True, True, False], []

    async def watch():
        looks = iter(waiting)
        backlog = BacklogWatch(lambda was: next(looks), told.append)
        backlog.look()
        await asyncio.sleep(10 * LOOK_SECONDS)
        assert next(looks, None) is None

    in_virtual_time(watch())
    assert told == [True, False]


def test_whether_it_was_full_before_is_passed_on_and_forgotten_with_the_connection():
    asked = []

    async def watch():
        backlog = BacklogWatch(lambda was: not asked.append(was), lambda full: None)
        backlog.look()
        backlog.look()
        backlog.begin()
        backlog.look()
        backlog.stop()
        await asyncio.sleep(1.0)

    in_virtual_time(watch())
    assert asked == [False, True, False]
