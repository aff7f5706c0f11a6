"""The last sentence of a turn so far, in the forms that the rules about its end ask for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_CHARACTERS: Final = 600
"""Characters at the end of the words that are looked at; a long sentence has 200."""


@dataclass(frozen=True, slots=True)
class LastSentence:
    """The last sentence of what was heard."""

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


_SENTENCE_END = re.compile(r"(?<=[.?!])[\"”’']?\s+")
_WORD = re.compile(r"[^\s,;:.!?…—–\"“”()\[\]*]+(?:[.@:,][^\s,;:.!?…—–\"“”()\[\]*]+)*@?")


def last_sentence(words: str, seconds_of_speech: float | None) -> LastSentence:
    """The last sentence of ``words``, or of the part of it that is looked at."""
    text = words[-MAX_CHARACTERS:].strip()
    sentences = _SENTENCE_END.split(text)
    last = sentences[-1]
    found = (word.strip("'’‘-♪").lower().replace("’", "'") for word in _WORD.findall(last))
    return LastSentence(last, tuple(filter(None, found)), seconds_of_speech)
