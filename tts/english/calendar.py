"""Dates, years, decades and weekdays."""

from __future__ import annotations

import re

from tts.english.numbers import cardinal, digits, number, ordinal, plural_tens, year
from tts.english.word_lists import word_list, words
from tts.grammar import Rule, words_before

MONTHS = word_list(
    """
    January February March April May June July August September October November December
    """
)
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_MONTH_OF = {name[:3].lower(): name for name in MONTHS}
_WEEKDAY_OF = {name[:3].lower(): name for name in WEEKDAYS}
MONTH = (
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December|"
    r"(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)\b\.?)"
)
WEEKDAY = (
    r"(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday|"
    r"(?:Mon|Tues|Tue|Weds|Wed|Thurs|Thur|Thu|Fri|Sat|Sun)\b\.?)"
)
_DAY = r"(?:[12]\d|3[01]|0?[1-9])"
_YEAR = r"(?:1\d|20|21)\d\d"
_LAST = r"(?![\w/]|[-.:]\d)"
_RANGE = r"\s?(?:[-–—]|to)\s?"
_COUNTED = re.compile(
    r"\s(?:people|men|women|children|more|other|new|different|or more|square|cubic|feet|miles|"
    r"(?!(?:was|is|has|as|its|this|was|census|elections?|olympics|games|series|crisis|winners|plans|awards|finals|"
    r"sales|models|results|always|perhaps|levels|figures|prices|releases|versions)\b)[a-z]{2,}s)\b"
)
_YEAR_CUE = words(
    """
    in since by from until till year circa about around ad of before after
    """
)


def month_name(text: str) -> str:
    return _MONTH_OF[text[:3].lower()]


def weekday_name(text: str) -> str:
    return _WEEKDAY_OF[text[:3].lower()]


def _day(text: str) -> str:
    return ordinal(int(re.sub(r"\D", "", text)))


def _said_year(text: str | None) -> str:
    if not text:
        return ""
    return cardinal(int(text)) if len(text) == 2 else year(text)


def _stop(match: re.Match[str], text: str) -> str:
    """A full stop where that of an abbreviation at the end of a match also ends the sentence."""
    return "." if text.endswith(".") and ends_sentence(match.string, match.end()) else ""


def ends_sentence(text: str, end: int) -> bool:
    """Whether a sentence ends with the full stop before ``end``: a capital or nothing follows."""
    return re.match(r"[\"'”’)\]*_]*(?:\s*$|\s+[\"'“‘(*_]*[A-Z])", text[end : end + 12]) is not None


def full_date(day: int, month: int, written_year: str, *, day_first: bool = False) -> str:
    """A date: "May seventeenth, twenty twenty-four", "the seventeenth of May, ..."."""
    name = MONTHS[month - 1]
    when = f"the {ordinal(day)} of {name}" if day_first else f"{name} {ordinal(day)}"
    said = _said_year(written_year)
    return f"{when}, {said}" if said else when


def _iso(match: re.Match[str]) -> str | None:
    """Say "2024-05-17", "2024/05/17T14:30:00Z"."""
    month, day = int(match["m"]), int(match["d"])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    said = full_date(day, month, match["y"])
    if match["time"]:
        hour, minute, second = (int(part or 0) for part in match.group("H", "M", "S"))
        said += f", {clock(hour, minute)}"
        said += f" and {cardinal(second)} seconds" if second else ""
    return said


def _year_month(match: re.Match[str]) -> str | None:
    """Say "2024-05" as a month; "2010-12" and "2023-24" are years."""
    month = int(match["m"])
    if month > int(match["y"][2:]):
        return None
    return f"{MONTHS[month - 1]} {year(match['y'])}"


def clock(hour: int, minute: int) -> str:
    """A time of the 24-hour clock."""
    if minute == 0:
        if hour == 0:
            return "midnight"
        if hour == 24:
            return "midnight"
        return f"{cardinal(hour)} o'clock" if hour <= 12 else f"{cardinal(hour - 12)} P M"
    tail = f"oh {cardinal(minute)}" if minute < 10 else cardinal(minute)
    return f"{cardinal(hour)} {tail}"


class Dates:
    """Rules for dates; ``day_first`` decides on "3/4/2024"."""

    def __init__(self, *, day_first: bool = False) -> None:
        self._day_first = day_first

    def _slashed(self, match: re.Match[str]) -> str | None:
        """Say "5/17/2024", "25-12-2023"."""
        first, second = int(match["a"]), int(match["b"])
        day_first = first > 12 or (self._day_first and second <= 12)
        day, month = (first, second) if day_first else (second, first)
        if not (1 <= month <= 12 and 1 <= day <= 31):
            return None
        written = match["y"]
        if len(written) == 2:
            written = f"{'19' if int(written) > 40 else '20'}{written}"
        return full_date(day, month, written, day_first=self._day_first)

    def _short(self, match: re.Match[str]) -> str | None:
        """Say "on 12/25", "Tuesday 5/14": a date only beside words that tell so."""
        first, second = int(match["a"]), int(match["b"])
        before = words_before(match).strip(".,(:")
        cued = before in ("on", "by", "until", "before", "after", "since", "due", "dated", "date")
        if not cued and before[:3] not in _WEEKDAY_OF:
            return None
        day_first = first > 12 or (self._day_first and second <= 12)
        day, month = (first, second) if day_first else (second, first)
        if not (1 <= month <= 12 and 1 <= day <= 31):
            return None
        return full_date(day, month, "", day_first=self._day_first)

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule(
                rf"(?<![\w-])(?P<y>{_YEAR})([-/.])(?P<m>0?[1-9]|1[0-2])\2(?P<d>[12]\d|3[01]|0?[1-9])"
                r"(?P<time>(?:T|,?\s)(?P<H>[01]\d|2[0-3]):(?P<M>[0-5]\d)(?::(?P<S>[0-5]\d)(?:\.\d+)?)?"
                r"(?:Z|\s?[+-]\d\d:?\d\d)?)?(?![\w-])",
                _iso,
            ),
            Rule(
                rf"(?<![\w/.-])(?P<a>\d\d?)([/-])(?P<b>\d\d?)\2(?P<y>{_YEAR}|\d\d){_LAST}",
                self._slashed,
            ),
            Rule(rf"(?<![\w/])(?P<a>\d\d?)/(?P<b>\d\d?){_LAST}", self._short),
            Rule(rf"(?<![\w/.-])(?P<y>{_YEAR})-(?P<m>0[1-9]|1[0-2])(?![\w/-]|\.\d)", _year_month),
            *_RULES,
        )


def _dotted(match: re.Match[str]) -> str | None:
    """Say "17.05.2024": the day stands first wherever dots are used."""
    day, month = int(match["d"]), int(match["m"])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return full_date(day, month, match["y"])


def _month_day(match: re.Match[str]) -> str | None:
    """Say "May 5", "Jan. 3, 2020", "June 3–5, 2024"."""
    if re.match(r"\s(?:people|men|women|children|users|guests)\b", match.string[match.end() :]):
        return None
    said = f"{month_name(match['m'])} {_day(match['d'])}"
    if match["to"]:
        other = f"{month_name(match['m2'])} " if match["m2"] else ""
        said += f" to {other}{_day(match['d2'])}"
    return f"{said}, {_said_year(match['y'])}" if match["y"] else said


def _day_month(match: re.Match[str]) -> str:
    """Say "3 March 2024", "5-7 May", "the 15th of Aug."."""
    month = month_name(match["m"])
    first = f"the {_day(match['d'])}"
    if match["to"]:
        first += f" to the {_day(match['d2'])}"
    if match["the"] or words_before(match) == "the":
        first = first if match["the"] else first[4:]
    said = f"{first} of {month}"
    said += f" {_said_year(match['y'])}" if match["y"] else ""
    return said + ("" if match["y"] else _stop(match, match["m"]))


def _month_year(match: re.Match[str]) -> str:
    return f"{month_name(match['m'])} {year(match['y'])}"


def _month_alone(match: re.Match[str]) -> str | None:
    """Say "Jan.", "Jan-Mar": a short month with its full stop or in a range."""
    if match["to"]:
        return f"{month_name(match['m'])} to {month_name(match['m2'])}"
    if not match["m"].endswith("."):
        return None
    if match["m"] == "Mar." and words_before(match) not in (
        "to",
        "in",
        "from",
        "and",
        "until",
        "since",
    ):
        return None
    return month_name(match["m"]) + _stop(match, match["m"])


def _weekday(match: re.Match[str]) -> str | None:
    """Say "Tues.", "Mon, Jun 3", "Mon-Fri"."""
    first = match["w"]
    if match["to"]:
        joined = re.sub(r"[^a-z]", "", match["to"].split()[0]) if " " in match["to"].strip() else ""
        joined = joined if joined in ("and", "or") else "to"
        second = match["w2"]
        return f"{weekday_name(first)} {joined} {weekday_name(second)}{_stop(match, second)}"
    if first in WEEKDAYS:
        return None
    dated = re.match(rf",?\s(?:{MONTH}|\d)", match.string[match.end() :])
    if first in ("Sat.", "Sun.") and not dated:
        return None
    if not first.endswith(".") and not dated and first in ("Sat", "Sun", "Mon", "Fri", "Wed"):
        return None
    return weekday_name(first) + ("" if dated else _stop(match, first))


def _decade(match: re.Match[str]) -> str | None:
    """Say "1990s", "the '90s", "in his 20s"; "30s" alone are seconds."""
    written = match["n"]
    if len(written) == 4:
        return plural_tens(year(written))
    cued = words_before(match) in (
        [
            "the",
            "early",
            "late",
            "mid",
            "his",
            "her",
            "their",
            "my",
            "your",
            "our",
            "its",
            "and",
            "or",
            "to",
            "low",
            "high",
            "mid-",
            "early-",
            "late-",
        ]
    )
    styled = re.match(
        r"\s(?:music|style|pop|rock|fashion|movies?|films?|hits|songs?|era|party)",
        match.string[match.end() :],
    )
    after_dash = match.string[: match.start()].lower().endswith(("mid-", "early-", "late-"))
    if not (cued or styled or match["mark"] or after_dash or "'" in match["s"]):
        return None
    return plural_tens(cardinal(int(written)))


def _year_mark(match: re.Match[str]) -> str:
    """Say "'98", "the class of ’98"."""
    return cardinal(int(match["n"])) if match["n"][0] != "0" else f"oh {digits(match['n'][1])}"


def _era(match: re.Match[str]) -> str:
    """Say "44 BC", "AD 79", "1066 AD"."""
    written = match["n"] or match["n2"]
    said = year(written) if re.fullmatch(_YEAR, written) else number(written)
    era = " ".join((match["era"] or match["era2"]).replace(".", ""))
    return f"{said} {era}" if match["n"] else f"{era} {said}"


def _years(match: re.Match[str]) -> str | None:
    """Say "1984-1990", "1998–99"."""
    first, second = match["a"], match["b"]
    if len(second) == 2 and int(second) <= int(first[2:]):
        return None
    if len(second) == 4 and second <= first:
        return None
    if _COUNTED.match(match.string, match.end()):
        return None
    joined = " to " if match["dash"] != "/" else " "
    return f"{year(first)}{joined}{_said_year(second)}"


def _year(match: re.Match[str]) -> str | None:
    """Say "1999", and "1066" after words such as "in"."""
    before = words_before(match).strip("(,")
    if match.group() < "1100" and before not in _YEAR_CUE:
        return None
    if _COUNTED.match(match.string, match.end()) or re.match(
        r"\s?[-−+×*/÷=^<>±]\s?\d|\s?=", match.string[match.end() :]
    ):
        return None
    if re.search(r"(?:[−+×*/÷=^<>±]|(?<![a-z])-)\s?$", match.string[: match.start()]):
        return None
    return year(match.group())


def _quarter(match: re.Match[str]) -> str:
    return f"{match['q'][0]} {cardinal(int(match['q'][1]))}"


def _circa(match: re.Match[str]) -> str:
    return f"circa {year(match['y'])}"


_ERA = r"(?:BCE|BC|CE|AD|B\.C\.E?\.?|A\.D\.)"
_RULES = (
    Rule(rf"(?<![\w.])(?P<d>\d\d?)\.(?P<m>\d\d?)\.(?P<y>{_YEAR}){_LAST}", _dotted),
    Rule(
        rf"(?<!\w)(?P<m>{MONTH})\s(?P<d>{_DAY}(?:st|nd|rd|th)?)(?![\w:]|[.,]\d)"
        rf"(?P<to>{_RANGE}(?:(?P<m2>{MONTH})\s)?(?P<d2>{_DAY}(?:st|nd|rd|th)?)(?![\w:]|[.,]\d))?"
        rf"(?:,?\s(?P<y>{_YEAR})(?!\w|[.,:]\d))?",
        _month_day,
        starts="l",
    ),
    Rule(
        rf"(?<![\w.,:/-])(?P<d>{_DAY}(?:st|nd|rd|th)?)(?P<to>{_RANGE}(?P<d2>{_DAY}(?:st|nd|rd|th)?))?"
        rf"(?P<the>)(?:\s|-)(?:of\s)?(?P<m>{MONTH})(?!\w)(?:,?(?:\s|-)(?P<y>{_YEAR})(?!\w|[.,:]\d))?",
        _day_month,
    ),
    Rule(rf"(?<!\w)(?P<m>{MONTH}),?\s(?P<y>{_YEAR})(?!\w|[.,:]\d)", _month_year, starts="l"),
    Rule(
        rf"(?<!\w)(?P<m>{MONTH})(?P<to>\s?[-–—]\s?(?P<m2>{MONTH}))?(?!\w)", _month_alone, starts="l"
    ),
    Rule(
        rf"(?<!\w)(?P<w>{WEEKDAY})(?P<to>(?:\s?[-–—]\s?|\s(?:and|or|to)\s)(?P<w2>{WEEKDAY}))?(?!\w)",
        _weekday,
        starts="l",
    ),
    Rule(r"(?<!\w)(?P<mark>)(?P<n>[12]\d\d0|[1-9]0)(?P<s>'?s)(?!\w)", _decade),
    Rule(r"(?<!\w)(?P<mark>['’])(?P<n>[1-9]0)(?P<s>'?s)(?!\w)", _decade, starts="s"),
    Rule(r"(?<!\w)['’](?P<n>\d\d)(?![\w'’\"])", _year_mark, starts="s"),
    Rule(rf"(?<![\w.,])(?P<n>\d{{1,4}})\s?(?P<era>{_ERA})(?!\w)(?P<n2>)(?P<era2>)", _era),
    Rule(
        r"(?<!\w)(?P<n>)(?P<era>)(?P<era2>AD|A\.D\.)\s(?P<n2>\d{1,4})(?!\w|[.,]\d)",
        _era,
        starts="l",
    ),
    Rule(
        rf"(?<![\w.,])(?P<a>{_YEAR})\s?(?P<dash>[-–—/])\s?(?P<b>{_YEAR}|\d\d)(?![\w%]|[-.,/]\d|\s?[=+×*÷])",
        _years,
    ),
    Rule(
        r"(?<!\w)(?P<q>[QH][1-4])(?=,?\s(?:19|20)\d\d|[-–—][QH][1-4]|\s(?:results|earnings|of|sales))",
        _quarter,
        starts="l",
    ),
    Rule(rf"(?<=\d)[-–—](?=\s?{MONTH}\s\d)", lambda m: "to", starts="s"),
    Rule(r"(?<=\d)[-–—](?=['’]\d\d)|(?<=\ds)[-–—](?=['’]?\d+0s)", lambda m: "to", starts="s"),
    Rule(r"(?<=[QH][1-4])[-–—](?=[QH][1-4](?!\w))", lambda m: "to", starts="s"),
    Rule(rf"(?<!\w)FY\s?(?P<y>{_YEAR})(?!\w)", lambda m: f"F Y {year(m['y'])}", starts="l"),
    Rule(rf"(?<!\w)(?:c|ca)\.\s?(?P<y>{_YEAR})(?!\d)", _circa, starts="l"),
    Rule(rf"(?<![\w.,$€£¥#:])(?P<y>{_YEAR})(?!\w|[.,:/]\d|-\d|['’]\d)", _year),
)
