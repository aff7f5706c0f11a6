"""When an English sentence is whole, and when more must come; on what Whisper writes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agent.turn_taking import english_words as words
from agent.turn_taking.dictation import Dictation, dictation
from agent.turn_taking.last_sentence import Tail

HESITANT_SECONDS: Final = 2.0
HESITANT_RATE: Final = 1.0
"""Words a second; people speak two to four. Slower means that he thinks while he speaks."""
LONG_QUESTION: Final = 6
"""Words of a question that Whisper would hardly hear in half of one."""
PARTICLES: Final = frozenset({"down", "up", "out", "off", "on", "over", "away", "around"})
"""They end a sentence as part of a verb ("the sun goes down?") as often as they open a phrase."""

Predicate = Callable[[Tail], bool]


def asks(tail: Tail) -> bool:
    """Whether it is a question that begins with what, where, who ..."""
    return bool(tail.tokens) and words.lead(tail.tokens) in words.WH_WORDS


def trails_off(tail: Tail) -> bool:
    """Whisper writes a voice that stays up as an ellipsis, a dash or a comma."""
    return tail.text.endswith(("...", "…", "-", "—", "–", ",", ":", ";"))


def hesitates(tail: Tail) -> bool:
    return tail.last in words.HESITATIONS or tail.phrase.endswith(words.STALLING)


def is_short_answer(tail: Tail) -> bool:
    return tail.phrase in words.SHORT_ANSWERS and not trails_off(tail)


def is_drawn_out(tail: Tail) -> bool:
    """A "yes..." may be the answer or its beginning."""
    return tail.phrase in words.SHORT_ANSWERS


def is_command(tail: Tail) -> bool:
    return tail.phrase in words.SHORT_COMMANDS


def dictates(found: Dictation) -> Predicate:
    return lambda tail: dictation(tail.tokens) is found


def ends_in_connective(tail: Tail) -> bool:
    return tail.last in words.NEVER_LAST or tail.phrase.endswith(words.NEVER_LAST_PHRASES)


def ends_in_adjective(tail: Tail) -> bool:
    """As in "Delete the last", "it's a new"."""
    return tail.last in words.HALF_NOUN_PHRASES and tail.before in words.DETERMINERS


def ends_in_then(tail: Tail) -> bool:
    """As in "Turn left, then", but not "until then"."""
    return tail.last == "then" and tail.before not in words.THEN_AFTER


def ends_in_wh_word(tail: Tail) -> bool:
    """As in "Could you explain what", but not "so what?"."""
    return tail.last in words.WH_WORDS and len(tail.tokens) >= 3


def ends_in_subject(tail: Tail) -> bool:
    """As in "And then we", but not "who are they?"."""
    return tail.last in words.SUBJECTS and tail.before not in words.BE_FORMS


def ends_in_preposition(tail: Tail) -> bool:
    """As in "A table for", but not "who is it for?" and not "turn the light on"."""
    if tail.last not in words.PREPOSITIONS:
        return False
    stranding = tail.before in words.STRANDING or tail.before.endswith("ing")
    particle = tail.last in words.PARTICLES and not words.PHRASAL_VERBS.isdisjoint(tail.tokens)
    return not (particle or (stranding and words.has_gap(tail.tokens)))


def ends_in_auxiliary(tail: Tail) -> bool:
    """As in "The weather is", but not "I know where it is" and not "yes I do"."""
    if tail.last not in words.AUXILIARIES:
        return False
    whole_answer = len(tail.tokens) <= 4 and words.lead(tail.tokens) in words.ANSWERING
    embedded = words.has_gap(tail.tokens) and not asks(tail)
    return not (whole_answer or embedded)


def lacks_object(tail: Tail) -> bool:
    """As in "I'd like to book" and "can you tell me", but not "that's what I want"."""
    asked = words.modal_place(tail.tokens) == 0 and not _may_be_noun(tail)
    verb = tail.last in words.TRANSITIVE and (tail.before in words.BEFORE_VERB or asked)
    receiver = tail.last == "me" and tail.before in words.DITRANSITIVE
    doer = tail.before == "who" and tail.last in words.TRANSITIVE_PAST
    return doer or ((verb or receiver) and not words.has_gap(tail.tokens))


def _may_be_noun(tail: Tail) -> bool:
    """As in "could you recommend a good book"."""
    return tail.last in words.NOUNS_TOO and not words.DETERMINERS.isdisjoint(tail.tokens[-3:-1])


def opens_a_request(tail: Tail) -> bool:
    return tail.phrase in words.OPENERS


def opens_clause(tail: Tail) -> bool:
    """As in "when I press the button", which is no question."""
    first = tail.tokens[:2]
    return len(first) == 2 and first[0] in words.TEMPORAL and first[1] in words.PRONOUNS


def has_only_condition(tail: Tail) -> bool:
    """As in "If it rains tomorrow" and nothing that follows from it."""
    opens = (
        words.lead(tail.tokens) in words.CONDITIONS
        or opens_clause(tail)
        or tail.phrase.startswith(words.CONDITION_PHRASES)
    )
    short = len(tail.tokens) <= words.CONDITION_WORDS
    return opens and short and "," not in tail.text and not tail.text.endswith("?")


def lists_on(tail: Tail) -> bool:
    """As in "Milk, eggs, bread": short items without the "and" that announces the last one."""
    items = [item.split() for item in tail.text.rstrip(".!?").split(",")]
    short = [item for item in items[1:] if 1 <= len(item) <= 3]
    if not short or len(short) != len(items) - 1 or tail.text.endswith("?"):
        return False
    said = [" ".join(item).lower() for item in short]
    closes = any(item[0].lower() in ("and", "or", "but", "so", "then") for item in short)
    asides = any(item in words.ASIDES for item in said)
    begins_aside = " ".join(items[0]).lower() in words.ASIDES
    return not (closes or " and " in said[-1] or asides or begins_aside) and len(short) >= 2


def ends_politely(tail: Tail) -> bool:
    return tail.last in words.POLITE and len(tail.tokens) >= 3


def hesitant(tail: Tail) -> bool:
    seconds = tail.seconds_of_speech
    if seconds is None or seconds < HESITANT_SECONDS:
        return False
    return len(tail.tokens) / seconds < HESITANT_RATE


def lacks_verb(tail: Tail) -> bool:
    """As in "When does the next train?": a question to Whisper, but its verb is still to come."""
    begin = words.modal_place(tail.tokens)
    if begin is None or not tail.text.endswith("?"):
        return False
    return words.VERBS.isdisjoint(tail.tokens[begin + 1 :])


def is_open_question(tail: Tail) -> bool:
    """As in "do you have anything?", and "cheaper" may follow; or "is there a pharmacy?".

    A question without a wh-word is marked as one from its first word on, so a few words of it
    look whole that are not.
    """
    if not tail.text.endswith("?") or tail.last in words.TIMES | words.CLOSING:
        return False
    short = len(tail.tokens) < words.WHOLE_QUESTION and not asks(tail)
    return short or tail.last in words.INDEFINITE


def is_long_question(tail: Tail) -> bool:
    return tail.text.endswith("?") and len(tail.tokens) >= LONG_QUESTION


def is_question(tail: Tail) -> bool:
    return tail.text.endswith("?") and len(tail.tokens) >= 3


def is_question_by_form(tail: Tail) -> bool:
    inverted = words.lead(tail.tokens) in words.ASKING_VERBS
    return (
        (asks(tail) or inverted)
        and not opens_clause(tail)
        and len(tail.tokens) >= 4
        and tail.text.endswith((".", "!"))
    )


def is_full_command(tail: Tail) -> bool:
    imperative = words.lead(tail.tokens) in words.IMPERATIVES
    dangles = tail.last in words.DANGLING or may_be_misheard(tail)
    whole = len(tail.tokens) >= 4 and tail.text.endswith((".", "!"))
    return imperative and whole and not dangles


def ends_in_closing_word(tail: Tail) -> bool:
    """As in "I have never seen it"."""
    closes = tail.last in words.CLOSING and not may_be_misheard(tail)
    return closes and len(tail.tokens) >= 3 and tail.text.endswith((".", "!"))


def may_be_misheard(tail: Tail) -> bool:
    """As in "a table for it": at a cut Whisper makes a small word of the sound that follows."""
    return tail.last in words.CLOSING and tail.before in words.PREPOSITIONS
