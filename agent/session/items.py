"""Items of the conversation as the client creates, sees and deletes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.reply import ToolCall
from agent.session.commands import Command, DecodeFinal, FeedRecogniser
from agent.session.conversation import AgentReply, Conversation, FunctionCall, Turn
from agent.session.events import ClientItem, CreateItem, DeleteItem, RetrieveItem, TextTyped
from agent.session.ids import Ids
from agent.session.notices import (
    Item,
    ItemAccepted,
    ItemDeleted,
    ItemRetrieved,
    TextAccepted,
    Trouble,
)
from agent.session.user_turn import UserTurn


class Unplaced(Exception):
    """An item cannot be created; ``trouble`` is the error for the client."""

    def __init__(self, code: str, message: str, param: str) -> None:
        super().__init__(message)
        self.trouble = Trouble(code, message, param=param)


@dataclass(slots=True)
class Items:
    """The items of one call's conversation."""

    conversation: Conversation
    user_turn: UserTurn
    ids: Ids

    def create(self, event: CreateItem) -> Iterator[Command]:
        """Add an item of the client's, or tell it why not."""
        try:
            yield from self._created(event)
        except Unplaced as error:
            yield error.trouble

    def type_text(self, event: TextTyped) -> Iterator[Command]:
        """Add a typed message of the caller."""
        return self.create(CreateItem(ClientItem(item_id=event.item_id, text=event.text)))

    def _created(self, event: CreateItem) -> Iterator[Command]:
        item = event.item
        if item.item_id is not None and self.ids.taken(item.item_id):
            message = f"there is an item {item.item_id} already; choose another id"
            raise Unplaced("item_create_duplicate_item_id", message, "item.id")
        if item.kind == "function_call_output":
            yield from self._answer_call(item)
            return
        turn = self._turn_of(item)
        try:
            before = self.conversation.place(turn, event.previous)
        except KeyError:
            message = f"there is no item {event.previous}, which the new item should follow"
            raise Unplaced(
                "item_create_invalid_previous_item_id", message, "previous_item_id"
            ) from None
        shown = self.find(turn.item_ids[-1])
        assert shown is not None
        if item.kind == "message" and item.role == "user" and item.sound is None:
            yield TextAccepted(turn.item_id, before, turn.transcript)
        else:
            yield ItemAccepted(shown, before)
        if item.sound is not None:
            self.user_turn.closed[turn.id] = turn
            yield FeedRecogniser(turn.id, item.sound)
            yield DecodeFinal(turn.id, turn.revision)

    def _turn_of(self, item: ClientItem) -> Turn:
        turn = self.ids.turn()
        name, turn.on_request, turn.spoken = item.item_id or turn.item_id, True, False
        if item.kind == "function_call":
            if self.conversation.call(item.call_id) is not None:
                message = f"there is a call {item.call_id} already; choose another id"
                raise Unplaced("item_create_duplicate_call_id", message, "item.call_id")
            call = FunctionCall(name, ToolCall(item.call_id, item.name, item.text))
            turn.shown, turn.reply = False, AgentReply(self.ids.new("item"), calls=[call])
        elif item.role == "assistant":
            turn.shown = False
            turn.reply = AgentReply(
                name, item.text, item.text, shown=True, spoken=False, given=True
            )
        elif item.role == "system":
            turn.item_id, turn.instruction = name, item.text
        else:
            turn.item_id, turn.transcript = name, item.text.strip()
            turn.spoken = item.sound is not None
        return turn

    def _answer_call(self, item: ClientItem) -> Iterator[Command]:
        call = self.conversation.call(item.call_id)
        if call is None:
            message = f"no function was called with the id {item.call_id}"
            raise Unplaced("item_create_invalid_call_id", message, "item.call_id")
        if call.run_by == "server":
            message = f"this server runs {call.call.name}; its output needs no client"
            raise Unplaced("item_create_invalid_call_id", message, "item.call_id")
        if call.output is not None:
            message = f"the call {item.call_id} has its output already"
            raise Unplaced("item_create_duplicate_output", message, "item.call_id")
        call.output, call.output_item_id = item.text, item.item_id or self.ids.new("item")
        shown = self.find(call.output_item_id)
        assert shown is not None
        yield ItemAccepted(shown, self.conversation.follow(call.output_item_id))

    def retrieve(self, event: RetrieveItem) -> Iterator[Command]:
        """Show an item to the client."""
        item = self.find(event.item_id)
        if item is None:
            yield _missing("item_retrieve_invalid_item_id", event.item_id)
        else:
            yield ItemRetrieved(item)

    def delete(self, event: DeleteItem) -> Iterator[Command]:
        """Take an item out of the conversation."""
        if self.conversation.forget(event.item_id):
            yield ItemDeleted(event.item_id)
        else:
            yield _missing("item_delete_invalid_item_id", event.item_id)

    def conversation_of(self, items: tuple[ClientItem, ...]) -> Conversation:
        """A conversation of ``items`` alone; a reference is replaced by the item that it names.

        Raises:
            Unplaced: an item cannot be used.
        """
        made = Conversation(self.conversation.instructions, self.conversation.history_characters)
        apart = Items(made, self.user_turn, Ids(made, self.user_turn))
        for item in items:
            if item.kind == "reference":
                item = self._referred(item.item_id or "")
            if item.sound is not None:
                message = "the input of a reply has words; create an item for sound"
                raise Unplaced("invalid_value", message, "response.input")
            for _ in apart._created(CreateItem(item)):
                pass
        return made

    def _referred(self, item_id: str) -> ClientItem:
        found = self.find(item_id)
        if found is None:
            message = f"the conversation has no item {item_id}"
            raise Unplaced("item_reference_invalid_item_id", message, "response.input")
        role = "user" if found.role == "tool" else found.role
        return ClientItem(found.kind, item_id, role, found.text, found.call_id, found.name)

    def shown(self, without: set[str]) -> tuple[tuple[Item, str | None], ...]:
        """All items that the client knows, each with the id of the one before it.

        Args:
            without: ids that are left out.
        """
        names = self.conversation.item_ids
        found = [
            (self.find(name), before)
            for before, name in zip([None, *names], names, strict=False)
            if name not in without
        ]
        return tuple((item, before) for item, before in found if item is not None)

    def find(self, item_id: str) -> Item | None:
        """The item with this id, as the client sees it."""
        for turn in self.conversation.turns:
            if item_id in turn.item_ids:
                return _shown(turn, item_id)
        return None


def _missing(code: str, item_id: str) -> Trouble:
    return Trouble(code, f"the conversation has no item {item_id}", param="item_id")


def _shown(turn: Turn, item_id: str) -> Item | None:
    if turn.shown and item_id == turn.item_id:
        if turn.instruction:
            return Item(item_id, "message", "system", turn.instruction)
        return Item(item_id, "message", "user", turn.transcript, spoken=turn.spoken)
    reply = turn.reply
    if reply is None:
        return None
    if reply.shown and item_id == reply.item_id:
        complete = not (reply.interrupted or reply.failed)
        return Item(
            item_id,
            "message",
            "assistant",
            reply.remembered,
            spoken=reply.spoken,
            complete=complete,
        )
    for entry in reply.calls:
        call = entry.call
        if item_id == entry.item_id:
            return Item(item_id, "function_call", "assistant", call.arguments, *_ids(call))
        if item_id == entry.output_item_id:
            return Item(item_id, "function_call_output", "tool", entry.output or "", call.call_id)
    return None


def _ids(call: ToolCall) -> tuple[str, str]:
    return call.call_id, call.name
