"""First sound, real-time factor and playback slack of the Piper voice.

    python benchmarks/tts_first_sound.py path/to/voice.onnx [--rounds 20] [--threads 1] [--json]

First sound: from the call of ``speak`` to the first chunk, which starts with at most 10 ms of
silence. Real-time factor: time to the last chunk over the length of the sound. Slack: when sound is
played as it arrives, how long before its turn the latest chunk came; below 0 the player runs dry.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tts.engine import Synthesizer
from tts.piper import PiperSynthesizer

TEXTS = (
    "It is sunny in Paris.",
    "The capital of France is Paris, which lies on the river Seine in the north.",
    "I would start with a short walk around the old town, then have lunch near the river, and if "
    "the weather stays nice you could take the ferry to the island.",
)


@dataclass(frozen=True, slots=True)
class Run:
    """Measurements of one text spoken once.

    Attributes:
        words: words of the text.
        first_ms: milliseconds to the first chunk.
        slack_ms: least milliseconds by which a chunk came before its turn; None for one chunk.
        rtf: real-time factor.
        seconds: length of the sound.
    """

    words: int
    first_ms: float
    slack_ms: float | None
    rtf: float
    seconds: float


def measure(synthesizer: Synthesizer, text: str) -> Run:
    """Speak ``text`` and take the times at which its chunks arrive."""
    start = time.perf_counter()
    first, played, slacks = 0.0, 0.0, []
    for chunk in synthesizer.speak(text):
        now = time.perf_counter() - start
        if played:
            slacks.append(first + played - now)
        else:
            first = now
        played += len(chunk.samples) / chunk.rate
    slack = 1000 * min(slacks) if slacks else None
    return Run(len(text.split()), 1000 * first, slack, now / played, played)


def summary(runs: list[Run]) -> dict[str, float]:
    """Medians and worst cases of the runs of one text."""
    firsts = sorted(run.first_ms for run in runs)
    slacks = [run.slack_ms for run in runs if run.slack_ms is not None]
    return {
        "words": runs[0].words,
        "first_ms_p50": round(statistics.median(firsts), 1),
        "first_ms_max": round(firsts[-1], 1),
        "rtf_p50": round(statistics.median(run.rtf for run in runs), 3),
        "slack_ms_p50": round(statistics.median(slacks), 1),
        "slack_ms_min": round(min(slacks), 1),
        "underruns": sum(slack < 0 for slack in slacks),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("voice", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one line per run instead")
    options = parser.parse_args()
    synthesizer = PiperSynthesizer(options.voice, threads=options.threads)
    synthesizer.warm_up()
    # Round by round, so that a busy second does not fall on one text only.
    rounds = [[measure(synthesizer, text) for text in TEXTS] for _ in range(options.rounds)]
    synthesizer.close()
    for runs in zip(*rounds, strict=True):
        rows = [asdict(run) for run in runs] if options.json else [summary(list(runs))]
        for row in rows:
            print(json.dumps(row))


if __name__ == "__main__":
    main()
