"""Speech to others: words that the caller says to somebody beside him, and not to the agent.

A responder's head says how likely that is; English rules know vocatives ("honey, ...") and
remarks about a visitor or another call. A caller who says the same again means the agent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from agent.reply import TurnEnding
from agent.turn_taking.completeness import LANGUAGE

BY_RULE: Final = 0.9
"""Probability of speech to others where a rule takes the words for it."""
SURE: Final = 0.85
"""Probability from which on words to others get no reply."""
DOUBT: Final = 0.65
"""Probability from which on a reply waits until the caller has had time to go on; docs/turns.md has
the reliability."""
MAX_CHARACTERS: Final = 160
"""Characters of words beyond which no rule takes them for a remark to others."""
REPEATED: Final = 0.5
"""Share of words in common from which on the caller has said the same again."""

_LOVED: Final = (
    r"(?:my )?(?:honey|darling|dear|sweetie|sweetheart|babe|baby|love|kids|kiddo|mom|mommy|mum"
    r"|mummy|dad|daddy|grandma|grandpa)"
)
_REMARKS: Final = (
    r"\b(?:i'm|i am) (?:just |still )?on (?:the phone|a call|another call|the line)\b"
    r"|\b(?:somebody|someone|there)(?:'s| is) (?:somebody |someone )?at the door\b"
    r"|\b(?:not you|i (?:wasn't|was not|am not) talking to you|i'm not talking to you)\b"
)
_LITTLE_MORE: Final = r"[^.!?]*(?:[.!?]+ ?(?:[\w',]+(?: |(?=[.!?]|$))){0,4}[.!?]*)?$"
"""The end of the sentence and up to four words: a longer one after a remark is to the agent."""
_TO_BODIES: Final = (
    r"^(?:(?:hey|no|oh|okay|come on),? )*(?:(?:sit|lie|get|come) down|sit still|sit(?=, )"
    r"|get off(?: there| (?:the|my) \w+)?|come (?:here|inside)|go (?:outside|to (?:bed|your room))"
    r"|(?:hands|paws) off)(?:,|[.!?]*$| (?:good|now|please)\b)"
    r"|^(?:pass|hand) me (?:the|that|your|my)\b"
)
"""What only somebody with a body can do."""
_PLACES: Final = (
    r"(?:table|desk|floor|chair|couch|sofa|counter|shelf|stove|bed|sink|fridge|drawer|cupboard"
    r"|closet|basket|trash|bin|sideboard|windowsill)"
)
_TO_HANDS: Final = (
    r"(?:^|[,.!] ?)(?:(?:no|yes|okay|just|please|and),? )*put (?:it|that|this|them|those|the \w+) "
    rf"(?:back |down )?(?:on|in|into|under|by) (?:the|my|your) {_PLACES}(?:, please)?[.!]*$"
)
"""A thing to be put on the furniture; "put it on the calendar" and "in the oven for an hour" are to
the agent."""
_TO_PETS: Final = r"(?:^|[,.!] ?)(?:good|bad) (?:boy|girl|dog|kitty)[.!]*$"
_TO_OTHERS: Final = re.compile(
    rf"^(?:(?:hey|oh|yes|no|okay|ok|sorry|wait|hold on|not now) ?,? )?{_LOVED}(?:,|[.!?]*$)"
    rf"|^{_LOVED} (?:can|could|would|will|did|do|have|are|were)(?: you\b|$)"
    rf"|(?:{_REMARKS}){_LITTLE_MORE}|{_TO_PETS}|{_TO_BODIES}|{_TO_HANDS}"
)


def speaks_to_others(words: str) -> bool:
    """Whether a rule takes English words for speech to somebody beside the caller.

    "Honey, pass me the salt" is, and so are "honey can you", as a recogniser writes its beginning,
    and "sit down", which asks for a body; "honey and lemon, please" and "call my mom" are not.
    """
    if len(words) > MAX_CHARACTERS:
        return False
    return _TO_OTHERS.search(words.lower().replace("’", "'")) is not None


def others_probability(
    words: str, ending: TurnEnding | None = None, language: str = LANGUAGE
) -> float:
    """Probability from 0 to 1 that the words of a turn are not meant for the agent.

    Args:
        words: transcript of the turn.
        ending: the head's probabilities; None where the responder has no head.
        language: of the words, by its ISO 639-1 code; the rules know English only.
    """
    by_rule = BY_RULE if language == LANGUAGE and speaks_to_others(words) else 0.0
    return max(by_rule, 0.0 if ending is None else ending.aside)


@dataclass(slots=True)
class Addressee:
    """Decides for each turn of a call whether the agent was addressed.

    Attributes:
        left: words of the last turn that was taken for speech to others.
    """

    left: str = ""

    def is_agent(self, words: str, probability: float) -> bool:
        """Whether a finished turn is meant for the agent.

        Args:
            words: transcript of the turn.
            probability: that it is not, by `others_probability`.
        """
        if probability < SURE or self._again(words):
            self.left = ""
            return True
        self.left = words
        return False

    def _again(self, words: str) -> bool:
        before, now = (set(re.findall(r"\w+", text.lower())) for text in (self.left, words))
        return bool(before) and len(before & now) >= REPEATED * len(before | now)
