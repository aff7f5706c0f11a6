"""Patterns of amounts, units, dates, times and addresses for languages other than English."""

from __future__ import annotations

import re

from babel.dates import get_month_names

from tts.english.numbers import VULGAR

CURRENCIES = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "₩": "KRW"}
UNITS = {
    "°C": "celsius",
    "°F": "fahrenheit",
    "°": "degree",
    "%": "percent",
    "km/h": "kilometer-per-hour",
    "mph": "mile-per-hour",
    "m/s": "meter-per-second",
    "km": "kilometer",
    "cm": "centimeter",
    "mm": "millimeter",
    "m": "meter",
    "mi": "mile",
    "ft": "foot",
    "kg": "kilogram",
    "mg": "milligram",
    "g": "gram",
    "lb": "pound",
    "lbs": "pound",
    "oz": "ounce",
    "ml": "milliliter",
    "mL": "milliliter",
    "l": "liter",
    "L": "liter",
    "GHz": "gigahertz",
    "MHz": "megahertz",
    "kHz": "kilohertz",
    "Hz": "hertz",
    "kWh": "kilowatt-hour",
    "kW": "kilowatt",
    "W": "watt",
    "V": "volt",
    "TB": "terabyte",
    "GB": "gigabyte",
    "MB": "megabyte",
    "KB": "kilobyte",
    "kB": "kilobyte",
    "ms": "millisecond",
    "s": "second",
    "min": "minute",
    "h": "hour",
}
SCALES = {
    "thousand": "thousand",
    "million": "million",
    "billion": "billion",
    "trillion": "trillion",
    "k": "thousand",
    "K": "thousand",
    "M": "million",
    "B": "billion",
}
NUMBER = r"\d+(?:[.,]\d+)*"
_END = r"(?![\w])"
_SIGN = r"(?:(?<![\w.)])[-−+](?=[\d$€£¥₹₩]))?"
# The last period of "p.m." also ends the sentence if nothing or a capital follows.
_LAST_PERIOD = r"(?:\.(?!\s*$|\s+[A-Z])|(?=\.))"
_UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_MONTH = "|".join(get_month_names("wide", locale="en").values())
_SCALE = "|".join(SCALES)
PATTERNS = {
    "initials": rf"(?<!\w)(?:[A-Za-z]\.)+[A-Za-z]{_LAST_PERIOD}(?!\w)",
    "initial": r"(?<![\w.])[A-Z]\.(?=\s[A-Z])",
    "tag": r"</?[A-Za-z][^<>\s]*(?:\s[^<>]*)?>",
    "email": r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+",
    "url": r"(?:https?://|www\.)[^\s<>()\"']+[^\s<>()\"'.,;:!?]"
    r"|\b(?:[a-z0-9-]{1,63}\.){1,8}(?:com|org|net|edu|gov|io|dev|ai|uk|de)\b(?:/[^\s<>()\"',;!?]*)?",
    "monthday": rf"(?:{_MONTH})\s\d{{1,2}}(?!\w|[.,:]\d)",
    "date": r"(?<!\d)[12]\d{3}-[01]\d-[0-3]\d(?!\d)",
    "time": r"(?<![\d:])(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?(?![\d:])",
    "code": r"(?<![\w.,-])\d{4}(?:[- ]\d{4}){2,4}(?![\w-])"
    r"|(?<!\w)\+\d{1,3}(?:[-./  ]\(?\d{1,10}\)?){2,}(?![\w%]|[.,]\d)"
    r"|(?<![\w.,/])0\d{1,4}[-/  ]\d{3,}(?:[-  ]\d{2,})*(?!\w|[.,]\d)",
    "phone": r"(?<!\w)\+?\(?\d{2,4}\)?[-  ]\d{3}[-  ]\d{3,4}(?:[-  ]\d{2,4})?(?![\w-])",
    "version": r"(?<![\w.])v?\d+(?:\.\d+){2,}(?![\w.]*\d)",
    "decade": rf"(?<!\d)[12]\d\d0s{_END}",
    "currency": rf"{_SIGN}[$€£¥₹₩]\s?{NUMBER}(?:\s(?:{_SCALE})\b|(?:{_SCALE}){_END})?"
    rf"|{_SIGN}{NUMBER}\s?[$€£¥₹₩]",
    "unit": rf"{_SIGN}{NUMBER}\s?(?:{_UNIT}){_END}",
    "ordinal": rf"\d+(?:st|nd|rd|th){_END}",
    "fraction": r"(?<![\w/.])\d{1,3}[/⁄]\d{1,3}(?![\w/])",
    "vulgar": rf"(?:(?<![\w.,])\d{{1,6}}\s?)?[{''.join(VULGAR)}]",
    "power": r"(?<=[\w)])[⁰¹²³⁴⁵⁶⁷⁸⁹]+",
    "difference": r"(?<=\d)\s?[-−]\s?(?=\d+(?:[.,]\d+)?\s*=)",
    "range": r"(?<![\w.-])\d{1,4}\s?[–-]\s?\d{1,4}(?![\w-]|\.\d|\s*=)",
    "year": r"(?<![\w.,])(?:1[1-9]|20)\d\d(?![\w]|[.,]\d)",
    "number": _SIGN + NUMBER,
    "meridiem": r"(?<=\d)\s?(?i:[ap]m)(?!\w)",
    "product": r"(?<=\d)\s?[*x×]\s?(?=\d)",
    "arrow": r"[-=]+>|→",
    "hash": r"#(?=\d)",
}
EXPRESSION = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in PATTERNS.items()))
"""All expressions that have a spoken form of their own; the group's name is the kind."""
