"""Numbers, amounts, units, dates, times and addresses in words.

The words come from num2words and from CLDR by way of babel. What neither holds (how symbols are
called, how the time is told) is in tables for English; other languages leave those symbols out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from string import ascii_letters

from babel import Locale
from babel.dates import get_month_names
from babel.numbers import NumberFormatError, get_currency_name, parse_decimal
from babel.units import UnknownUnitError, format_unit
from num2words import CONVERTER_CLASSES, num2words

from tts.expressions import ABBREVIATIONS, CURRENCIES, EXPRESSION, NUMBER, PATTERNS, SCALES, UNITS
from tts.grammar import Expression, Part

MAX_DIGITS = 15
"""Longer numbers are codes, and read digit by digit."""

_ENGLISH_SYMBOLS = {
    "&": "and",
    "+": "plus",
    "=": "equals",
    "@": "at",
    "%": "percent",
    "×": "times",
    "÷": "divided by",
    "<": "less than",
    ">": "greater than",
    "≤": "at most",
    "≥": "at least",
    "≈": "about",
    "~": "about",
    "±": "plus or minus",
    "°": "degrees",
    "−": "minus",
}
_ENGLISH_ADDRESS = {".": "dot", "@": "at", "/": "slash", "-": "dash", "_": "underscore"}
_MAX_PATH = 30


_ENDLESS = frozenset({"am"})
"""num2words 0.5.14 never returns from most Amharic numbers of seven digits and more."""


def can_say_numbers(locale: Locale) -> bool:
    """Whether there are number words for the language, for numbers of every length."""
    return locale.language in CONVERTER_CLASSES and locale.language not in _ENDLESS


@dataclass(frozen=True, slots=True)
class CldrGrammar:
    """Says expressions in one language, which must be one of ``can_say_numbers``."""

    locale: Locale

    @property
    def _english(self) -> bool:
        return self.locale.language == "en"

    def find(self, text: str, start: int = 0, end: int | None = None) -> Iterator[Expression]:
        for match in EXPRESSION.finditer(text, start, len(text) if end is None else end):
            spoken = self.say(str(match.lastgroup), match.group())
            yield Expression(match.start(), match.end(), (Part(spoken, match.end()),))

    def symbol(self, char: str) -> str:
        """The name of a symbol, empty where the language has none here."""
        return _ENGLISH_SYMBOLS.get(char, "") if self._english else ""

    def say(self, kind: str, text: str) -> str:
        """An ``EXPRESSION`` match in words; never raises, digits are the last resort."""
        method: Callable[[str], str] = getattr(self, f"_{kind}")
        try:
            return method(text)
        except (
            ArithmeticError,  # num2words: too large; decimal: not a number
            NotImplementedError,  # num2words: not in this language
            LookupError,
            ValueError,  # includes babel's NumberFormatError
            UnknownUnitError,
            TypeError,  # num2words: some languages fail on some types
            AttributeError,
        ):
            return self._digits(text)

    def _words(self, value: Decimal | int, to: str = "cardinal") -> str:
        # The commas of "one thousand, two hundred" would be spoken as pauses.
        return str(num2words(value, lang=self.locale.language, to=to)).replace(",", "")

    def _digits(self, text: str) -> str:
        return " ".join(self._words(int(char)) for char in text if char.isdecimal())

    def _value(self, text: str) -> Decimal:
        """A number as it is written in this language, or with a decimal point."""
        text = text.replace("−", "-").replace("+", "")
        try:
            return Decimal(parse_decimal(text, locale=self.locale, strict=True))
        except NumberFormatError:
            return Decimal(text)

    def _abbreviation(self, text: str) -> str:
        return ABBREVIATIONS[text.lower()] if self._english else text

    def _initials(self, text: str) -> str:
        return " ".join(text.upper().replace(".", " ").split())

    def _meridiem(self, text: str) -> str:
        return " ".join(text.strip().upper())

    def _product(self, text: str) -> str:
        return self.symbol("×")

    def _arrow(self, text: str) -> str:
        return "to" if self._english else ""

    def _hash(self, text: str) -> str:
        return "number" if self._english else ""

    def _initial(self, text: str) -> str:
        return text[0]

    def _tag(self, text: str) -> str:
        return ""

    def _number(self, text: str) -> str:
        bare = text.lstrip("+-−")
        if bare.isdecimal() and (len(bare) > MAX_DIGITS or (bare[0] == "0" and len(bare) > 1)):
            return self._digits(text)
        try:
            value = self._value(text)
        except InvalidOperation:
            return " ".join(self._number(part) for part in re.findall(r"\d+", text))
        if len(bare) > MAX_DIGITS + 5:
            return self._digits(text)
        sign = "plus " if text.startswith("+") and self._english else ""
        whole, point, decimals = str(value).partition(".")
        if self._english and point:
            # As written: 3.10 is "three point one zero".
            minus = "minus " if whole == "-0" else ""
            return f"{sign}{minus}{self._words(int(whole))} point {self._digits(decimals)}"
        return sign + self._words(value if point else int(value))

    def _year(self, text: str) -> str:
        return self._words(int(text), "year").replace(" and ", " ")

    def _decade(self, text: str) -> str:
        words = self._year(text[:-1])
        return f"{words[:-1]}ies" if words.endswith("y") else f"{words}s"

    def _ordinal(self, text: str) -> str:
        return self._words(int(text[:-2]), "ordinal")

    def _range(self, text: str) -> str:
        first, second = re.findall(r"\d+", text)
        return f"{self._count(first)} {'to' if self._english else ''} {self._count(second)}"

    def _count(self, text: str) -> str:
        kind = "year" if re.fullmatch(PATTERNS["year"], text) else "number"
        return self.say(kind, text)

    def _fraction(self, text: str) -> str:
        above, below = map(int, re.findall(r"\d+", text))
        if not self._english or not 1 < below <= 20 or above >= below:
            return f"{self._words(above)} {self._words(below)}"
        part = {2: "half", 4: "quarter"}.get(below, self._words(below, "ordinal"))
        if above == 1:
            return f"one {part}"
        return f"{self._words(above)} {'halves' if below == 2 else part + 's'}"

    def _version(self, text: str) -> str:
        separator = " point " if self._english else " "
        return separator.join(self._number(part) for part in re.findall(r"\d+", text))

    def _phone(self, text: str) -> str:
        return ", ".join(self._digits(group) for group in re.findall(r"\d+", text))

    def _currency(self, text: str) -> str:
        sign = next(char for char in text if char in CURRENCIES)
        code = CURRENCIES[sign]
        bare = text.replace(sign, "").strip()
        amount = bare.rstrip(ascii_letters)
        if scale := bare[len(amount) :]:
            name = get_currency_name(code, 2, locale=self.locale)
            return f"{self._number(amount.strip())} {SCALES[scale]} {name}"
        return self._money(self._value(amount), code)

    def _money(self, amount: Decimal, code: str) -> str:
        language = self.locale.language
        try:
            words = num2words(
                float(amount), lang=language, to="currency", currency=code, separator="|"
            )
        except NotImplementedError:
            return f"{self._words(amount)} {get_currency_name(code, amount, locale=self.locale)}"
        whole, _, cents = str(words).replace(",", "").partition("|")
        if amount == int(amount):
            return whole
        if abs(amount) < 1:
            return cents
        return f"{whole} {'and' if self._english else ''} {cents}"

    def _unit(self, text: str) -> str:
        match = re.fullmatch(rf"([-+−]?{NUMBER})\s?(.+)", text)
        if match is None:
            return self._digits(text)
        number, unit = match.groups()
        if unit == "%" and self._english:
            return f"{self._number(number)} percent"
        value = self._value(number)
        phrase = format_unit(value, UNITS[unit], "long", locale=self.locale)
        # CLDR gives the phrase with digits; only the name's form depends on the number.
        name = re.sub(r"[-+−]?\d[\d.,  ]*", " ", phrase)
        return f"{self._number(number)} {name.strip()}"

    def _date(self, text: str) -> str:
        year, month, day = text.split("-")
        name = get_month_names("wide", locale=self.locale)[int(month)]
        if self._english:
            return f"{name} {self._words(int(day), 'ordinal')}, {self._count(year)}"
        return f"{self._words(int(day))} {name} {self._count(year)}"

    def _monthday(self, text: str) -> str:
        month, day = text.split()
        return f"{month} {self._words(int(day), 'ordinal' if self._english else 'cardinal')}"

    def _time(self, text: str) -> str:
        hour, minute, *second = (int(part) for part in text.split(":"))
        words = [self._words(hour)]
        if minute == 0 and not second:
            words += ["o'clock"] if self._english and 1 <= hour <= 12 else [self._words(0)]
        elif minute < 10 and self._english:
            words += ["oh", self._words(minute)]
        else:
            words.append(self._words(minute))
        return " ".join(words + [self._words(part) for part in second])

    def _email(self, text: str) -> str:
        return self._spelled(text)

    def _url(self, text: str) -> str:
        address = re.sub(r"^(?:https?://)?(?:www\.)?", "", text)
        host, _, path = address.partition("/")
        path = re.split(r"[?#]", path)[0].rstrip("/")
        # A long path is read on the screen or not at all.
        return self._spelled(f"{host}/{path}" if path and len(path) <= _MAX_PATH else host)

    def _spelled(self, address: str) -> str:
        names = _ENGLISH_ADDRESS if self._english else {}
        parts = re.findall(r"[^\W\d_]+|\d+|[^\w\s]|_", address)
        return " ".join(
            self._digits(part) if part.isdecimal() else names.get(part, part) for part in parts
        )
