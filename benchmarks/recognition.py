"""Word error rate and time of the recogniser, by window and beam: ``--model DIRECTORY``.

    python benchmarks/recognition.py --model DIR --windows 6 10 15 30 --beams 1 2 5 --threads 2

The utterances are those of tests/data, each as recorded and as three calls would deliver it (a
pause of 0.1 s or 0.5 s after it, faint or clear noise under it). Printed per row: wrong words of
all words, median and 90th percentile of the time of the final transcript (ms), and the number of
utterances that a guard sent to the full window. ``--json`` prints one JSON line per row instead.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import jiwer
import numpy as np
from whisper_normalizer.english import EnglishTextNormalizer

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from sounds import LIBRIVOX, QUESTIONS, RATE, Sound, librivox, question  # noqa: E402

from asr.whisper import WhisperTranscriber  # noqa: E402

CONDITIONS = {
    "as recorded": (0.0, 0.0, 0.0),
    "short pause": (0.3, 0.1, 3e-4),
    "endpoint": (0.3, 0.5, 5e-4),
    "noise": (0.3, 0.5, 8e-3),
}
"""Name -> seconds before, seconds after, RMS of white noise."""

_normalize = EnglishTextNormalizer()


@dataclass(frozen=True, slots=True)
class Row:
    window_s: float
    beam: int
    threads: int
    condition: str
    wrong_words: int
    words: int
    median_ms: float
    p90_ms: float
    second_opinions: int


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


def measure(transcriber: WhisperTranscriber, window: float, beam: int, threads: int) -> list[Row]:
    utterances = [(librivox(name), text) for name, text in LIBRIVOX.items()]
    utterances += [(question(name), text) for name, text in QUESTIONS.items()]
    words = sum(len(spoken(text).split()) for _, text in utterances)
    rows = []
    for condition, delivery in CONDITIONS.items():
        wrong, opinions_before = 0, transcriber.second_opinions
        times = []
        for speech, text in utterances:
            sound = as_delivered(speech, *delivery)
            begin = time.perf_counter()
            heard = transcriber.transcribe(sound)
            times.append(1e3 * (time.perf_counter() - begin))
            wrong += wrong_words(text, heard)
        median, p90 = statistics.median(times), sorted(times)[int(0.9 * len(times))]
        opinions = transcriber.second_opinions - opinions_before
        rows.append(Row(window, beam, threads, condition, wrong, words, median, p90, opinions))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--windows", type=float, nargs="+", default=[10.0])
    parser.add_argument("--beams", type=int, nargs="+", default=[2])
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for threads in options.threads:
        for window in options.windows:
            for beam in options.beams:
                transcriber = WhisperTranscriber(
                    options.model, threads=threads, beam=beam, shortest_window=window
                )
                transcriber.warm_up()
                for row in measure(transcriber, window, beam, threads):
                    print(json.dumps(asdict(row)) if options.json else row, flush=True)
                transcriber.close()


if __name__ == "__main__":
    main()
