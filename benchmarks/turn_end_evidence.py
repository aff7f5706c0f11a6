"""What could tell ends of turns better: the weights of the evidence fitted anew, and the melody.

    python benchmarks/turn_end_evidence.py --voice piper

The utterances of `onebreath bench endpoint` are spoken, cut and transcribed as there. The weights
of rules and head (`agent/turn_taking/ending.py`) are fitted by logistic regression on the tuned
half, without and with two figures of the pitch before the pause, and judged on both halves beside
the weights in use. The pitch is found by autocorrelation in frames of 40 ms: its slope over the
last 0.3 s of voice, and its end over the tenth percentile of the turn, in semitones. Questions with
a mark get none, because they may rise.

Each row has the AUC of the probability of a whole turn, and the figures of the policy.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from agent.audio.samples import Samples
from agent.audio.vad import RATE, SileroVad
from agent.bench.endpoint import (
    DECODE_AFTER,
    Pause,
    PauseFinder,
    head_judge,
    score,
)
from agent.bench.utterances import program_voice, read_utterances, synthesizer_voice
from agent.config.settings import Settings
from agent.runtime.engines import load_asr, load_tts, thread_plan
from agent.session.endpointing import EndpointDelays
from agent.turn_taking.completeness import Completeness, completeness
from agent.turn_taking.ending import (
    BIAS,
    FIXED,
    HEAD_WEIGHT,
    HIGHEST,
    LENGTH_WEIGHT,
    LOWEST,
    UNMARKED,
    Evidence,
    evidence,
    length,
    whole_probability,
)

HOP, WINDOW = RATE // 100, RATE // 25
SHORTEST_LAG, LONGEST_LAG = RATE // 400, RATE // 60
"""Lags of the highest and the lowest pitch."""
VOICED = 0.6
PENALTY = 4.0
"""Weight of the distance to the weights in use."""


class KeepingFinder(PauseFinder):
    """Finds pauses and keeps the sound before each."""

    sound: Samples = np.zeros(0, np.float32)

    def _heard(self, *where: Any) -> Samples:
        self.sound = super()._heard(*where)
        return self.sound


@dataclass
class Case:
    """A pause with what the rules find, and its melody: slope and end of the pitch."""

    pause: Pause
    found: Completeness
    melody: tuple[float, float]


def cases(voice: str) -> Iterator[Case]:
    """Speak the utterances and judge each of their pauses."""
    settings = Settings()
    threads = thread_plan(settings)
    with ExitStack() as engines:
        if voice == "piper":
            synthesizer = engines.enter_context(closing(load_tts(settings, threads.tts, print)))
            say = synthesizer_voice(synthesizer)
        else:
            say = program_voice(voice)
        asr = engines.enter_context(closing(load_asr(settings, threads.asr, print)))
        judge = head_judge(settings, engines, print)
        finder = KeepingFinder(asr, SileroVad.load(), None, settings.turns, judge)
        for utterance in read_utterances():
            for pause in finder.pauses(voice, utterance, say(utterance)):
                found = completeness(pause.words, pause.seconds_of_speech)
                sound = finder.sound[: -round(DECODE_AFTER * RATE)]
                yield Case(pause, found, melody(sound))


def pitches(sound: Samples) -> np.ndarray:
    """Pitch in semitones over 60 Hz of each frame; NaN where the frame has no voice."""
    taper = np.hanning(WINDOW)
    own = np.fft.irfft(np.abs(np.fft.rfft(taper, 2048)) ** 2)[: LONGEST_LAG + 1]
    found = []
    for start in range(0, max(len(sound) - WINDOW, 0), HOP):
        frame = sound[start : start + WINDOW]
        power = np.abs(np.fft.rfft((frame - frame.mean()) * taper, 2048)) ** 2
        likeness = np.fft.irfft(power)[: LONGEST_LAG + 1] / own
        likeness = likeness / max(float(likeness[0]), 1e-12)
        lag = SHORTEST_LAG + int(np.argmax(likeness[SHORTEST_LAG:LONGEST_LAG]))
        voiced = likeness[lag] > VOICED and float(np.abs(frame).max()) > 0.01
        found.append(12 * math.log2(RATE / lag / 60) if voiced else math.nan)
    return np.array(found)


def melody(sound: Samples) -> tuple[float, float]:
    """Slope of the last 0.3 s of voice, in 20 semitones a second, and its end in 3 semitones."""
    pitch = pitches(sound[-6 * RATE :])
    pitch[np.abs(pitch - np.nanmedian(pitch)) > 9] = math.nan  # an octave too high or low
    places = np.flatnonzero(~np.isnan(pitch))
    if len(places) < 10:
        return 0.0, 0.0
    last = places[places >= places[-1] - 30]
    slope = float(np.polyfit(last / 100, pitch[last], 1)[0]) if len(last) > 4 else 0.0
    end = float(np.median(pitch[last[-5:]]) - np.nanpercentile(pitch, 10))
    return float(np.clip(slope / 20, -3, 3)), float(np.clip(end / 3, -2, 2))


KINDS = tuple(BIAS)
IN_USE = (*BIAS.values(), HEAD_WEIGHT, UNMARKED, LENGTH_WEIGHT)


def features(case: Case, with_melody: bool) -> list[float]:
    """Kind of evidence, log-odds of the head, lack of a mark, length of voice, and the melody."""
    kind = evidence(case.found)
    ending = case.pause.ending
    over = 0.5 if ending is None else min(max(ending.over, 0.005), 0.995)
    row = [float(kind is other) for other in KINDS]
    row += [math.log(over / (1 - over)), float(not case.found.mark)]
    row.append(length(case.pause.seconds_of_voice))
    heard = case.melody if kind is not Evidence.QUESTION else (0.0, 0.0)
    return [*row, *heard] if with_melody else row


def fitted(chosen: Sequence[Case], with_melody: bool) -> np.ndarray:
    """Weights by Newton's method, drawn to those in use; the melody's to 0."""
    inputs = np.array([features(case, with_melody) for case in chosen])
    truth = np.array([case.pause.final for case in chosen], float)
    prior = np.array([*IN_USE, *([0.0, 0.0] if with_melody else [])])
    weights = prior.copy()
    for _ in range(50):
        found = 1 / (1 + np.exp(-inputs @ weights))
        slope = inputs.T @ (found - truth) + PENALTY * (weights - prior)
        curve = (inputs.T * (found * (1 - found))) @ inputs + PENALTY * np.eye(len(weights))
        weights -= np.linalg.solve(curve, slope)
    return weights


def probability(case: Case, weights: np.ndarray | None, with_melody: bool) -> float:
    """Probability of a whole turn; None for the weights in use."""
    kind = evidence(case.found)
    if weights is None or kind in FIXED or case.pause.ending is None:
        voice = case.pause.seconds_of_voice
        return whole_probability(case.found, case.pause.ending, seconds_of_voice=voice)
    odds = float(np.dot(weights, features(case, with_melody)))
    lowest = LOWEST.get(kind, 0.0) if case.found.mark == "?" else 0.0
    return max(min(1 / (1 + math.exp(-odds)), HIGHEST.get(kind, 1.0)), lowest)


def auc(final: Sequence[float], inside: Sequence[float]) -> float:
    """Chance that a final pause has a higher probability than one inside a turn."""
    pairs = [(a > b) + 0.5 * (a == b) for a in final for b in inside]
    return sum(pairs) / len(pairs)


def rows(found: Sequence[Case]) -> Iterator[dict[str, Any]]:
    """Figures of each set of weights on each half."""
    delays = EndpointDelays.of(Settings().turns)
    weighed = [c for c in found if evidence(c.found) not in FIXED and c.pause.ending is not None]
    fit = [case for case in weighed if not case.pause.held_out]
    ways = {
        "in use": (None, False),
        "fitted anew": (fitted(fit, False), False),
        "fitted anew, with melody": (fitted(fit, True), True),
    }
    for name, (weights, with_melody) in ways.items():
        shown = None if weights is None else [round(float(w), 2) for w in weights]
        for held_out in (False, True):
            half = [case for case in found if case.pause.held_out is held_out]
            whole = {id(c.pause): probability(c, weights, with_melody) for c in half}
            ends = [whole[id(c.pause)] for c in half if c.pause.final]
            inside = [whole[id(c.pause)] for c in half if not c.pause.final]
            policy = lambda pause, whole=whole: delays.at(whole[id(pause)])  # noqa: E731
            row = {"weights": name, "half": "held out" if held_out else "tuned on"}
            row |= {"auc": round(auc(ends, inside), 3)} | score([c.pause for c in half], policy)
            yield row | {"fitted": shown}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--voice", default="piper", help="piper, espeak-ng:VOICE or flite:VOICE")
    for row in rows(list(cases(parser.parse_args().voice))):
        print(json.dumps(row))
