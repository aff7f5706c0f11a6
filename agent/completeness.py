"""Do these words sound finished? Rules for English on a transcript as Whisper writes it.

A pause says that somebody stopped speaking, not that he is done. People pause 0.3 to 1.2 s
inside a sentence, before a name, between groups of digits, after "um"; a fixed delay either
cuts them off or makes every answer late. The words heard so far tell the cases apart often enough
to shorten the delay after a question and to lengthen it after "and".

The first rule of `RULES` that fits decides; its name goes to the event log. Only the
last sentence is looked at, and of that a bounded tail, so the time is bounded too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from agent import english
from agent.dictation import Dictation, dictation

MAX_CHARACTERS: Final = 600
"""Characters at the end of the words that are looked at; a long sentence has 200."""
HESITANT_SECONDS: Final = 2.0
HESITANT_RATE: Final = 1.0
"""Words a second; people speak two to four. Slower means that he thinks while he speaks."""


LONG_QUESTION: Final = 6
"""Words of a question that Whisper would hardly hear in half of one."""
DOUBTED_OF_QUESTIONS: Final = frozenset({"no_object", "no_verb"})
"""They may take a noun for a verb ("a good book?"): of a long question they are not believed."""
PARTICLES: Final = frozenset({"down", "up", "out", "off", "on", "over", "away", "around"})
"""They end a sentence as part of a verb ("the sun goes down?") as often as they open a phrase."""


class Verdict(IntEnum):
    """In the order of how soon an answer may begin."""

    INCOMPLETE = 0
    UNSURE = 1
    COMPLETE = 2


@dataclass(frozen=True, slots=True)
class Completeness:
    """A verdict and the rule that gave it."""

    verdict: Verdict
    rule: str


@dataclass(frozen=True, slots=True)
class Tail:
    """The last sentence of what was heard, in the forms that the rules ask for."""

    text: str
    """As written, without the space around it."""
    tokens: tuple[str, ...]
    """Its words in lower case, without the punctuation around them."""
    seconds_of_speech: float | None

    @property
    def last(self) -> str:
        return self.tokens[-1] if self.tokens else ""

    @property
    def before(self) -> str:
        """The word before the last."""
        return self.tokens[-2] if len(self.tokens) > 1 else ""

    @property
    def phrase(self) -> str:
        return " ".join(self.tokens)

    @property
    def asks(self) -> bool:
        """Whether it is a question that begins with what, where, who ..."""
        return bool(self.tokens) and english.lead(self.tokens) in english.WH_WORDS


Predicate = Callable[[Tail], bool]


def completeness(words: str, seconds_of_speech: float | None = None) -> Completeness:
    """Judge the words of a turn so far, at a pause.

    Args:
        words: the transcript; any text, English is understood.
        seconds_of_speech: from the first to the last speech of the turn, if known; makes a verdict
            of COMPLETE more careful when the caller speaks haltingly.
    """
    tail = _tail(words, seconds_of_speech)
    for rule, verdict, fits in RULES:
        if fits(tail):
            doubt = _is_long_question(tail) and (
                rule in DOUBTED_OF_QUESTIONS or (rule == "preposition" and tail.last in PARTICLES)
            )
            return Completeness(Verdict.UNSURE if doubt else verdict, rule)
    return Completeness(Verdict.UNSURE, "statement")


def endpoint_delay(verdict: Verdict, complete: float, unsure: float, incomplete: float) -> float:
    """Seconds of silence after which a turn with that verdict is over."""
    return {
        Verdict.COMPLETE: complete,
        Verdict.UNSURE: unsure,
        Verdict.INCOMPLETE: incomplete,
    }[verdict]


_SENTENCE_END = re.compile(r"(?<=[.?!])[\"”’']?\s+")
_WORD = re.compile(r"[^\s,;:.!?…—–\"“”()\[\]*]+(?:[.@:,][^\s,;:.!?…—–\"“”()\[\]*]+)*@?")


def _tail(words: str, seconds_of_speech: float | None) -> Tail:
    text = words[-MAX_CHARACTERS:].strip()
    sentences = _SENTENCE_END.split(text)
    last = sentences[-1]
    found = (word.strip("'’‘-♪").lower().replace("’", "'") for word in _WORD.findall(last))
    return Tail(last, tuple(filter(None, found)), seconds_of_speech)


def _trails_off(tail: Tail) -> bool:
    """Whisper writes a voice that stays up as an ellipsis, a dash or a comma."""
    return tail.text.endswith(("...", "…", "-", "—", "–", ",", ":", ";"))


def _hesitates(tail: Tail) -> bool:
    return tail.last in english.HESITATIONS or tail.phrase.endswith(english.STALLING)


def _is_short_answer(tail: Tail) -> bool:
    return tail.phrase in english.SHORT_ANSWERS and not _trails_off(tail)


def _is_drawn_out(tail: Tail) -> bool:
    """A "yes..." may be the answer or its beginning."""
    return tail.phrase in english.SHORT_ANSWERS


def _is_command(tail: Tail) -> bool:
    return tail.phrase in english.SHORT_COMMANDS


def _dictates(found: Dictation) -> Predicate:
    return lambda tail: dictation(tail.tokens) is found


def _ends_in_connective(tail: Tail) -> bool:
    return tail.last in english.NEVER_LAST or tail.phrase.endswith(english.NEVER_LAST_PHRASES)


def _ends_in_adjective(tail: Tail) -> bool:
    """As in "Delete the last", "it's a new"."""
    return tail.last in english.HALF_NOUN_PHRASES and tail.before in english.DETERMINERS


def _ends_in_then(tail: Tail) -> bool:
    """As in "Turn left, then", but not "until then"."""
    return tail.last == "then" and tail.before not in english.THEN_AFTER


def _ends_in_wh_word(tail: Tail) -> bool:
    """As in "Could you explain what", but not "so what?"."""
    return tail.last in english.WH_WORDS and len(tail.tokens) >= 3


def _ends_in_subject(tail: Tail) -> bool:
    """As in "And then we", but not "who are they?"."""
    return tail.last in english.SUBJECTS and tail.before not in english.BE_FORMS


def _ends_in_preposition(tail: Tail) -> bool:
    """As in "A table for", but not "who is it for?" and not "turn the light on"."""
    if tail.last not in english.PREPOSITIONS:
        return False
    stranding = tail.before in english.STRANDING or tail.before.endswith("ing")
    particle = tail.last in english.PARTICLES and not english.PHRASAL_VERBS.isdisjoint(tail.tokens)
    return not (particle or (stranding and english.has_gap(tail.tokens)))


def _ends_in_auxiliary(tail: Tail) -> bool:
    """As in "The weather is", but not "I know where it is" and not "yes I do"."""
    if tail.last not in english.AUXILIARIES:
        return False
    whole_answer = len(tail.tokens) <= 4 and english.lead(tail.tokens) in english.ANSWERING
    embedded = english.has_gap(tail.tokens) and not tail.asks
    return not (whole_answer or embedded)


def _lacks_object(tail: Tail) -> bool:
    """As in "I'd like to book" and "can you tell me", but not "that's what I want"."""
    verb = tail.last in english.TRANSITIVE and (
        tail.before in english.BEFORE_VERB or english.modal_place(tail.tokens) == 0
    )
    receiver = tail.last == "me" and tail.before in english.DITRANSITIVE
    doer = tail.before == "who" and tail.last in english.TRANSITIVE_PAST
    return doer or ((verb or receiver) and not english.has_gap(tail.tokens))


def _opens_a_request(tail: Tail) -> bool:
    return tail.phrase in english.OPENERS


def _opens_clause(tail: Tail) -> bool:
    """As in "when I press the button", which is no question."""
    first = tail.tokens[:2]
    return len(first) == 2 and first[0] in english.TEMPORAL and first[1] in english.PRONOUNS


def _has_only_condition(tail: Tail) -> bool:
    """As in "If it rains tomorrow" and nothing that follows from it."""
    opens = (
        english.lead(tail.tokens) in english.CONDITIONS
        or _opens_clause(tail)
        or tail.phrase.startswith(english.CONDITION_PHRASES)
    )
    short = len(tail.tokens) <= english.CONDITION_WORDS
    return opens and short and "," not in tail.text and not tail.text.endswith("?")


def _lists_on(tail: Tail) -> bool:
    """As in "Milk, eggs, bread": short items without the "and" that announces the last one."""
    items = [item.split() for item in tail.text.rstrip(".!?").split(",")]
    short = [item for item in items[1:] if 1 <= len(item) <= 3]
    if not short or len(short) != len(items) - 1 or tail.text.endswith("?"):
        return False
    said = [" ".join(item).lower() for item in short]
    closes = any(item[0].lower() in ("and", "or", "but", "so", "then") for item in short)
    asides = any(item in english.ASIDES for item in said)
    begins_aside = " ".join(items[0]).lower() in english.ASIDES
    return not (closes or " and " in said[-1] or asides or begins_aside) and len(short) >= 2


def _ends_politely(tail: Tail) -> bool:
    return tail.last in english.POLITE and len(tail.tokens) >= 3


def _hesitant(tail: Tail) -> bool:
    seconds = tail.seconds_of_speech
    if seconds is None or seconds < HESITANT_SECONDS:
        return False
    return len(tail.tokens) / seconds < HESITANT_RATE


def _lacks_verb(tail: Tail) -> bool:
    """As in "When does the next train?": a question to Whisper, but its verb is still to come."""
    begin = english.modal_place(tail.tokens)
    if begin is None or not tail.text.endswith("?"):
        return False
    return english.VERBS.isdisjoint(tail.tokens[begin + 1 :])


def _is_open_question(tail: Tail) -> bool:
    """As in "do you have anything?", and "cheaper" may follow; or "is there a pharmacy?".

    A question without a wh-word is marked as one from its first word on, so a few words of it
    look whole that are not.
    """
    if not tail.text.endswith("?") or tail.last in english.TIMES | english.CLOSING:
        return False
    short = len(tail.tokens) < english.WHOLE_QUESTION and not tail.asks
    return short or tail.last in english.INDEFINITE


def _is_long_question(tail: Tail) -> bool:
    return tail.text.endswith("?") and len(tail.tokens) >= LONG_QUESTION


def _is_question(tail: Tail) -> bool:
    return tail.text.endswith("?") and len(tail.tokens) >= 3


def _is_question_by_form(tail: Tail) -> bool:
    asks = tail.asks or english.lead(tail.tokens) in english.ASKING_VERBS
    return (
        asks
        and not _opens_clause(tail)
        and len(tail.tokens) >= 4
        and tail.text.endswith((".", "!"))
    )


def _is_full_command(tail: Tail) -> bool:
    imperative = english.lead(tail.tokens) in english.IMPERATIVES
    dangles = tail.last in english.DANGLING or _may_be_misheard(tail)
    whole = len(tail.tokens) >= 4 and tail.text.endswith((".", "!"))
    return imperative and whole and not dangles


def _ends_in_closing_word(tail: Tail) -> bool:
    """As in "I have never seen it"."""
    closes = tail.last in english.CLOSING and not _may_be_misheard(tail)
    return closes and len(tail.tokens) >= 3 and tail.text.endswith((".", "!"))


def _may_be_misheard(tail: Tail) -> bool:
    """As in "a table for it": at a cut Whisper makes a small word of the sound that follows."""
    return tail.last in english.CLOSING and tail.before in english.PREPOSITIONS


RULES: Final[tuple[tuple[str, Verdict, Predicate], ...]] = (
    ("no_words", Verdict.UNSURE, lambda tail: not tail.tokens),
    ("short_answer", Verdict.COMPLETE, _is_short_answer),
    ("drawn_out", Verdict.UNSURE, _is_drawn_out),
    ("command", Verdict.COMPLETE, _is_command),
    ("hesitation", Verdict.INCOMPLETE, _hesitates),
    ("dictation_done", Verdict.COMPLETE, _dictates(Dictation.DONE)),
    ("dictation_open", Verdict.INCOMPLETE, _dictates(Dictation.OPEN)),
    ("dictation_maybe", Verdict.UNSURE, _dictates(Dictation.MAYBE)),
    ("trails_off", Verdict.INCOMPLETE, _trails_off),
    ("opener", Verdict.INCOMPLETE, _opens_a_request),
    ("connective", Verdict.INCOMPLETE, _ends_in_connective),
    ("adjective", Verdict.INCOMPLETE, _ends_in_adjective),
    ("then", Verdict.INCOMPLETE, _ends_in_then),
    ("wh_word", Verdict.INCOMPLETE, _ends_in_wh_word),
    ("subject", Verdict.INCOMPLETE, _ends_in_subject),
    ("preposition", Verdict.INCOMPLETE, _ends_in_preposition),
    ("auxiliary", Verdict.INCOMPLETE, _ends_in_auxiliary),
    ("no_object", Verdict.INCOMPLETE, _lacks_object),
    ("no_verb", Verdict.INCOMPLETE, _lacks_verb),
    ("condition", Verdict.INCOMPLETE, _has_only_condition),
    ("open_list", Verdict.INCOMPLETE, _lists_on),
    ("hesitant", Verdict.UNSURE, _hesitant),
    ("polite", Verdict.COMPLETE, _ends_politely),
    ("open_question", Verdict.UNSURE, _is_open_question),
    ("question", Verdict.COMPLETE, _is_question),
    ("question_form", Verdict.COMPLETE, _is_question_by_form),
    ("full_command", Verdict.COMPLETE, _is_full_command),
    ("closing_word", Verdict.COMPLETE, _ends_in_closing_word),
)
"""Name, verdict, and when it applies; the first that fits decides."""
