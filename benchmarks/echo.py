"""Does the agent hear itself, and does it still hear the caller? By method and loudness of echo.

    python benchmarks/echo.py --json [--apm]

The agent's part is Piper, 27 s; its echo returns through four rooms with delays of 20 to 400 ms,
-6 to -30 dB from what was played. Into each of these five callers at a time speak at a normal
level (-23 dBFS; the agent is played at -18): human recordings and synthetic questions. A row has

- ``false_starts``: turns begun while nobody but the agent spoke, in ``alone_s`` seconds;
- ``missed``, ``late_p90_ms``, ``within_100_ms``: callers not heard, and how much later than in a
  quiet room a turn began for the others (a missed one counts as late);
- ``ms_per_frame``: CPU time of the method for 32 ms of sound, without that of Silero.

``--apm`` adds the WebRTC audio processing module of the ``livekit`` package (echo canceller alone),
which must be installed for it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.rooms import FRAME, at_level, echo, judged, noise, speech, starts  # noqa: E402
from support.sounds import LIBRIVOX, RATE, Sound, librivox, question, silence  # noqa: E402
from support.voices import joe_voice  # noqa: E402

import tts  # noqa: E402
from agent.audio.samples import resample  # noqa: E402
from agent.audio.vad import FRAME_SAMPLES, SileroVad  # noqa: E402

REPLIES = (
    "The capital of France is Paris, a city on the river Seine.",
    "I found three restaurants near you that are open tonight; the first one is Italian and has a "
    "table at half past seven.",
    "Spiders have eight legs, and most of them have eight eyes as well, although some have six.",
    "Let me check that for you. Your order was sent on Tuesday, and it should arrive by Friday.",
    "If you like, I can send you the details by email, or I can read them to you now.",
)
ROOMS = ((0.02, 0.2), (0.12, 0.3), (0.25, 0.5), (0.4, 0.3))
"""Delay and reverberation in seconds."""
QUESTIONS = ("capital_of_france", "spider_legs", "romeo_and_juliet", "color_of_the_sky")
QUESTIONS += ("months_in_a_year", "stop", "no")
CALLERS_AT = (3.2, 7.9, 13.0, 18.3, 23.0)


@dataclass(slots=True)
class Score:
    false_starts: int = 0
    alone_s: float = 0.0
    late_ms: list[float] = field(default_factory=list)
    seconds: float = 0.0
    frames: int = 0

    def row(self) -> dict[str, float]:
        late = np.array(self.late_ms)
        heard = late[np.isfinite(late)]
        return {
            "false_starts": self.false_starts,
            "alone_s": round(self.alone_s),
            "callers": len(late),
            "missed": len(late) - len(heard),
            "within_100_ms": round(float((late <= 100).mean()), 3),
            "late_p90_ms": round(float(np.percentile(heard, 90))),
            "ms_per_frame": round(1000 * self.seconds / max(1, self.frames), 3),
        }


class Bench:
    """All microphones of one loudness, heard by one method."""

    def __init__(self, agent: Sound, method: str) -> None:
        self.agent = agent
        self.method = method
        self.gate = SileroVad.load()
        human = [librivox(name) for name in LIBRIVOX]
        self.callers = [*human, *(question(name) for name in QUESTIONS)]

    def score(self, decibels: float) -> Score:
        score = Score()
        for number, (delay, reverberation) in enumerate(ROOMS):
            returned = echo(self.agent, delay, decibels, reverberation, seed=number)
            heard = returned + noise(len(self.agent), -60, seed=number)
            score.false_starts += len(starts(self._listen(heard, score)))
            score.alone_s += len(heard) / RATE
            for first in (0, 5):
                self._double_talk(heard, first, score)
        return score

    def _double_talk(self, heard: Sound, first: int, score: Score) -> None:
        quiet = noise(len(heard), -60)
        both = heard.copy()
        chosen = [at_level(self.callers[(first + n) % len(self.callers)], -23) for n in range(5)]
        for at, caller in zip(CALLERS_AT, chosen, strict=True):
            start = int(at * RATE)
            end = min(len(both), start + len(caller))
            both[start:end] += caller[: end - start]
            quiet[start:end] += caller[: end - start]
        alone, over = speech(self.gate(), quiet), self._listen(both, score)
        for at, caller in zip(CALLERS_AT, chosen, strict=True):
            begin = int(at / FRAME) - 10
            span = slice(begin, begin + 13 + len(caller) // FRAME_SAMPLES)
            expected, found = starts(alone[span]), starts(over[span])
            if expected:
                late = found[0] - expected[0] if found else np.inf
                score.late_ms.append(1000 * late)

    def _listen(self, microphone: Sound, score: Score) -> Sound:
        if self.method == "band envelopes":
            return self._judged(microphone, score)
        began = time.process_time()
        cleaned = webrtc_apm(microphone, self.agent) if self.method == "webrtc apm" else microphone
        self._count(began, microphone, score)
        return speech(self.gate(), cleaned)

    def _judged(self, microphone: Sound, score: Score) -> Sound:
        """Probability of speech as in a call, where frames without speech are not judged."""
        probability = speech(self.gate(), microphone)
        began = time.process_time()
        share = 1 - judged(microphone, self.agent, probabilities=probability)
        self._count(began, microphone, score)
        return probability * share

    @staticmethod
    def _count(began: float, microphone: Sound, score: Score) -> None:
        score.seconds += time.process_time() - began
        score.frames += len(microphone) // FRAME_SAMPLES


def webrtc_apm(microphone: Sound, agent: Sound) -> Sound:
    rtc = importlib.import_module("livekit.rtc")
    apm = rtc.AudioProcessingModule(echo_cancellation=True)
    size, cleaned = RATE // 100, []
    for start in range(0, len(microphone) - size + 1, size):
        far, near = (
            rtc.AudioFrame(_pcm(sound[start : start + size]), RATE, 1, size)
            for sound in (agent, microphone)
        )
        apm.process_reverse_stream(far)
        apm.set_stream_delay_ms(0)
        apm.process_stream(near)
        cleaned.append(np.frombuffer(near.data, np.int16).astype(np.float32) / 32768)
    return np.concatenate(cleaned)


def _pcm(sound: Sound) -> bytes:
    return (np.clip(sound, -1, 32767 / 32768) * 32768).astype("<i2").tobytes()


METHODS = ("nothing", "band envelopes", "webrtc apm")


def agents_voice() -> Sound:
    voice = tts.load("piper", voice=joe_voice(), threads=1)
    try:
        said = [
            np.concatenate([*(chunk.samples for chunk in voice.speak(text))]) for text in REPLIES
        ]
        replies = [resample(sound, voice.rate, RATE) for sound in said]
    finally:
        voice.close()
    sound = np.concatenate([piece for reply in replies for piece in (reply, silence(0.5))])
    return at_level(np.pad(sound, (0, max(0, 27 * RATE - len(sound)))), -18)


def rows(apm: bool) -> Iterator[dict[str, object]]:
    agent = agents_voice()
    for method in METHODS if apm else METHODS[:2]:
        for decibels in (-6, -10, -20, -30):
            score = Bench(agent, method).score(decibels)
            yield {"method": method, "echo_db": decibels, **score.row()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--apm", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for row in rows(options.apm):
        line = json.dumps(row) if options.json else "  ".join(f"{k} {v}" for k, v in row.items())
        print(line, flush=True)


if __name__ == "__main__":
    main()
