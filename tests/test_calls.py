"""The registry of running calls: admission, the life of a call, the end of all calls."""

import asyncio
import logging
import re

import pytest

from agent.close_codes import INTERNAL_ERROR, NORMAL_CLOSURE, POLICY_VIOLATION, SERVICE_RESTART
from agent.runtime import calls as module
from agent.runtime.calls import SHUT_DOWN, CallEnd, CallRefused, CallRegistry, Outcome
from agent.transports.base import Disconnected

HANG_UP = CallEnd(Outcome.ENDED, NORMAL_CLOSURE, "a request to hang up")
IDLE = CallEnd(Outcome.COMPLETED, POLICY_VIOLATION, "the client reads too slowly")


class Transport:
    """Notes how it is closed; may fail at it, or take for ever."""

    def __init__(self, fault=None, closes=True):
        self.closed = []
        self.fault = fault
        self.closes = closes

    async def close(self, code, reason):
        self.closed.append((code, reason))
        if not self.closes:
            await asyncio.Event().wait()
        if self.fault is not None:
            raise self.fault


def ends(end=None, error=None):
    async def conversation():
        await asyncio.sleep(0)
        if error is not None:
            raise error
        return end

    return conversation


async def for_ever():
    await asyncio.Event().wait()


async def begun(registry, count=1):
    """Let the tasks of ``count`` calls run up to the conversation."""
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(registry) == count


def test_as_many_calls_as_the_settings_allow():
    registry = CallRegistry(2)
    first, _ = registry.admit("websocket", "ws"), registry.admit("webrtc", "rtc")
    assert re.fullmatch("ws_[0-9a-f]{24}", first.id)
    with pytest.raises(CallRefused, match="all 2 lines are busy") as refused:
        registry.admit("twilio")
    assert (refused.value.code, refused.value.status) == ("server_full", 503)
    with pytest.raises(CallRefused):
        registry.check_room()
    assert len(registry) == 2


def test_a_call_that_cannot_be_set_up_gives_its_place_back():
    registry = CallRegistry(1)
    call = registry.admit("webrtc")
    with pytest.raises(ValueError, match="a bad offer"), call.setting_up():
        raise ValueError("a bad offer")
    assert registry.refusal() is None
    with registry.admit("webrtc").setting_up():
        pass
    assert registry.refusal() is not None  # it is up now


@pytest.mark.parametrize(
    ("conversation", "end"),
    [
        (ends(IDLE), IDLE),
        (
            ends(error=Disconnected()),
            CallEnd(Outcome.DISCONNECTED, NORMAL_CLOSURE, "the client left at once"),
        ),
        (
            ends(error=Disconnected("no connection")),
            CallEnd(Outcome.DISCONNECTED, NORMAL_CLOSURE, "no connection"),
        ),
        (ends(error=ZeroDivisionError()), module.FAULT),
        (ends(error=TimeoutError()), module.FAULT),
    ],
)
async def test_every_end_closes_the_transport_and_frees_the_place(conversation, end, caplog):
    now = iter([10.0, 12.5])
    registry, transport = CallRegistry(1, lambda: next(now)), Transport()
    call = registry.admit("websocket", "ws")
    with caplog.at_level(logging.INFO, "onebreath.calls"):
        assert await call.run(transport, conversation) == end
    assert transport.closed == [(end.code, end.reason)]
    assert (len(registry), registry.find(call.id)) == (0, None)
    first, *faults, last = caplog.records
    assert (first.getMessage(), first.fields["call"]) == ("call started", call.id)
    assert last.getMessage() == "call ended"
    expected = {"call": call.id, "kind": "websocket", "outcome": end.outcome, "seconds": 2.5}
    assert last.fields == {**expected, "code": end.code, "reason": end.reason}
    failed = [f"call {call.id} failed"] if end.code == INTERNAL_ERROR else []
    assert [record.getMessage() for record in faults] == failed


async def test_a_call_is_asked_to_end_and_its_task_goes_on():
    registry, transport = CallRegistry(1), Transport()
    call = registry.admit("websocket")
    task = asyncio.create_task(call.run(transport, for_ever))
    await begun(registry)
    assert registry.find(call.id) is call
    call.end(HANG_UP)
    call.end(SHUT_DOWN)  # the first request counts
    assert await task == HANG_UP
    assert transport.closed == [(HANG_UP.code, HANG_UP.reason)]
    assert task.cancelling() == 0


async def test_a_request_to_end_that_comes_before_the_call_begins():
    registry, transport = CallRegistry(1), Transport()
    call = registry.admit("webrtc")
    call.start(transport, for_ever)
    call.end(HANG_UP)
    assert await call.task == HANG_UP
    assert transport.closed == [(HANG_UP.code, HANG_UP.reason)]


async def test_a_request_to_end_while_the_call_closes_does_not_cut_the_goodbye():
    registry, transport = CallRegistry(1), Transport(closes=False)
    call = registry.admit("websocket")
    task = asyncio.create_task(call.run(transport, ends(IDLE)))
    await begun(registry)
    assert transport.closed == [(IDLE.code, IDLE.reason)]
    call.end(HANG_UP)
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(registry) == 0


async def test_a_cancelled_task_stays_cancelled():
    registry, transport = CallRegistry(1), Transport()
    task = asyncio.create_task(registry.admit("websocket").run(transport, for_ever))
    await begun(registry)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert transport.closed == [(SERVICE_RESTART, SHUT_DOWN.reason)]
    assert len(registry) == 0


@pytest.mark.parametrize(
    "transport", [Transport(OSError("broken")), Transport(Disconnected()), Transport(closes=False)]
)
async def test_a_transport_that_cannot_be_closed_frees_the_place_too(transport, monkeypatch):
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.0)
    registry = CallRegistry(1)
    assert await registry.admit("websocket").run(transport, ends(IDLE)) == IDLE
    assert len(registry) == 0


async def test_all_calls_end_at_shut_down_and_no_new_one_is_admitted():
    registry, transports = CallRegistry(4), [Transport(), Transport(), Transport()]
    for transport in transports[:2]:
        registry.admit("webrtc", "rtc").start(transport, for_ever)
    late = registry.admit("webrtc", "rtc")  # its offer is being answered
    await begun(registry, 3)
    await registry.end_all()
    assert [transport.closed for transport in transports[:2]] == [
        [(SERVICE_RESTART, "the server is being stopped")]
    ] * 2
    with pytest.raises(CallRefused, match="being stopped") as refused:
        registry.admit("websocket")
    assert refused.value.code == "server_stopping"
    assert await late.run(transports[2], for_ever) == SHUT_DOWN
    assert transports[2].closed == [(SERVICE_RESTART, SHUT_DOWN.reason)]
    assert len(registry) == 0
