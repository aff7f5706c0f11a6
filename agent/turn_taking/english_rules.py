"""Rules about the end of an English sentence, as Whisper writes it: complete, or more must come."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from agent.turn_taking import english_words as words
from agent.turn_taking.dictated_code import Dictation
from agent.turn_taking.dictation import dictation
from agent.turn_taking.last_sentence import LastSentence
from agent.turn_taking.yes_no_questions import is_whole_yes_no_question

HESITANT_SECONDS: Final = 2.0
"""Seconds of speech from which its rate is judged."""
HESITANT_RATE: Final = 1.0
"""Words a second below which speech is hesitant; people usually speak two to four."""
LONG_QUESTION: Final = 6
"""Words from which a question is long: Whisper rarely writes half a question with so many."""
PARTICLES: Final = frozenset({"down", "up", "out", "off", "on", "over", "away", "around"})
"""Prepositions that end a sentence as part of a verb ("the sun goes down?") about as often as
they begin a phrase."""

_CORRECTION: Final = re.compile(
    r", (?:oh |um |uh )?(?:no|nope|sorry|actually|correction|scratch that)"
    r"(?:,? (?:no|wait|sorry|actually|not that))*[.,]?$"
)
"""A word that takes back what was said, after a comma and at the end."""

Predicate = Callable[[LastSentence], bool]


def asks(sentence: LastSentence) -> bool:
    """Whether the sentence begins with a wh-word: what, where, who."""
    return bool(sentence.tokens) and words.lead(sentence.tokens) in words.WH_WORDS


def trails_off(sentence: LastSentence) -> bool:
    """As in "I would like...": Whisper writes a voice that stays up as "...", a dash or a comma."""
    return sentence.text.endswith(("...", "…", "-", "—", "–", ",", ":", ";"))


def hesitates(sentence: LastSentence) -> bool:
    return sentence.last in words.HESITATIONS or sentence.phrase.endswith(words.STALLING)


def corrects(sentence: LastSentence) -> bool:
    """As in "Set a timer for ten, no": what is to be instead must follow a request.

    "I can't come, sorry" and "are you coming, or no?" are whole.
    """
    requests = len(sentence.tokens) > 2 and begins_a_request(sentence)
    return requests and _CORRECTION.search(sentence.text.lower()) is not None


def announces(sentence: LastSentence) -> bool:
    """As in "Okay, one more thing", "By the way"."""
    tokens = sentence.tokens
    for start in range(len(tokens)):
        if " ".join(tokens[start:]) in words.ANNOUNCEMENTS:
            return True
        if tokens[start] not in words.LEADS:
            return False
    return False


def is_short_answer(sentence: LastSentence) -> bool:
    return sentence.phrase in words.SHORT_ANSWERS and not trails_off(sentence)


def is_drawn_out(sentence: LastSentence) -> bool:
    """As in "yes...", which may be the answer or its beginning."""
    return sentence.phrase in words.SHORT_ANSWERS


def is_command(sentence: LastSentence) -> bool:
    return sentence.phrase in words.SHORT_COMMANDS


def dictates(found: Dictation) -> Predicate:
    return lambda sentence: dictation(sentence.tokens) is found


def ends_in_connective(sentence: LastSentence) -> bool:
    """As in "a coffee and", "and then, so", but not "I think so" and not "who is that?"."""
    if sentence.last == "so":
        return sentence.before not in words.ENDING_SO
    if sentence.last == "that" and asks(sentence) and sentence.text.endswith("?"):
        return False
    return sentence.last in words.NEVER_LAST or sentence.phrase.endswith(words.NEVER_LAST_PHRASES)


def ends_in_adjective(sentence: LastSentence) -> bool:
    """As in "Delete the last", "it's a new"."""
    return sentence.last in words.HALF_NOUN_PHRASES and sentence.before in words.DETERMINERS


def ends_in_then(sentence: LastSentence) -> bool:
    """As in "Turn left, then", but not "until then"."""
    return sentence.last == "then" and sentence.before not in words.THEN_AFTER


def ends_in_wh_word(sentence: LastSentence) -> bool:
    """As in "Could you explain what", but not "so what?"."""
    return sentence.last in words.WH_WORDS and len(sentence.tokens) >= 3


def ends_in_subject(sentence: LastSentence) -> bool:
    """As in "And then we", but not "who are they?"."""
    return sentence.last in words.SUBJECTS and sentence.before not in words.BE_FORMS


def ends_in_preposition(sentence: LastSentence) -> bool:
    """As in "A table for", but not "who is it for?" and not "turn the light on"."""
    if sentence.last not in words.PREPOSITIONS:
        return False
    stranding = sentence.before in words.STRANDING or sentence.before.endswith("ing")
    particle = sentence.last in words.PARTICLES and not words.PHRASAL_VERBS.isdisjoint(
        sentence.tokens
    )
    return not (particle or (stranding and words.has_gap(sentence.tokens)))


def ends_in_auxiliary(sentence: LastSentence) -> bool:
    """As in "The weather is", but not "I know where it is" and not "yes I do"."""
    if sentence.last not in words.AUXILIARIES:
        return False
    whole_answer = len(sentence.tokens) <= 4 and words.lead(sentence.tokens) in words.ANSWERING
    embedded = words.has_gap(sentence.tokens) and (
        not asks(sentence) or asks_for_a_saying(sentence)
    )
    return not (whole_answer or embedded)


def asks_for_a_saying(sentence: LastSentence) -> bool:
    """As in "what did you say the price was", "how old do you think she is"."""
    return not words.SAYING.isdisjoint(sentence.tokens[2:-2])


def lacks_object(sentence: LastSentence) -> bool:
    """As in "I'd like to book" and "can you tell me", but not "that's what I want"."""
    asked = words.modal_place(sentence.tokens) == 0 and not _may_be_noun(sentence)
    verb = sentence.last in words.TRANSITIVE and (sentence.before in words.BEFORE_VERB or asked)
    receiver = sentence.last == "me" and sentence.before in words.DITRANSITIVE
    doer = sentence.before == "who" and sentence.last in words.TRANSITIVE_PAST
    return doer or ((verb or receiver) and not words.has_gap(sentence.tokens))


def _may_be_noun(sentence: LastSentence) -> bool:
    """As in "could you recommend a good book"."""
    return sentence.last in words.NOUNS_TOO and not words.DETERMINERS.isdisjoint(
        sentence.tokens[-3:-1]
    )


def opens_a_request(sentence: LastSentence) -> bool:
    return sentence.phrase in words.OPENERS


def opens_clause(sentence: LastSentence) -> bool:
    """As in "when I press the button", which is not a question."""
    first = sentence.tokens[:2]
    return len(first) == 2 and first[0] in words.TEMPORAL and first[1] in words.PRONOUNS


def has_only_condition(sentence: LastSentence) -> bool:
    """As in "If it rains tomorrow" without a main clause."""
    opens = (
        words.lead(sentence.tokens) in words.CONDITIONS
        or opens_clause(sentence)
        or sentence.phrase.startswith(words.CONDITION_PHRASES)
    )
    short = len(sentence.tokens) <= words.CONDITION_WORDS
    return opens and short and "," not in sentence.text and not sentence.text.endswith("?")


def lists_on(sentence: LastSentence) -> bool:
    """As in "Milk, eggs, bread": short items without the "and" that announces the last one."""
    items = [item.split() for item in sentence.text.rstrip(".!?").split(",")]
    short = [item for item in items[1:] if 1 <= len(item) <= 3]
    if not short or len(short) != len(items) - 1 or sentence.text.endswith("?"):
        return False
    said = [" ".join(item).lower() for item in short]
    closes = any(item[0].lower() in ("and", "or", "but", "so", "then") for item in short)
    asides = any(item in words.ASIDES for item in said)
    begins_aside = " ".join(items[0]).lower() in words.ASIDES
    return not (closes or " and " in said[-1] or asides or begins_aside) and len(short) >= 2


def ends_politely(sentence: LastSentence) -> bool:
    return sentence.last in words.POLITE and len(sentence.tokens) >= 3


def hesitant(sentence: LastSentence) -> bool:
    seconds = sentence.seconds_of_speech
    if seconds is None or seconds < HESITANT_SECONDS:
        return False
    return len(sentence.tokens) / seconds < HESITANT_RATE


def lacks_verb(sentence: LastSentence) -> bool:
    """As in "When does the next train?", which Whisper writes as a question without its verb."""
    begin = words.modal_place(sentence.tokens)
    if begin is None or not sentence.text.endswith("?") or is_whole_yes_no_question(sentence):
        return False
    return words.VERBS.isdisjoint(sentence.tokens[begin + 1 :])


def is_short_question(sentence: LastSentence) -> bool:
    """As in "Do penguins fly?", "Is it raining?", which has all that a question needs."""
    short = len(sentence.tokens) < words.WHOLE_QUESTION
    return short and sentence.last not in words.INDEFINITE and is_whole_yes_no_question(sentence)


def is_open_question(sentence: LastSentence) -> bool:
    """As in "do you have anything?", where "cheaper" may follow, and "is there a pharmacy?".

    Whisper writes a question mark after any beginning of a question without a wh-word, so that
    a short one may be incomplete.
    """
    if not sentence.text.endswith("?") or sentence.last in words.TIMES | words.CLOSING:
        return False
    short = len(sentence.tokens) < words.WHOLE_QUESTION and not asks(sentence)
    return short or sentence.last in words.INDEFINITE


def is_long_question(sentence: LastSentence) -> bool:
    return sentence.text.endswith("?") and len(sentence.tokens) >= LONG_QUESTION


def is_question(sentence: LastSentence) -> bool:
    return sentence.text.endswith("?") and len(sentence.tokens) >= 3


def is_question_by_form(sentence: LastSentence) -> bool:
    inverted = words.lead(sentence.tokens) in words.ASKING_VERBS
    return (
        (asks(sentence) or inverted)
        and not opens_clause(sentence)
        and len(sentence.tokens) >= 4
        and sentence.text.endswith((".", "!"))
    )


def is_full_command(sentence: LastSentence) -> bool:
    imperative = words.lead(sentence.tokens) in words.IMPERATIVES
    dangles = sentence.last in words.DANGLING or may_be_misheard(sentence)
    whole = len(sentence.tokens) >= 4 and sentence.text.endswith((".", "!"))
    return imperative and whole and not dangles


def begins_a_request(sentence: LastSentence) -> bool:
    """As in "and what is it?", "set a timer", but not "no, what is it?" and not "of France?"."""
    corrects = sentence.tokens[:1] in (("no",), ("or",), ("sorry",), ("wait",), ("actually",))
    lead = words.lead(sentence.tokens)
    asks_or_tells = lead in words.WH_WORDS | words.IMPERATIVES or lead in words.ASKING_VERBS
    return asks_or_tells and not corrects


def ends_in_closing_word(sentence: LastSentence) -> bool:
    """As in "I have never seen it"."""
    closes = sentence.last in words.CLOSING and not may_be_misheard(sentence)
    return closes and len(sentence.tokens) >= 3 and sentence.text.endswith((".", "!"))


def may_be_misheard(sentence: LastSentence) -> bool:
    """As in "a table for it": at a cut Whisper writes a small word for the sound that follows."""
    small = sentence.last in words.CLOSING or sentence.last in words.SMALL_WORDS
    return small and sentence.before in words.PREPOSITIONS


def is_misheard_request(sentence: LastSentence) -> bool:
    """As in "I'd like to book a table for him", where "um" was said instead of "him".

    "Remind me tomorrow, too" is "to" before a pause.
    """
    if sentence.last == "too" and words.lead(sentence.tokens) in ("remind", "ask", "tell"):
        return True
    asked = words.has_gap(sentence.tokens) or len(sentence.tokens) < 4
    return may_be_misheard(sentence) and not asked


def gives_only_a_reason(sentence: LastSentence) -> bool:
    """As in "Because my car broke down": an answer to "why?", or the beginning of a sentence."""
    short = 3 <= len(sentence.tokens) <= words.CONDITION_WORDS
    return words.lead(sentence.tokens) == "because" and short and "," not in sentence.text
