"""Telephone numbers of many countries, and the keys of a telephone."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tts.english.digit_groups import QUANTITY, digit_groups, group, grouped
from tts.english.numbers import digits
from tts.grammar import Part, Rule, group_parts

_SEP = r"[-.\s\u2009‑]"
_EXTENSION = re.compile(r",?\s*(?:ext\.?|extension|x|#)\s?(\d{1,6})(?!\w)")
_CALLED = re.compile(
    r"(?:\b(?:call|calling|dial|dialing|ring|phone|telephone|text|texting|fax|tel|cell|mobile|line|"
    r"number|reach|contact|whatsapp|sms|landline|hotline|helpline)\b(?:\s(?:is|was|us|me|him|her|"
    r"them|on|at|number|to|now|the|or|and|line|office|directly|toll.free|HELP|YES|STOP|[A-Z]{2,8}))*|"
    r"\b(?:at|to|or)\b)[:.]?\s?$",
    re.IGNORECASE,
)
_DIALLED = re.compile(
    r"\b(?:call|dial|ring|phone|text|fax|calling|dialing)(?:\s(?:us|me|on|at|the|or|to))*\s$", re.I
)
_CALL_WORD = re.compile(r"\b(?:call|dial|ring|phone|text|fax|tel|mobile)\b[^.!?]*$", re.I)
_LINES = re.compile(
    r"\s(?:hotline|lifeline|helpline|operator|dispatch(?:er)?|emergency|call|calls|number)\b"
)


def _international(match: re.Match[str]) -> Sequence[Part] | None:
    count = sum(map(str.isdecimal, match.group()))
    separated = re.search(r"\d[^\d]+\d", match.group()) is not None
    if not (7 if separated else 9) <= count <= 15:
        return None
    if separated:
        return grouped(match)
    if re.fullmatch(r"\+1\d{10}", match.group()):
        return group_parts(match, group, r"\+1|(?<=\+1)\d{3}|\d{3}(?=\d{4}$)|\d{4}$")
    return group_parts(match, group, r"\+\d\d|\d{3}(?=\d{2})|\d+")


def _national(match: re.Match[str]) -> Sequence[Part] | None:
    """Groups of digits of which the first begins with a zero: "020 7946 0958"."""
    count = sum(map(str.isdecimal, match.group()))
    if re.fullmatch(r"\d\d?([-./])\d\d?\1\d{2,4}", match.group()):
        return None
    return grouped(match) if 7 <= count <= 15 else None


def _seven(match: re.Match[str]) -> Sequence[Part] | None:
    """Say "555-0142": a number unless it reads as a range, such as "500-1000 people"."""
    first, second = match["a"], match["b"]
    before = match.string[max(0, match.start() - 50) : match.start()]
    cued = first == "555" or second[0] == "0" or _CALLED.search(before) is not None
    quantity = QUANTITY.match(match.string, match.end()) or re.match(
        r"\s?[%=+*]", match.string[match.end() :]
    )
    if not cued and (int(first) < 200 or quantity or second.endswith("00")):
        return None
    return grouped(match)


def _plain_phone(match: re.Match[str]) -> Sequence[Part] | None:
    """A run of digits after "call", "number" and the like: "call 911", "number is 5550142"."""
    text = match.group()
    before = match.string[max(0, match.start() - 50) : match.start()]
    emergency = text in ("911", "999", "112", "988", "411", "311", "211", "811", "711")
    quantity = QUANTITY.match(match.string, match.end())
    if quantity and not _LINES.match(match.string, match.end()):
        return None
    if emergency and (
        _DIALLED.search(before) or _LINES.match(match.string, match.end()) or text == "911"
    ):
        return (Part(digits(text), match.end()),)
    if len(text) < 3 or not _CALLED.search(before):
        return None
    if (
        len(text) < 7
        and not _DIALLED.search(before)
        and not re.search(r"\b(?:text|tel|fax)\b.*$", before, re.I)
    ):
        return None
    if len(text) in (7, 10):
        return group_parts(match, group, r"\d{3}(?=\d{4})|\d{4}$|\d{3}(?=\d{7})")
    return digit_groups(match)


def _spaced(match: re.Match[str]) -> Sequence[Part] | None:
    """Groups of any length after "dial" and the like: "dial 00 33 1 42 68 53 00"."""
    count = sum(map(str.isdecimal, match.group()))
    before = match.string[max(0, match.start() - 80) : match.start()]
    return grouped(match) if 6 <= count <= 15 and _CALL_WORD.search(before) else None


def _key(match: re.Match[str]) -> str | None:
    """Keys of a telephone: "dial *67", "press #"."""
    if not re.search(
        r"\b(?:press|dial|hit|enter|push|then|the|key|or)\s$|[\d*#]$",
        match.string[: match.start()],
        re.I,
    ):
        return None
    if (
        match.group() == "#"
        and re.search(
            r"(?:order|number|case|ticket|the|or)\s$", match.string[: match.start()], re.I
        )
        and match.string[match.end() :][:1].isdecimal()
    ):
        return None
    return "star" if match.group() == "*" else "pound"


def _with_extension(match: re.Match[str], parts: Sequence[Part]) -> Sequence[Part]:
    found = _EXTENSION.match(match.string, match.end())
    if found is None:
        return parts
    head = [*parts[:-1], Part(parts[-1].words + ",", match.end())]
    return [*head, Part(f"extension {digits(found[1])}", found.end())]


def _ext(
    match: re.Match[str], say: Callable[[re.Match[str]], Sequence[Part] | None]
) -> Sequence[Part] | None:
    """A telephone number and the extension after it."""
    parts = say(match)
    return None if parts is None else _with_extension(match, parts)


RULES = (
    Rule(r"[*#](?=\d)|[*#](?!\w)", _key, starts="s"),
    Rule(
        r"(?<![\w+])\+\s?\d{1,3}(?:[-.\s/]?\(?\d{1,5}\)?)*(?<!\.)(?![\w%]|[.,]\d)",
        lambda m: _ext(m, _international),
        starts="s",
    ),
    Rule(
        rf"(?<![\w.,/-])(?:1{_SEP})?\(?[2-9]\d\d\)?(?:{_SEP}|(?<=\))){{1}}\s?\d{{3}}{_SEP}\d{{4}}(?![\w]|-\d)",
        lambda m: _ext(m, grouped),
        starts="ds",
    ),
    Rule(
        r"(?<![\w.,/])\(?0\d{1,5}\)?(?:\s?[-./\s]\s?\d{2,})*(?<!\.)(?!\w|[.,:]\d)",
        lambda m: _ext(m, _national),
        starts="ds",
    ),
    Rule(
        r"(?<![\w.,/-])(?:(?:1[-.\s])?[2-9]\d\d-(?:\d{3}-)?[A-Z]{3,}(?:-[A-Z]+)*|1\s8\d\d\s[A-Z]{4,})(?![\w-])",
        lambda m: _ext(m, grouped),
    ),
    Rule(
        r"(?<![\w.,/-])(?P<a>[1-9]\d\d)[-‑](?P<b>\d{4})(?!\w|[-.,/]\d)", lambda m: _ext(m, _seven)
    ),
    Rule(
        r"(?<![\w.,/$€£¥-])\d{1,4}(?:\s\d{1,4}){2,7}(?![\w%°$€£¥]|[.,:/-]\d)",
        lambda m: _ext(m, _spaced),
    ),
    Rule(r"(?<![\w.,/$€£¥-])\d{3,15}(?![\w%°$€£¥]|[.,:/-]\d)", lambda m: _ext(m, _plain_phone)),
)
"""Telephone numbers."""
