"""The last sentence of a transcript, as text and as words, for the rules about its end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_CHARACTERS: Final = 600
"""Characters at the end of a transcript that are read; a long sentence has 200."""


@dataclass(frozen=True, slots=True)
class LastSentence:
    """The last sentence of a transcript.

    Attributes:
        text: the sentence as written, without the space around it.
        tokens: its words in lower case, without the punctuation around them.
        seconds_of_speech: from the first to the last speech of the turn, if known.
    """

    text: str
    tokens: tuple[str, ...]
    seconds_of_speech: float | None

    @property
    def last(self) -> str:
        """The last word; empty if there is none."""
        return self.tokens[-1] if self.tokens else ""

    @property
    def before(self) -> str:
        """The word before the last; empty if there is none."""
        return self.tokens[-2] if len(self.tokens) > 1 else ""

    @property
    def last_written(self) -> str:
        """The last word with its capitals; empty if there is none."""
        found = _WORD.findall(self.text)
        return found[-1].strip("'’‘-♪") if found else ""

    @property
    def phrase(self) -> str:
        """The words, separated by spaces."""
        return " ".join(self.tokens)


_SENTENCE_END = re.compile(
    r"(?<=[.?!])(?<!\bMr\.)(?<!\bMrs\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bSt\.)[\"”’']?\s+"
)
"""The gap between two sentences; a title such as "Mr." ends none."""
_WORD = re.compile(r"[^\s,;:.!?…—–\"“”()\[\]*]+(?:[.@:,][^\s,;:.!?…—–\"“”()\[\]*]+)*@?")


_LETTERS: Final = {
    **{"why": "Y", "you": "U", "are": "R", "oh": "O", "see": "C", "tea": "T", "be": "B"},
    **{"bee": "B", "eye": "I", "i": "I", "jay": "J", "kay": "K", "ex": "X", "pea": "P"},
    **{"queue": "Q", "gee": "G"},
}
"""Letters by the words that Whisper writes for them: "N-G-U. Why?"; none that answers by itself."""
_SPELLING: Final = re.compile(r"(?:\b[A-Za-z][-,. ]+)[A-Za-z]\b[.?!,]*$")
"""Two letters and more at the end of a sentence."""
_DIGITS: Final = re.compile(r"[\d+(][\d\s(),.-]*")
_DIGITS_BEFORE: Final = re.compile(r"\d[.,]?$")


_TAG: Final = re.compile(
    r"(?:is|are|was|were|do|does|did|have|has|had|can|could|will|would|should)(?P<denied>n't)?"
    r" (?P<subject>i|you|he|she|it|we|they)\?"
)


def _is_tag(before: str, last: str) -> bool:
    """Whether the last sentence asks for assent to the one before: "You're not human. Are you?"."""
    tag = _TAG.fullmatch(last.lower().replace("’", "'"))
    if tag is None or not before.endswith("."):
        return False
    subjects = ("it", "that", "this") if tag["subject"] == "it" else (tag["subject"],)
    first = re.split(r"[\s'’]", before.lower(), maxsplit=1)[0]
    return tag["denied"] is not None or first in subjects


def _joined(before: str, last: str) -> str:
    """The last sentence, with the one before it where both are one question or dictation.

    Whisper ends a sentence before "aren't you?" and between groups of digits: "It is 7-4. 9-9".
    """
    if _is_tag(before, last):
        return f"{before.rstrip('.')}, {last}"
    letter = _LETTERS.get(last.strip(".?!").lower())
    if letter is not None and _SPELLING.search(before):
        return f"{before.rstrip('.?!')} {letter}"
    if _DIGITS.fullmatch(last) and _DIGITS_BEFORE.search(before):
        return f"{before.rstrip('.')} {last}"
    return last


def last_sentence(words: str, seconds_of_speech: float | None) -> LastSentence:
    """The last sentence of the transcript ``words``, cut to `MAX_CHARACTERS` at its end."""
    text = words[-MAX_CHARACTERS:].strip()
    sentences = _SENTENCE_END.split(text)
    last = sentences[-1]
    for before in reversed(sentences[:-1]):
        joined = _joined(before, last)
        if joined == last:
            break
        last = joined
    found = (word.strip("'’‘-♪").lower().replace("’", "'") for word in _WORD.findall(last))
    return LastSentence(last, tuple(filter(None, found)), seconds_of_speech)
