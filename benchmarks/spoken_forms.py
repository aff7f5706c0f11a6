"""Share of written lines that are spoken right: onebreath's rules beside text normalisers.

    python benchmarks/spoken_forms.py [--json] [--wrong]

The rules come with onebreath. Libraries are measured where they are installed; nothing of
onebreath needs them::

    pip install nemo_text_processing pynini                        # NeMo's grammars, Linux x86-64
    pip install kitten-text-processing                             # the same grammars, in Python
    pip install brighto-norm4tts                                   # rules for seven languages

All say the same table (``agent/bench/spoken_forms.txt``). A row has, for one method, the share of
right lines by class and of all, seconds to load, milliseconds a line (median, 95th percentile) and
the memory that it added. Markdown and the place of words in the source are the rules' alone.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from agent.bench.spoken_forms import Miss, misses, read_forms  # noqa: E402

Say = Callable[[str], str]


def _onebreath() -> Say:
    from tts.speakable import speakable

    return lambda text: speakable(text).text


def _nemo() -> Say:
    from nemo_text_processing.text_normalization.normalize import Normalizer

    cache = Path.home() / ".cache" / "nemo_text_processing"
    cache.mkdir(parents=True, exist_ok=True)
    normalizer = Normalizer(input_case="cased", lang="en", cache_dir=str(cache))
    return lambda text: str(normalizer.normalize(text, punct_post_process=True))


def _kitten() -> Say:
    from kitten_text_processing import normalize_text, warm

    warm()
    return lambda text: str(normalize_text(text))


def _brighto() -> Say:
    from brighto_norm4tts import TTSNormalizer

    normalizer = TTSNormalizer("en")
    return lambda text: str(normalizer.normalize(text))


METHODS = {"onebreath": _onebreath, "nemo": _nemo, "kitten": _kitten, "brighto": _brighto}


def _measured(name: str) -> tuple[dict[str, Any], list[Miss]]:
    before, began = _megabytes(), perf_counter()
    say = METHODS[name]()
    say("Ready in 5 s.")
    loaded = perf_counter() - began
    forms, times = read_forms(), list[float]()

    def timed(text: str) -> str:
        start = perf_counter()
        try:
            return say(text)
        except Exception as error:  # a library that raises said nothing
            return f"{type(error).__name__}"
        finally:
            times.append((perf_counter() - start) * 1000)

    wrong = misses(forms, timed)
    lines, missed = Counter(f.kind for f in forms), Counter(m.form.kind for m in wrong)
    row = {
        "method": name,
        "right %": round(100 * (1 - len(wrong) / len(forms)), 1),
        "load s": round(loaded, 2),
        "ms": round(median(times), 2),
        "ms 95 %": round(quantiles(times, n=20)[-1], 2),
        "MB": round(_megabytes() - before),
        "classes": {kind: round(100 * (1 - missed[kind] / lines[kind])) for kind in lines},
    }
    return row, wrong


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _rows() -> Iterator[tuple[dict[str, Any], list[Miss]]]:
    for name in METHODS:
        try:
            yield _measured(name)
        except ImportError as error:
            print(f"{name}: {error}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON document a line")
    parser.add_argument("--wrong", action="store_true", help="list the lines that are said wrongly")
    options = parser.parse_args()
    for row, wrong in _rows():
        print(json.dumps(row) if options.json else row)
        if options.wrong:
            for miss in wrong:
                print(f"{row['method']}: {miss.form.written!r}: {miss.said!r}", file=sys.stderr)


if __name__ == "__main__":
    main()
