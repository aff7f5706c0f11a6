"""Lists of words, written as running text."""

from __future__ import annotations


def word_list(text: str) -> list[str]:
    """The words of ``text`` in order."""
    return text.split()


def words(text: str) -> frozenset[str]:
    """The set of the words of ``text``."""
    return frozenset(text.split())
