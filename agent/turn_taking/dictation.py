"""Dictation: whether a number, an e-mail address, a spelled word or a date is complete.

Endpointing by silence works worst for dictation: people pause between groups of digits for longer
than after a sentence. The usual lengths of numbers and the ends of addresses are known, so the
words tell whether more must come. The rules are for English as Whisper writes it: "555-0142",
"five five five", "S-M-I-T-H", "john.smith@example.com", "at gmail dot com".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from agent.turn_taking.dictated_code import Dictation, spoken_code

_DIGITS = {
    **dict.fromkeys(("zero", "oh", "o", "one", "two", "three", "four", "five"), 1),
    **dict.fromkeys(("six", "seven", "eight", "nine"), 1),
    **dict.fromkeys(("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen"), 2),
    **dict.fromkeys(("sixteen", "seventeen", "eighteen", "nineteen"), 2),
    **dict.fromkeys(("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty"), 1),
    **dict.fromkeys(("ninety", "double", "triple"), 1),
}
"""Digits that a number word stands for. "Double" and "triple" count as one; the digit follows."""

_HOMOPHONES = {"for": "four", "to": "two", "too": "two", "won": "one", "ate": "eight"}
"""Words that Whisper writes for digits: "My zip code is 9 for 110"."""
_NUMERIC = re.compile(r"\+?\(?\d[\d()\-.]*")
_LARGE = frozenset({"hundred", "thousand", "million", "billion"})
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+")
_AMOUNT = re.compile(r"(?<!\d)[$€£]|[%:/]|\d,\d{3}\b")

_LENGTHS: dict[str, frozenset[int]] = {
    "phone": frozenset({10, 11}),
    "telephone": frozenset({10, 11}),
    "mobile": frozenset({10, 11}),
    "cell": frozenset({10, 11}),
    "card": frozenset({15, 16}),
    "credit": frozenset({15, 16}),
    "zip": frozenset({5, 9}),
    "postcode": frozenset({5}),
    "pin": frozenset({4, 6}),
    "code": frozenset({6, 8}),
    "passcode": frozenset({4, 6}),
    "social": frozenset({9}),
}
"""Number of digits, by the word that announces the number."""

_CONTEXT = frozenset({*_LENGTHS, "number", "digits", "account", "reference", "confirmation"})
_USUAL_LENGTHS = frozenset({10, 11, 15, 16})
_COUNTS = {"three": 3, "four": 4, "five": 5, "six": 6, "eight": 8}
_COUNTS |= {str(count): count for count in range(3, 17)}
_LOCAL_LENGTH = 7
_FOREIGN = ("0", "zero", "oh", "o", "+")
_SHORTEST_ABROAD = 9
_NUMBER_DIGITS = 3
"""Digits from which a run without an announcing word is a number; fewer are a quantity."""

_ADDRESS_WORDS = frozenset({"email", "e-mail", "mail"})
_TOP_LEVEL = frozenset({"com", "org", "net", "edu", "gov", "co", "uk", "de", "io", "us", "info"})
_DOMAIN = re.compile(r"(?:[\w-]+\.)+[a-z]{2,}")
_NAME = re.compile(r"[a-z][\w-]*(?:\.[a-z][\w-]*)+")
_SITE = re.compile(r"(?:[\w-]+\.)+(?:com|org|net|edu|gov|io)")

_SPELLING_WORDS = frozenset({"spelled", "spelt"})
"""Words before spelled letters, also where Whisper joins the letters: "spelled SMI"."""

_MONTHS = frozenset(
    {"january", "february", "march", "april", "may", "june", "july", "august", "september"}
    | {"october", "november", "december"}
)
_WHOLE_MONTH = frozenset(
    {"in", "next", "last", "this", "since", "until", "by", "every", "early", "late", "during"}
)
_WHOLE_DATE = re.compile(r"\d{1,2}[/.-]\d{1,2}[/.-](?:\d{4}|\d{2})|\d{4}-\d{2}-\d{2}")
_HALF_DATE = re.compile(r"\d{1,2}(?:[/.-]\d{1,2}[/.-]?)?(?:st|nd|rd|th)?")
_BIRTH = frozenset({"born", "birth", "birthday", "birthdate"})


def dictation(tokens: tuple[str, ...]) -> Dictation:
    """The progress of the dictation at the end of a sentence.

    Args:
        tokens: the sentence as lower-case words without the punctuation around them.
    """
    for judge in (_address, spoken_code, _spelling, _number, _date):
        if (found := judge(tokens)) is not Dictation.NONE:
            return found
    return Dictation.NONE


def _address(tokens: tuple[str, ...]) -> Dictation:
    if not tokens:
        return Dictation.NONE
    last = tokens[-1]
    _, at, domain = last.rpartition("@")
    ends_written = _DOMAIN.fullmatch(domain) if at else _SITE.fullmatch(last)
    ends_spoken = tokens[-2:-1] == ("dot",) and last in _TOP_LEVEL
    if ends_written or ends_spoken:
        return Dictation.DONE
    if "@" in last or last in ("dot", "underscore", "hyphen", "dash"):
        return Dictation.OPEN
    spoken = "dot" in tokens[-4:] or any("@" in token for token in tokens[-4:])
    # Whisper writes "anna dot smith" as "anna.smith": a name, to which a domain is missing.
    spoken = spoken or (tokens[-2:-1] == ("at",) and _NAME.fullmatch(last) is not None)
    named = not _ADDRESS_WORDS.isdisjoint(tokens[-8:]) and _announced(tokens)
    return Dictation.OPEN if spoken or named else Dictation.NONE


def _announced(tokens: Sequence[str]) -> bool:
    """Whether "is" or "it's" after a word such as "email" announces the address itself."""
    place = max(index for index, token in enumerate(tokens) if token in _ADDRESS_WORDS)
    return not {"is", "it's", "its"}.isdisjoint(tokens[place + 1 :])


def _spelling(tokens: tuple[str, ...]) -> Dictation:
    letters = _spelled(tokens)
    announced = not _SPELLING_WORDS.isdisjoint(tokens[:-1])
    if len(letters) < 2 and not announced:
        return Dictation.NONE
    # "Smith, S-M-I-T-H": the word is said before it is spelled, so its end is known.
    whole = len(letters) > 1 and any(_spells(letters, token) for token in tokens)
    return Dictation.DONE if whole else Dictation.OPEN


def _spells(letters: str, word: str) -> bool:
    """Whether the letters spell the word, of a longer word but for one letter that was misheard."""
    if len(letters) != len(word) or not word.isalpha():
        return False
    wrong = sum(heard != letter for heard, letter in zip(letters, word, strict=True))
    return wrong <= (1 if len(word) >= 4 else 0)


def _spelled(tokens: Sequence[str]) -> str:
    """The spelled letters at the end of the tokens, joined."""
    letters = ""
    for token in reversed(tokens):
        pieces = token.split("-")
        if not all(len(piece) == 1 and piece.isalpha() for piece in pieces):
            break
        letters = "".join(pieces) + letters
    return letters


def _number(tokens: tuple[str, ...]) -> Dictation:
    run = _digit_run(_without_homophones(tokens))
    before = tokens[: len(tokens) - len(run)]
    kinds = [token for token in before if token in _CONTEXT]
    digits = sum(_digits(token) for token in run)
    if not run or not _is_dictated(run, before, kinds, digits):
        return Dictation.NONE
    usual = _usual_lengths(before, kinds)
    if digits in usual:
        return Dictation.MAYBE if _abroad(run, digits) else Dictation.DONE
    if kinds and kinds[-1] == "code" and digits in (4, 5):
        return Dictation.MAYBE
    local = digits == _LOCAL_LENGTH and _first_digit(run) not in _FOREIGN
    return (
        Dictation.MAYBE if digits > max(usual) or local or _abroad(run, digits) else Dictation.OPEN
    )


def _is_dictated(
    run: Sequence[str], before: Sequence[str], kinds: Sequence[str], digits: int
) -> bool:
    """Whether the run is a dictated number rather than a quantity, a date or "number two"."""
    if before and (before[-1] in _MONTHS or (len(run) == 1 and before[-1] == "number")):
        return False
    bare = len(before) <= 1 and digits > _NUMBER_DIGITS
    if not before and run[-2:-1] and run[-2] in ("double", "triple"):
        return True
    grouped = digits >= _NUMBER_DIGITS and (len(run) > 1 or "-" in run[0])
    return bool(kinds) or grouped or bare


def _usual_lengths(before: Sequence[str], kinds: Sequence[str]) -> frozenset[int]:
    """Number of digits of such a number, by "the last four digits" or by its kind."""
    for count, word in pairwise(before):
        if word == "digits" and count in _COUNTS:
            return frozenset({_COUNTS[count]})
    if "area" in before:
        return _LENGTHS["phone"]
    lengths = frozenset[int]().union(*(_LENGTHS.get(kind, frozenset()) for kind in kinds))
    return lengths or _USUAL_LENGTHS


def _first_digit(run: Sequence[str]) -> str:
    """The first digit of a number, or the word for it; outside North America lengths vary."""
    written = run[0].strip("(")
    return written[:1] if written[:1].isdigit() or written[:1] == "+" else run[0]


def _abroad(run: Sequence[str], digits: int) -> bool:
    """Whether a number is one whose length varies: +49 ..., and ten digits from a zero on."""
    first = _first_digit(run)
    return (first == "+" and digits >= _SHORTEST_ABROAD) or (digits == 10 and first in _FOREIGN)


def is_number_word(token: str) -> bool:
    """Whether a token is a number in digits or words: "20", "twenty-five", "hundred"."""
    return token in _LARGE or _digits(token) > 0 or bool(_GROUPED.fullmatch(token))


def _digit_run(tokens: Sequence[str]) -> list[str]:
    """The tokens at the end that are digits or number words."""
    run: list[str] = []
    for token in reversed(tokens):
        if not _digits(token):
            break
        run.insert(0, token)
    return run


def _without_homophones(tokens: Sequence[str]) -> Sequence[str]:
    """The tokens with digits for the small words between two digits of an announced number."""
    if _CONTEXT.isdisjoint(tokens):
        return tokens
    found = list(tokens)
    triples = zip(tokens, tokens[1:], tokens[2:], strict=False)
    for place, (before, token, after) in enumerate(triples, 1):
        if token in _HOMOPHONES and _digits(before) and _digits(after):
            found[place] = _HOMOPHONES[token]
    return found


def _digits(token: str) -> int:
    if _AMOUNT.search(token):
        return 0
    if _NUMERIC.fullmatch(token):
        return sum(character.isdigit() for character in token)
    parts = token.split("-")
    return sum(_DIGITS[part] for part in parts) if all(part in _DIGITS for part in parts) else 0


def _date(tokens: tuple[str, ...]) -> Dictation:
    """Open for a month without its day and for a date of birth without its year."""
    if len(tokens) < 2:
        return Dictation.NONE
    last, before = tokens[-1], tokens[-2]
    born = not (_BIRTH.isdisjoint(tokens) or {"is", "was", "born", "it's"}.isdisjoint(tokens))
    if last in _MONTHS and (born or before not in _WHOLE_MONTH):
        day_first = before == "of" or before[:1].isdigit()
        if last == "may" and before not in ("on", "is", "of") and not day_first:
            return Dictation.NONE  # the verb
        return Dictation.OPEN if born or not day_first else Dictation.MAYBE
    if not born:
        return Dictation.NONE
    if _WHOLE_DATE.fullmatch(last) or (_dated(tokens[:-1]) and re.fullmatch(r"\d{4}", last)):
        return Dictation.DONE
    half = before in _MONTHS or _HALF_DATE.fullmatch(last)
    return Dictation.OPEN if half else Dictation.NONE


def _dated(tokens: Sequence[str]) -> bool:
    """Whether a month or "in" stands before a year: "April 3rd, 1984", "born in 1984"."""
    return tokens[-1:] == ("in",) or not _MONTHS.isdisjoint(tokens[-3:])
