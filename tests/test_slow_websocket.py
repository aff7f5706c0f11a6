"""Websockets on links that are slower than sound: what is heard is now, not then."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from agent.audio.wire_format import WireFormat
from agent.runtime.unsent import MAX_UNSENT, Unsent
from agent.session.events import Configure
from agent.session.notices import Configured, Play, Remark, ReplyTextDelta, StopPlaying
from agent.session.playback import Delivery

RATE = 24_000
LIGHTER = Configured(Configure(output_format=WireFormat("pcmu", 8000)))


def play(reply="resp_1", seconds=0.06):
    return Play(reply, "item_1", np.zeros(round(seconds * RATE), np.float32), RATE)


def waiting(unsent):
    async def drain():
        return [await unsent.get() for _ in range(len(unsent))]

    return asyncio.run(drain())


def test_the_sound_of_a_stopped_reply_is_not_sent_any_more():
    unsent = Unsent()
    words, stop, other = ReplyTextDelta("resp_1", "item_1", "Hi"), StopPlaying("resp_1", "i", 0), play("resp_2")
    for notice in (play(), words, play(), other, stop):
        unsent.put(notice)
    assert unsent.sound == pytest.approx(0.06)
    assert waiting(unsent) == [words, other, stop]


def test_a_lighter_format_overtakes_the_sound_that_it_is_for():
    unsent = Unsent()
    slow, words, sound = Remark("network_slow", ""), ReplyTextDelta("resp_1", "i", "Hi"), play()
    for notice in (words, sound, slow, LIGHTER, Remark("backchannel", "")):
        unsent.put(notice)
    assert waiting(unsent) == [words, slow, LIGHTER, sound, Remark("backchannel", "")]


def test_sound_is_held_back_from_half_a_second_on_and_goes_on_below_half_of_it():
    unsent = Unsent()
    for _ in range(6):
        unsent.put(play(seconds=0.13))
    assert unsent.full(Delivery.PACED, 0.0, was=False)
    assert not unsent.full(Delivery.AT_ONCE, 0.0, was=False)
    assert not unsent.full(Delivery.TRACK, 0.0, was=False)

    async def send(count):
        for _ in range(count):
            unsent.sent(await unsent.get())

    asyncio.run(send(3))
    assert unsent.full(Delivery.PACED, 0.0, was=True)
    assert not unsent.full(Delivery.PACED, 0.0, was=False)
    asyncio.run(send(len(unsent)))
    assert unsent.sound == 0.0
    assert not unsent.full(Delivery.PACED, 0.0, was=True)


def test_sound_that_is_being_sent_counts_as_waiting():
    unsent = Unsent()
    unsent.put(play(seconds=0.6))
    assert asyncio.run(unsent.get()).rate == RATE
    assert unsent.full(Delivery.PACED, 0.0, was=False)


def test_only_so_many_notices_wait():
    unsent = Unsent()
    for _ in range(MAX_UNSENT):
        unsent.put(Remark("backchannel", ""))
    with pytest.raises(asyncio.QueueFull):
        unsent.put(play())


def test_sound_that_waits_goes_in_longer_pieces():
    unsent = Unsent()
    for _ in range(10):
        unsent.put(play())
    unsent.put(play("resp_2"))
    sizes = [(each.response_id, round(len(each.samples) / RATE, 2)) for each in waiting(unsent)]
    at_once = [("resp_1", 0.06)] * 4
    assert sizes == [*at_once, ("resp_1", 0.24), ("resp_1", 0.12), ("resp_2", 0.06)]
