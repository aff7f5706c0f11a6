"""The paced track, with a clock and a sleep of the test's own."""

import asyncio

import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError
from support.fakes import in_virtual_time, speech

from agent.transports import rtc_track
from agent.transports.opus import FRAME, RATE, OpusDecoder
from agent.transports.rtc_track import FADE, FRAME_SECONDS, SpeechTrack


@pytest.fixture
def loop_clock(monkeypatch):
    """Makes the track read the clock of the (virtual) loop."""
    monkeypatch.setattr(rtc_track.time, "monotonic", lambda: asyncio.get_running_loop().time())


def loudness(packets):
    decoder = OpusDecoder()
    return [float(np.abs(decoder.decode(bytes(packet))).max()) for packet in packets]


def run(scenario):
    """Runs ``scenario(track, changes)`` in virtual time."""

    async def inner():
        changes = []
        track = SpeechTrack(56_000, lambda change, response_id: changes.append(change))
        return await scenario(track, changes)

    return in_virtual_time(inner())


def test_packets_leave_at_absolute_times_with_silence_between_replies(loop_clock):
    async def scenario(track, changes):
        times, packets = [], []
        for _ in range(50):
            packets.append(await track.recv())
            times.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0.007)  # what sending costs is not added up
        assert np.diff(times) == pytest.approx(FRAME_SECONDS)
        assert [packet.pts for packet in packets] == [n * FRAME for n in range(50)]
        assert max(loudness(packets)) < 0.001
        assert changes == []

    run(scenario)


def test_a_late_sender_leaves_packets_out_and_time_stays_true(loop_clock):
    async def scenario(track, changes):
        await track.recv()
        await asyncio.sleep(0.5)
        late = await track.recv()
        assert late.pts == 25 * FRAME
        await track.recv()
        assert asyncio.get_running_loop().time() == pytest.approx(26 * FRAME_SECONDS)

    run(scenario)


def test_a_reply_is_announced_sent_whole_and_ended(loop_clock):
    async def scenario(track, changes):
        track.begin("resp_1")
        for piece in np.array_split(speech(0.2, RATE), 7):  # no multiples of a frame
            track.play(piece)
        packets = [await track.recv() for _ in range(10)]
        assert changes == ["started"]
        track.end()
        assert changes == ["started", "stopped"]
        assert min(loudness(packets)[1:]) > 0.3
        track.begin("resp_2")
        track.play(speech(0.05, RATE))
        track.end()
        for _ in range(3):
            await track.recv()
        assert changes == ["started", "stopped"] * 2

    run(scenario)


def test_a_flush_fades_out_and_says_how_much_was_sent(loop_clock):
    async def scenario(track, changes):
        track.begin("resp_1")
        track.play(speech(2.0, RATE))
        before = [await track.recv() for _ in range(5)]
        assert track.flush() == pytest.approx(0.1)
        assert changes == ["started", "cleared"]
        after = loudness([*before, *[await track.recv() for _ in range(10)]])[5:]
        assert FADE < FRAME
        assert max(after[2:]) < 0.01
        track.end()
        assert changes == ["started", "cleared"]

    run(scenario)


def test_a_flush_of_a_reply_that_was_not_heard_yet_clears_nothing(loop_clock):
    async def scenario(track, changes):
        track.begin("resp_1")
        assert track.flush() == 0.0
        assert changes == []

    run(scenario)


def test_a_stopped_track_ends_the_sender(loop_clock):
    async def scenario(track, changes):
        track.stop()
        with pytest.raises(MediaStreamError):
            await track.recv()

    run(scenario)
