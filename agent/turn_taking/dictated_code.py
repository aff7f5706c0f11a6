"""Dictation of what has letters: postcodes, passwords, references, addresses, extensions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final


class Dictation(Enum):
    """The progress of a dictation."""

    NONE = auto()
    """Nothing is being dictated."""
    OPEN = auto()
    """More must come."""
    DONE = auto()
    """The number, address or word is complete."""
    MAYBE = auto()
    """A local telephone number, or the area code and prefix of a longer one."""


_POSTCODE_WORDS: Final = frozenset({"postcode", "post"})
_HALF_POSTCODE: Final = re.compile(r"[a-z]{1,2}\d{0,2}[a-z]?")
_WHOLE_POSTCODE: Final = re.compile(r"[a-z]{1,2}\d[a-z\d]?\d[a-z]{2}")
_SECRETS: Final = frozenset({"password", "passphrase", "username", "login", "passcode"})
_CASES: Final = frozenset({"capital", "uppercase", "lowercase", "upper", "lower", "small"})
_REFERENCES: Final = frozenset(
    {"reference", "confirmation", "booking", "serial", "plate", "registration", "licence"}
    | {"license", "policy", "tracking", "flight", "vin", "iban", "voucher", "ticket"}
)
_REFERENCE_LENGTH: Final = 6
_SYMBOLS: Final = frozenset({"dash", "hyphen", "slash", "underscore", "hashtag", "hash", "plus"})
_ANNOUNCING: Final = frozenset({"is", "it's", "its", "are", "equals"})
_LIVING: Final = frozenset({"live", "lives", "living", "located", "address"})
_DIGIT_WORDS: Final = frozenset(
    {"zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"}
    | {"eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"}
    | {"nineteen", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"}
    | {"hundred"}
)


def spoken_code(tokens: tuple[str, ...]) -> Dictation:
    """The progress of a code at the end of a sentence, NONE if none is being dictated.

    Args:
        tokens: the sentence as lower-case words without the punctuation around them.
    """
    if len(tokens) < 2:
        return Dictation.NONE
    for judge in (_extension, _website, _street, _postcode, _secret, _reference):
        if (found := judge(tokens)) is not Dictation.NONE:
            return found
    return Dictation.NONE


def _extension(tokens: Sequence[str]) -> Dictation:
    """As in "212-555-0142 extension 12": between one and five digits, so that its end is open."""
    if tokens[-1] in ("extension", "ext"):
        return Dictation.OPEN if any(_has_digit(token) for token in tokens) else Dictation.NONE
    announced = "extension" in tokens[-4:-1] or "ext" in tokens[-4:-1]
    return Dictation.MAYBE if announced and _has_digit(tokens[-1]) else Dictation.NONE


def _website(tokens: Sequence[str]) -> Dictation:
    spoken = re.fullmatch(r"(?:https?|www|w{2,3})", tokens[-1])
    letters = tokens[-1] == "w" and not {"website", "site", "w"}.isdisjoint(tokens[:-1])
    return Dictation.OPEN if spoken or letters else Dictation.NONE


def _street(tokens: Sequence[str]) -> Dictation:
    """As in "my address is 742": the name of the street must follow."""
    if "email" in tokens or "e-mail" in tokens or "mail" in tokens:
        return Dictation.NONE
    announced = not _LIVING.isdisjoint(tokens[:-1])
    placed = not {"is", "at", "it's", "in"}.isdisjoint(tokens[-4:-1])
    return Dictation.OPEN if announced and placed and _has_digit(tokens[-1]) else Dictation.NONE


def _postcode(tokens: Sequence[str]) -> Dictation:
    """As in "my postcode is SW1", and whole as in "SW1A 1AA"."""
    if _POSTCODE_WORDS.isdisjoint(tokens[:-1]) or not _is_announced(tokens, _POSTCODE_WORDS):
        return Dictation.NONE
    after = "".join(tokens[_place(tokens, _POSTCODE_WORDS) + 1 :])
    code = re.sub(r"^(?:code)?(?:is|it's|its)", "", after)
    if _WHOLE_POSTCODE.fullmatch(code):
        return Dictation.DONE
    return Dictation.OPEN if _HALF_POSTCODE.match(code) and len(code) < 6 else Dictation.NONE


def _secret(tokens: Sequence[str]) -> Dictation:
    """As in "my password is capital B": its end is not known, and more is likely."""
    if tokens[-1] in _CASES - {"small"} and not _SECRETS.isdisjoint(tokens):
        return Dictation.OPEN
    cased = not _CASES.isdisjoint(tokens[-3:-1]) and len(tokens[-1]) == 1
    secret = not _SECRETS.isdisjoint(tokens[:-1]) and _is_announced(tokens, _SECRETS)
    piece = len(tokens[-1]) <= 2 or tokens[-1] in _SYMBOLS or _is_digits(tokens[-1])
    spelled = secret and piece and tokens[-1] not in _ANNOUNCING
    return Dictation.OPEN if (cased or spelled) and not _pin(tokens) else Dictation.NONE


def _pin(tokens: Sequence[str]) -> bool:
    """Whether only digits follow "passcode": then its length is known (`dictation`)."""
    return "passcode" in tokens and all(
        _is_digits(token) for token in tokens[_place(tokens, {"passcode"}) + 2 :]
    )


def _reference(tokens: Sequence[str]) -> Dictation:
    """As in "my booking reference is X7K": letters and digits, usually six."""
    if _REFERENCES.isdisjoint(tokens[:-1]) or not _is_announced(tokens, _REFERENCES):
        return Dictation.NONE
    start = max(index for index, token in enumerate(tokens) if token in _ANNOUNCING) + 1
    pieces = tokens[start:]
    if not all(len(piece) <= 3 or _has_digit(piece) for piece in pieces):
        return Dictation.NONE
    code = "".join("0" if piece in _DIGIT_WORDS else piece for piece in pieces).replace("-", "")
    if not re.search(r"\d", code) or not re.search(r"[a-z]", code):
        return Dictation.NONE
    return Dictation.OPEN if len(code) < _REFERENCE_LENGTH else Dictation.MAYBE


def _is_announced(tokens: Sequence[str], kinds: frozenset[str]) -> bool:
    """Whether "is" or "it's" follows a word of ``kinds``, and something follows that."""
    return not _ANNOUNCING.isdisjoint(tokens[_place(tokens, kinds) + 1 : -1])


def _place(tokens: Sequence[str], kinds: frozenset[str] | set[str]) -> int:
    return max(index for index, token in enumerate(tokens) if token in kinds)


def _is_digits(token: str) -> bool:
    return token.isdigit() or token in _DIGIT_WORDS


def _has_digit(token: str) -> bool:
    return token[:1].isdigit() or token in _DIGIT_WORDS
