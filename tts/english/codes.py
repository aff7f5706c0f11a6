"""PINs, card, order and flight numbers: digit by digit, with pauses in groups."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tts.english.digit_groups import QUANTITY, digit_groups, grouped, paused
from tts.english.numbers import cardinal, digits, letters, number
from tts.grammar import Part, Rule

_KEYWORD = (
    r"account|acct|a/c|order|invoice|bill|pin|p\.i\.n|code|passcode|password|otp|zip|postcode|"
    r"postal|cvv|cvc|cvv2|csc|ssn|social security|reference|ref|booking|confirmation|"
    r"reservation|itinerary|ticket|tracking|case|claim|policy|member|membership|customer|"
    r"client|license|licence|serial|routing|sort|flight|card|id|extension|ext|room|error|iban|"
    r"isbn|vin|imei|ein|tin|vat|patient|employee|student|user|passport|visa|mastercard|amex|"
    r"plate|model|part|item|sku|lot|batch|docket|registration|transaction|receipt|incident|"
    r"request|locker|gate code|key|token|device|parcel|package|shipment|certificate|permit|"
    r"badge|meter|box|number|no\.|nr\.|num"
)
_LINK = (
    r"(?:\.|['’]s)?(?:\s*(?:numbers?|nos?\.?|nr\.|num\.?|code|id|pin|is|was|are|:|#|=|key|ref|"
    r"reference)(?![a-z]))*"
)
_CODE_CUE = re.compile(rf"\b(?P<key>{_KEYWORD})(?P<link>{_LINK})\s*#?$", re.IGNORECASE)
_DIGITS_CUE = re.compile(
    r"\b(?:ending|ends|end)\s(?:in|with)\s$|\b(?:card|visa|account|mastercard|amex)\s(?:ending|ends)\s$|"
    r"\b(?:last|first|final)\s(?:four|three|six|\d)(?:\sdigits)?"
    r"(?:\sof\s[\w\s]{1,40})?(?:\s(?:is|are|were|was))?:?\s$|\bdigits\s(?:is|are|:)?\s?$",
    re.IGNORECASE,
)
_THREE = re.compile(
    r"flight|pin|cvv|cvc|csc|area code|code|error|ext|password|room|extension|\bid\b|gate code|"
    r"ending|ends|iban|ssn|ref|key|token|otp",
    re.IGNORECASE,
)


def _coded(match: re.Match[str]) -> Sequence[Part] | None:
    """Digits after a word that tells a code: "account 12345678", "order #100234"."""
    text = match.group()
    plain = re.sub(r"\D", "", text)
    before = match.string[max(0, match.start() - 60) : match.start()]
    if _DIGITS_CUE.search(before) and len(plain) >= 2:
        return _code_parts(match)
    cue = _CODE_CUE.search(before)
    if cue is None:
        return None
    named = bool(cue["link"].strip()) or cue["key"].lower() in ("number", "no.", "nr.", "num")
    quantity = QUANTITY.match(match.string, match.end()) or re.match(
        r"\.\d|,\d", match.string[match.end() :]
    )
    if quantity and not (plain[0] == "0" and len(plain) > 1):
        return None
    named = (
        named
        or re.match(
            r"\s?$|[.,;:?!)]|\s(?:has|is|was|will|shipped|and|for|to|from|on|in|at|by)\b",
            match.string[match.end() :],
        )
        is not None
    )
    enough = (
        3
        if _THREE.search(cue.group())
        else 4
        if named or cue["key"].lower() not in ("order", "part", "box")
        else 5
    )
    if len(plain) < enough and not (plain[0] == "0" and len(plain) > 1):
        return None
    return _code_parts(match)


def _masked(match: re.Match[str]) -> str | None:
    """Say "ending in x4821", "XXXX1234": a number of which only the end is shown."""
    before = match.string[max(0, match.start() - 60) : match.start()]
    if match.group().lower().startswith("xx") or _DIGITS_CUE.search(before):
        return digits(match["n"])
    return None


def _flight(match: re.Match[str]) -> str | None:
    """Say "flight BA 142": letters and digits one by one."""
    if not re.search(r"\bflights?\s\(?$", match.string[: match.start()], re.IGNORECASE):
        return None
    return f"{letters(match['c'])} {digits(match['n'])}"


def _code_parts(match: re.Match[str]) -> Sequence[Part]:
    if re.search(r"\D", match.group()):
        return grouped(match)
    return digit_groups(match)


def _hash(match: re.Match[str]) -> Sequence[Part] | str:
    """Say "#5" is a number, "#100234" a code."""
    text = match["n"]
    if len(text) < 4 and text[0] != "0":
        return f"number {cardinal(int(text))}"
    name = "" if _NUMBER_BEFORE.search(match.string[: match.start()]) else "number "
    return f"{name}{paused(text)}"


_NUMBER_BEFORE = re.compile(r"\b(?:number|no\.)\s$", re.IGNORECASE)


def _long(match: re.Match[str]) -> Sequence[Part] | None:
    """A long number without separators that is not round is a code, wherever it stands."""
    text = match.group()
    if text[0] == "0" and len(text) > 1:
        return (
            digit_groups(match) if "." not in match.string[match.end() : match.end() + 1] else None
        )
    significant = len(text.rstrip("0"))
    around = (
        match.string[max(0, match.start() - 3) : match.start()]
        + match.string[match.end() : match.end() + 3]
    )
    if len(text) < 7 or significant <= 4 or re.search(r"[=+*/×÷^<>]", around):
        return None if len(text) <= 15 else digit_groups(match)
    return None if QUANTITY.match(match.string, match.end()) else digit_groups(match)


def _alphanumeric(match: re.Match[str]) -> str | None:
    """Say "ABC123", "X7K9QP", "B12", "INV-2024-001", "H2O"."""
    text = match.group()
    if not (re.search(r"\d", text) and re.search(r"[A-Za-z]", text)):
        return None
    before = match.string[max(0, match.start() - 60) : match.start()]
    coded = _CODE_CUE.search(before) is not None or sum(map(str.isdecimal, text)) > 4
    groups = text.split("-")
    if not coded and re.fullmatch(r"\d+-[A-Za-z].*", text):
        return None
    if re.fullmatch(r"(?i:\d+(?:st|nd|rd|th|s|x))", text):
        return None
    if any(re.fullmatch(r"[A-Za-z]*[a-z][A-Za-z]*", group) for group in groups) and len(groups) > 1:
        return None
    return (
        ", ".join(_code_group(group, coded) for group in groups if group)
        if coded
        else " ".join(_code_group(group, coded) for group in groups if group)
    )


def _code_group(group: str, coded: bool) -> str:
    said: list[str] = []
    for run in re.findall(r"\d+|[A-Za-z]+", group):
        if run.isdecimal():
            by_digit = len(run) > 2 or run[0] == "0" or (coded and len(run) > 1 and not said)
            said.append(digits(run) if by_digit or coded else cardinal(int(run)))
        elif coded or (run.isupper() and len(run) <= 4):
            said.append(letters(run))
        else:
            said.append(run)
    return " ".join(said)


def _spelled(match: re.Match[str]) -> str:
    """Postcodes, hexadecimal numbers: groups of letters and digits, one by one."""
    return ", ".join(letters(part) for part in match.group().split())


def _state_zip(match: re.Match[str]) -> Sequence[Part]:
    state = Part(f"{letters(match['state'])},", match.end("state"))
    return [state, *_shift(match, match["zip"])]


def _shift(match: re.Match[str], text: str) -> list[Part]:
    return [Part(", ".join(digits(group) for group in text.split("-")), match.end())]


def _house(match: re.Match[str]) -> str | None:
    """Say "742 Evergreen Terrace", "221B Baker Street": the way a house number is read."""
    text, letter = match["n"], match["l"]
    if len(text) <= 2:
        said = cardinal(int(text))
    elif text.endswith("00"):
        said = f"{cardinal(int(text[:-2]))} hundred"
    elif len(text) == 3 and text[1] != "0":
        said = f"{digits(text[0])} {cardinal(int(text[1:]))}"
    else:
        said = digits(text)
    return f"{said} {letter}".strip()


def _road(match: re.Match[str]) -> str:
    """Say "I-95", "US-101", "Highway 101"."""
    text = match["n"]
    name = {"Hwy": "Highway"}.get(match["road"], match["road"])
    said = cardinal(int(text)) if len(text) <= 2 else digits(text)
    return f"{letters(name) if name.isupper() else name} {said}"


def _ending_letter(match: re.Match[str]) -> str | None:
    """Say "401(k)"."""
    first, second, third = list(match["n"])
    middle = "oh" if second == "0" else digits(second)
    return f"{digits(first)} {middle} {digits(third)} {(match['l'] or match.group()[-1]).upper()}"


_STATE = (
    "AL|AK|AZ|AR|CA|CO|CT|DE|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH|NJ|NM|NY|NC|"
    "ND|OH|OK|OR|PA|RI|SC|SD|TN|TX|UT|VT|VA|WA|WV|WI|WY|DC|PR"
)
_STREET = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Drive|Dr|Lane|Ln|Court|Ct|Place|Pl|Terrace|Way|"
    r"Square|Sq|Highway|Hwy|Parkway|Pkwy|Circle|Close|Crescent|Row|Alley|Plaza|Trail|Broadway)\b"
)
NAMED = (
    Rule(r"[*•]{2,}[\s-]*(?P<n>\d{2,})(?!\w)", lambda m: digits(m["n"]), starts="s"),
    Rule(r"(?<!\w)[xX]+(?P<n>\d{3,6})(?!\w)", _masked, starts="l"),
    Rule(r"(?<![\w.,-])\d{4}[-\s]\d{6}[-\s]\d{5}(?!\w|[-.,]\d)", grouped),
    Rule(r"(?<![\w.,-])\d{4}(?:[-\s]\d{4}){2,4}(?:[-\s]\d{1,3})?(?![\w]|[-.,]\d)", grouped),
    Rule(
        r"(?<![\w.,$€£¥])\d+(?:[-\s]\d+)*(?![\w%°$€£¥]|[.,:/]\d|-\w|\s?[=+*×÷])",
        _coded,
    ),
    Rule(r"(?<!\w)(?P<c>[A-Z]{2}|[A-Z]\d|\d[A-Z])\s?(?P<n>\d{1,4})(?![\w])", _flight, starts="dl"),
)
"""Codes beside a word that names them; they come before dates and years."""
RULES = (
    Rule(
        r"(?<=Boeing )7\d7-\d{1,3}(?!\w)|(?<=Airbus )A?3\d\d-\d{3}(?!\w)",
        lambda m: ", ".join(letters(part) for part in m.group().split("-")),
        starts="dl",
    ),
    Rule(
        r"(?<!\w)(?P<n>[45]\d\d)(?:\((?P<l>[a-z])\)|(?<=401)[kK](?!\w)|(?<=403)[bB](?!\w))",
        _ending_letter,
    ),
    Rule(r"(?<![\w.,-])\d{3}-\d{2}-\d{4}(?![\w-])", grouped),
    Rule(r"(?<![\w.,-])97[89][-\s]?\d{1,5}[-\s]\d{1,7}[-\s]\d{1,7}[-\s][\dX](?![\w-])", grouped),
    Rule(
        r"(?<!\w)[A-Z]{2}\d{2}(?:\s?[A-Z\d]{4}){2,7}(?:\s?[A-Z\d]{1,3})?(?!\w)",
        _spelled,
        starts="l",
    ),
    Rule(
        rf"(?<!\w)(?P<state>{_STATE})\s(?P<zip>\d{{5}}(?:-\d{{4}})?)(?![\w-])",
        _state_zip,
        starts="l",
    ),
    Rule(r"(?<![\w-])[A-Z]{1,2}\d[A-Z\d]?\s\d[A-Z]{2}(?![\w-])", _spelled, starts="l"),
    Rule(r"(?<!\w)0[xX][0-9A-Fa-f]+(?!\w)", _spelled),
    Rule(r"#(?P<n>\d+)(?![\w.]*\d)", _hash, starts="s"),
    Rule(
        rf"(?<![\w.,#-])(?P<n>[1-9]\d{{0,4}})(?P<l>[A-Z]?)(?=\s(?:[NSEW]\.?\s)?(?:[A-Z][a-z]+\s|\d+(?:st|nd|rd|th)\s){{1,3}}{_STREET})",
        _house,
    ),
    Rule(
        r"(?<!\w)(?P<road>I|US|SR|Highway|Hwy|Route|Interstate|Bus)[-\s](?P<n>\d{1,3})(?!\w|[.,]\d)",
        _road,
        starts="l",
    ),
    Rule(r"(?<![\w.,$€£¥])\d{2,}(?![\w%°$€£¥]|[.,:/]\d)", _long),
)
"""Codes of every other kind; they come after amounts, dates and times."""


def _model(match: re.Match[str]) -> str:
    """Say "GPT-3.5", "Qwen2.5": letters and a decimal number."""
    name = match["l"]
    return f"{letters(name) if name.isupper() and len(name) <= 4 else name} {number(match['n'])}"


MIXED = (
    Rule(
        r"(?<![\w.])(?P<l>[A-Za-z]{1,12})-?(?P<n>\d{1,3}\.\d{1,3})(?![\w]|\.\d)", _model, starts="l"
    ),
    Rule(
        r"(?<![\w.'’-])(?=[\w-]*\d)(?=[\dA-Za-z-]*[A-Z])[A-Za-z\d]+(?:-[A-Za-z\d]+)*(?!\w)",
        _alphanumeric,
        starts="dl",
    ),
)
"""Letters and digits in one word; they come after amounts, whose units are letters too."""
