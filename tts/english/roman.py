"""Roman numerals: the number of a chapter, a war or a king."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tts.english.context import name_after, name_before
from tts.english.numbers import ROMAN, cardinal, ordinal, roman_value, year
from tts.english.word_lists import words
from tts.grammar import Rule

_CUES = words(
    """
    chapter part act scene volume book section phase type class level stage grade article appendix
    episode war bowl title schedule unit figure table tier mark division apollo gemini rocky rambo
    saw fantasy quest final ultima civilization diablo starcraft hades portal dota age halo souls
    category group lesson module step form paragraph canto sonata symphony concerto opus no series
    factor cranial lord world vatican council leg annex exhibit block sector region district corps
    schism olympiad games wrestlemania godfather toy superman spiderman iron terminator jaws alien
    heat plan angiotensin diabetes pentium
    """
)
"""A Roman numeral after one of these is a cardinal number."""
_REIGNS = words(
    """
    henry louis charles george edward elizabeth william james richard philip ferdinand frederick
    alexander nicholas catherine pius benedict gregory leo innocent clement urban boniface john paul
    mary peter ivan ramses ramesses napoleon wilhelm otto henri francis darius xerxes cyrus ptolemy
    gustav gustaf christian carl karl haakon olav harald leopold albert alfonso felipe umberto
    emmanuel emanuel constantine justinian theodosius margrethe robert david kenneth stephen sixtus
    julius adrian celestine eugene callixtus rama mohammed muhammad hassan hussein abdullah selim
    mehmed murad bayezid suleiman mustafa ahmed osman amenhotep thutmose seti cleopatra artaxerxes
    antiochus casimir sigismund ludwig maximilian rudolf joseph franz friedrich bela matthias pedro
    afonso manuel sancho christina valdemar erik eric magnus canute tarquin carlos juan victor
    isabella anne gustavus mithridates demetrius seleucus romanos basil tutankhamun willem hussain
    faisal farouk
    """
)
_RULERS = words(
    """
    king queen pope emperor empress tsar czar prince sultan kaiser pharaoh saint shah
    """
)
_NOT_ROMAN = words(
    """
    MIX DIM CD DC MD MC CM MM CC LL DM XL CI CV DIV DL DX LI MI MV LV MX CL CX DV DVI ID IM VI XI IV
    DI MIL XXX CIVIL LCD MDI DMV CID MCI LIV MDX VIX XC DCI CXO CIX
    """
)
"""Words, initials and names before which nothing tells that a number is meant."""
_VERBS = words(
    """
    am was have had will would took like need want think do did can could see saw got get made mean
    know love hate use bought chose wrote read said say
    """
)
_TEXTS = words(
    """
    chapter part act scene volume book section article canto title apollo
    """
)
"""Cues after which even a lone X is a number; after "Series" or "Plan" it is a letter."""
_LONE_V = _TEXTS | words(
    """
    type class level stage phase war factor symphony mark rocky episode
    """
)


def _pronoun(match: re.Match[str], key: str) -> bool:
    """Whether "I" after a small word such as "class" is the speaker: "the class I took"."""
    after = name_after(match)
    numbered = key in ("phase", "type", "stage", "tier", "grade", "category")
    return after.islower() and (not numbered or after in _VERBS or after.endswith("ed"))


def _cued(key: str, text: str) -> bool:
    """Whether a word such as "Chapter" makes a number of the numeral after it."""
    key = key if key in _CUES else key.removesuffix("s")
    if text in ("C", "D", "L", "M"):
        return text == "L" and key == "bowl"
    if text in ("V", "X"):
        return key in (_TEXTS if text == "X" else _LONE_V)
    return key in _CUES


_AND = r"(?:,\s?(?:and\s|or\s)?|\s(?:and|or|to)\s|\s?[-–]\s?)"
_LIST = re.compile(rf"(\w+)\s[IVX]+(?:{_AND}[IVX]+)*{_AND}$")


def _listed(match: re.Match[str]) -> bool:
    """Whether a numeral goes on from one that a word such as "Class" introduced."""
    head = match.string[max(0, match.start() - 50) : match.start()]
    found = _LIST.search(head)
    return found is not None and found[1].lower().rstrip("s") in _CUES


def _roman_range(match: re.Match[str]) -> str | None:
    """Say "Chapters I-III"."""
    if name_before(match).lower().removesuffix("s") not in _CUES:
        return None
    return f"{cardinal(roman_value(match['a']))} to {cardinal(roman_value(match['b']))}"


_LONE_REIGNS = words(
    """
    george charles henry edward philip james william elizabeth napoleon nicholas francis otto louis
    leopold albert frederick peter pius benedict paul
    """
)
"""Names after which a lone I, V or X is a king's or pope's number."""


def _roman(match: re.Match[str]) -> str | None:
    """Say "Henry VIII", "Chapter IV", "World War I", "Super Bowl LVIII"."""
    text, before = match["r"], name_before(match)
    key = re.sub(r"['’]s$", "", before).lower()
    value = roman_value(text)
    if _cued(key, text) and not (text == "I" and before.islower() and _pronoun(match, key)):
        return cardinal(value) + (match["s"] or "")
    if re.match(r"\s(?:century|centuries|dynasty)", match.string[match.end() :]):
        return ordinal(value)
    names = re.findall(r"[A-Z][\w.]*", match.string[max(0, match.start() - 40) : match.start()])
    if before[:1].isupper() and _reigns(key, text, names):
        return f"the {ordinal(value)}" + ("'s" if match["s"] else "")
    if re.search(r"(?:,|\band|\bto|[-–])\s?$", match.string[: match.start()]) and _listed(match):
        return cardinal(value)
    if not _alone(text, key, names):
        return None
    return _cardinal_or_year(value) + ("'s" if match["s"] else "")


def _reigns(key: str, text: str, names: Sequence[str]) -> bool:
    """Whether a name before a numeral is a ruler's: "Henry VIII", "King Olaf V"."""
    ruler = len(names) > 1 and names[-2].lower() in _RULERS
    if roman_value(text) >= 50 or not (key in _REIGNS or ruler):
        return False
    return len(text) > 1 or ruler or (key in _LONE_REIGNS and text in "IVX")


def _alone(text: str, key: str, names: Sequence[str]) -> bool:
    """Whether a numeral is one without a word that says so."""
    if re.fullmatch(r"M[MDCLXVI]{3,}", text):
        return True
    if re.search(r"[LCDM]", text) or len(text) < 2:
        return False
    titled = len(names) > 1 and key not in ("the", "an", "a", "") and key.title() in names
    return text not in _NOT_ROMAN or (text in ("IV", "VI", "XI") and titled)


def _cardinal_or_year(value: int) -> str:
    return year(str(value)) if 1000 < value < 2100 else cardinal(value)


RULES = (
    Rule(
        rf"(?<![\w.&'’-])(?P<a>{ROMAN})\s?[-–]\s?(?P<b>{ROMAN})(?![\w'’&-])",
        _roman_range,
        starts="l",
    ),
    Rule(rf"(?<![\w.&'’-])(?P<r>{ROMAN})(?P<s>['’]s)?(?![\w'’&-]|\.\w)", _roman, starts="l"),
)
