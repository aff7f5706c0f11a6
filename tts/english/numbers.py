"""Cardinal and ordinal numbers, decimals, fractions and digits in English words."""

from __future__ import annotations

import re
from functools import lru_cache

from num2words import num2words

MAX_DIGITS = 15
"""Longer numbers are codes, and read digit by digit."""

_SPACE = "\u00a0\u202f\u2009"
NUM = (
    r"(?:[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?"
    r"|[1-9]\d?(?:,\d{2})+,\d{3}(?:\.\d+)?"
    r"|[1-9]\d{0,2}(?:\.\d{3})+,\d+"
    r"|[1-9]\d{0,2}(?:\.\d{3}){2,}"
    r"|[1-9]\d{0,2}(?:['’_]\d{3})+(?:\.\d+)?"
    rf"|[1-9]\d{{0,2}}(?:[{_SPACE}]\d{{3}})+(?:[.,]\d+)?"
    r"|[1-9]\d{0,2}(?: \d{3})+,\d{1,2}(?!\d)"
    r"|[1-9]\d? \d{3}(?=\s?(?:[€$£¥%]|km|kg|m²?|g|people|users|euros?|dollars|pounds|miles|EUR|USD)"
    r"(?!\w))"
    r"|[1-9]\d?(?: \d{3}){2,}|[1-9]\d{0,2}(?: 000)+"
    r"|\d+[.,]\d+|\d+|(?<![\w.])\.\d+)(?!\d)"
)
"""A number as it is written in English, or with the separators of other languages."""
SIGN = r"(?:(?<![\w.)\]%°])[-−+–](?=\.?\d))?"
END = r"(?!\w)"
"""No letter or digit follows."""
SCALES = {
    "thousand": "thousand",
    "million": "million",
    "billion": "billion",
    "trillion": "trillion",
    "quadrillion": "quadrillion",
    "k": "thousand",
    "K": "thousand",
    "m": "million",
    "M": "million",
    "mm": "million",
    "MM": "million",
    "mn": "million",
    "mio": "million",
    "mil": "million",
    "Mio": "million",
    "Mio.": "million",
    "Mrd": "billion",
    "Mrd.": "billion",
    "b": "billion",
    "B": "billion",
    "bn": "billion",
    "Bn": "billion",
    "T": "trillion",
    "tn": "trillion",
}
LONG_SCALE = "thousand|million|billion|trillion|quadrillion"
ROMAN = r"(?=[MDCLXVI])M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
VULGAR = {
    "½": (1, 2),
    "⅓": (1, 3),
    "⅔": (2, 3),
    "¼": (1, 4),
    "¾": (3, 4),
    "⅕": (1, 5),
    "⅖": (2, 5),
    "⅗": (3, 5),
    "⅘": (4, 5),
    "⅙": (1, 6),
    "⅚": (5, 6),
    "⅐": (1, 7),
    "⅛": (1, 8),
    "⅜": (3, 8),
    "⅝": (5, 8),
    "⅞": (7, 8),
    "⅑": (1, 9),
    "⅒": (1, 10),
}
VULGAR_SIGN = f"[{''.join(VULGAR)}]"
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@lru_cache(maxsize=4096)
def cardinal(value: int) -> str:
    """A whole number; without the commas, which would be spoken as pauses."""
    return str(num2words(value, lang="en")).replace(",", "")


@lru_cache(maxsize=1024)
def ordinal(value: int) -> str:
    """An ordinal number: "first", "one hundred and first"."""
    return str(num2words(value, lang="en", to="ordinal")).replace(",", "")


def digits(text: str) -> str:
    """Every digit of ``text`` by itself."""
    return " ".join(_DIGITS[int(char)] for char in text if char.isdecimal())


def split_number(text: str) -> tuple[str, str]:
    """Digits before and after the decimal separator of a ``NUM``, whichever separators it has."""
    text = re.sub(rf"['’_{_SPACE} ]", "", text)
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}", text):
        text = text.replace(".", "").replace(",", ".")
    elif re.fullmatch(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?|\d\d?(?:,\d{2})+,\d{3}(?:\.\d+)?", text):
        text = text.replace(",", "")
    whole, _, decimals = text.replace(",", ".").partition(".")
    return whole or "0", decimals


def number(text: str) -> str:
    """A ``NUM`` with or without a sign; with leading zeros or very long, digit by digit."""
    sign = {"-": "minus ", "−": "minus ", "–": "minus ", "+": "plus "}.get(text[:1], "")
    whole, decimals = split_number(text[1:] if sign else text)
    if len(whole) > MAX_DIGITS or (whole[0] == "0" and len(whole) > 1):
        said = digits(whole)
    else:
        said = cardinal(int(whole))
    return f"{sign}{said} point {digits(decimals)}" if decimals else sign + said


def is_one(text: str) -> bool:
    """Whether a ``NUM`` is exactly one, so that its unit is singular."""
    return text.lstrip("+-−–") == "1"


def fraction(above: int, below: int) -> str:
    """A fraction of positive numbers: "three quarters", "twenty-two over seven"."""
    if below not in range(2, 33) and below not in (50, 64, 100, 1000):
        return f"{cardinal(above)} over {cardinal(below)}"
    if above > 99 or (above > below and below > 10):
        return f"{cardinal(above)} over {cardinal(below)}"
    part = {2: "half", 4: "quarter"}.get(below) or ordinal(below).replace(
        "one hundredth", "hundredth"
    )
    part = part.replace("one thousandth", "thousandth")
    if above == 1:
        return f"one {part}"
    return f"{cardinal(above)} {'halves' if below == 2 else part + 's'}"


def vulgar(sign: str) -> str:
    """The words of a fraction sign: "one half" of "½"."""
    return fraction(*VULGAR[sign])


def mixed(whole: str, part: str) -> str:
    """A number and a fraction: "two and a half"."""
    return f"{number(whole)} and {'a' + part[3:] if part == 'one half' else part}"


def year(text: str) -> str:
    """A year from 1000 to 2999 as it is said."""
    value = int(text)
    century, rest = divmod(value, 100)
    if rest == 0:
        return cardinal(value) if century % 10 == 0 else f"{cardinal(century)} hundred"
    if century % 10 == 0 and rest < 10:
        return f"{cardinal(century * 100)} {cardinal(rest)}"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def plural_tens(words: str) -> str:
    """The plural of a number word: "eighties" of "eighty"."""
    return f"{words[:-1]}ies" if words.endswith("y") else f"{words}s"


def roman_value(text: str) -> int:
    """The value of a valid Roman numeral in capitals."""
    values = [_ROMAN_VALUES[char] for char in text]
    following = [*values[1:], 0]
    return sum(-v if v < n else v for v, n in zip(values, following, strict=True))


def letters(text: str) -> str:
    """Letters one by one, digits one by one: "A B one two"."""
    return " ".join(
        digits(char) if char.isdecimal() else char.upper() for char in text if char.isalnum()
    )
