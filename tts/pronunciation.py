"""Pronunciations that espeak-ng does not find: heteronyms, single letters, the user's own words.

The same spelling may have two sounds: "read", "lead", "close". The words beside it decide by simple
rules (after a determiner it is a noun, after "to" or a pronoun a verb). Where no rule is sure,
espeak-ng's reading stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tts.english.word_lists import words
from tts.lexicon import Lexicon

LETTER_A = "ˈeɪ"
_DETERMINERS = words(
    """
    a an the this that these those my your his her its our their no any some every each another one
    of in for with by
    """
)
_BEFORE_VERBS = words(
    """
    to will would can could shall should must may might i you we they who not n't don't didn't
    doesn't won't can't couldn't shouldn't wouldn't please let's do did does and then always never
    just i'll you'll we'll they'll he'll she'll
    """
)
_OBJECTS = words(
    """
    the a an it this that these those my your his her its our their them him me us you up down out
    off all some each every one both
    """
)
_HAVE = words(
    """
    have has had having i've you've we've they've he's she's been was were is are be being it's get
    got well-read
    """
)
_PAST = words(
    """
    yesterday ago last earlier once before had when already he she
    """
)


@dataclass(frozen=True, slots=True)
class _Pair:
    """Sounds of a word as a noun or adjective, and as a verb."""

    noun: str
    verb: str


_NOUN_OR_VERB = {
    "use": _Pair("jˈuːs", "jˈuːz"),
    "record": _Pair("ɹˈɛkɚd", "ɹᵻkˈɔːɹd"),
    "records": _Pair("ɹˈɛkɚdz", "ɹᵻkˈɔːɹdz"),
    "present": _Pair("pɹˈɛzənt", "pɹɪzˈɛnt"),
    "object": _Pair("ˈɑːbdʒɛkt", "ɑːbdʒˈɛkt"),
    "project": _Pair("pɹˈɑːdʒɛkt", "pɹədʒˈɛkt"),
    "permit": _Pair("pˈɜːmɪt", "pɚmˈɪt"),
    "conduct": _Pair("kˈɑːndʌkt", "kəndˈʌkt"),
    "contract": _Pair("kˈɑːntɹækt", "kəntɹˈækt"),
    "conflict": _Pair("kˈɑːnflɪkt", "kənflˈɪkt"),
    "import": _Pair("ˈɪmpɔːɹt", "ɪmpˈɔːɹt"),
    "export": _Pair("ˈɛkspɔːɹt", "ɛkspˈɔːɹt"),
    "increase": _Pair("ˈɪnkɹiːs", "ɪnkɹˈiːs"),
    "decrease": _Pair("dˈiːkɹiːs", "dᵻkɹˈiːs"),
    "refund": _Pair("ɹˈiːfʌnd", "ɹᵻfˈʌnd"),
    "address": _Pair("ˈædɹɛs", "ɐdɹˈɛs"),
    "estimate": _Pair("ˈɛstᵻmət", "ˈɛstᵻmˌeɪt"),
    "separate": _Pair("sˈɛpɹət", "sˈɛpɚɹˌeɪt"),
    "duplicate": _Pair("dˈuːplᵻkət", "dˈuːplᵻkˌeɪt"),
    "graduate": _Pair("ɡɹˈædʒuːət", "ɡɹˈædʒuːˌeɪt"),
    "alternate": _Pair("ˈɔːltɚnət", "ˈɔːltɚnˌeɪt"),
    "close": _Pair("klˈoʊs", "klˈoʊz"),
    "excuse": _Pair("ɛkskjˈuːs", "ɛkskjˈuːz"),
    "house": _Pair("hˈaʊs", "hˈaʊz"),
    "live": _Pair("lˈaɪv", "lˈɪv"),
    "wind": _Pair("wˈɪnd", "wˈaɪnd"),
    "tear": _Pair("tˈɪɹ", "tˈɛɹ"),
    "resume": _Pair("ɹˈɛzʊmˌeɪ", "ɹᵻzˈuːm"),
    "content": _Pair("kˈɑːntɛnt", "kəntˈɛnt"),
    "minute": _Pair("mˈɪnɪt", "mˈɪnɪt"),
}
_METAL = words(
    """
    pipe pipes paint poisoning pencil acid free batteries battery weight
    """
)
_FEELINGS = words(
    """
    i'm am is are was were be feel felt seem seemed very quite perfectly
    """
)


def pronunciations(
    words: Sequence[str], lexicon: Lexicon, *, english: bool = True
) -> Mapping[int, str]:
    """IPA for the words, by their places, that would be spoken wrongly without it.

    Args:
        words: spoken text, punctuation included.
        lexicon: the user's own words; they come first.
        english: whether the rules for English apply.
    """
    bare = [word.strip(".,:;!?") for word in words]
    found: dict[int, str] = {}
    for index, word in enumerate(bare):
        sound = lexicon.phonemes(word) if lexicon else None
        if sound is None and english:
            sound = _english(index, words, bare)
        if sound is not None:
            found[index] = sound
    return found


def _english(index: int, words: Sequence[str], bare: Sequence[str]) -> str | None:
    word = bare[index]
    if word == "A":
        return _letter(index, words, bare)
    low = word.lower()
    if low in _NOUN_OR_VERB:
        return _noun_or_verb(low, index, words, bare)
    if low == "read":
        return _read(index, words, bare)
    if low == "lead":
        _, after = _near(index, words, bare)
        return "lˈɛd" if after in _METAL or _made_of(index, bare) else None
    return None


def _letter(index: int, words: Sequence[str], bare: Sequence[str]) -> str | None:
    """The letter A: within a sentence, or beside another letter or a number."""
    before = words[index - 1] if index else "."
    after = bare[index + 1] if index + 1 < len(bare) else ""
    starts = before.endswith((".", "!", "?"))
    spelled = len(after) == 1 and after.isupper()
    return LETTER_A if not starts or spelled or words[index] != "A" else None


def _near(index: int, words: Sequence[str], bare: Sequence[str]) -> tuple[str, str]:
    """The words before and after, empty across the end of a sentence or clause."""
    before = bare[index - 1].lower() if index and words[index - 1] == bare[index - 1] else ""
    ends = words[index] != bare[index] or index + 1 == len(words)
    return before, "" if ends else bare[index + 1].lower()


def _noun_or_verb(word: str, index: int, words: Sequence[str], bare: Sequence[str]) -> str | None:
    pair = _NOUN_OR_VERB[word]
    before, after = _near(index, words, bare)
    if word == "content":
        return pair.verb if before in _FEELINGS else pair.noun
    if word == "resume":
        return pair.noun if before in _DETERMINERS - {"in", "for", "by"} else None
    if word == "live":
        return _live(pair, before, after)
    if word == "close" and after in ("to", "by", "enough"):
        return pair.noun if before not in ("will", "would", "to") else pair.verb
    if before in _DETERMINERS:
        return pair.noun
    if before in _BEFORE_VERBS or (after in _OBJECTS and (not before or before not in _HAVE)):
        return pair.verb
    return None


def _live(pair: _Pair, before: str, after: str) -> str | None:
    if before in _BEFORE_VERBS or after in (
        "in",
        "here",
        "there",
        "with",
        "near",
        "on",
        "at",
        "by",
    ):
        return pair.verb if before != "is" else pair.noun
    return pair.noun if before in _DETERMINERS or before in _HAVE else None


def _read(index: int, words: Sequence[str], bare: Sequence[str]) -> str | None:
    """Say "I have read it", "I read it yesterday", "She read the book."."""
    before, _ = _near(index, words, bare)
    if before in (
        "to",
        "will",
        "can",
        "could",
        "please",
        "must",
        "should",
        "did",
        "not",
        "don't",
        "didn't",
    ):
        return "ɹˈiːd"
    recent = [word.lower() for word in bare[max(0, index - 3) : index]]
    if _HAVE & set(recent):
        return "ɹˈɛd"
    sentence = [word.lower() for word in bare[max(0, index - 6) : index + 8]]
    return (
        "ɹˈɛd" if before in ("he", "she", "it") or _PAST & set(sentence) - {"he", "she"} else None
    )


def _made_of(index: int, bare: Sequence[str]) -> bool:
    before = [word.lower() for word in bare[max(0, index - 3) : index]]
    return before[-2:] in (["made", "of"], ["contains", "no"]) or before[-1:] == ["contains"]
