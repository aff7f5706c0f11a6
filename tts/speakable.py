"""Written text to text that a voice can say, with the way back from a spoken word to the source."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import emoji
from babel import Locale, UnknownLocaleError

from tts.english.rules import grammar as english_grammar
from tts.grammar import Expression, Grammar
from tts.lexicon import EMPTY, Lexicon, WithLexicon
from tts.markup import PlainText
from tts.scripts import in_script, script_of, unspeakable
from tts.verbalize import CldrGrammar, can_say_numbers

_MARKS = ",:;.!?"
"""From weak to strong: of several in a row, the strongest is spoken."""
_KEPT = frozenset(_MARKS + "'- ")
_APOSTROPHES = "’ʼ`‘"
_PAUSE = re.compile(r"\.{2,}|…|[–—]|(?<=\s)-+(?=\s)|\n|[()\[\]{}|]|[。、]")
_PAUSES = {"。": ".", "\n": "."}
"""Every other pause is a comma."""
_WORD_OR_MARKS = re.compile(rf"[^\s{_MARKS}]+|[{_MARKS}]+")


@dataclass(frozen=True, slots=True)
class Speakable:
    """Text in letters, apostrophes, hyphens and the marks ``, : ; . ! ?`` only.

    Attributes:
        source: the written text.
        words: the spoken words.
        ends: for each spoken word, the number of characters of the source that have been said when
            it ends; never falls.
        skipped: number of letters in scripts that the language's voices cannot speak; they are left
            out.
    """

    source: str
    words: tuple[str, ...]
    ends: tuple[int, ...]
    skipped: int = 0

    @property
    def text(self) -> str:
        """The text for ``Synthesizer.speak``; its words are ``words``."""
        return " ".join(self.words)

    def heard(self, count: int) -> str:
        """The prefix of the source that the first ``count`` spoken words say.

        A number of several words counts once its last word is spoken.
        """
        if count <= 0 or not self.words:
            return ""
        return self.source if count >= len(self.words) else self.source[: self.ends[count - 1]]


def speakable(
    text: str, language: str = "en", *, before: str = "", lexicon: Lexicon = EMPTY
) -> Speakable:
    """Make any text speakable: no markup, emoji or symbols; numbers, units, addresses in words.

    Args:
        text: anything; no string raises.
        language: a tag such as ``en`` or ``pt_BR``. English has rules for every class of
            expression (``en_GB`` reads 3/4/2024 as the third of April); other languages have those
            of CLDR and num2words, and symbols without a name are left out.
        before: text that was spoken just before; it decides on what a number is and is not said.
        lexicon: the user's own words, which come before all rules.

    Raises:
        ValueError: the language is unknown, or num2words cannot say every number in it.
    """
    try:
        locale = Locale.parse(language.replace("-", "_"))
    except (UnknownLocaleError, ValueError) as error:
        raise ValueError(f"unknown language {language!r}; use a tag such as en or pt_BR") from error
    if not can_say_numbers(locale):
        raise ValueError(f"no number words for {language!r}; use a language that num2words has")
    grammar = _grammar_of(locale)
    return _Speaker(
        text, WithLexicon(grammar, lexicon) if lexicon else grammar, locale, before
    ).run()


_CONTEXT = 80
"""Characters before a text that can decide on its first expression."""


class _Speaker:
    """One pass over a text from left to right, into characters that know their place."""

    def __init__(self, source: str, grammar: Grammar, locale: Locale, before: str) -> None:
        self._source = source
        self._grammar = grammar
        self._script = script_of(locale)
        plain = PlainText(source)
        context = re.sub(r"[*_`]", "", before[-_CONTEXT:]) if plain.text else ""
        self._start = len(context)
        self._text = context + plain.text
        self._places = [0] * len(context) + plain.ends
        self._chars: list[str] = []
        self._ends: list[int] = []

    def run(self) -> Speakable:
        """Replace, then collect the words; marks attach to the word before them."""
        self._replace(_without_emoji(self._text))
        words: list[str] = []
        ends: list[int] = []
        for match in _WORD_OR_MARKS.finditer("".join(self._chars)):
            end = self._ends[match.end() - 1]
            token = match.group().strip("'-")
            if any(map(str.isalpha, token)):
                words.append(token)
                ends.append(end)
            elif token and token[0] in _MARKS and words:
                word, mark = _split_mark(words[-1])
                words[-1] = word + max(mark + token, key=_MARKS.index)
                ends[-1] = end
        skipped = unspeakable(self._source, self._script) if self._script else 0
        return Speakable(self._source, tuple(words), tuple(ends), skipped)

    def _replace(self, text: str) -> None:
        position = self._start
        for found in self._grammar.find(text, position):
            self._copy(text, position, found.start)
            self._insert(found)
            position = found.end
        self._copy(text, position, len(text))

    def _insert(self, found: Expression) -> None:
        """Add the words of an expression; those of a part count once its last word is spoken."""
        before = self._places[found.start - 1] if found.start else 0
        for part in found.parts:
            head, _, last = part.words.strip().rpartition(" ")
            end = self._places[part.end - 1]
            self._add(f" {head} ", before)
            self._add(last, end)
            if part.end < found.end or self._text[part.end : part.end + 1].isalnum():
                self._add(" ", end)
            before = end

    def _copy(self, text: str, start: int, stop: int) -> None:
        """Add text that is no expression: pauses become commas, symbols their names."""
        position = start
        for match in _PAUSE.finditer(text, start, stop):
            self._copy_word_chars(text, position, match.start())
            self._add(_PAUSES.get(match.group(), ","), self._places[match.end() - 1])
            position = match.end()
        self._copy_word_chars(text, position, stop)

    def _copy_word_chars(self, text: str, start: int, stop: int) -> None:
        for index in range(start, stop):
            char = text[index]
            if not char.isascii() or not (char.isalpha() or char in _KEPT):
                char = self._character(char)
            self._add(char, self._places[index])

    def _character(self, char: str) -> str:
        """A character as it may be said, a symbol as its name, the rest as a gap."""
        if char in _APOSTROPHES:
            return "'"
        if name := self._grammar.symbol(char):
            return f" {name} "
        if unicodedata.category(char)[0] in "LM":
            return char if in_script(char, self._script) else " "
        return " "

    def _add(self, chars: str, end: int) -> None:
        self._chars += chars
        self._ends += [end] * len(chars)


def _split_mark(word: str) -> tuple[str, str]:
    return (word[:-1], word[-1]) if word[-1] in _MARKS else (word, "")


def _without_emoji(text: str) -> str:
    """Emoji become gaps of the same length, so that every other character keeps its place."""
    if text.isascii():
        return text
    for found in emoji.emoji_list(text):
        start, end = found["match_start"], found["match_end"]
        text = text[:start] + " " * (end - start) + text[end:]
    return text


@lru_cache(maxsize=64)
def _grammar_of(locale: Locale) -> Grammar:
    if locale.language == "en":
        return english_grammar(day_first=locale.territory not in (None, "US", "PH", "CA"))
    return CldrGrammar(locale)
