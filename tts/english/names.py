"""Abbreviations, initials, Roman numerals and signs that are part of a name."""

from __future__ import annotations

import re

from tts.english.calendar import ends_sentence
from tts.english.numbers import ROMAN, VULGAR_SIGN, cardinal, letters, ordinal, roman_value, vulgar, year
from tts.grammar import Rule, words_before

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
_WITHOUT_STOP = frozenset("dr mr mrs ms mx prof capt sgt mt lt".split())
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
    "ste.": "suite",
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
    "fl": "floor",
    "par": "paragraph",
    "para": "paragraph",
    "ver": "version",
    "v": "version",
    "q": "question",
}
"""Before a number only."""
_CUES = frozenset(
    "chapter part act scene volume book section phase type class level stage grade article appendix episode "
    "war bowl title schedule unit figure table tier mark division apollo gemini rocky rambo saw fantasy "
    "quest final ultima civilization diablo starcraft hades portal dota age halo souls category group lesson "
    "module step form paragraph canto sonata symphony concerto opus no series factor cranial lord world "
    "vatican council leg annex exhibit block sector region district corps schism olympiad games wrestlemania "
    "godfather toy superman spiderman iron terminator jaws alien heat plan angiotensin diabetes pentium".split()
)
"""A Roman numeral after one of these is a cardinal number."""
_REIGNS = frozenset(
    "henry louis charles george edward elizabeth william james richard philip ferdinand frederick alexander "
    "nicholas catherine pius benedict gregory leo innocent clement urban boniface john paul mary peter ivan "
    "ramses ramesses napoleon wilhelm otto henri francis darius xerxes cyrus ptolemy gustav gustaf christian "
    "carl karl haakon olav harald leopold albert alfonso felipe umberto emmanuel emanuel constantine "
    "justinian theodosius margrethe robert david kenneth stephen sixtus julius adrian celestine eugene "
    "callixtus rama mohammed muhammad hassan hussein abdullah selim mehmed murad bayezid suleiman mustafa "
    "ahmed osman amenhotep thutmose seti cleopatra artaxerxes antiochus casimir sigismund ludwig maximilian "
    "rudolf joseph franz friedrich bela matthias pedro afonso manuel sancho christina valdemar erik eric "
    "magnus canute tarquin carlos juan victor isabella anne gustavus mithridates demetrius seleucus romanos "
    "basil tutankhamun willem hussain faisal farouk".split()
)
_RULERS = frozenset("king queen pope emperor empress tsar czar prince sultan kaiser pharaoh saint shah".split())
_NOT_ROMAN = frozenset(
    "MIX DIM CD DC MD MC CM MM CC LL DM XL CI CV DIV DL DX LI MI MV LV MX CL CX DV DVI ID IM VI XI IV DI MIL "
    "XXX CIVIL LCD MDI DMV CID MCI LIV MDX VIX XC DCI CXO CIX".split()
)
"""Words, initials and names before which nothing tells that a number is meant."""
_STARTERS = frozenset(
    "it she he they we you i the then there this that these those a an but and so now if in on at is are was "
    "were do does did what when where who why how my your his her its our their one two not no yes please let "
    "for from after before while because although also however both all some many most each every maybe "
    "perhaps thanks thank here wait call go come turn take see".split()
)
_LETTER_CUES = frozenset(
    "vitamin plan grade option type hepatitis section part exhibit group team letter gate terminal platform "
    "zone class variable an a the for is was be me and or size answer channel model block building wing "
    "door row seat level schedule appendix form unit side point case bus train line".split()
)


_VERBS = frozenset(
    "am was have had will would took like need want think do did can could see saw got get made mean know "
    "love hate use bought chose wrote read said say".split()
)


def _stop(match: re.Match[str], end: int | None = None) -> str:
    text = match.group()
    return "." if text.endswith(".") and ends_sentence(match.string, end or match.end()) else ""


def _before(match: re.Match[str]) -> str:
    found = re.search(r"([\w'’-]+)[,]?\s?$", match.string[: match.start()])
    return found[1] if found else ""


def _after(match: re.Match[str]) -> str:
    found = re.match(r"\s([\w'’-]+)", match.string[match.end() :])
    return found[1] if found else ""


def _named(match: re.Match[str]) -> bool:
    """Whether a name or an ordinal number stands before a match, so that a street may end there."""
    before = _before(match)
    return before[:1].isupper() or re.fullmatch(r"\d+(?:st|nd|rd|th)", before) is not None


_SAINTS = frozenset(
    "louis john paul petersburg patrick george mary peter andrew francis thomas james joseph helens helena "
    "lucia kitts vincent moritz tropez pancras albans andrews augustine charles cloud clair croix nicholas "
    "martin michael mark luke matthew anne ann catherine bernard barts ives ignatius anthony stephen "
    "valentine basil denis germain gallen lawrence elmo marks johns jude agnes cecilia clare teresa rose "
    "bartholomew benedict barbara christopher david edmund gabriel jerome kilda leonard leonards margaret "
    "maria monica olaf philip raphael simon stanislaus swithin ursula veronica xavier lambert pierre jean "
    "jeanne laurent maarten eustatius neots austell asaph davids".split()
)


def _street_or_saint(match: re.Match[str]) -> str | None:
    """ "St. Louis", "Main St.", "St Mary's on 3rd St" """
    after = _after(match)
    name = re.sub(r"['’]s$", "", after).lower()
    numbered = re.search(r"\d\w*\s(?:[NSEW]\.?\s)?[A-Z]\w*\s$", match.string[: match.start()]) is not None
    if name in _SAINTS and not numbered:
        return "Saint"
    if _named(match) and not (_before(match).lower() in ("mount", "port", "fort", "lake", "visit", "in")):
        return "Street" + _stop(match)
    if after[:1].isupper():
        return "Saint"
    return "Street" + _stop(match) if match.group().endswith(".") and _before(match) else None


def _title(match: re.Match[str]) -> str | None:
    """ "Dr. Smith", "Ms Lee", "Ft. Worth"; "Elm Dr." is a street."""
    name, dotted = match["t"].lower(), match.group().endswith(".")
    if match["t"].isupper() or not match["t"][0].isupper():
        return None
    if not dotted and name not in _WITHOUT_STOP:
        return None
    after = _after(match)
    if dotted and after in ("and", "or") and name in ("mr", "mrs", "ms", "dr", "prof"):
        return TITLES[name]
    if not (after[:1].isupper() or (after[:1].isdecimal() and name == "lt")):
        return None
    before = match.string[: match.start()]
    house = re.search(r"\d\w*\s(?:[NSEW]\.?\s)?[A-Z]\w*\s$", before) is not None
    if name in STREETS and (house or re.search(r"\b(?:on|at|to|off|down|along)\s[A-Z]\w*\s$", before)):
        return None
    if name in ("fr", "hon", "maj", "rep", "col", "gen", "ft") and not dotted:
        return None
    if name in ("ft",) and re.search(r"\d\s?$", before):
        return None
    return TITLES[name]


def _street(match: re.Match[str]) -> str | None:
    """ "Elm Dr.", "5th Ave", "45 Sunset Blvd." """
    text = match["t"]
    if text.isupper() or not text[0].isupper() or not _named(match):
        return None
    if not match.group().endswith(".") and text in ("Ct", "Pl", "Ter", "Cir", "Sq", "Dr"):
        return None
    return STREETS[text.lower()] + _stop(match)


def _after_name(match: re.Match[str]) -> str | None:
    """ "King Jr.", "Acme Inc.", "Smith & Co." """
    before = match.string[: match.start()]
    if not re.search(r"(?:[A-Z][\w'’.-]*,?|&)\s$", before):
        return None
    if match["t"].isupper() or (match["t"] == "Co" and not match.group().endswith(".")):
        return None
    name = AFTER_NAMES[match["t"].lower()]
    if match["t"] in ("Jr", "Sr") and re.match(r"\s[A-Z]", match.string[match.end() :]):
        after = _after(match).lower()
        return name + ("." if after in _STARTERS else "")
    return name + _stop(match)


def _word(match: re.Match[str]) -> str | None:
    written, text = match.group(), match.group().lower()
    if written.isupper() and "/" not in written and not text.startswith("ww"):
        return None
    follows = text not in ("e.g.", "i.e.", "vs.", "approx.", "cf.", "viz.", "tel.", "ext.", "w/", "min.", "max.")
    stop = _stop(match) if follows and text.endswith(".") else ""
    if text in ("est.", "dept.", "apt.", "ste.", "univ.") and re.match(r"\s\w", match.string[match.end() :]):
        stop = ""
    return WORDS[text] + stop


def _numbered(match: re.Match[str]) -> str | None:
    """ "No. 5", "pp. 5-10": before a number; "No." by itself is an answer."""
    return _NUMBERED[match["t"].lower()]


def _initials(match: re.Match[str]) -> str:
    """ "U.S.", "a.k.a.", "J.K. Rowling" """
    text = match.group()
    said = letters(text) if text != "Ph.D." else "P H D"
    return said + (_initials_stop(match) if text.endswith(".") else "")


def _initials_stop(match: re.Match[str]) -> str:
    after = _after(match)
    if not match.string[match.end() :].strip():
        return "."
    if match.group() in ("U.S.", "U.K.", "U.N.", "E.U.", "D.C.", "L.A.", "U.S.A.", "a.m.", "p.m."):
        return "." if after.lower() in _STARTERS and after[:1].isupper() else ""
    return "." if ends_sentence(match.string, match.end()) and after.lower() in _STARTERS else ""


def _initial(match: re.Match[str]) -> str | None:
    """One letter and a full stop before a capital: "J. Smith", or the end of "vitamin C." """
    before, after = _before(match), _after(match)
    letter = match.group()[0]
    previous = match.string[: match.start()].rstrip()
    if before.lower() in _LETTER_CUES or (letter == "I" and before) or after.lower() in _STARTERS:
        return None
    if previous.endswith((".", "!", "?")) and not re.search(r"(?:^|[\s.])[A-Z]\.$", previous):
        return letter
    if before.lower() in ("solve", "of", "in", "to", "with", "x", "y") and not before[:1].isupper():
        return letter
    return letter


def _roman(match: re.Match[str]) -> str | None:
    """ "Henry VIII", "Chapter IV", "World War I", "Super Bowl LVIII" """
    text = match["r"]
    before = _before(match)
    key = re.sub(r"['’]s$", "", before).lower()
    value = roman_value(text)
    names = re.findall(r"[A-Z][\w.]*", match.string[max(0, match.start() - 40) : match.start()])
    if _cued(key, text) and not (text == "I" and before.islower() and _pronoun(match, key)):
        return cardinal(value) + (match["s"] or "")
    if re.match(r"\s(?:century|centuries|dynasty)", match.string[match.end() :]):
        return ordinal(value)
    ruler = len(names) > 1 and names[-2].lower() in _RULERS
    if before[:1].isupper() and (key in _REIGNS or ruler) and value < 50:
        if len(text) == 1 and not (ruler or key in ("george", "charles", "henry", "edward", "philip", "james", "william", "elizabeth", "napoleon", "nicholas", "francis", "otto", "louis", "leopold", "albert", "frederick", "peter", "pius", "benedict", "paul")):
            return None
        if len(text) == 1 and not ruler and text in "CDLM":
            return None
        return f"the {ordinal(value)}" + ("'s" if match["s"] else "")
    if re.search(r"(?:,|\band|\bto|[-–])\s?$", match.string[: match.start()]) and _listed(match):
        return cardinal(value)
    if len(text) < 2 or text in _NOT_ROMAN:
        if not (text in ("IV", "VI", "XI", "XL") and before[:1].isupper() and len(names) > 1 and key not in ("the", "an", "a")):
            return None
    if re.fullmatch(r"M[MDCLXVI]{3,}", text) and 1000 < value < 2100:
        return year(str(value))
    if re.search(r"[LCDM]", text):
        return None
    return cardinal(value) + ("'s" if match["s"] else "")


def _pronoun(match: re.Match[str], key: str) -> bool:
    """Whether "I" after a small word such as "class" is the speaker: "the class I took"."""
    after = _after(match)
    numbered = key in ("phase", "type", "stage", "tier", "grade", "category")
    return after.islower() and (not numbered or after in _VERBS or after.endswith("ed"))


_TEXTS = frozenset("chapter part act scene volume book section article canto title apollo".split())
"""Cues after which even a lone X is a number; after "Series" or "Plan" it is a letter."""
_LONE_V = _TEXTS | frozenset("type class level stage phase war factor symphony mark rocky episode".split())


def _cued(key: str, text: str) -> bool:
    """Whether a word such as "Chapter" makes a number of the numeral after it."""
    key = key if key in _CUES else key.removesuffix("s")
    if text in ("C", "D", "L", "M"):
        return text == "L" and key == "bowl"
    if text in ("V", "X"):
        return key in (_TEXTS if text == "X" else _LONE_V)
    return key in _CUES


def _roman_range(match: re.Match[str]) -> str | None:
    """ "Chapters I-III" """
    if _before(match).lower().removesuffix("s") not in _CUES:
        return None
    return f"{cardinal(roman_value(match['a']))} to {cardinal(roman_value(match['b']))}"


def _listed(match: re.Match[str]) -> bool:
    """Whether a numeral goes on from one that a word such as "Class" introduced."""
    head = match.string[max(0, match.start() - 50) : match.start()]
    found = re.search(r"(\w+)\s[IVX]+(?:,?\s?(?:and|to|[-–])?\s?[IVX]*)*$", head)
    return found is not None and found[1].lower().rstrip("s") in _CUES


def _direction(match: re.Match[str]) -> str | None:
    """ "1 N. Oak St.", "99 W 4th St" """
    names = {"N": "North", "S": "South", "E": "East", "W": "West"}
    return " ".join(names[char] for char in re.findall("[NSEW]", match.group()))


def _ampersand(match: re.Match[str]) -> str:
    """ "AT&T", "R&D" """
    first, second = match.group().split("&")
    return f"{letters(first)} and {letters(second)}"


def _sharp(match: re.Match[str]) -> str:
    return f"{match.group()[0]} {'sharp' if match.group().endswith('#') else 'plus plus'}"


def _or(match: re.Match[str]) -> str:
    first, second = match.group().split("/")
    return "and or" if first == "and" else f"{first} or {second}"


def _vulgar(match: re.Match[str]) -> str:
    return vulgar(match.group())


def _alternatives(names: object) -> str:
    return "|".join(sorted(map(re.escape, names), key=len, reverse=True))  # type: ignore[call-overload]


RULES = (
    Rule(rf"(?<![\w.])(?i:{_alternatives(WORDS)})(?!\w)", _word, starts="ls"),
    Rule(r"(?<![\w/])w/(?=\w)", lambda m: "with", starts="l"),
    Rule(rf"(?<![\w.])(?P<t>(?i:{_alternatives(_NUMBERED)}))\.\s?(?=[A-Z]{{0,3}}\d)", _numbered, starts="l"),
    Rule(r"(?<!\w)St(?:\.|(?=\s|$|,))(?!\w)", _street_or_saint, starts="l"),
    Rule(rf"(?<!\w)(?P<t>(?i:{_alternatives(TITLES)}))(?:\.|(?=\s))(?!\w)", _title, starts="l"),
    Rule(rf"(?<!\w)(?P<t>(?i:{_alternatives(STREETS)}))(?:\.|(?=\s|$|,))(?!\w)", _street, starts="l"),
    Rule(rf"(?<!\w)(?P<t>(?i:{_alternatives(AFTER_NAMES)}))(?:\.|(?=\s|$|,))(?!\w)", _after_name, starts="l"),
    Rule(r"(?<![\w.])Ph\.?D\b\.?", _initials, starts="l"),
    Rule(r"(?<![\w.])(?:[A-Za-z]\.\s?){1,6}(?<=\.)[A-Za-z]\.(?!\w)|(?<![\w.])(?:[A-Za-z]\.){1,6}[A-Za-z](?![\w.])", _initials, starts="l"),
    Rule(r"(?<=\d\s)(?:[NS]\.?\s?[EW]\.?|[NSEW]\.?)(?=\s(?:[A-Z][a-z]|\d+(?:st|nd|rd|th)))", _direction, starts="l"),
    Rule(r"(?<![\w.])[A-Z]\.(?=\s[A-Z])", _initial, starts="l"),
    Rule(
        rf"(?<![\w.&'’-])(?P<a>{ROMAN})\s?[-–]\s?(?P<b>{ROMAN})(?![\w'’&-])",
        _roman_range,
        starts="l",
    ),
    Rule(rf"(?<![\w.&'’-])(?P<r>{ROMAN})(?P<s>['’]s)?(?![\w'’&-]|\.\w)", _roman, starts="l"),
    Rule(r"(?<![\w&])[A-Z]{1,3}&[A-Z]{1,3}(?![\w&])", _ampersand, starts="l"),
    Rule(r"(?<!\w)(?:[ACFJ]#|C\+\+)(?!\w)", _sharp, starts="l"),
    Rule(r"(?<![\w/])(?:and/or|he/she|she/he|his/her|him/her|s/he|yes/no|either/or)(?![\w/])", _or, starts="l"),
    Rule(VULGAR_SIGN, _vulgar, starts="s"),
)
