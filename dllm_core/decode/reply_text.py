"""Turns final tokens into text that may be spoken: whole characters, whole sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dllm_core.decode.stats import Ending
from dllm_core.model.tokenizer import Tokenizer

_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*(?=\s)")
_LAST_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*$")


class ReplyDetokenizer:
    """Collects final tokens and releases their text from left to right.

    The first sentence is released as it comes, so that speech can begin early. Every later
    one is released whole: there is time while the first is spoken, and a reply that hits its
    bound can then end with a sentence.

    Attributes:
        text: all text released so far.
        ids: all ids pushed so far.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._stream = tokenizer.stream()
        self._held = ""
        self._in_first = True
        self.text = ""
        self.ids: list[int] = []

    def push(self, ids: Sequence[int]) -> str:
        """Add final ids; returns the text that they release, maybe empty."""
        self.ids.extend(ids)
        self._held += self._stream.push(ids)
        ends = [match.end() for match in _SENTENCE_END.finditer(self._held)]
        if not self._in_first:
            return self._release(ends[-1] if ends else 0)
        # The mark may have been released a token before the space that makes it an end.
        if ends or _SENTENCE_END.search(self.text[-3:] + self._held):
            self._in_first = False
            return self._release(ends[-1] if ends else 0)
        return self._release(len(self._held))

    def finish(self, *, complete: bool) -> tuple[str, Ending]:
        """Release or drop the text that is held; returns (released text, how the reply ended).

        `complete` says that the model ended the reply by itself.
        """
        if complete:
            return self._release(len(self._held)), "eos"
        if _LAST_SENTENCE_END.search(self._held.rstrip()):
            return self._release(len(self._held.rstrip())), "sentence"
        if not self._in_first or _LAST_SENTENCE_END.search(self.text):
            return "", "sentence"
        return self._release(len(self._held)), "length"

    def _release(self, length: int) -> str:
        piece, self._held = self._held[:length], self._held[length:]
        self.text += piece
        return piece
