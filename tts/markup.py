"""Plain text out of Markdown, with the place in the source of every character."""

from __future__ import annotations

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


class PlainText:
    """Text without markup; ``ends[i]`` is one past the place of ``text[i]`` in the source."""

    def __init__(self, source: str) -> None:
        self._source = source
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
            # Compatibility forms (full-width digits, ligatures, "½") become what they stand for.
            for plain in unicodedata.normalize("NFKC", char):
                self._chars.append(plain)
                self.ends.append(self._cursor)


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
