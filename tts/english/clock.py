"""Times of day, ranges of them, and durations."""

from __future__ import annotations

import re

from tts.english.calendar import clock, ends_sentence
from tts.english.numbers import END, cardinal, digits, number
from tts.english.word_lists import word_list
from tts.grammar import Rule, words_before

_HOUR = r"(?:[01]?\d|2[0-4])"
_HALF = r"(?:\s?(?:[AaPp]\.\s?[Mm]\.|[AaPp]\.?[Mm]\b))"
_ZONE = r"(?:\s(?:UTC|GMT|EST|EDT|CST|CDT|MST|MDT|PST|PDT|BST|CET|CEST|IST|JST|ET|CT|MT|PT)\b)"
_TO = r"\s?(?:[-–—]|to)\s?"
_BOOKS = word_list(
    """
    genesis exodus leviticus numbers deuteronomy joshua judges ruth samuel kings chronicles job
    psalm psalms proverbs isaiah jeremiah ezekiel daniel matthew mark luke john acts romans
    corinthians galatians ephesians philippians colossians timothy hebrews james revelation surah
    """
)


def _half(text: str | None) -> str:
    return " " + " ".join(re.sub(r"[^A-Z]", "", text.upper())) if text else ""


def _stop(match: re.Match[str], half: str | None) -> str:
    """The full stop of "p.m." at the end of a sentence."""
    return "." if half and half.endswith(".") and ends_sentence(match.string, match.end()) else ""


def _time_words(hour: str, minute: str | None, half: str | None) -> str:
    if half:
        minutes = int(minute or 0)
        tail = (
            ""
            if not minutes
            else f" oh {cardinal(minutes)}"
            if minutes < 10
            else f" {cardinal(minutes)}"
        )
        return cardinal(int(hour)) + tail + _half(half)
    return clock(int(hour), int(minute or 0))


def _zone(text: str | None) -> str:
    return " " + " ".join(text.strip()) if text else ""


def _time(match: re.Match[str]) -> str | None:
    """Say "3:05 p.m.", "17:00", "10:15:30", "7.30pm"."""
    hour, minute, second, half = match["h"], match["m"], match["s"], match["half"]
    before = words_before(match).strip("(,")
    if int(hour) == 24 and (int(minute) or half):
        return None
    if before in ("ratio", "scale", "odds") or words_before(match, 2).startswith(
        ("ratio of", "odds of", "scale of")
    ):
        return f"{cardinal(int(hour))} to {cardinal(int(minute))}"
    said = _time_words(hour, minute, half)
    exact = bool(second) and float(second) != 0
    if int(minute) == 0 and int(hour) and not half and (exact or before in ("in", "for", "lasted")):
        # It may be minutes and seconds, which are of no half of the day.
        said = f"{cardinal(int(hour))} oh oh"
    if exact:
        seconds = number(second.lstrip("0")) if second != "00" else ""
        said += f" and {seconds} {'second' if seconds == 'one' else 'seconds'}"
    return said + _zone(match["zone"]) + _stop(match, half)


def _hour(match: re.Match[str]) -> str | None:
    """Say "3pm", "7 a.m."."""
    if int(match["h"]) > 24:
        return None
    said = cardinal(int(match["h"])) + _half(match["half"])
    return said + _zone(match["zone"]) + _stop(match, match["half"])


def _times(match: re.Match[str]) -> str | None:
    """Say "10am-2pm", "9:30-10:30", "9-5pm"."""
    if not (match["m"] or match["m2"] or match["half"] or match["half2"]):
        return None
    first = _time_words(match["h"], match["m"], match["half"] or ("" if match["m"] else None))
    if not match["half"] and (match["half2"] or not match["m"]):
        first = _bare(match["h"], match["m"])
    second = _time_words(match["h2"], match["m2"], match["half2"])
    said = f"{first} to {second}" + _zone(match["zone"])
    return said + _stop(match, match["half2"])


def _bare(hour: str, minute: str | None) -> str:
    said = clock(int(hour), int(minute or 0))
    return said.removesuffix(" o'clock")


def _military(match: re.Match[str]) -> str:
    """Say "1700 hours", "0830 hrs"."""
    hour, minute = match["h"], match["m"]
    said = digits(hour) if hour[0] == "0" else cardinal(int(hour))
    tail = (
        "hundred"
        if minute == "00"
        else digits(minute)
        if minute[0] == "0"
        else cardinal(int(minute))
    )
    return f"{said} {tail} hours"


def _duration(match: re.Match[str]) -> str | None:
    """Say "1h 30m", "5m 20s", "2h5"."""
    said = []
    for group, name in (("h", "hour"), ("m", "minute"), ("s", "second")):
        if match[group]:
            said.append(f"{number(match[group])} {name}{'' if match[group] == '1' else 's'}")
    return " ".join(said) if len(said) > 1 else None


def _every(match: re.Match[str]) -> str:
    """Say "q6h", as it is written in prescriptions."""
    return f"every {cardinal(int(match['n']))} hours"


def _oclock(match: re.Match[str]) -> str:
    return f"{cardinal(int(match['h']))} o'clock"


def _verse(match: re.Match[str]) -> str | None:
    """Say "John 3:16", "Psalm 23:1-3": chapter and verse of a book."""
    if words_before(match).strip("(,") not in _BOOKS:
        return None
    said = f"{number(match['c'])} {number(match['v'])}"
    return f"{said} to {number(match['w'])}" if match["w"] else said


RULES = (
    Rule(
        r"(?<![\w.,:])(?P<c>\d{1,3}):(?P<v>\d{1,3})(?:\s?[-–]\s?(?P<w>\d{1,3}))?(?![\w:]|[.,]\d)",
        _verse,
    ),
    Rule(r"(?<!\w)[qQ](?P<n>\d{1,2})h(?:rs?)?(?!\w)", _every, starts="l"),
    Rule(
        rf"(?<![\w:.,$€£])(?P<h>{_HOUR})(?:[:.](?P<m>[0-5]\d))?(?P<half>{_HALF})?{_TO}"
        rf"(?P<h2>{_HOUR})(?:[:.](?P<m2>[0-5]\d))?(?P<half2>{_HALF})(?!\w)(?P<zone>{_ZONE})?",
        _times,
    ),
    Rule(
        rf"(?<![\w:.,$€£])(?P<h>{_HOUR})(?::(?P<m>[0-5]\d))?(?P<half>){_TO}(?P<h2>{_HOUR}):(?P<m2>[0-5]\d)(?P<half2>)"
        rf"(?![\w:])(?P<zone>{_ZONE})?",
        _times,
    ),
    Rule(
        rf"(?<![\w:.,])(?P<h>{_HOUR}):(?P<m>[0-5]\d)(?::(?P<s>[0-5]\d(?:\.\d+)?))?(?P<half>{_HALF})?(?:h(?!\w))?(?![\w:]|\.\d)"
        rf"(?P<zone>{_ZONE})?",
        _time,
    ),
    Rule(
        rf"(?<![\w:.,$])(?P<h>{_HOUR})\.(?P<m>[0-5]\d)(?P<s>)(?P<half>{_HALF})(?!\w)(?P<zone>{_ZONE})?",
        _time,
    ),
    Rule(rf"(?<![\w:.,$])(?P<h>\d\d?)(?P<half>{_HALF})(?!\w)(?P<zone>{_ZONE})?", _hour),
    Rule(rf"(?<![\w:.,$])(?P<h>[01]\d|2[0-3])(?P<m>[0-5]\d)\s(?:hours|hrs|h){END}", _military),
    Rule(
        rf"(?<![\w:.,])(?P<h>\d{{1,3}})\s?(?:h|hr|hrs){END}\.?,?\s?(?P<m>\d{{1,2}})\s?(?:m|min|mins)?{END}"
        rf"(?:\.?,?\s?(?P<s>\d{{1,2}})\s?(?:s|sec|secs){END})?",
        _duration,
    ),
    Rule(
        rf"(?<![\w:.,])(?P<h>\d{{1,2}})h(?P<m>\d{{2}})(?:m|min)?(?P<s>){END}",
        _duration,
    ),
    Rule(
        rf"(?<![\w:.,])(?P<h>)(?P<m>\d{{1,3}})\s?(?:m|min|mins){END},?\s?(?P<s>\d{{1,2}})\s?(?:s|sec|secs){END}",
        _duration,
    ),
    Rule(r"(?P<n>noon|midnight)\s?[-–—]\s?(?=\d)", lambda m: f"{m['n']} to", starts="l"),
    Rule(r"[-–—](?=(?:noon|midnight)\b)", lambda m: "to", starts="s"),
    Rule(r"(?<![\w:.,])(?P<h>1?\d)\s?o['’]clock(?!\w)", _oclock),
)
