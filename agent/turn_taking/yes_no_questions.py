"""Questions without a wh-word: "Do penguins fly?" is whole, "Can you explain?" lacks its object.

Whisper sets a question mark after any beginning of a question. These rules look for the operator,
the subject and the predicate behind it.
"""

from __future__ import annotations

import re
from typing import Final

from agent.turn_taking import english_words as words
from agent.turn_taking.last_sentence import LastSentence


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BE: Final = _words("is are was were am isn't aren't wasn't weren't")
_HAVE: Final = _words("have has haven't hasn't")
_DO: Final = words.MODALS | _words(
    "might must don't doesn't didn't can't couldn't won't wouldn't shouldn't"
)
_PERSONAL: Final = _words("i you he she it we they")
_NOBODY_NAMED: Final = _words(
    "anybody anyone somebody someone everybody everyone everything anything something nobody"
)
_POINTING: Final = _words("this that these those")
_ADVERBS: Final = _words(
    "not ever always really still even just also already yet please usually often never only so too"
)
_WANTS_OBJECT: Final = (
    words.TRANSITIVE
    | words.DITRANSITIVE
    | words.SAYING
    | _words(
        """
        explain recommend suggest describe check hear invent mean prefer offer sell accept mind
        know recall feel call try spell translate play open close read write include contain cost
        remember like seen heard found had made bought taken tried got been gotten
        """
    )
)
"""Verbs after which a question seldom ends: "Can you explain?"."""
_OFFERING: Final = _words("can could will would may shall should")
_WANTS_MORE: Final = _words("help talk speak sing go come look move")
"""Verbs with which a request begins more often than it ends: "Can we talk about ..."."""
_QUALITIES: Final = _words(
    """
    open closed ready free available correct right true wrong safe cold hot warm far near late early
    expensive cheap broken included possible okay ok sure done here there over alive dead big small
    good bad easy hard full empty real fair normal enough yours mine home tall old new fast slow
    busy married healthy asleep awake away
    """
)
"""Words that end a question about a thing that has an article: "Are the shops open?"."""
_QUALITY_FORM: Final = re.compile(r".{3,}(?:able|ible|ous|ful|less|ing|ed)")
_NO_QUALITY: Final = _words(
    """
    thing something king ring string spring building evening morning meeting wedding ceiling parking
    wing bed red table cable vegetable swimming washing
    """
)


def is_whole_yes_no_question(sentence: LastSentence) -> bool:
    """As in "Do penguins fly?", "Is it raining?", "Are the shops open?", "Can you help me?".

    It is meant for short questions; the phrases that a long one may end in are not looked at.
    """
    tokens = sentence.tokens
    if not sentence.text.endswith("?") or not tokens:
        return False
    first = tokens.index(words.lead(tokens))
    operator, rest = tokens[first], tokens[first + 1 :]
    if operator in _BE:
        return _is_predicated(rest)
    if operator in _HAVE | _DO:
        return _has_verb_phrase(operator, rest)
    return False


def _is_predicated(rest: tuple[str, ...]) -> bool:
    """Whether a subject and what is said of it follow a form of "be"."""
    if len(rest) < 2 or rest[0] == "there":
        return False
    subject, said = rest[0], tuple(word for word in rest[1:] if word not in _ADVERBS)
    if not said:
        return False
    if subject in _PERSONAL | _NOBODY_NAMED:
        return True
    if subject in words.DETERMINERS | _POINTING:
        pointing = subject in _POINTING and len(said) == 1
        return _is_quality(said[-1]) and (pointing or len(said) > 1)
    return subject not in words.PREPOSITIONS


def _is_quality(word: str) -> bool:
    return word in _QUALITIES or (
        _QUALITY_FORM.fullmatch(word) is not None and word not in _NO_QUALITY
    )


def _has_verb_phrase(operator: str, rest: tuple[str, ...]) -> bool:
    """Whether a subject, a verb and all that the verb needs follow the operator."""
    if len(rest) < 2:
        return False
    if rest[0] in words.DETERMINERS and rest[0] not in _POINTING:
        return len(rest) > 2 and rest[-1] in words.VERBS - _WANTS_OBJECT
    phrase = tuple(word for word in rest[1:] if word not in _ADVERBS)
    if not phrase or phrase[-1] in _WANTS_OBJECT or phrase[0] in words.PREPOSITIONS - {"like"}:
        return False
    named = rest[0] in _PERSONAL | _NOBODY_NAMED | _POINTING
    if operator in _OFFERING and named and len(phrase) == 1 and phrase[0] in _WANTS_MORE:
        return False
    return named or operator in _HAVE or len(phrase) > 1 or _is_base_form(phrase[0])


def _is_base_form(word: str) -> bool:
    """Whether a word may be a verb after a modal: not "cubes" in "do ice cubes"."""
    return word in words.VERBS or word.endswith("ss") or not word.endswith("s")
