"""Completeness of a turn by its words: rules for English transcripts as Whisper writes them.

People pause for 0.3 to 1.2 s inside a sentence: before a name, between groups of digits, after
"um". A fixed delay either cuts them off or makes every answer late. The words before the pause
tell the cases apart often enough to shorten the delay after a question and to lengthen it
after "and".

The first rule of `RULES` that fits decides. The rules read the last sentence only, and of a
long transcript its last 600 characters, so that their time is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from agent.turn_taking import english_rules as rules
from agent.turn_taking import half_phrases as halves
from agent.turn_taking.dictated_code import Dictation
from agent.turn_taking.last_sentence import last_sentence

LANGUAGE: Final = "en"
"""The language of the rules, by the code that Whisper uses."""
REQUESTING: Final = frozenset({"polite", "question", "question_form", "full_command"})
"""Rules that take a question, a command or a request for whole."""
DOUBTED_OF_QUESTIONS: Final = frozenset({"no_object", "no_verb"})
"""Rules that may take a noun for a verb ("a good book?"); for a long question they are unsure."""


class TurnVerdict(IntEnum):
    """The completeness of a turn's words; the higher, the sooner a reply may begin."""

    INCOMPLETE = 0
    UNSURE = 1
    COMPLETE = 2


@dataclass(frozen=True, slots=True)
class Completeness:
    """A verdict and the name of the rule that gave it.

    Attributes:
        verdict: how complete the words are.
        rule: the name of the rule.
        mark: the mark after the last word, as the recogniser wrote it: "." or "?"; empty for none.
    """

    verdict: TurnVerdict
    rule: str
    mark: str = field(default=".", compare=False)


def completeness(
    words: str, seconds_of_speech: float | None = None, language: str = LANGUAGE
) -> Completeness:
    """Judge the words of a turn at a pause.

    Args:
        words: the transcript of the turn so far.
        seconds_of_speech: from the first to the last speech of the turn, if known; a caller who
            speaks haltingly gets fewer verdicts of COMPLETE.
        language: the language of the words, by the code that Whisper uses; the verdict on
            other languages than English is UNSURE.
    """
    if language != LANGUAGE:
        return Completeness(TurnVerdict.UNSURE, "other_language")
    sentence = last_sentence(words, seconds_of_speech)
    mark = sentence.text[-1:] if sentence.text[-1:] in (".", "?", "!") else ""
    for rule, verdict, fits in RULES:
        if fits(sentence):
            doubt = rules.is_long_question(sentence) and (
                rule in DOUBTED_OF_QUESTIONS
                or (rule == "preposition" and sentence.last in rules.PARTICLES)
            )
            return Completeness(TurnVerdict.UNSURE if doubt else verdict, rule, mark)
    return Completeness(TurnVerdict.UNSURE, "statement", mark)


def is_whole_request(words: str, language: str = LANGUAGE) -> bool:
    """Whether the words are a question or command that is whole by itself: "Who wrote it?".

    Words that may continue or correct the sentence before them ("of France?", "I mean Italy")
    are not, even where a rule takes them for a whole sentence.
    """
    found = completeness(words, language=language)
    sentence = last_sentence(words, None)
    if found.verdict is not TurnVerdict.COMPLETE or found.rule not in REQUESTING:
        return False
    return rules.begins_a_request(sentence)


RULES: Final[tuple[tuple[str, TurnVerdict, rules.Predicate], ...]] = (
    ("no_words", TurnVerdict.UNSURE, lambda sentence: not sentence.tokens),
    ("short_answer", TurnVerdict.COMPLETE, rules.is_short_answer),
    ("drawn_out", TurnVerdict.UNSURE, rules.is_drawn_out),
    ("command", TurnVerdict.COMPLETE, rules.is_command),
    ("hesitation", TurnVerdict.INCOMPLETE, rules.hesitates),
    ("correction", TurnVerdict.INCOMPLETE, rules.corrects),
    ("announcement", TurnVerdict.INCOMPLETE, rules.announces),
    ("dictation_done", TurnVerdict.COMPLETE, rules.dictates(Dictation.DONE)),
    ("dictation_open", TurnVerdict.INCOMPLETE, rules.dictates(Dictation.OPEN)),
    ("dictation_maybe", TurnVerdict.UNSURE, rules.dictates(Dictation.MAYBE)),
    ("trails_off", TurnVerdict.INCOMPLETE, rules.trails_off),
    ("opener", TurnVerdict.INCOMPLETE, rules.opens_a_request),
    ("connective", TurnVerdict.INCOMPLETE, rules.ends_in_connective),
    ("adjective", TurnVerdict.INCOMPLETE, rules.ends_in_adjective),
    ("then", TurnVerdict.INCOMPLETE, rules.ends_in_then),
    ("wh_word", TurnVerdict.INCOMPLETE, rules.ends_in_wh_word),
    ("subject", TurnVerdict.INCOMPLETE, rules.ends_in_subject),
    ("preposition", TurnVerdict.INCOMPLETE, rules.ends_in_preposition),
    ("half_name", TurnVerdict.INCOMPLETE, halves.ends_in_half_name),
    ("half_time", TurnVerdict.INCOMPLETE, halves.ends_in_half_time),
    ("negation", TurnVerdict.INCOMPLETE, halves.ends_in_negation),
    ("quantifier", TurnVerdict.INCOMPLETE, halves.ends_in_quantifier),
    ("bare_adjective", TurnVerdict.INCOMPLETE, halves.ends_in_bare_adjective),
    ("second_of_pair", TurnVerdict.INCOMPLETE, halves.lacks_second_of_pair),
    ("auxiliary", TurnVerdict.INCOMPLETE, rules.ends_in_auxiliary),
    ("half_clause", TurnVerdict.INCOMPLETE, halves.ends_in_half_clause),
    ("no_object", TurnVerdict.INCOMPLETE, rules.lacks_object),
    ("no_verb", TurnVerdict.INCOMPLETE, rules.lacks_verb),
    ("condition", TurnVerdict.INCOMPLETE, rules.has_only_condition),
    ("open_list", TurnVerdict.INCOMPLETE, rules.lists_on),
    ("half_clause_maybe", TurnVerdict.UNSURE, halves.may_end_in_half_clause),
    ("reason", TurnVerdict.UNSURE, rules.gives_only_a_reason),
    ("hour", TurnVerdict.UNSURE, halves.ends_in_hour),
    ("bare_number", TurnVerdict.UNSURE, halves.ends_in_bare_number),
    ("destination", TurnVerdict.UNSURE, halves.lacks_destination),
    ("misheard", TurnVerdict.UNSURE, rules.is_misheard_request),
    ("hesitant", TurnVerdict.UNSURE, rules.hesitant),
    ("polite", TurnVerdict.COMPLETE, rules.ends_politely),
    ("short_question", TurnVerdict.UNSURE, rules.is_short_question),
    ("open_question", TurnVerdict.UNSURE, rules.is_open_question),
    ("question", TurnVerdict.COMPLETE, rules.is_question),
    ("question_form", TurnVerdict.COMPLETE, rules.is_question_by_form),
    ("full_command", TurnVerdict.COMPLETE, rules.is_full_command),
    ("closing_word", TurnVerdict.COMPLETE, rules.ends_in_closing_word),
)
"""The rules in order: name, verdict, condition. The first whose condition holds decides."""
