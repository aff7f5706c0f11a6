"""The items of a reply as the client is told of them: its message and its calls of functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from agent.reply import ToolArguments, ToolCall, ToolCallStarted
from agent.session.commands import Command
from agent.session.connection import Connection
from agent.session.conversation import Conversation, FunctionCall
from agent.session.notices import (
    FunctionArgumentsDelta,
    FunctionCallDone,
    FunctionCallStarted,
    ReplyItemStarted,
    ReplyStarted,
)
from agent.session.reply_in_flight import ReplyInFlight
from agent.session.tool_calls import ToolCalls


@dataclass(slots=True)
class ReplyItems:
    """Tells the client of replies and of their items, each in its place in the conversation.

    Attributes:
        tool_calls: takes the calls that are complete.
        new_id: makes an id from its kind.
        connection: the connection to the client.
    """

    conversation: Conversation
    tool_calls: ToolCalls
    new_id: Callable[[str], str]
    connection: Connection

    def started(self, reply: ReplyInFlight) -> ReplyStarted:
        """The notice that a reply begins."""
        return ReplyStarted(
            reply.response_id,
            reply.entry.item_id,
            not reply.entry.spoken,
            reply.request.metadata,
            reply.options.max_tokens,
            reply.request.apart,
            reply.request.output_format,
        )

    def show(self, reply: ReplyInFlight) -> Iterator[Command]:
        """Tell the client once of the message of a reply."""
        if not reply.entry.shown:
            reply.entry.shown = True
            item_id = reply.entry.item_id
            yield ReplyItemStarted(reply.response_id, item_id, self._follow(reply, item_id))

    def _follow(self, reply: ReplyInFlight, item_id: str) -> str | None:
        return None if reply.request.apart else self.conversation.follow(item_id)

    # ---- calls of functions --------------------------------------------------------

    def call_started(self, reply: ReplyInFlight, piece: ToolCallStarted) -> Iterator[Command]:
        """Give the call an item, and another id where the conversation has a call of its id.

        A client runs every call in the output of a response. A call of this server's function is
        therefore no part of that: its item is shown once the call is complete.
        """
        taken = self.conversation.call(piece.call_id) is not None or not piece.call_id
        call_id = self.new_id("call") if taken else piece.call_id
        call = FunctionCall(self.new_id("item"), ToolCall(call_id, piece.name, ""))
        call.run_by = reply.tool(piece.name).run_by
        reply.running_calls[piece.call_id] = call
        if call.run_by == "server":
            return
        previous = self._follow(reply, call.item_id)
        yield FunctionCallStarted(reply.response_id, call.item_id, previous, call_id, piece.name)

    def call_arguments(self, reply: ReplyInFlight, piece: ToolArguments) -> Iterator[Command]:
        """Add to the arguments of a call."""
        call = reply.running_calls.get(piece.call_id)
        if call is None:
            return
        known = call.call
        call.call = replace(known, arguments=known.arguments + piece.delta)
        if call.run_by == "client":
            ids = (reply.response_id, call.item_id, known.call_id)
            yield FunctionArgumentsDelta(*ids, piece.delta)

    def call_complete(self, reply: ReplyInFlight, piece: ToolCall, now: float) -> Iterator[Command]:
        """Take a complete call into the reply, and have it run."""
        if piece.call_id not in reply.running_calls:
            yield from self.call_started(reply, ToolCallStarted(piece.call_id, piece.name))
        running = reply.running_calls[piece.call_id]
        if running.run_by == "client" and not piece.problem:
            running.told_at = now
            yield from self._for_client(reply, running, piece)
        entry = reply.call_complete(piece)
        if not reply.request.apart:
            yield from self.tool_calls.begin(reply, entry, now)

    @staticmethod
    def _for_client(
        reply: ReplyInFlight, running: FunctionCall, piece: ToolCall
    ) -> Iterator[Command]:
        """Let the client run a call."""
        ids, call_id = (reply.response_id, running.item_id), running.call.call_id
        if not running.call.arguments:
            yield FunctionArgumentsDelta(*ids, call_id, piece.arguments)
        yield FunctionCallDone(*ids, None, call_id, piece.name, piece.arguments)

    # ---- another connection --------------------------------------------------------

    def retold(self, reply: ReplyInFlight) -> list[str]:
        """The ids of the items of a reply that another connection is told of with it."""
        names = [reply.entry.item_id] if reply.entry.shown else []
        return names + [call.item_id for call in self._untold(reply)]

    def _untold(self, reply: ReplyInFlight) -> list[FunctionCall]:
        """The calls that the client may not have been told to run."""
        seen = self.connection.last_seen
        calls = reply.running_calls.values()
        return [
            call
            for call in calls
            if call.run_by == "client" and (call.told_at is None or call.told_at > seen)
        ]

    def tell_again(self, reply: ReplyInFlight, now: float) -> Iterator[Command]:
        """Tell another connection of a reply from its beginning."""
        yield self.started(reply)
        if reply.entry.shown:
            yield from reply.tell_words(self._before(reply, reply.entry.item_id))
        for call in self._untold(reply):
            known, ids = call.call, (reply.response_id, call.item_id)
            previous = self._before(reply, call.item_id)
            yield FunctionCallStarted(*ids, previous, known.call_id, known.name)
            if known.arguments:
                yield FunctionArgumentsDelta(*ids, known.call_id, known.arguments)
            if call.told_at is not None:
                call.told_at = now
                yield FunctionCallDone(*ids, None, known.call_id, known.name, known.arguments)

    def _before(self, reply: ReplyInFlight, item_id: str) -> str | None:
        names = [] if reply.request.apart else self.conversation.item_ids
        place = names.index(item_id) if item_id in names else len(names)
        return names[place - 1] if place else None
