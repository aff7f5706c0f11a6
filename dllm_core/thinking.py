"""Text between <think> and </think>, which is not part of a reply."""

from __future__ import annotations

import re

OPENING = ("<think>", "<thinking>", "<thought>", "<reasoning>", "<seed:think>", "[THINK]",
           "<|begin_of_thought|>", "<|START_THINKING|>", "◁think▷")  # fmt: skip
"""Tags, each often a token, that begin a chain of thought."""
CLOSING = ("</think>", "</thinking>", "</thought>", "</reasoning>", "</seed:think>", "[/THINK]",
           "<|end_of_thought|>", "<|END_THINKING|>", "◁/think▷")  # fmt: skip

_TAG = re.compile("|".join(map(re.escape, (*OPENING, *CLOSING))))
_LONGEST = max(map(len, (*OPENING, *CLOSING)))


class ThinkingFilter:
    """Removes chains of thought from a text that comes piece by piece.

    A piece that may be the beginning of a tag is held until it is decided. White space behind a
    chain of thought is removed, too.

    Attributes:
        thought: whether there was a tag so far.
    """

    def __init__(self) -> None:
        self.thought = False
        self._held = ""
        self._inside = False
        self._strips = False

    def push(self, text: str) -> str:
        """Add a piece; returns the text that is certainly part of the reply, maybe empty."""
        self._held += text
        said = ""
        while tag := _TAG.search(self._held):
            said += "" if self._inside else self._held[: tag.start()]
            self._held = self._held[tag.end() :]
            self._inside = tag[0] in OPENING
            self._strips = self.thought = True
        keep = _maybe_a_tag(self._held)
        rest = self._held[: len(self._held) - keep]
        self._held = self._held[len(rest) :]
        return self._spoken(said if self._inside else said + rest)

    def finish(self) -> str:
        """The text that was held at the end of the whole; what was being thought is dropped."""
        rest, self._held = self._held, ""
        return "" if self._inside else self._spoken(rest)

    def _spoken(self, text: str) -> str:
        if self._strips:
            text = text.lstrip()
            self._strips = not text
        return text


def _maybe_a_tag(text: str) -> int:
    """Length of the longest end of a text that a tag may begin with."""
    for length in range(min(_LONGEST - 1, len(text)), 0, -1):
        if any(tag.startswith(text[-length:]) for tag in (*OPENING, *CLOSING)):
            return length
    return 0


def closed(prompt: str) -> str:
    """A rendered prompt whose chain of thought, if its template opens one, is empty."""
    for tag, end in zip(OPENING, CLOSING, strict=True):
        if prompt.rstrip().endswith(tag):
            return f"{prompt.rstrip()}\n\n{end}\n\n"
    return prompt
