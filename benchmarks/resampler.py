"""Time and delay of streaming rate conversion: the polyphase filter beside PyAV and soxr.

    python benchmarks/resampler.py [--rounds 3000] [--json]

PyAV (libswresample) comes with onebreath. soxr is measured where it is installed
(``pip install soxr``); nothing of onebreath needs it. A row has, for one method and pair of rates,

- ``us_per_frame``: median wall time of converting 20 ms of sound. The methods take turns frame by
  frame, so that a machine whose speed varies is as fast for one as for another;
- ``held_back_ms`` and ``held_back_ms_max``: sound that was pushed and has not come out yet, median
  and largest over the frames of a stream: the delay that the conversion adds to a call;
- ``shift_ms``: how much later than in the input a tone lies in the output (0 for all of these);
- ``passes_db``: level of a tone at 3.3 kHz, the upper end of telephone speech, in the output;
- ``alias_db``: where the rate falls, level of what a tone at 0.6 of the target rate leaves in the
  output.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from agent.audio.polyphase import Polyphase  # noqa: E402
from agent.audio.samples import _Swresample  # noqa: E402

Samples = NDArray[np.float32]

RATES = ((8000, 16_000), (16_000, 8000), (24_000, 16_000), (24_000, 8000), (48_000, 16_000))
"""Source and target: telephone to recogniser and back, client to recogniser, voice to telephone."""
FRAME_SECONDS = 0.02
SPEECH_TOP_HZ = 3300
SOXR_QUALITIES = ("HQ", "MQ", "LQ")


class Stream(Protocol):
    """One stream under conversion."""

    def push(self, samples: Samples) -> Samples:
        """Convert the next samples."""

    def flush(self) -> Samples:
        """End the stream and return its last samples."""


class Soxr:
    """A stream of python-soxr."""

    def __init__(self, quality: str, source_rate: int, target_rate: int) -> None:
        import soxr

        self._stream: Any = soxr.ResampleStream(
            source_rate, target_rate, 1, dtype="float32", quality=quality
        )

    def push(self, samples: Samples) -> Samples:
        converted: Samples = self._stream.resample_chunk(samples)
        return converted

    def flush(self) -> Samples:
        converted: Samples = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        return converted


def methods() -> dict[str, Callable[[int, int], Stream]]:
    """Constructors by name; soxr's where it is installed."""
    found: dict[str, Callable[[int, int], Stream]] = {"polyphase": Polyphase, "PyAV": _Swresample}
    if importlib.util.find_spec("soxr") is not None:
        for quality in SOXR_QUALITIES:
            found[f"soxr {quality}"] = lambda a, b, q=quality: Soxr(q, a, b)  # type: ignore[misc]
    return found


def tone(hertz: float, rate: int, seconds: float = 1.0) -> Samples:
    """A sine of amplitude 0.5."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype("f4")


def converted(stream: Stream, sound: Samples, frame: int) -> Samples:
    """``sound`` converted in frames, to its last sample."""
    pieces = [stream.push(sound[at : at + frame]) for at in range(0, len(sound), frame)]
    return np.concatenate([*pieces, stream.flush()])


def times(streams: dict[str, Stream], source: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of every push, the methods in turn; the first tenth is warm-up and left out."""
    frame = round(source * FRAME_SECONDS)
    sound = np.random.default_rng(0).normal(0, 0.1, (rounds, frame)).astype(np.float32)
    found: dict[str, list[float]] = {name: [] for name in streams}
    for samples in sound:
        for name, stream in streams.items():
            begin = perf_counter()
            stream.push(samples)
            found[name].append(perf_counter() - begin)
    return {name: taken[rounds // 10 :] for name, taken in found.items()}


def held_back(stream: Stream, source: int, target: int, frames: int = 200) -> list[float]:
    """Milliseconds of sound inside the converter after each frame of the second half."""
    frame = round(source * FRAME_SECONDS)
    made, inside = 0, []
    for number in range(1, frames + 1):
        made += len(stream.push(np.zeros(frame, np.float32)))
        inside.append(1e3 * (number * frame / source - made / target))
    return inside[frames // 2 :]


def level_db(sound: Samples, hertz: float, rate: int) -> float:
    """Level of one frequency, against a tone of amplitude 0.5; the ends are left out."""
    inner = sound[rate // 5 : -rate // 5]
    window = np.hanning(len(inner))
    turning = np.exp(-2j * np.pi * hertz * np.arange(len(inner)) / rate)
    amplitude = 2 * abs((inner * window * turning).sum()) / window.sum()
    return float(20 * math.log10(amplitude / 0.5 + 1e-9))


def shift_ms(sound: Samples, hertz: float, rate: int) -> float:
    """By how much a tone of ``hertz`` is late, from its phase."""
    at = np.arange(rate // 5, len(sound) - rate // 5)
    phase = np.angle((sound[at] * np.exp(-2j * np.pi * hertz * at / rate)).sum())
    return float(-(phase + np.pi / 2) / (2 * np.pi * hertz) * 1e3)


def quality(
    make: Callable[[int, int], Stream], source: int, target: int
) -> Iterator[tuple[str, float]]:
    """Shift, level of the passband and level of the alias, by name."""
    frame = round(source * FRAME_SECONDS)
    low = converted(make(source, target), tone(200, source), frame)
    yield "shift_ms", shift_ms(low, 200, target)
    top = converted(make(source, target), tone(SPEECH_TOP_HZ, source), frame)
    yield "passes_db", level_db(top, SPEECH_TOP_HZ, target)
    if target < source:
        too_high = 0.6 * target
        aliased = converted(make(source, target), tone(too_high, source), frame)
        yield "alias_db", level_db(aliased, target - too_high, target)


def rows(rounds: int) -> Iterator[dict[str, object]]:
    """A row for each pair of rates and method."""
    for source, target in RATES:
        made = methods()
        streams = {name: make(source, target) for name, make in made.items()}
        taken = times(streams, source, rounds)
        for name, make in made.items():
            inside = held_back(make(source, target), source, target)
            yield {
                "method": name,
                "source": source,
                "target": target,
                "us_per_frame": round(1e6 * median(taken[name]), 2),
                "held_back_ms": round(median(inside), 2),
                "held_back_ms_max": round(max(inside), 2),
                **{key: round(value, 2) + 0.0 for key, value in quality(make, source, target)},
            }


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3000, help="frames per method and rates")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    given = parser.parse_args()
    for row in rows(given.rounds):
        line = "  ".join(f"{name} {value}" for name, value in row.items())
        print(json.dumps(row) if given.json else line, flush=True)


if __name__ == "__main__":
    main()
