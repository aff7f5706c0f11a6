"""The buffer before a WebRTC caller's ear, frame by frame."""

from __future__ import annotations

import numpy as np
import pytest

from agent.latency.playout_buffer import (
    BEHIND_SECONDS,
    CALM_SECONDS,
    FRAME_SECONDS,
    LEAST_SECONDS,
    MOST_SECONDS,
    SPARE_SECONDS,
    PlayoutBuffer,
)

RATE = 48_000
FRAME = 960


def sound(level=0.3):
    return np.full(FRAME, level, np.float32)


QUIET = sound(0.0)


def running(frame=None):
    """A buffer that has begun to play, one frame for each that comes."""
    buffer = PlayoutBuffer(RATE)
    for _ in range(5):
        step(buffer, sound() if frame is None else frame)
    return buffer


def step(buffer, frame, made_up=False):
    """One frame comes, one is heard."""
    buffer.push(frame, made_up)
    return buffer.pull()


def test_even_packets_wait_for_the_least_time():
    buffer = PlayoutBuffer(RATE)
    heard = [step(buffer, sound(0.1 + place / 100)) for place in range(20)]
    first = next(place for place, frame in enumerate(heard) if frame.any())
    assert first * FRAME_SECONDS == pytest.approx(LEAST_SECONDS - FRAME_SECONDS)
    assert heard[-1][0] == pytest.approx(0.1 + (19 - first) / 100)
    assert buffer.glitches == 0


def test_a_gap_in_sound_is_one_glitch_however_long():
    for frames in (3, 10, 100):
        buffer = running()
        for _ in range(frames):
            buffer.pull()
        assert buffer.glitches == 0, "it may have been the end"
        for _ in range(10):
            step(buffer, sound())
        assert buffer.glitches == 1


def test_a_gap_in_silence_is_none():
    buffer = running(QUIET)
    for _ in range(10):
        buffer.pull()
    for _ in range(10):
        step(buffer, QUIET)
    assert buffer.glitches == 0


def test_sound_that_was_made_up_is_a_glitch():
    buffer = running()
    for made_up in (False, True, True, True, False, False, False, True, False, False):
        step(buffer, sound(), made_up)
    for _ in range(5):
        step(buffer, sound())
    assert buffer.glitches == 2


def test_a_buffer_that_runs_dry_holds_more_and_then_less_again():
    buffer = running()
    for _ in range(20):
        while buffer.seconds:
            buffer.pull()
        buffer.pull()
        for _ in range(30):
            step(buffer, sound())
    assert buffer.seconds == pytest.approx(MOST_SECONDS - FRAME_SECONDS)
    for _ in range(round(10 * CALM_SECONDS / FRAME_SECONDS)):
        step(buffer, QUIET)
    assert buffer.seconds <= LEAST_SECONDS + SPARE_SECONDS + 1e-9


def test_after_a_stall_the_ear_hears_now():
    buffer = running()
    for _ in range(150):
        buffer.pull()  # 3 s of nothing
    for place in range(150):
        buffer.push(sound(0.1 + place / 1000), False)
    heard = [step(buffer, sound(0.25 + place / 1000)) for place in range(10)]
    assert heard[-1][0] >= 0.25 - BEHIND_SECONDS / FRAME_SECONDS / 1000
    assert buffer.seconds < LEAST_SECONDS + BEHIND_SECONDS
    assert buffer.glitches == 1
    for _ in range(100):
        step(buffer, QUIET)
    assert buffer.seconds <= LEAST_SECONDS + 0.02 + SPARE_SECONDS + 1e-9


def test_what_came_at_once_before_the_call_does_not_stay():
    buffer = PlayoutBuffer(RATE)
    for _ in range(6):
        buffer.push(QUIET, False)  # while the call was being set up
    for _ in range(50):
        step(buffer, QUIET)
    assert buffer.seconds <= LEAST_SECONDS + FRAME_SECONDS / 2, "not 100 ms for the whole call"
    assert buffer.glitches == 0


def test_jitter_in_silence_is_not_taken_for_sound_that_waits():
    """What comes in pairs, 40 ms apart, needs what waits between them."""
    buffer = running(QUIET)
    for place in range(400):
        if place % 4 == 0:
            for _ in range(4):
                buffer.push(QUIET, False)
        buffer.pull()
    target = buffer.seconds
    for place in range(400):
        if place % 4 == 0:
            for _ in range(4):
                buffer.push(sound(), False)
        assert buffer.pull().any() or place < 10
    assert buffer.glitches <= 1
    assert buffer.seconds == pytest.approx(target)


def test_frames_are_as_long_as_asked_whatever_comes():
    buffer = PlayoutBuffer(RATE)
    for size in (1, 959, 0, 2000, 17, 5760):
        buffer.push(np.full(size, 0.2, np.float32), False)
        assert len(buffer.pull()) == FRAME
