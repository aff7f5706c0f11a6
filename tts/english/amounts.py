"""Amounts of money and of everything that has a unit, alone and in ranges."""

from __future__ import annotations

import re

from tts.english.calendar import ends_sentence
from tts.english.numbers import (
    END,
    LONG_SCALE,
    NUM,
    SCALES,
    SIGN,
    VULGAR_SIGN,
    cardinal,
    is_one,
    mixed,
    number,
    split_number,
    vulgar,
)
from tts.english.units import CURRENCIES, CURRENCY, PER, UNIT, UNITS, Currency, per
from tts.english.word_lists import words
from tts.grammar import Rule, word_after, words_before

_DASH = r"\s?[-–—~]\s?"
_SHORT_SCALE = r"Mio\.?|Mrd\.?|k|K|mm|MM|mn|mio|mil|m|M|bn|Bn|b|B|tn|T"
_SCALE = rf"(?:\s(?:{LONG_SCALE})\b|\s?(?:{_SHORT_SCALE}){END})"
_PER_NAME = "|".join(map(re.escape, sorted(PER, key=len, reverse=True)))
_PER = rf"(?:\s?/\s?(?:{_PER_NAME}|{UNIT}|[a-z]{{2,12}}){END})"
_FUNCTION_WORDS = words(
    """
    a about after and are as at back because before below but by can cash did do does down each
    every extra fee for from had has have he he's i if in instead into is it left less like may
    minimum more my need no not now of off on only or out over owed per plus she should so tax than
    that the then they this through to today tomorrow under until up us via was we were when where
    which while will with within without would yesterday you your
    """
)
COUNTED = (
    r"(?:people|users?|views?|downloads?|subscribers|followers|customers|visitors|copies|units|tons|"
    r"tonnes|barrels|jobs|homes|houses|households|residents|inhabitants|citizens|voters|votes|workers|"
    r"employees|members|students|children|kids|patients|cases|deaths|refugees|tourists|passengers|cars|"
    r"vehicles|books|songs|streams|records|items|messages|emails|calls|requests|transactions|accounts|"
    r"tokens|param(?:eter)?s|words|lines|pages|rows|years|dollars|euros?|pounds|shares|players|readers|"
    r"listeners|viewers|fans|plays|clicks|likes|hits|orders|devices|phones|installs|trees|birds|bees|"
    r"animals|species|acres|hectares|litres|liters|gallons|men|women|adults|families|migrants|steps|"
    r"photos|videos|posts|tweets|files|images|pixels|bytes|monthly|daily|active|more|others|"
    r"[A-Z][a-z]+(?:ans|ish|ese)|visits|miles|points|times|patients|samples|stars|reviews)\b"
)


_LETTER_K = re.compile(
    r"\s(?:run|race|walk|jog|swim|video|TV|display|monitor|resolution|screen|camera|UHD|footage|"
    r"content)\b"
)


def _attributive(match: re.Match[str]) -> bool:
    """Whether an amount describes the noun after it: "a fifty dollar gift card"."""
    after = word_after(match)
    return (
        words_before(match) in ("a", "an")
        and after.islower()
        and after not in _FUNCTION_WORDS
        and not after.endswith("s")
    )


def _money_words(n: str, scale: str, currency: Currency, attributive: bool) -> str:
    whole, decimals = split_number(n)
    if scale:
        name = currency.one if attributive else currency.many
        name = f"US {name}" if name in ("dollar", "dollars") else name
        return f"{number(n)} {SCALES[scale.strip()]} {name}"
    if len(decimals) == 3 and decimals.endswith("00") and "." in n and currency.one == "euro":
        # "€2.500" is written with the point of thousands: no price has three decimals.
        whole, decimals = whole + decimals, ""
    if len(decimals) > 2:
        return f"{number(n)} {currency.many}"
    units, cents = int(whole), int(decimals.ljust(2, "0")) if decimals else 0
    said = f"{cardinal(units)} {currency.one if units == 1 or attributive else currency.many}"
    if not cents:
        return said
    part = f"{cardinal(cents)} {currency.cent if cents == 1 else currency.cents}"
    return part if units == 0 else f"{said} and {part}"


def _signed(match: re.Match[str]) -> str:
    sign = (match["sign"] or "") + (match["inner"] or "")
    return {"-": "minus ", "−": "minus ", "–": "minus ", "+": "plus "}.get(sign[:1], "")


def _money(match: re.Match[str]) -> str | None:
    """Say "$5", "-$1,200", "US$5 million", "5,50 €"."""
    name = match["code"] or match["before"] or match["after"]
    if match["after"] in ("Rs", "Fr.", "Rs.", "T") or (match["after"] or "").startswith(
        ("A$", "C$")
    ):
        return None
    said = _money_words(match["n"], match["scale"] or "", CURRENCIES[name], _attributive(match))
    return _signed(match) + said + _rate(match["per"])


def _rate(text: str | None) -> str:
    if not text:
        return ""
    name = per(text.strip(" /"))
    return " each" if name == "each" else f" per {name}"


def _money_range(match: re.Match[str]) -> str | None:
    """Say "$5-10 million", "£5–£10", "5-10 €"."""
    currency = CURRENCIES[match["before"] or match["after"]]
    scale = (match["scale2"] or "").strip()
    first_scale = (match["scale"] or "").strip()
    attributive = _attributive(match)
    second = _money_words(match["n2"], scale, currency, attributive)
    decimals = split_number(match["n"])[1] + split_number(match["n2"])[1]
    if (first_scale and first_scale != scale) or (decimals and not scale):
        first = _money_words(match["n"], first_scale, currency, attributive)
    else:
        first = number(match["n"])
    return f"{first} to {second}{_rate(match['per'])}"


def _cents(match: re.Match[str]) -> str:
    return f"{number(match['n'])} {'cent' if is_one(match['n']) else 'cents'}"


def _count(match: re.Match[str]) -> str | None:
    """Say "5k followers", "1m people", "2.5bn", "3M downloads"."""
    scale = match["scale"].strip()
    counted = re.compile(rf"\s{COUNTED}").match(match.string, match.end()) is not None
    spaced = match["scale"][0].isspace()
    if scale in LONG_SCALE.split("|"):
        return f"{number(match['n'])} {scale}"
    # "5m" is a length, "4B" an apartment, "4K" a picture; "80K" is a number.
    letter = scale in ("m", "M", "b", "B", "T", "mm", "mil") or (
        scale == "K" and len(match["n"]) == 1
    )
    named = scale in ("k", "K") and _LETTER_K.match(match.string, match.end()) is not None
    if named or ((letter or spaced) and not counted):
        return None
    return f"{number(match['n'])} {SCALES[scale]}"


def _refused(match: re.Match[str], unit: str) -> bool:
    """Whether the letters after a number are not the unit that they look like."""
    following = match.string[match.end() : match.end() + 24]
    spaced = match.string[match.start() : match.end()].rstrip(unit).endswith(" ")
    if unit == "g" and re.match(r"\s(?:network|phone|signal|tower|coverage|connection)", following):
        return True
    if unit == "m" and spaced and words_before(match) in ("i", "so"):
        return True
    if unit == "K" and not spaced:
        return True
    if unit in ("J", "N", "t") and not spaced:
        return True
    if unit == "in." and not re.match(r"\s(?:[a-z]|x\b)|\s?$|[,;)]", following):
        return True
    if unit == "V" and re.match(r"\s?\d", following):
        return True
    return unit in ("bar", "cal", "ac", "pt", "cd", "mo", "ct", "atm", "mol") and not spaced


def _stop(match: re.Match[str], unit: str) -> str:
    """The full stop of "min." where it also ends the sentence."""
    return "." if unit.endswith(".") and ends_sentence(match.string, match.end()) else ""


def _unit_form(unit: str, value: str, attributive: bool) -> str:
    return UNITS[unit].form(is_one(value) or (attributive and unit not in ("%", "‰")))


def _measure(match: re.Match[str]) -> str | None:
    """Say "5 km", "-5 °C", "9.8 m/s²", "40.7° N", "2½ cm"."""
    unit, n = match["unit"], match["n"]
    if _refused(match, unit):
        return None
    value = number(match["sign"] + n) if n else ""
    part = match["part"]
    if part:
        value = mixed(match["sign"] + n, vulgar(part)) if n else vulgar(part)
    name = _unit_form(unit, n if not part else ("1" if not n else "2"), _attributive(match))
    if match["scale"]:
        value, name = f"{value} {match['scale'].strip()}", UNITS[unit].many
    side = {"N": "north", "S": "south", "E": "east", "W": "west"}.get(match["side"] or "", "")
    if unit.startswith("°") and match["side"] and unit not in ("°",):
        return None
    rate = match["per"] or ""
    if hundred := re.fullmatch(r"\s?/\s?(\d+)\s?(.+)", rate):
        return f"{value} {name} per {number(hundred[1])} {UNITS[hundred[2]].many}"
    return f"{value} {name}{_rate(rate)} {side}".strip() + _stop(match, unit)


def _measure_range(match: re.Match[str]) -> str | None:
    """Say "10-20 km", "5%-10%", "20°C-25°C"."""
    unit, first = match["unit2"], match["unit"]
    if _refused(match, unit):
        return None
    name = _unit_form(unit, match["n2"], _attributive(match))
    between = "" if first in (None, unit) else f" {_unit_form(first, match['n'], False)}"
    low, high = number(match["sign"] + match["n"]), number(match["n2"])
    said = f"{low}{between} to {high} {name}{_rate(match['per'])}"
    return said + _stop(match, unit)


def _hyphened(match: re.Match[str]) -> str:
    """Say "a 5-km run"."""
    unit = {"in": "in.", "inch": "in."}.get(match["unit"], match["unit"])
    return f"{number(match['n'])} {UNITS[unit].one}"


def _feet(match: re.Match[str]) -> str:
    """Say "6'2\"", "5 ft 10 in"."""
    feet, inches = match["feet"], match["inches"]
    name = "foot" if is_one(feet) else "feet"
    return f"{number(feet)} {name} {number(inches)} {'inch' if is_one(inches) else 'inches'}"


def _in_quotation(text: str) -> bool:
    """Whether a quotation is open at the end of ``text``; a mark after a digit may mean inches."""
    inside = False
    for mark in re.finditer('"', text):
        opens = not text[: mark.start()] or text[mark.start() - 1] in " \n("
        inside = opens and not inside
    return inside


def _quotes(match: re.Match[str]) -> str | None:
    """Say "27\" monitor": inches, unless the mark closes a quotation."""
    if _in_quotation(match.string[: match.start()]):
        return None
    singular = is_one(match["n"]) or _attributive(match)
    return f"{number(match['n'])} {'inch' if singular else 'inches'}"


def _inches(match: re.Match[str]) -> str:
    """Say "1 in = 2.54 cm": beside an equals sign "in" is a unit."""
    value = match["n"] or match["n2"]
    return f"{number(value)} {'inch' if is_one(value) else 'inches'}"


def _sizes(match: re.Match[str]) -> str:
    """The "x" between two lengths, as in "12ft x 10ft"."""
    return "by"


def _bare_degrees(match: re.Match[str]) -> str:
    """Say "98.6 F": with one decimal place it is a temperature."""
    scale = {"C": "Celsius", "F": "Fahrenheit"}[match["unit"]]
    return f"{number(match['n'])} degrees {scale}"


def _only_feet(match: re.Match[str]) -> str | None:
    """Say "6' tall": feet, unless the mark closes a quotation."""
    if re.search(r"(?:^|\s)['‘]\w", match.string[: match.start()]):
        return None
    return f"{number(match['n'])} {'foot' if is_one(match['n']) else 'feet'}"


def _by(match: re.Match[str]) -> str | None:
    """Say "10 x 20 cm", "4x4": sizes; with an equals sign it is a product."""
    if re.match(r"\s*=", match.string[match.end() :]) or re.search(
        r"=\s*$", match.string[: match.start()]
    ):
        return None
    numbers = re.findall(NUM, match["sizes"])
    unit = match["unit"]
    if unit is None and (" " in match["sizes"] and len(numbers) == 2):
        return None
    unit = "in." if unit == "in" else unit
    name = "" if unit is None else f" {_unit_form(unit, numbers[-1], False)}"
    return " by ".join(map(number, numbers)) + name


def _pressure(match: re.Match[str]) -> str:
    name = f" {UNITS[match['unit']].many}" if match["unit"] else ""
    return f"{number(match['a'])} over {number(match['b'])}{name}"


_AMOUNT = rf"(?P<sign>{SIGN})(?P<n>{NUM})"
_UNIT2 = rf"\s?(?P<unit2>{UNIT})"
_BEFORE = rf"(?P<sign>(?:(?<![\w.)])[-−+–])?)(?<![\w/])(?P<before>{CURRENCY})\s?(?P<inner>[-−]?)"
_AFTER = rf"\s?(?P<after>{CURRENCY}){END}"
RULES = (
    Rule(rf"(?P<n>{NUM})\s?in(?=\s?=)|(?<=[=≈] )(?P<n2>{NUM})\s?in(?!\w)", _inches),
    Rule(r"(?<=['’′\"″tm])\s?[x×]\s?(?=\d)|(?<=['’′\"″tm]\s)[x×]\s?(?=\d)", _sizes, starts="ls"),
    Rule(rf"(?P<n>\d+\.\d)\s?(?P<unit>[CF]){END}", _bare_degrees),
    Rule(
        rf"(?<!\w)(?P<before>{CURRENCY})\s?(?P<n>{NUM})(?P<scale>{_SCALE})?(?P<after>){_DASH}"
        rf"(?:{CURRENCY})?\s?(?P<n2>{NUM})(?P<scale2>{_SCALE})?(?![\w.]*\d)(?P<per>{_PER})?",
        _money_range,
        starts="ls",
    ),
    Rule(
        rf"(?P<before>)(?P<n>{NUM})(?P<scale>{_SCALE})?{_DASH}(?P<n2>{NUM})(?P<scale2>{_SCALE})?"
        rf"{_AFTER}(?P<per>{_PER})?",
        _money_range,
    ),
    Rule(
        rf"{_BEFORE}(?P<n>{NUM})(?P<scale>{_SCALE})?(?P<after>)"
        rf"(?:\s(?P<code>USD|CAD|AUD|NZD|HKD|SGD|MXN)\b)?(?P<per>{_PER})?",
        _money,
        starts="ls",
    ),
    Rule(
        rf"(?P<sign>{SIGN})(?P<inner>)(?P<before>)(?P<code>)(?P<n>{NUM})(?P<scale>{_SCALE})?{_AFTER}(?P<per>{_PER})?",
        _money,
        starts="ds",
    ),
    Rule(rf"(?P<n>{NUM})\s?¢", _cents),
    Rule(
        rf"(?<![\w.])(?P<feet>\d+)\s?(?:'|’|′|ft\.?\s)\s?(?P<inches>{NUM})\s?(?:\"|”|″|in\b\.?|(?<=\d)(?=\s|$))",
        _feet,
    ),
    Rule(
        r"(?<![\w.'’])(?P<n>\d{1,3})['’′](?=\s(?:tall|long|wide|high|deep|x\b)|[.,;)]|\s?$)",
        _only_feet,
    ),
    Rule(rf"(?P<n>{NUM})\s?[\"″](?=\s|$|[,.;)])", _quotes),
    Rule(
        rf"(?<![\w.])(?P<sizes>{NUM}(?:\s?[x×]\s?{NUM}){{1,2}})(?:\s?(?P<unit>{UNIT}|in))?{END}",
        _by,
    ),
    Rule(rf"(?<![\w.,-])(?P<n>{NUM})-(?P<unit>{UNIT}|in)(?=\s[a-z]){END}", _hyphened),
    Rule(rf"(?<![\w/])(?P<a>\d{{2,3}})/(?P<b>\d{{2,3}})\s?(?P<unit>mmHg){END}", _pressure),
    Rule(
        rf"{_AMOUNT}(?:\s?(?P<unit>{UNIT}))?{_DASH}(?P<n2>{NUM}){_UNIT2}{END}(?P<per>{_PER})?",
        _measure_range,
        starts="ds",
    ),
    Rule(
        rf"(?<![\w.])(?P<n>{NUM})(?P<scale>\s(?:{LONG_SCALE})\b|\s?(?:{_SHORT_SCALE}){END})",
        _count,
    ),
    Rule(
        rf"(?P<sign>{SIGN})(?P<n>{NUM})\s?(?P<part>{VULGAR_SIGN})?(?P<scale>\s(?:{LONG_SCALE})\b)?"
        rf"\s?(?P<unit>{UNIT})(?P<per>\s?/\s?10+\s?(?:km|mi|g|ml|mL|m){END}|{_PER})?(?:(?<=[°º])\s?(?P<side>[NSEW])(?!\w))?{END}",
        _measure,
        starts="ds",
    ),
)
