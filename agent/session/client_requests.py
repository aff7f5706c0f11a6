"""The requests of the client: items to create and delete, words that it types, replies it wants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from agent.session.commands import Command
from agent.session.conversation import Conversation
from agent.session.decisions import Decisions
from agent.session.events import CreateItem, DeleteItem, RespondNow, TextTyped
from agent.session.items import Items, Unplaced
from agent.session.lifecycle import Lifecycle
from agent.session.notices import Remark, Trouble
from agent.session.pending_reply import PendingReply
from agent.session.replies import Replies
from agent.session.tool_calls import ToolCalls
from agent.session.turns import MAX_UNTRANSCRIBED, Turns
from agent.session.user_turn import UserTurn


@dataclass(slots=True)
class ClientRequests:
    """Carries out the requests of the client of one call."""

    conversation: Conversation
    user_turn: UserTurn
    turns: Turns
    replies: Replies
    items: Items
    lifecycle: Lifecycle
    pending_reply: PendingReply
    tool_calls: ToolCalls
    decisions: Decisions

    def type_text(self, event: TextTyped, now: float) -> Iterator[Command]:
        """Add a typed message of the caller."""
        self.lifecycle.caller_spoke()
        yield from self._add(self.items.type_text(event), now)

    def _add(self, commands: Iterator[Command], now: float) -> Iterator[Command]:
        """Add typed words to the conversation, and decide about them."""
        before = self.conversation.turns[-1] if self.conversation.turns else None
        yield from commands
        newest = self.conversation.turns[-1] if self.conversation.turns else None
        if newest is not None and newest is not before and not newest.spoken:
            yield from self.decisions.turn_over(newest, now)

    def create_item(self, event: CreateItem, now: float) -> Iterator[Command]:
        """Add an item of the client's; it may be words of the caller, or a function's output."""
        sound = event.item.sound is not None
        if sound and len(self.user_turn.closed) >= MAX_UNTRANSCRIBED:
            message = f"{MAX_UNTRANSCRIBED} turns wait for their words already; try again later"
            yield Trouble("too_many_turns", message, param="item")
            return
        if event.item.left_out:
            yield Remark("content_ignored", "left out: " + "; ".join(event.item.left_out))
        self.lifecycle.caller_spoke()
        yield from self._add(self.items.create(event), now)
        call = self.conversation.call(event.item.call_id)
        if call is not None and call.run_by == "client" and call.output is not None:
            yield from self.tool_calls.answered(event.item.call_id, now)

    def delete_item(self, event: DeleteItem, now: float) -> Iterator[Command]:
        """Take an item out of the conversation; a reply that is being played ends."""
        current = self.replies.current
        if current is not None and event.item_id in current.shown_ids:
            yield from self.replies.stop(now, "client_cancelled")
        yield from self.items.delete(event)

    def respond(self, event: RespondNow, now: float) -> Iterator[Command]:
        """Take the client's request for a reply."""
        if self.turns.transcription_only:
            message = "this session only transcribes; open one of type realtime for replies"
            yield Trouble("invalid_value", message, param="type")
            return
        if event.ignored:
            yield Remark("settings_ignored", "not applied: " + "; ".join(event.ignored))
            event = replace(event, ignored=())
        try:
            if event.items is not None:
                context = self.items.conversation_of(event.items).messages()[1:]
                event = replace(event, items=None, context=context)
        except Unplaced as error:
            yield error.trouble
            return
        yield from self.pending_reply.ask(event, now)
