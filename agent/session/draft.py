"""The draft of a reply: speculative, made in a pause, used only if the turn ends there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.reply import Message, ToolArguments, ToolCall, ToolCallStarted
from agent.session.commands import Command, Speak
from agent.session.conversation import Turn
from agent.session.events import ReplyEvent
from agent.session.notices import CanvasShown
from agent.session.reply_in_flight import ReplyInFlight
from agent.session.reply_items import ReplyItems
from agent.session.reply_pieces import ReplyInput, take_piece, take_unshown
from agent.timing import Speculation, Stage


@dataclass(slots=True)
class Draft:
    """A speculative reply to the words before a pause: neither announced nor played.

    Attributes:
        messages: the prompt of the reply; it is used only if the turn ends with this prompt.
        held: the commands that are carried out when it is used.
        late: the pieces from the first call of a function on, which are taken when it is used.
    """

    reply: ReplyInFlight
    messages: tuple[Message, ...]
    held: list[Command] = field(default_factory=list)
    late: list[ReplyEvent] = field(default_factory=list)

    def take(self, event: ReplyInput, now: float) -> Iterator[Command]:
        """Take a piece of it; what a client would notice waits until the draft is used."""
        if isinstance(event, ReplyEvent) and self._defers(event):
            self.late.append(event)
            return
        for command in take_unshown(self.reply, event, now):
            # Only the first segment is synthesised ahead: the draft may be dropped.
            if isinstance(command, Speak) and command.segment == 0:
                yield command
            else:
                self.held.append(command)

    def _defers(self, event: ReplyEvent) -> bool:
        """Whether a piece waits until the draft is used: a call of a function, or a later one."""
        calls = isinstance(event.piece, ToolCallStarted | ToolArguments | ToolCall)
        return calls or bool(self.late)

    def give(self, items: ReplyItems, now: float) -> Iterator[Command]:
        """Let out its words and its sound: it is the current reply now."""
        if any(not isinstance(command, CanvasShown) for command in self.held):
            yield from items.show(self.reply)
        yield from self.held
        for event in self.late:
            yield from take_piece(self.reply, items, event, now)
        yield from self.reply.pump(now)


def note_speculation(reply: ReplyInFlight, turn: Turn, now: float, *, hit: bool) -> None:
    """Note in a reply to ``turn`` what the work ahead of the end of the turn was good for."""
    over = turn.timings.marks.get(Stage.TURN_END)
    if over is None or turn.asked_at is None:
        return
    tried = turn.revision + (turn.asked_at < over)
    if tried:
        saved = sum(span.before(over) for span in turn.work)
        saved += reply.busy(now) if hit else 0.0
        reply.speculation = Speculation(hit, tried, saved, turn.wasted)
