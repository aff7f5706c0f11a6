"""Word error rate of the recogniser by window, beam and threads; then its time for 3 s of speech.

    python benchmarks/recognition.py --model DIR --windows 6 10 15 30 --beams 1 2 5 --threads 1 2

The utterances are those of tests/data (or of ``--data``: folders of 16 kHz mono WAVs with an
expected.json), each as recorded and as three calls would deliver it: with a pause of 0.1 s or
0.5 s after it, and faint or clear noise under it. A row has the wrong words of all words, the
median and 90th percentile of the time of a final transcript (ms), and the number of utterances
that a guard sent to the full window. The last row of each setting is the clock alone: 20 finals of
one recording of 3.0 s. ``--json`` prints one JSON line per row.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import jiwer
import numpy as np
from whisper_normalizer.english import EnglishTextNormalizer

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.sounds import BUNDLED, DATA, LIBRIVOX, RATE, Sound, librivox, read_wav  # noqa: E402

from asr.whisper import WhisperTranscriber  # noqa: E402

CONDITIONS = {
    "as recorded": (0.0, 0.0, 0.0),
    "short pause": (0.3, 0.1, 3e-4),
    "endpoint": (0.3, 0.5, 5e-4),
    "noise": (0.3, 0.5, 8e-3),
}
"""Name -> seconds before, seconds after, RMS of white noise."""

CLOCK = "0880"
"""The LibriVox recording of 2.99 s."""

_normalize = EnglishTextNormalizer()


@dataclass(frozen=True, slots=True)
class Setting:
    window_s: float
    beam: int
    threads: int


@dataclass(slots=True)
class Score:
    wrong_words: int
    words: int
    times_ms: list[float]
    second_opinions: int

    def figures(self) -> dict[str, float]:
        return {
            "wrong_words": self.wrong_words,
            "words": self.words,
            "median_ms": round(statistics.median(self.times_ms)),
            "p90_ms": round(sorted(self.times_ms)[int(0.9 * len(self.times_ms))]),
            "second_opinions": self.second_opinions,
        }


class Row(NamedTuple):
    condition: str
    score: Score


def as_delivered(speech: Sound, before: float, after: float, noise: float) -> Sound:
    sound = np.pad(speech, (int(before * RATE), int(after * RATE)))
    return (sound + np.random.default_rng(0).normal(0, noise, len(sound))).astype(np.float32)


def spoken(text: str) -> str:
    """Normal form in which "555" and "five five five" are the same three words."""
    separated = "".join(f" {c} " if c.isdigit() else c for c in _normalize(text))
    return " ".join(separated.split())


def wrong_words(expected: str, heard: str) -> int:
    counts = jiwer.process_words(spoken(expected), spoken(heard) or "_")
    return counts.substitutions + counts.deletions + counts.insertions


def read_utterances(folder: Path) -> list[tuple[Sound, str]]:
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    return [(read_wav(folder / f"{name}.wav"), text) for name, text in expected.items()]


def measure(transcriber: WhisperTranscriber, utterances: list[tuple[Sound, str]]) -> Score:
    """Hear every utterance once; times are single runs."""
    score = Score(0, 0, [], transcriber.second_opinions)
    for sound, text in utterances:
        begin = time.perf_counter()
        heard = transcriber.transcribe(sound)
        score.times_ms.append(1e3 * (time.perf_counter() - begin))
        score.wrong_words += wrong_words(text, heard)
        score.words += len(spoken(text).split())
    score.second_opinions = transcriber.second_opinions - score.second_opinions
    return score


def rows(setting: Setting, model: str, utterances: list[tuple[Sound, str]]) -> Iterator[Row]:
    transcriber = WhisperTranscriber(
        model, threads=setting.threads, beam=setting.beam, shortest_window=setting.window_s
    )
    transcriber.warm_up()
    for condition, delivery in CONDITIONS.items():
        delivered = [(as_delivered(sound, *delivery), text) for sound, text in utterances]
        yield Row(condition, measure(transcriber, delivered))
    yield Row(
        "clock: 3.0 s, 20 times", measure(transcriber, [(librivox(CLOCK), LIBRIVOX[CLOCK])] * 20)
    )
    transcriber.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    folders = [DATA / "librivox", DATA / "questions", BUNDLED]
    parser.add_argument("--data", type=Path, nargs="+", default=folders)
    parser.add_argument("--windows", type=float, nargs="+", default=[10.0])
    parser.add_argument("--beams", type=int, nargs="+", default=[2])
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    utterances = [pair for folder in options.data for pair in read_utterances(folder)]
    for values in itertools.product(options.windows, options.beams, options.threads):
        setting = Setting(*values)
        for row in rows(setting, options.model, utterances):
            figures = {**asdict(setting), "condition": row.condition, **row.score.figures()}
            line = (
                json.dumps(figures)
                if options.json
                else "  ".join(f"{name} {value}" for name, value in figures.items())
            )
            print(line, flush=True)


if __name__ == "__main__":
    main()
