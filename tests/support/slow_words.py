"""A responder for replicas: repeats words, slowly where it is asked to."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from agent.reply import Message, ReplyPiece, ReplyText
from agent.responders.scripted import ScriptedCall, ScriptedResponder

STEP_SECONDS = 0.1


class SlowWords(ScriptedResponder):
    """Takes a tenth of a second for each word of a prompt that begins with ``slowly``."""

    def __init__(self) -> None:
        super().__init__(lambda words: words, steps=100)

    def open(self) -> ScriptedCall:
        return _SlowCall(self)


class _SlowCall(ScriptedCall):
    def reply_with(self, messages: Sequence[Message], *rest: object) -> Iterator[ReplyPiece]:  # type: ignore[override]
        slow = messages[-1].content.startswith("slowly")
        for piece in super().reply_with(messages, *rest):  # type: ignore[arg-type]
            if slow and isinstance(piece, ReplyText):
                time.sleep(STEP_SECONDS)
            yield piece
