"""Numbers, amounts, units, dates, times and addresses of languages other than English, in words.

The words come from num2words and from CLDR by way of babel. The names of signs, which neither
holds, are in a table for a few languages; the others leave signs out.
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

from tts.english.numbers import VULGAR
from tts.expressions import CURRENCIES, EXPRESSION, NUMBER, PATTERNS, SCALES, UNITS
from tts.grammar import Expression, Part

MAX_DIGITS = 15
"""Longer numbers are codes, and read digit by digit."""

_SIGNS = "&+=×÷−@~≈<>√."
_SIGN_NAMES = {
    "de": "und|plus|gleich|mal|geteilt durch|minus|at|ungefähr|ungefähr|kleiner als|größer als|"
    "Wurzel aus|Punkt",
    "fr": "et|plus|égale|fois|divisé par|moins|arobase|environ|environ|inférieur à|supérieur à|"
    "racine de|point",
    "es": "y|más|igual a|por|dividido por|menos|arroba|casi|casi|menor que|mayor que|raíz de|punto",
    "it": "e|più|uguale a|per|diviso|meno|chiocciola|circa|circa|minore di|maggiore di|radice di|"
    "punto",
    "pt": "e|mais|igual a|vezes|dividido por|menos|arroba|cerca de|cerca de|menor que|maior que|"
    "raiz de|ponto",
    "nl": "en|plus|is|maal|gedeeld door|min|apenstaartje|ongeveer|ongeveer|kleiner dan|groter dan|"
    "wortel van|punt",
}
"""Names of ``_SIGNS`` by language; other languages leave them out."""
_HOURS = {"de": "Uhr", "fr": "heures", "es": "horas", "pt": "horas", "nl": "uur"}
"""The word after the hour of a time of day."""
_LONG_CODE = 7
"""Numbers of so many digits without separators are codes unless they are round."""
_MAX_PATH = 30


_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_ENDLESS = frozenset({"am"})
"""num2words 0.5.14 never returns from most Amharic numbers of seven digits and more."""


def can_say_numbers(locale: Locale) -> bool:
    """Whether num2words has words for numbers of every length in the language."""
    return locale.language in CONVERTER_CLASSES and locale.language not in _ENDLESS


@dataclass(frozen=True, slots=True)
class CldrGrammar:
    """Says expressions in one language, which must be one of ``can_say_numbers``."""

    locale: Locale

    def find(self, text: str, start: int = 0, end: int | None = None) -> Iterator[Expression]:
        for match in EXPRESSION.finditer(text, start, len(text) if end is None else end):
            spoken = self.say(str(match.lastgroup), match.group())
            yield Expression(match.start(), match.end(), (Part(spoken, match.end()),))

    def symbol(self, char: str) -> str:
        """The name of a symbol; empty for a symbol without a name in the language."""
        names = _SIGN_NAMES.get(self.locale.language, "").split("|")
        place = _SIGNS.find("×" if char in "·⋅" else char)
        return names[place] if 0 <= place < len(names) else ""

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

    def _initials(self, text: str) -> str:
        return " ".join(text.upper().replace(".", " ").split())

    def _meridiem(self, text: str) -> str:
        return " ".join(text.strip().upper())

    def _product(self, text: str) -> str:
        return self.symbol("×")

    def _arrow(self, text: str) -> str:
        return ""

    def _hash(self, text: str) -> str:
        return ""

    def _initial(self, text: str) -> str:
        return text[0]

    def _tag(self, text: str) -> str:
        return ""

    def _number(self, text: str) -> str:
        bare = text.lstrip("+-−")
        long = len(bare) > MAX_DIGITS or (len(bare) >= _LONG_CODE and len(bare.rstrip("0")) > 4)
        if bare.isdecimal() and (long or (bare[0] == "0" and len(bare) > 1)):
            return self._digits(text)
        try:
            value = self._value(text)
        except InvalidOperation:
            return " ".join(self._number(part) for part in re.findall(r"\d+", text))
        if len(bare) > MAX_DIGITS + 5:
            return self._digits(text)
        return self._words(value if "." in str(value) else int(value))

    def _year(self, text: str) -> str:
        return self._words(int(text), "year").replace(" and ", " ")

    def _decade(self, text: str) -> str:
        return self._year(text[:-1])

    def _ordinal(self, text: str) -> str:
        return self._words(int(text[:-2]), "ordinal")

    def _range(self, text: str) -> str:
        first, second = re.findall(r"\d+", text)
        return f"{self._count(first)} {self._count(second)}"

    def _count(self, text: str) -> str:
        kind = "year" if re.fullmatch(PATTERNS["year"], text) else "number"
        return self.say(kind, text)

    def _fraction(self, text: str) -> str:
        above, below = map(int, re.findall(r"\d+", text))
        return f"{self._words(above)} {self._words(below)}"

    def _vulgar(self, text: str) -> str:
        """Say "2½": as a decimal number; "2⅓", which has none, by its digits."""
        whole, sign = int(text[:-1].strip() or 0), text[-1]
        above, below = VULGAR[sign]
        value = Decimal(above) / Decimal(below) + whole
        if value == value.quantize(Decimal("0.001")):
            return self._words(value.normalize())
        head = f"{self._words(whole)} " if whole else ""
        return f"{head}{self._words(above)} {self._words(below)}"

    def _power(self, text: str) -> str:
        """Say "10²": the exponent by its digits, as most languages have no short word for it."""
        return self._digits(text.translate(_SUPERSCRIPTS))

    def _difference(self, text: str) -> str:
        return self.symbol("−")

    def _version(self, text: str) -> str:
        return " ".join(self._number(part) for part in re.findall(r"\d+", text))

    def _code(self, text: str) -> str:
        return self._phone(text)

    def _phone(self, text: str) -> str:
        plus = f"{self.symbol('+')} " if text.startswith("+") else ""
        return plus + ", ".join(self._digits(group) for group in re.findall(r"\d+", text))

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
        return f"{whole} {cents}"

    def _unit(self, text: str) -> str:
        match = re.fullmatch(rf"([-+−]?{NUMBER})\s?(.+)", text)
        if match is None:
            return self._digits(text)
        number, unit = match.groups()
        value = self._value(number)
        phrase = format_unit(value, UNITS[unit], "long", locale=self.locale)
        # CLDR gives the phrase with digits; only the name's form depends on the number.
        name = re.sub(r"[-+−]?\d[\d.,  ]*", " ", phrase)
        return f"{self._number(number)} {name.strip()}"

    def _date(self, text: str) -> str:
        year, month, day = text.split("-")
        name = get_month_names("wide", locale=self.locale)[int(month)]
        return f"{self._words(int(day))} {name} {self._count(year)}"

    def _monthday(self, text: str) -> str:
        month, day = text.split()
        return f"{month} {self._words(int(day))}"

    def _time(self, text: str) -> str:
        hour, minute, *second = (int(part) for part in text.split(":"))
        name = _HOURS.get(self.locale.language, "")
        words = [self._words(hour), name]
        if minute or second or not name:
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
        names = {char: self.symbol(char) for char in "@."}
        parts = re.findall(r"[^\W\d_]+|\d+|[^\w\s]|_", address)
        return " ".join(
            self._digits(part) if part.isdecimal() else names.get(part, part) for part in parts
        )
