"""Abbreviations: titles, streets, companies and words with a full stop."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tts.english.calendar import ends_sentence
from tts.english.context import STARTERS, name_after, name_before
from tts.english.numbers import VULGAR_SIGN, vulgar
from tts.english.word_lists import words
from tts.grammar import Rule

TITLES = {
    "dr": "Doctor",
    "mr": "Mister",
    "mrs": "Missus",
    "ms": "Miz",
    "mx": "Mix",
    "prof": "Professor",
    "gen": "General",
    "col": "Colonel",
    "capt": "Captain",
    "cpt": "Captain",
    "cmdr": "Commander",
    "lt": "Lieutenant",
    "sgt": "Sergeant",
    "cpl": "Corporal",
    "maj": "Major",
    "adm": "Admiral",
    "gov": "Governor",
    "sen": "Senator",
    "rep": "Representative",
    "rev": "Reverend",
    "hon": "Honorable",
    "pres": "President",
    "supt": "Superintendent",
    "messrs": "Messieurs",
    "fr": "Father",
    "mt": "Mount",
    "ft": "Fort",
}
"""Before a name; they never end a sentence."""
_POSSESSIVES = frozenset({"the", "a", "my", "our", "his", "her", "your", "their"})
_WITHOUT_STOP = words(
    """
    dr mr mrs ms mx prof capt sgt mt lt
    """
)
STREETS = {
    "st": "Street",
    "ave": "Avenue",
    "rd": "Road",
    "blvd": "Boulevard",
    "ln": "Lane",
    "dr": "Drive",
    "ct": "Court",
    "pl": "Place",
    "sq": "Square",
    "hwy": "Highway",
    "pkwy": "Parkway",
    "ter": "Terrace",
    "cir": "Circle",
}
"""After a name."""
AFTER_NAMES = {
    "jr": "Junior",
    "sr": "Senior",
    "inc": "Incorporated",
    "corp": "Corporation",
    "ltd": "Limited",
    "co": "Company",
    "bros": "Brothers",
    "esq": "Esquire",
}
WORDS = {
    "e.g.": "for example",
    "i.e.": "that is",
    "etc.": "et cetera",
    "vs.": "versus",
    "vs": "versus",
    "approx.": "approximately",
    "est.": "established",
    "dept.": "Department",
    "govt.": "government",
    "min.": "minimum",
    "max.": "maximum",
    "avg.": "average",
    "incl.": "including",
    "excl.": "excluding",
    "tel.": "telephone",
    "ext.": "extension",
    "cf.": "compare",
    "et al.": "et al",
    "viz.": "namely",
    "ca.": "circa",
    "misc.": "miscellaneous",
    "appt.": "appointment",
    "assoc.": "association",
    "univ.": "University",
    "intl.": "International",
    "natl.": "National",
    "qty.": "quantity",
    "temp.": "temperature",
    "apt.": "apartment",
    "bldg.": "building",
    "attn.": "attention",
    "asst.": "assistant",
    "mgr.": "manager",
    "acct.": "account",
    "addl.": "additional",
    "hrs.": "hours",
    "hr.": "hour",
    "yrs.": "years",
    "yr.": "year",
    "mins.": "minutes",
    "secs.": "seconds",
    "lbs.": "pounds",
    "lb.": "pound",
    "oz.": "ounces",
    "w/o": "without",
    "w/": "with ",
    "b/c": "because",
    "c/o": "care of",
    "a/c": "account",
    "n/a": "not applicable",
    "mts.": "Mountains",
    "nos.": "numbers",
    "§§": "sections",
    "wwi": "World War one",
    "wwii": "World War two",
    "ww1": "World War one",
    "ww2": "World War two",
}
_NUMBERED = {
    "no": "number",
    "nr": "number",
    "num": "number",
    "nos": "numbers",
    "fig": "figure",
    "figs": "figures",
    "p": "page",
    "pg": "page",
    "pp": "pages",
    "ch": "chapter",
    "vol": "volume",
    "vols": "volumes",
    "sec": "section",
    "art": "article",
    "eq": "equation",
    "ex": "example",
    "ed": "edition",
    "rm": "room",
    "pt": "part",
    "ste": "suite",
    "fl": "floor",
    "par": "paragraph",
    "para": "paragraph",
    "ver": "version",
    "v": "version",
    "q": "question",
}
"""Before a number only."""


def _stop(match: re.Match[str], end: int | None = None) -> str:
    text = match.group()
    return "." if text.endswith(".") and ends_sentence(match.string, end or match.end()) else ""


def _named(match: re.Match[str]) -> bool:
    """Whether a name or an ordinal number stands before a match, so that a street may end there."""
    before = name_before(match)
    return before[:1].isupper() or re.fullmatch(r"\d+(?:st|nd|rd|th)", before) is not None


_SAINTS = words(
    """
    louis john paul petersburg patrick george mary peter andrew francis thomas james joseph helens
    helena lucia kitts vincent moritz tropez pancras albans andrews augustine charles cloud clair
    croix nicholas martin michael mark luke matthew anne ann catherine bernard barts ives ignatius
    anthony stephen valentine basil denis germain gallen lawrence elmo marks johns jude agnes
    cecilia clare teresa rose bartholomew benedict barbara christopher david edmund gabriel jerome
    kilda leonard leonards margaret maria monica olaf philip raphael simon stanislaus swithin ursula
    veronica xavier lambert pierre jean jeanne laurent maarten eustatius neots austell asaph davids
    """
)


def _street_or_saint(match: re.Match[str]) -> str | None:
    """Say "St. Louis", "Main St.", "St Mary's on 3rd St"."""
    after = name_after(match)
    name = re.sub(r"['’]s$", "", after).lower()
    numbered = (
        re.search(r"\d\w*\s(?:[NSEW]\.?\s)?[A-Z]\w*\s$", match.string[: match.start()]) is not None
    )
    if name in _SAINTS and not numbered:
        return "Saint"
    if _named(match) and name_before(match).lower() not in (
        "mount",
        "port",
        "fort",
        "lake",
        "visit",
        "in",
    ):
        return "Street" + _stop(match)
    if after[:1].isupper():
        return "Saint"
    return "Street" + _stop(match) if match.group().endswith(".") and name_before(match) else None


def _title(match: re.Match[str]) -> str | None:
    """Say "Dr. Smith", "Ms Lee", "Ft. Worth"; "Elm Dr." is a street."""
    name, dotted = match["t"].lower(), match.group().endswith(".")
    if match["t"].isupper() or not match["t"][0].isupper():
        return None
    if not dotted and name not in _WITHOUT_STOP:
        return None
    after = name_after(match)
    if dotted and name in ("dr", "prof") and name_before(match) in _POSSESSIVES:
        return TITLES[name]
    if dotted and after in ("and", "or") and name in ("mr", "mrs", "ms", "dr", "prof"):
        return TITLES[name]
    if not (after[:1].isupper() or (after[:1].isdecimal() and name == "lt")):
        return None
    before = match.string[: match.start()]
    house = re.search(r"\d\w*\s(?:[NSEW]\.?\s)?[A-Z]\w*\s$", before) is not None
    if name in STREETS and (
        house or re.search(r"\b(?:on|at|to|off|down|along)\s[A-Z]\w*\s$", before)
    ):
        return None
    if name in ("fr", "hon", "maj", "rep", "col", "gen", "ft") and not dotted:
        return None
    if name in ("ft",) and re.search(r"\d\s?$", before):
        return None
    return TITLES[name]


def _street(match: re.Match[str]) -> str | None:
    """Say "Elm Dr.", "5th Ave", "45 Sunset Blvd."."""
    text = match["t"]
    if text.isupper() or not text[0].isupper() or not _named(match):
        return None
    if not match.group().endswith(".") and text in ("Ct", "Pl", "Ter", "Cir", "Sq", "Dr"):
        return None
    return STREETS[text.lower()] + _stop(match)


def _after_name(match: re.Match[str]) -> str | None:
    """Say "King Jr.", "Acme Inc.", "Smith & Co."."""
    before = match.string[: match.start()]
    if not re.search(r"(?:[A-Z][\w'’.-]*,?|&)\s$", before):
        return None
    if match["t"].isupper() or (match["t"] == "Co" and not match.group().endswith(".")):
        return None
    name = AFTER_NAMES[match["t"].lower()]
    if match["t"] in ("Jr", "Sr") and re.match(r"\s[A-Z]", match.string[match.end() :]):
        after = name_after(match).lower()
        return name + ("." if after in STARTERS else "")
    return name + _stop(match)


def _word(match: re.Match[str]) -> str | None:
    written, text = match.group(), match.group().lower()
    around = match.string[: match.start()][-1:] + match.string[match.end() :][:1]
    if "/" in written and "/" in around:  # "a/b/c" is a path
        return None
    if written.isupper() and "/" not in written and not text.startswith("ww"):
        return None
    follows = text not in (
        "e.g.",
        "i.e.",
        "vs.",
        "approx.",
        "cf.",
        "viz.",
        "tel.",
        "ext.",
        "w/",
        "min.",
        "max.",
    )
    stop = _stop(match) if follows and text.endswith(".") else ""
    if text in ("est.", "dept.", "apt.", "ste.", "univ.") and re.match(
        r"\s\w", match.string[match.end() :]
    ):
        stop = ""
    return WORDS[text] + stop


def _numbered(match: re.Match[str]) -> str | None:
    """Say "No. 5", "pp. 5-10": before a number; "No." by itself is an answer."""
    return _NUMBERED[match["t"].lower()]


def _direction(match: re.Match[str]) -> str | None:
    """Say "1 N. Oak St.", "99 W 4th St"."""
    names = {"N": "North", "S": "South", "E": "East", "W": "West"}
    return " ".join(names[char] for char in re.findall("[NSEW]", match.group()))


def _or(match: re.Match[str]) -> str:
    first, second = match.group().split("/")
    return "and or" if first == "and" else f"{first} or {second}"


def _vulgar(match: re.Match[str]) -> str:
    return vulgar(match.group())


def _alternatives(names: Iterable[str]) -> str:
    return "|".join(sorted(map(re.escape, names), key=len, reverse=True))


RULES = (
    Rule(rf"(?<![\w.])(?i:{_alternatives(WORDS)})(?!\w)", _word, starts="ls"),
    Rule(r"(?<![\w/])w/(?=\w)", lambda m: "with", starts="l"),
    Rule(
        rf"(?<![\w.])(?P<t>(?i:{_alternatives(_NUMBERED)}))\.\s?(?=[A-Z]{{0,3}}\d)",
        _numbered,
        starts="l",
    ),
    Rule(
        r"(?<![\w.])(?P<t>(?i:vol|ch|fig|sec|art|pt))\.\s?(?=[IVXLC]{2,}\b)", _numbered, starts="l"
    ),
    Rule(r"(?<!\w)Ste\.(?=\s[A-Z])", lambda m: "Saint", starts="l"),
    Rule(r"(?<!\w)St(?:\.|(?=\s|$|,))(?!\w)", _street_or_saint, starts="l"),
    Rule(rf"(?<!\w)(?P<t>(?i:{_alternatives(TITLES)}))(?:\.|(?=\s))(?!\w)", _title, starts="l"),
    Rule(
        rf"(?<!\w)(?P<t>(?i:{_alternatives(STREETS)}))(?:\.|(?=\s|$|,))(?!\w)", _street, starts="l"
    ),
    Rule(
        rf"(?<!\w)(?P<t>(?i:{_alternatives(AFTER_NAMES)}))(?:\.|(?=\s|$|,))(?!\w)",
        _after_name,
        starts="l",
    ),
    Rule(
        r"(?<=\d\s)(?:[NS]\.?\s?[EW]\.?|[NSEW]\.?)(?=\s(?:[A-Z][a-z]|\d+(?:st|nd|rd|th)))",
        _direction,
        starts="l",
    ),
    Rule(
        r"(?<![\w/])(?:and/or|he/she|she/he|his/her|him/her|s/he|yes/no|either/or)(?![\w/])",
        _or,
        starts="l",
    ),
    Rule(VULGAR_SIGN, _vulgar, starts="s"),
)
