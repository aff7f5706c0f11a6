"""How much of what is written is spoken right: in words, by class, and through the ear.

Through the ear: the spoken form is given to the voice, its sound to the recogniser, and the digits
of all numbers in the two texts are compared. Recognisers write numbers as they like ("$5.50", "five
fifty"); the digits are the value, whichever way they are written.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from agent.audio.samples import Samples, resample
from agent.bench.figures import Progress
from agent.bench.spoken_forms import SpokenForm, compared, misses
from agent.config.settings import Settings
from agent.runtime.engines import load_asr, load_tts, thread_plan
from asr.engine import RATE
from tts.english.word_lists import word_list
from tts.speakable import speakable

_UNITS = word_list(
    """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen
    """
)
_ORDINAL_UNITS = word_list(
    """
    zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth
    thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth
    """
)
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_VALUES = {word: number for number, word in enumerate(_UNITS)}
_VALUES |= {word: number for number, word in enumerate(_ORDINAL_UNITS)}
_VALUES |= {word: 10 * number for number, word in enumerate(_TENS, 2)}
_VALUES |= {f"{word[:-1]}ieth": 10 * number for number, word in enumerate(_TENS, 2)}
_VALUES |= {f"{word}s": number for word, number in _VALUES.items() if word not in _UNITS}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SCALES |= {
    f"{word}th{plural}": value for word, value in [*_SCALES.items()] for plural in ("", "s")
}
_CARRIER = "Here it is: "
_SHORT = 4
"""A recogniser needs a sentence: lines of fewer words are spoken after the carrier."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One line of the table through voice and recogniser.

    Attributes:
        said: the spoken form, after the carrier where the line is short.
        heard: the recogniser's words.
        again: its words of a second take; empty where the first was right.
    """

    form: SpokenForm
    said: str
    heard: str
    again: str = ""

    @property
    def right(self) -> bool:
        """Whether the value was heard in the first take."""
        return values(self.said) == values(spoken(self.heard))

    @property
    def right_in_two(self) -> bool:
        """Whether the value was heard in one of two takes."""
        return self.right or values(self.said) == values(spoken(self.again))

    def row(self) -> dict[str, Any]:
        return {
            "class": self.form.kind,
            "written": self.form.written,
            "said": self.said,
            "heard": self.heard,
            "again": self.again,
            "right": self.right,
            "right_in_two": self.right_in_two,
        }


def spoken(written: str) -> str:
    """The spoken form that the agent gives to the voice."""
    return speakable(written).text


def values(said: str) -> str:
    """The digits of all numbers in spoken text, one after the other: "twenty-four" is "24"."""
    found: list[str] = []
    total = part = 0
    last = None
    for word in [*compared(said).split(), ""]:
        if word in _SCALES and last is not None:
            scale = _SCALES[word]
            if scale == 100 and part >= 100:  # "two hundred three hundred" are two numbers
                found.append(str(total + part - last))
                total, part = 0, last
            part, total = (
                (part * scale, total) if scale == 100 else (0, total + max(part, 1) * scale)
            )
            last = scale
            continue
        value = _VALUES.get(word)
        joins = last is not None and value is not None and _joins(last, value)
        if last is not None and not joins and not (word == "and" and last >= 100):
            found.append(str(total + part))
            total = part = 0
            last = None
        if value is not None:
            part, last = part + value, value
    return "".join(found)


def _joins(last: int, value: int) -> bool:
    """Whether a number word goes on with the number before it: "twenty" with "four"."""
    return (last in range(20, 100, 10) and 0 < value < 10) or (last >= 100 and value > 0)


def chosen(forms: Sequence[SpokenForm], count: int) -> list[SpokenForm]:
    """So many lines with numbers, evenly over the table, the same in every run."""
    counted = [form for form in forms if values(spoken(form.written))]
    step = max(1.0, len(counted) / max(1, count))
    return [counted[int(index * step)] for index in range(min(count, len(counted)))]


def heard(settings: Settings, forms: Sequence[SpokenForm], progress: Progress) -> list[Heard]:
    """Speak and recognise every line (blocking; seconds each)."""
    plan = thread_plan(settings)
    voice = load_tts(settings, plan.tts, progress)
    recogniser = load_asr(settings, plan.asr, progress)
    try:
        return [
            _through(voice, recogniser, form, f"{number} of {len(forms)}", progress)
            for number, form in enumerate(forms, 1)
        ]
    finally:
        voice.close()
        recogniser.close()


def _through(
    voice: Any, recogniser: Any, form: SpokenForm, place: str, progress: Progress
) -> Heard:
    progress(f"line {place}: {form.written}")
    carrier = _CARRIER if len(form.written.split()) < _SHORT else ""
    said = spoken(carrier + form.written)
    first = Heard(form, said, _take(voice, recogniser, said))
    return first if first.right else replace(first, again=_take(voice, recogniser, said))


def _take(voice: Any, recogniser: Any, said: str) -> str:
    """Speak a text once and recognise it; no two takes of a voice are quite the same."""
    chunks = [chunk.samples for chunk in voice.speak(said)]
    sound = resample(np.concatenate(chunks), voice.rate, RATE) if chunks else _silence(0.5)
    listening = recogniser.listen()
    listening.feed(np.concatenate([_silence(0.2), sound, _silence(0.3)]))
    text = str(listening.finish().text)
    listening.close()
    return text


def _silence(seconds: float) -> Samples:
    return np.zeros(int(seconds * RATE), np.float32)


def table(forms: Sequence[SpokenForm], ear: Sequence[Heard]) -> Iterator[dict[str, Any]]:
    """A row for each class and one for all: lines, share that is right, milliseconds a line."""
    missed = misses(forms, spoken)
    kinds = list(dict.fromkeys(form.kind for form in forms))
    for kind in [*kinds, "all"]:
        inside = [form for form in forms if kind in (form.kind, "all")]
        wrong = sum(1 for miss in missed if kind in (miss.form.kind, "all"))
        listened = [line for line in ear if kind in (line.form.kind, "all")]
        row: dict[str, Any] = {
            "class": kind,
            "lines": len(inside),
            "right %": _percent(len(inside) - wrong, len(inside)),
            "ms": round(statistics.median(_times(inside)), 2),
        }
        if ear:
            row |= {"through the ear": len(listened), "heard right %": "", "in two takes %": ""}
        if listened:
            row["heard right %"] = _percent(sum(x.right for x in listened), len(listened))
            row["in two takes %"] = _percent(sum(x.right_in_two for x in listened), len(listened))
        yield row


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 1)


def _times(forms: Sequence[SpokenForm]) -> list[float]:
    times = []
    for form in forms:
        began = time.perf_counter()
        spoken(form.written)
        times.append((time.perf_counter() - began) * 1000)
    return times


def wrong_lines(forms: Sequence[SpokenForm], ear: Sequence[Heard]) -> Iterator[str]:
    """What was said or heard wrongly, a line each."""
    for miss in misses(forms, spoken):
        yield f"{miss.form.kind}: {miss.form.written!r} is said {miss.said!r}"
    for line in ear:
        if not line.right:
            heard = " and ".join(repr(words.strip()) for words in (line.heard, line.again))
            yield f"{line.form.kind}: {line.said!r} is heard {heard}"
