"""What a second of a telephony call costs, in calls of our own functions: no clock is involved.

Twenty calls share one event loop, so that what each frame costs decides how evenly they sound.
A time would depend on the machine; counts tell as surely that work was added for every frame.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from support.fakes import silence, speech
from support.telephony_peer import RATE
from test_telephony_transport import engines, run, said

import agent
from agent.audio.echo import EchoDetector, Powers, band_powers
from agent.audio.samples import AudioChunk, Samples
from agent.audio.vad import FRAME_SAMPLES
from agent.audio.vad import RATE as EAR_RATE

OURS = str(Path(agent.__file__).parent)
CLOCK = str(Path(OURS) / "bench")
"""The loop of these tests, which counts its time itself."""


def calls_of_ours(work: Callable[[], Any]) -> int:
    """How many functions of the package are entered, or generators entered again."""
    count = 0

    def entered(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        path = frame.f_code.co_filename
        count += event == "call" and path.startswith(OURS) and not path.startswith(CLOCK)

    sys.setprofile(entered)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def call_of(seconds: float) -> None:
    """A call whose caller asks, and listens to a long answer for so long."""
    parts = engines({"tell me": "word " * 200}, "tell me")
    sound = (speech(1.0, RATE), silence(seconds, RATE))
    run(parts, said(*sound, hang_up_at=1.0 + seconds))


@pytest.mark.slow
def test_a_second_of_a_call_in_which_the_agent_speaks() -> None:
    calls = (calls_of_ours(lambda: call_of(4.0)) - calls_of_ours(lambda: call_of(2.0))) / 2
    print(f"{calls:.0f} calls a second")
    assert calls < 8400


def quiet_frame(number: int) -> AudioChunk:
    sound = np.full(FRAME_SAMPLES, 1e-3, np.float32)
    return AudioChunk(sound, EAR_RATE, number * FRAME_SAMPLES, 10 + number * 0.032)


def test_while_nobody_speaks_spectra_are_taken_every_half_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[int] = []

    def counted(sound: Samples) -> Powers:
        taken.append(len(sound))
        return band_powers(sound)

    monkeypatch.setattr("agent.audio.echo.band_powers", counted)
    judge = EchoDetector()
    judge.played(np.full(5 * EAR_RATE, 0.1, np.float32), EAR_RATE, 10.0)
    for number in range(64):
        judge.skip(quiet_frame(number))
    assert len(taken) == 4
    judge.likelihood(quiet_frame(64))
    assert len(taken) == 5
