"""Plain text out of Markdown, with the place in the source of every character."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token

# Raw HTML, indented code and link definitions would swallow text that a reply means to be said.
_PARSER = (
    MarkdownIt("commonmark", {"html": False})
    .disable(["code", "reference"])
    .enable(["table", "strikethrough"])
)
_BLOCK_ENDS = ("paragraph_close", "heading_close", "tr_close")
_MATHS = re.compile(
    r"\$\$.{1,400}?\$\$|\\\[.{1,400}?\\\]|\\\(.{1,400}?\\\)"
    r"|(?<![\w$])\$(?=[^\s$])[^$\n]{0,200}?(?:\\[a-zA-Z]|\^|_\w|=)[^$\n]{0,200}?(?<=\S)\$(?!\w)",
    re.DOTALL,
)
_DELIMITER = re.compile(r"^(?:\$\$?|\\[\[(])|(?:\$\$?|\\[\])])$")
_POWER = re.compile(r"(?<=[\w)])\*\*(?=\d)|(?<=[\w)] )\*\*(?= \d)")
_TIMES = re.compile(
    r"(?<=\d)\*(?=[\d(])|(?<=\))\*(?=[\w(])|(?<=[\w)] )\\?\*(?= [\w(])"
    r"|(?<![A-Za-z])(?<=[A-Za-z])\*(?=[A-Za-z](?![A-Za-z]))"
)
_GREATER = re.compile(r"^ {0,3}>(?=\s?[$€£]?\d)", re.MULTILINE)
_HIGHLIGHT = re.compile(r"(?<![\w=])==(?=\w)([^=\n]{1,120})(?<=[\w.!?])==(?![\w=])")
_ESCAPE = re.compile(
    r"\\[nrt](?![A-Za-z])|\\n(?!(?:e|eq|eg|u|i|ot|abla|less|mid|leq|geq|exists|otin|subseteq|warrow|"
    r"earrow|ewline|olimits|onumber)\b)(?![A-Z])|\\n(?=[A-Z])"
)
"""A line break or tab that was escaped once too often; ``\\neq`` is LaTeX."""
_WINDOWS_PATH = re.compile(r"\b[A-Za-z]:\\|\\\\\w")
_KEYCAP = re.compile("(?<=[0-9#*])\ufe0f?\u20e3")
_KEPT_FORMS = ("<super>", "<sub>", "<fraction>", "<noBreak>")


class PlainText:
    """Text without markup; ``ends[i]`` is one past the place of ``text[i]`` in the source."""

    def __init__(self, source: str) -> None:
        self._source = source = _protected(source)
        self._cursor = 0
        self._chars: list[str] = []
        self.ends: list[int] = []
        for leaf in _leaves(_PARSER.parse(source)):
            self._add(leaf)
        self.text = "".join(self._chars).rstrip()

    def _add(self, leaf: str) -> None:
        """Append a leaf; Markdown gives no places, but leaves come in the order of the source."""
        found = self._source.find(leaf, self._cursor)
        if found >= 0:
            self._cursor = found
        for char in leaf:
            place = self._cursor if found >= 0 else self._source.find(char, self._cursor)
            if place >= 0:
                self._cursor = place + 1
            for plain in _plain(char):
                self._chars.append(plain)
                self.ends.append(self._cursor)


def _protected(source: str) -> str:
    """The source with its arithmetic out of Markdown's reach; every character keeps its place."""
    if "$" in source or "\\" in source:
        source = _MATHS.sub(lambda match: _undelimited(match.group()), source)
    if "*" in source:
        source = _TIMES.sub(lambda match: " ⋅"[-len(match.group()) :], _POWER.sub("^^", source))
    if "\\" in source and _WINDOWS_PATH.search(source) is None:
        source = _ESCAPE.sub(" \n", source)
    if "==" in source:
        source = _HIGHLIGHT.sub(lambda match: f"  {match[1]}  ", source)
    source = _GREATER.sub(lambda match: match.group()[:-1] + "＞", source)
    return _KEYCAP.sub(lambda match: " " * len(match.group()), source)


def _undelimited(maths: str) -> str:
    """A formula of LaTeX without the signs around it, which mean money or an escape elsewhere."""
    bare = _DELIMITER.sub(lambda match: " " * len(match.group()), maths)
    return (
        re.sub(r"\\[,;:! ]", "  ", bare.replace("\\\\", "  ")).replace("*", "⋅").replace("-", "−")
    )


def _plain(char: str) -> str:
    """The plain form of a compatibility character (full-width digits, ligatures, "℃").

    Superscripts, fractions and spaces that do not break stay: "10²" is not "102".
    """
    if char.isascii():
        return char
    form = unicodedata.decomposition(char).partition(" ")[0]
    if form in _KEPT_FORMS or char in "\u2009\u202f´`№":
        return char
    return unicodedata.normalize("NFKC", char)


def _leaves(tokens: list[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type == "inline":
            yield from _inline(token.children or [])
        elif token.type == "fence":
            yield token.content
        elif token.type == "list_item_open" and token.info:
            # "42." is a list of one item to Markdown, and an answer to the caller.
            yield f"{token.info}{token.markup}"
            yield " "
        elif token.type == "th_close" or token.type == "td_close":
            yield ", "
        elif token.type in _BLOCK_ENDS:
            yield "\n"


def _inline(tokens: list[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type in ("text", "code_inline"):
            yield token.content
        elif token.type == "image":
            yield from _inline(token.children or [])
        elif token.type in ("softbreak", "hardbreak"):
            yield " "
