"""Rules for phrases that are cut in their middle: half a name, half a clause, a bare number.

Whisper writes a full stop or a question mark at a cut, so that "Who is the president of the
United?" looks like a question. These rules look at what the last words cannot do without.
"""

from __future__ import annotations

import re
from typing import Final

from agent.turn_taking import english_words as words
from agent.turn_taking.dictation import is_number_word
from agent.turn_taking.last_sentence import LastSentence


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TITLES: Final = _words("mister mr mrs ms miss doctor dr professor prof captain saint st sir")
_HALF_PLACES: Final = _words(
    "united new los las san santa el south north hong sri costa puerto saudi buenos rio st fort"
)
_NAMES_BEFORE: Final = _words("the a an your my our his her their is what's any this that")
_DETERMINERS: Final = words.DETERMINERS | _words("these those its some there no")
_PRONOUNS: Final = _words("i you we he she it they this that")
_CLAUSE_OPENERS: Final = _words("if whether when because while unless where why that how what")
_TOLD: Final = tuple(
    (word,) for word in ("true", "sure", "know", "say", "said", "think", "believe", "heard", "hope")
)
"""Words before a "that" that opens a clause rather than points."""
_AFTER_ASKING: Final = _words("tell know say ask explain wonder check see remember show understand")
_IRREGULAR: Final = _words(
    """
    went came took got said told broke fell left ran made gave saw knew thought felt kept bought
    brought began became sent paid lost won met spoke wrote read put let hit cost hurt shut set
    blink blinks flash flashes ring rings bark barks cry cries leak leaks beep beeps freeze
    freezes crash crashes shake shakes smell smells burn burns melt melts boil boils stood sat
    slept flew drove ate drank grew held heard built caught taught understood died
    """
)
_ADVERBS: Final = _words("not never also always still just really even ever often usually")
_BARE_ADJECTIVES: Final = _words(
    """
    red blue green black white grey gray brown yellow cheap cheaper good better nice small smaller
    large larger short shorter long longer quick direct single double cheapest nearest closest best
    fastest largest smallest biggest highest longest latest earliest newest oldest lowest
    """
)
_NOT_A_NEED: Final = _words("any no some once much little bit anything something nothing what")
_PAIRED: Final = _words("us them you both these those two three ones jobs meals")
_MOVING: Final = _words(
    """
    change changed move moved switch switched reschedule transfer convert translate fly drive go get
    travel take book flight flights train trains bus buses ticket tickets distance far route ship
    """
)
_OPERATORS: Final = _words("plus minus times by over and of to")
_SMALL: Final = _words("one two three four five six seven eight nine ten 1 2 3 4 5 6 7 8 9 10")
_YEAR_BEFORE: Final = _words("in since of until by from before after year during")
_DECIDED: Final = _words("page number chapter room gate platform channel line level version")
_CHOICES: Final = _words("hope think guess why probably maybe certainly absolutely definitely or")
_NEGATED: Final = re.compile(
    r"can't|won't|(?:could|would|do|does|did|is|are|was|were|should|have|has)n't|cannot"
)
_YEAR: Final = re.compile(r"(?:1\d|20)\d\d")
_CLOCK: Final = re.compile(r"\d{1,2}[:.]\d\d")
_ORDINAL: Final = re.compile(
    r"\d+(?:st|nd|rd|th)|(?:twenty-|thirty-)?(?:first|second|third|fourth|fifth|sixth|seventh"
    r"|eighth|ninth|tenth|twelfth|thirteenth|fifteenth|twentieth|thirtieth)"
)


def ends_in_half_name(sentence: LastSentence) -> bool:
    """As in "the president of the United", "speak to Doctor", "the capital of New"."""
    if sentence.last == "united":
        return True
    name = sentence.last_written[:1].isupper() and len(sentence.tokens) > 1
    half = sentence.last in _TITLES | _HALF_PLACES
    return half and name and sentence.before not in _NAMES_BEFORE


def ends_in_negation(sentence: LastSentence) -> bool:
    """As in "tell him that I can't", "we're not", but not "no, I can't" and not "I hope not"."""
    if sentence.last == "not":
        denied = sentence.before not in _CHOICES and sentence.before != "course"
    else:
        denied = _NEGATED.fullmatch(sentence.last) is not None
    answers = sentence.tokens[:1] in (("no",), ("yes",), ("nope",), ("sorry",))
    asked = words.lead(sentence.tokens) in ("why", *words.ASKING_VERBS) and len(sentence.tokens) < 3
    return denied and not answers and not asked


def ends_in_half_clause(sentence: LastSentence) -> bool:
    """As in "when the red light", "do you know if the museum": the clause has no verb yet."""
    if _names_only_a_subject(sentence):
        return True
    clause = _clause(sentence.tokens)
    return bool(clause) and not any(_may_be_verb(clause, place) for place in range(len(clause)))


def _names_only_a_subject(sentence: LastSentence) -> bool:
    """As in "is it true that whales", "ask him if Peter": the clause is one bare noun."""
    last, opener = sentence.last, sentence.before
    named = sentence.last_written[:1].isupper() and last[:1] != "i"
    plural = last.endswith("s") and not last.endswith(("ss", "'s", "us", "is"))
    if not (named or plural):
        return False
    told = sentence.tokens[-3:-2] in _TOLD
    return opener in ("if", "whether", "because", "unless") or (opener == "that" and told)


def may_end_in_half_clause(sentence: LastSentence) -> bool:
    """As in "if the green lights": the only possible verb may be a noun."""
    clause = _clause(sentence.tokens)
    return bool(clause) and not any(_is_verb(clause, place) for place in range(len(clause)))


def _clause(tokens: tuple[str, ...]) -> tuple[str, ...]:
    """The words after the last conjunction that opens a clause with a determiner or pronoun."""
    for place in range(len(tokens) - 2, -1, -1):
        opener, first = tokens[place], tokens[place + 1]
        if opener not in _CLAUSE_OPENERS:
            continue
        asked = opener in ("that", "how", "what", "where", "why")
        told = place > 0 and not _AFTER_ASKING.isdisjoint(tokens[:place])
        if asked and not told:
            # "What the weather", "that the": a clause only where somebody asks or tells it.
            return ()
        subject = first in _DETERMINERS or first in _PRONOUNS
        noun_follows = len(tokens) > place + 2 or first in _PRONOUNS
        return tokens[place + 1 :] if subject and noun_follows else ()
    return ()


def _is_verb(clause: tuple[str, ...], place: int) -> bool:
    """Whether a word of the clause is a verb for certain, or as good as."""
    word = clause[place]
    if word in words.AUXILIARIES | words.MODALS | _IRREGULAR or _NEGATED.fullmatch(word):
        return True
    after_pronoun = place > 0 and clause[place - 1] in _PRONOUNS | _ADVERBS
    if place == 0:
        return "'" in word  # "it's", "they're"
    if after_pronoun:
        return word not in _ADVERBS
    return place > 1 and word in words.VERBS | _VERB_FORMS


def _may_be_verb(clause: tuple[str, ...], place: int) -> bool:
    """Whether a word of the clause may be a verb by its form: "the baby cries"."""
    if _is_verb(clause, place):
        return True
    word = clause[place]
    noun = word.endswith(("ss", "us", "is"))
    return place > 1 and word.endswith(("s", "ed", "ing")) and not noun


def _forms(verb: str) -> tuple[str, ...]:
    stem = verb[:-1] if verb.endswith("e") else verb
    third = f"{verb}es" if verb.endswith(("s", "sh", "ch", "x", "o")) else f"{verb}s"
    return (third, f"{stem}ed", f"{stem}ing", f"{stem}{stem[-1:]}ed", f"{stem}{stem[-1:]}ing")


_VERB_FORMS: Final = frozenset(form for verb in words.VERBS for form in _forms(verb))


def ends_in_bare_adjective(sentence: LastSentence) -> bool:
    """As in "I'd like a large", "where is the nearest", "is the red one more"."""
    last, before = sentence.last, sentence.before
    if last in ("more", "most", "less"):
        asks = words.lead(sentence.tokens) in words.BE_FORMS and "there" not in sentence.tokens
        superlative = last == "most" and sentence.tokens[-3:-1] in (("is", "the"), ("are", "the"))
        return superlative or (asks and before not in _NOT_A_NEED)
    if last not in _BARE_ADJECTIVES or len(sentence.tokens) < 3:
        return False
    superlative = last.endswith("est") and before == "the" and not _chooses(sentence)
    return superlative or before in ("a", "an")


def _chooses(sentence: LastSentence) -> bool:
    """As in "which one is the cheapest": the noun was said before."""
    return not {"which", "who", "what", "one", "ones"}.isdisjoint(sentence.tokens[:-2])


def lacks_second_of_pair(sentence: LastSentence) -> bool:
    """As in "the difference between a cat", "what happened between 1914"."""
    if "between" not in sentence.tokens[:-1]:
        return False
    place = max(index for index, token in enumerate(sentence.tokens) if token == "between")
    after = sentence.tokens[place + 1 :]
    named = sentence.last_written[:1].isupper()
    plural = sentence.last.endswith("s") and not (named or sentence.last.endswith("ss"))
    joined = "and" in after or "or" in after
    return not (joined or plural or not _PAIRED.isdisjoint(after) or len(after) > 6)


def ends_in_half_time(sentence: LastSentence) -> bool:
    """As in "at half", "on the twenty", "ten minutes past", "a quarter to", "divided"."""
    if sentence.last in ("twenty", "thirty", "20", "30"):
        return sentence.tokens[-3:-1] == ("on", "the")
    if sentence.last in ("half", "quarter"):
        return sentence.before in ("at", "for", "until", "by", "about", "around", "from", "past")
    if sentence.last == "past":
        return sentence.before in (
            "half",
            "quarter",
            "minutes",
            "ten",
            "five",
            "twenty",
            "10",
            "20",
        )
    return sentence.last in ("divided", "multiplied", "www", "http", "https", "versus")


def lacks_destination(sentence: LastSentence) -> bool:
    """As in "change my appointment from Monday": "to Friday" may follow."""
    if sentence.before != "from" and sentence.tokens[-3:-2] != ("from",):
        return _lacks_target(sentence)
    return not _MOVING.isdisjoint(sentence.tokens) and sentence.last not in words.CLOSING


def _lacks_target(sentence: LastSentence) -> bool:
    """As in "convert ten miles", "translate good morning"."""
    converts = words.lead(sentence.tokens) in ("convert", "translate", "exchange")
    return converts and {"to", "into", "in", "for"}.isdisjoint(sentence.tokens[2:])


def ends_in_hour(sentence: LastSentence) -> bool:
    """As in "call my sister at six", "from 2 o'clock to 330"; "thirty" may follow."""
    ranged = sentence.before in ("to", "and") and "o'clock" in sentence.tokens
    hour = sentence.last in _HOURS or _UNWRITTEN_CLOCK.fullmatch(sentence.last) is not None
    return hour and (ranged or sentence.before in _HOUR_BEFORE)


_HOURS: Final = _words(
    "one two three four five six seven eight nine ten eleven twelve"
) | frozenset(map(str, range(1, 13)))
_UNWRITTEN_CLOCK: Final = re.compile(r"(?:[1-9]|1[0-2])[0-5]\d")
"""Whisper leaves the colon out: "at 1030"."""
_HOUR_BEFORE: Final = _words("at until till before after")


def ends_in_bare_number(sentence: LastSentence) -> bool:
    """As in "set a timer for 20", "the square root of 100", "remind me on the third".

    Not a year ("in 1990"), a time on the clock ("half past six"), "page 12" and sums of small
    numbers.
    """
    last, before = sentence.last, sentence.before
    if len(sentence.tokens) < 2 or _CLOCK.fullmatch(last) or _is_spoken_time(sentence):
        return False
    if "alarm" in sentence.tokens and _UNWRITTEN_CLOCK.fullmatch(last):
        return False
    if _ORDINAL.fullmatch(last):
        return before in ("the", "on", "for") and words.lead(sentence.tokens) not in words.WH_WORDS
    number = is_number_word(last) and not _stands_for_a_thing(sentence)
    decided = before in _DECIDED or before in ("these", "those")
    if not number or decided or _is_year(sentence) or _is_small_sum(sentence):
        return False
    return _wants_unit(sentence)


def _stands_for_a_thing(sentence: LastSentence) -> bool:
    """As in "how much is the small one", "which one", "another one"."""
    chosen = _DETERMINERS | _words("which another any every each no")
    near = sentence.tokens[-3:-1]
    counted = any(is_number_word(token) for token in near)
    return sentence.last == "one" and not counted and not chosen.isdisjoint(near)


def _is_spoken_time(sentence: LastSentence) -> bool:
    """As in "half past six", "a quarter to seven", "ten minutes past three"."""
    return sentence.before in ("past", "to") and sentence.tokens[-3:-2] in _PARTS_OF_HOURS


_PARTS_OF_HOURS: Final = (("half",), ("quarter",), ("minutes",))


def _wants_unit(sentence: LastSentence) -> bool:
    """Whether a noun or further digits usually follow: in questions, commands and requests."""
    lead = words.lead(sentence.tokens)
    asking = lead in words.WH_WORDS or lead in words.ASKING_VERBS or lead in words.IMPERATIVES
    return asking or sentence.before in words.PREPOSITIONS


def _is_year(sentence: LastSentence) -> bool:
    ranges = sentence.before == "and" and "between" in sentence.tokens
    told = ranges or sentence.before in _YEAR_BEFORE
    return bool(_YEAR.fullmatch(sentence.last)) and told


def _is_small_sum(sentence: LastSentence) -> bool:
    """As in "what is two plus two"."""
    tail = sentence.tokens[-3:]
    compound = sentence.tokens[-4:-3] and is_number_word(sentence.tokens[-4])
    sums = len(tail) == 3 and not compound and tail[1] in ("plus", "minus", "times", "by", "+", "x")
    return sums and tail[0] in _SMALL and tail[2] in _SMALL


def ends_in_quantifier(sentence: LastSentence) -> bool:
    """As in "do you have any", "are there many"."""
    asks = words.lead(sentence.tokens) in words.ASKING_VERBS | {"there"}
    return sentence.last == "any" or (asks and sentence.last in ("many", "much", "several", "few"))
