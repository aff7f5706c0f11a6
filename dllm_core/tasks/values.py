"""Values of a type that stand in a caller's words: numbers in digits or English, runs of words."""

from __future__ import annotations

import re
from typing import Any, Literal

ValueType = Literal["text", "integer", "number", "phone", "email"]

MOST_WORDS = 24
"""Words that a text is looked for in, counted from the end."""
LONGEST_RUN = 4
"""Most words of a text."""

_DIGITS = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?!\w)")
_PHONE = re.compile(r"(?<!\w)\+?\d(?:[\s().-]{0,2}\d){5,14}(?!\w)")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_WORD = re.compile(r"[^\W_](?:[\w'.-]*[^\W_])?")

_WORDS_BELOW_20 = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen
"""
_WORDS_OF_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_NUMBERS = {word: i for i, word in enumerate(_WORDS_BELOW_20.split())} | {
    word: 10 * i for i, word in enumerate(_WORDS_OF_TENS.split(), 2)
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}


def candidates(words: str, kind: ValueType) -> dict[str, Any]:
    """The values of a type in a text, by their spelling there, in order of appearance."""
    match kind:
        case "text":
            return {text: text for text in _runs(words)}
        case "phone":
            found = _PHONE.findall(words)
            return {text: ("+" * text.startswith("+")) + re.sub(r"\D", "", text) for text in found}
        case "email":
            return {text: text for text in _EMAIL.findall(words)}
        case _:
            return _numbers(words, whole=kind == "integer")


def _runs(words: str) -> list[str]:
    places = list(_WORD.finditer(words))[-MOST_WORDS:]
    runs = [
        words[first.start() : last.end()]
        for i, first in enumerate(places)
        for last in places[i : i + LONGEST_RUN]
    ]
    return list(dict.fromkeys(runs))


def _numbers(words: str, *, whole: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for match in _DIGITS.finditer(words):
        value = float(match[0].replace(",", ""))
        if value.is_integer():
            found[match[0]] = int(value)
        elif not whole:
            found[match[0]] = value
    return found | _spelled(words)


def _spelled(words: str) -> dict[str, int]:
    """Whole numbers in English words, such as "two hundred and five"."""
    found: dict[str, int] = {}
    run: list[re.Match[str]] = []
    for match in [*re.finditer(r"[A-Za-z]+", words), None]:
        word = "" if match is None else match[0].lower()
        near = run and match and not words[run[-1].end() : match.start()].strip(" -")
        joins = word in _NUMBERS or ((word in _SCALES or word == "and") and bool(run))
        if match is not None and joins and (near or not run):
            run.append(match)
            continue
        if run:
            while run[-1][0].lower() == "and":
                run.pop()
            text = words[run[0].start() : run[-1].end()]
            found[text] = _sum([each[0].lower() for each in run])
        run = [match] if match is not None and word in _NUMBERS else []
    return found


def _sum(words: list[str]) -> int:
    total, part = 0, 0
    for word in words:
        if word == "hundred":
            part = max(part, 1) * 100
        elif word in _SCALES:
            total, part = total + max(part, 1) * _SCALES[word], 0
        else:
            part += _NUMBERS.get(word, 0)
    return total + part
