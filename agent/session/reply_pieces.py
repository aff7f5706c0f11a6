"""The pieces of a reply, from its text and its sound, as each is taken."""

from __future__ import annotations

from collections.abc import Iterator

from agent.reply import (
    CanvasStep,
    Prefilled,
    ReplyDone,
    ReplyText,
    ToolArguments,
    ToolCall,
    ToolCallStarted,
)
from agent.session.commands import Command
from agent.session.events import ReplyEvent, SegmentSpoken, SoundReady
from agent.session.notices import CanvasShown
from agent.session.reply_in_flight import ReplyInFlight
from agent.session.reply_items import ReplyItems
from agent.timing import Stage

MAX_REPLY = 4000
"""Characters of one reply, about four minutes of speech; a longer one fails."""
TOO_LONG = f"the reply has more than {MAX_REPLY} characters"

ReplyInput = ReplyEvent | SoundReady | SegmentSpoken


def take_piece(
    reply: ReplyInFlight, items: ReplyItems, event: ReplyInput, now: float
) -> Iterator[Command]:
    """Take a piece of a reply that the client knows of."""
    match event:
        case ReplyEvent(piece=ReplyText()):
            yield from items.show(reply)
        case ReplyEvent(piece=ToolCallStarted() as piece):
            yield from items.call_started(reply, piece)
        case ReplyEvent(piece=ToolArguments() as piece):
            yield from items.call_arguments(reply, piece)
        case ReplyEvent(piece=ToolCall() as piece):
            yield from items.call_complete(reply, piece, now)
        case ReplyEvent(piece=ReplyDone()) if not reply.entry.calls:
            yield from items.show(reply)
    yield from take_unshown(reply, event, now)


def take_unshown(reply: ReplyInFlight, event: ReplyInput, now: float) -> Iterator[Command]:
    """Take a piece of a reply without its items, of which a client is not told yet."""
    match event:
        case ReplyEvent(piece=Prefilled() as prompt):
            reply.prompt = prompt
            reply.reached(Stage.PROMPT, now)
        case ReplyEvent(piece=CanvasStep() as step):
            yield CanvasShown(reply.response_id, step)
        case ReplyEvent(piece=ReplyText(text)):
            yield from reply.text(text, now)
        case ReplyEvent(piece=ReplyDone() as done):
            yield from reply.complete(done, now)
        case SoundReady():
            yield from reply.sound(event, now)
        case SegmentSpoken():
            reply.segment_spoken(event)


def is_too_long(reply: ReplyInFlight, event: ReplyInput) -> bool:
    """Whether a piece makes its reply longer than replies may be."""
    if reply.generation != event.generation or not isinstance(event, ReplyEvent):
        return False
    text = event.piece
    return isinstance(text, ReplyText) and len(reply.entry.text) + len(text.text) > MAX_REPLY
