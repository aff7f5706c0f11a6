"""The calls of functions in a conversation: who runs them, until when, and the reply that follows.

A call of a client's function waits for the client's output; a call of a function of this server is
run by a command. ``_TABLE`` has every change of a call. A reply follows once all calls of a reply
that this server answers are over, unless another reply began meanwhile: what a function returns
after the caller went on is part of the conversation and is not spoken.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from agent.reply import FunctionTool
from agent.session.commands import Command, RunTool, StopTool
from agent.session.conversation import Conversation, FunctionCall, answered
from agent.session.events import RespondNow, ToolChoice, ToolReturned
from agent.session.notices import Item, ItemAccepted, Trouble
from agent.session.reply_in_flight import ReplyInFlight

MAX_ROUNDS = 6
"""Replies in a row that may call functions without a word of the caller; the next one speaks."""
NOT_RUN = "not run: the caller interrupted before"


class CallState(Enum):
    """The state of a call."""

    PROMISED = auto()
    """The server runs it once the reply that calls it was heard."""
    RUNNING = auto()
    """The server runs it."""
    WITH_CLIENT = auto()
    """The client runs it."""
    OVERDUE = auto()
    """The client has not answered in time; a late output is an item all the same."""
    OVER = auto()


class CallChange(Enum):
    """An event in the life of a call."""

    HEARD = auto()
    """The reply that the call waits for was heard."""
    CUT = auto()
    """That reply was cut."""
    RETURNED = auto()
    """The function has an output."""
    TIME_UP = auto()


class CallAction(Enum):
    """An action upon a change."""

    NONE = auto()
    RUN = auto()
    DROP = auto()
    """Give the call an output that says that it was not run."""
    TAKE = auto()
    """Take the output of the server's function."""
    GIVE_UP = auto()
    """Stop the function and give the call an output that says so."""
    MARK = auto()
    """Let prompts say that the client has not answered."""


_TABLE: dict[tuple[CallState, CallChange], tuple[CallState, CallAction]] = {
    (CallState.PROMISED, CallChange.HEARD): (CallState.RUNNING, CallAction.RUN),
    (CallState.PROMISED, CallChange.CUT): (CallState.OVER, CallAction.DROP),
    (CallState.RUNNING, CallChange.RETURNED): (CallState.OVER, CallAction.TAKE),
    (CallState.RUNNING, CallChange.TIME_UP): (CallState.OVER, CallAction.GIVE_UP),
    (CallState.WITH_CLIENT, CallChange.RETURNED): (CallState.OVER, CallAction.NONE),
    (CallState.WITH_CLIENT, CallChange.TIME_UP): (CallState.OVERDUE, CallAction.MARK),
}
"""What is not in the table changes nothing."""


@dataclass(slots=True)
class RunningCall:
    """One call and its state.

    Attributes:
        since: monotonic second from which its time counts; None until it runs.
    """

    entry: FunctionCall
    tool: FunctionTool
    state: CallState
    since: float | None = None


@dataclass(slots=True)
class Round:
    """The calls of one reply.

    Attributes:
        reply: the reply that makes the calls.
        calls: its calls, in order.
        ended: whether that reply is over, so that no call comes after these.
        superseded: whether another reply began meanwhile; then none follows by itself.
        silent: whether an output asked for silence.
        bridged: whether the caller was told that it takes a moment, or needs not be.
        announced: whether the announcement of a call is being spoken.
    """

    reply: ReplyInFlight
    calls: list[RunningCall] = field(default_factory=list)
    ended: bool = False
    superseded: bool = False
    silent: bool = False
    bridged: bool = False
    announced: bool = False

    def any(self, *states: CallState) -> bool:
        """Whether a call is in one of the states."""
        return any(call.state in states for call in self.calls)

    @property
    def waits(self) -> bool:
        """Whether a call may still get its output in time."""
        return self.any(CallState.PROMISED, CallState.RUNNING, CallState.WITH_CLIENT)

    @property
    def ours(self) -> bool:
        """Whether no call is the client's, so that the client will not ask for a reply."""
        return all(call.tool.run_by == "server" or call.entry.call.problem for call in self.calls)

    @property
    def spoke(self) -> bool:
        """Whether the reply has words of its own."""
        return bool(self.reply.entry.text.strip())


@dataclass(slots=True)
class ToolCalls:
    """The calls of one conversation that have no output yet.

    Attributes:
        own: the functions of this server.
        seconds: the time that a function may take.
        filler: sentence for a wait; empty for none.
        filler_after: seconds of waiting after which it is said.
        say: speaks a sentence that is no part of the conversation.
        due: the reply that is to follow; None while there is none.
    """

    conversation: Conversation
    new_id: Callable[[str], str]
    own: tuple[FunctionTool, ...] = ()
    seconds: float = 20.0
    filler: str = ""
    filler_after: float = 0.8
    say: Callable[[str, float], Iterator[Command]] = lambda words, now: iter(())
    due: RespondNow | None = None
    _rounds: list[Round] = field(default_factory=list)
    _in_a_row: int = 0
    """Replies that followed calls since the caller's last words."""

    # ---- offering ------------------------------------------------------------------

    def offered(self, by_client: tuple[FunctionTool, ...]) -> tuple[FunctionTool, ...]:
        """The functions of a reply: the client's, and those of this server with other names."""
        names = {tool.name for tool in by_client}
        return (*by_client, *(tool for tool in self.own if tool.name not in names))

    # ---- the calls -----------------------------------------------------------------

    def begin(self, reply: ReplyInFlight, entry: FunctionCall, now: float) -> Iterator[Command]:
        """Take a complete call of ``reply``: run it, or wait for the client."""
        tool = reply.tool(entry.call.name)
        call = RunningCall(entry, tool, CallState.OVER)
        self._round_of(reply).calls.append(call)
        if tool.run_by == "server":
            ids = (entry.call.call_id, tool.name)
            text = entry.call.arguments
            yield self._shown(Item(entry.item_id, "function_call", "assistant", text, *ids))
        if entry.call.problem:
            yield Trouble("invalid_tool_arguments", entry.call.problem, kind="server_error")
            yield from self._output(call, failure(entry.call.problem))
        elif tool.run_by == "client":
            call.state, call.since = CallState.WITH_CLIENT, now
        elif tool.after_reply:
            call.state = CallState.PROMISED
        else:
            yield self._run(call, now)

    def _round_of(self, reply: ReplyInFlight) -> Round:
        for known in self._rounds:
            if known.reply is reply:
                return known
        self._rounds.append(Round(reply))
        return self._rounds[-1]

    def _run(self, call: RunningCall, now: float) -> RunTool:
        call.state, call.since = CallState.RUNNING, now
        made = call.entry.call
        return RunTool(made.call_id, made.name, made.arguments)

    def _change(self, call: RunningCall, change: CallChange, now: float) -> Iterator[Command]:
        found = _TABLE.get((call.state, change))
        if found is None:
            return
        call.state, action = found
        match action:
            case CallAction.RUN:
                yield self._run(call, now)
            case CallAction.DROP:
                yield from self._output(call, failure(NOT_RUN))
            case CallAction.GIVE_UP:
                yield StopTool(call.entry.call.call_id)
                yield from self._output(call, failure(f"no answer within {self.seconds:g} s"))
            case CallAction.MARK:
                call.entry.overdue = True

    def returned(self, event: ToolReturned, now: float) -> Iterator[Command]:
        """Take what a function of this server returned."""
        for round_, call in self._all():
            if call.entry.call.call_id == event.call_id and call.state is CallState.RUNNING:
                yield from self._change(call, CallChange.RETURNED, now)
                yield from self._output(call, event.output)
                round_.silent = round_.silent or not event.reply

    def runs(self, call_id: str) -> bool:
        """Whether the server runs this call, so that its output is waited for."""
        running = (call for _, call in self._all() if call.state is CallState.RUNNING)
        return any(call.entry.call.call_id == call_id for call in running)

    def spoke(self, call_id: str) -> bool:
        """Whether the reply that made this call has words of its own."""
        return any(r.spoke for r, c in self._all() if c.entry.call.call_id == call_id)

    def answered(self, call_id: str, now: float) -> Iterator[Command]:
        """Note that the client gave the output of its function."""
        for _, call in self._all():
            if call.entry.call.call_id == call_id:
                yield from self._change(call, CallChange.RETURNED, now)

    def _output(self, call: RunningCall, output: str) -> Iterator[Command]:
        entry = call.entry
        if self.conversation.call(entry.call.call_id) is not entry:
            return  # the client deleted the call meanwhile
        entry.output, entry.output_item_id = output, self.new_id("item")
        name, call_id = entry.output_item_id, entry.call.call_id
        yield self._shown(Item(name, "function_call_output", "tool", output, call_id))

    def _shown(self, item: Item) -> ItemAccepted:
        return ItemAccepted(item, self.conversation.follow(item.item_id))

    def _all(self) -> Iterator[tuple[Round, RunningCall]]:
        for round_ in self._rounds:
            for call in list(round_.calls):
                yield round_, call

    # ---- the replies around them -----------------------------------------------------

    def reply_began(self, request: RespondNow) -> None:
        """Note that a reply begins: what still runs is not followed by another one."""
        for round_ in self._rounds:
            round_.superseded = True
        if request is not self.due:
            self._in_a_row = 0
        self.due = None

    def supersede(self) -> None:
        """The caller wants no reply to what runs."""
        self.reply_began(RespondNow())

    def reply_ended(self, reply: ReplyInFlight, now: float, *, cut: bool) -> Iterator[Command]:
        """Note that a reply was heard, or was cut."""
        for round_ in self._rounds:
            if round_.reply is not reply and not round_.announced:
                continue
            round_.ended = True
            sentence = "" if cut or round_.announced else self._announcement(round_)
            round_.announced = bool(sentence)
            if sentence:
                yield from self.say(sentence, now)
                continue
            change = CallChange.CUT if cut else CallChange.HEARD
            for call in round_.calls:
                yield from self._change(call, change, now)

    def cancelled(self, reply: ReplyInFlight) -> None:
        """The client cancelled a reply: none follows its calls."""
        for round_ in self._rounds:
            round_.superseded = round_.superseded or round_.reply is reply

    @staticmethod
    def _announcement(round_: Round) -> str:
        if round_.spoke:
            return ""
        found = (c.tool.announcement for c in round_.calls if c.state is CallState.PROMISED)
        return next(found, "")

    # ---- time ------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether somebody waits for a function."""
        return any(round_.waits for round_ in self._rounds)

    @property
    def wakes_at(self) -> float | None:
        """Monotonic second of the next action, if no input changes it."""
        if not self._rounds:
            return None  # asked for every frame of sound
        times = [since + self.seconds for since in self._waits()]
        times += [at for round_ in self._rounds if (at := self._filler_at(round_)) is not None]
        return min(times, default=None)

    def _waits(self) -> Iterator[float]:
        for _, call in self._all():
            timed = call.state in (CallState.RUNNING, CallState.WITH_CLIENT)
            if timed and call.since is not None:
                yield call.since

    def _filler_at(self, round_: Round) -> float | None:
        if round_.bridged or round_.superseded or not (self.filler and round_.reply.entry.spoken):
            return None
        begun = [c.since for c in round_.calls if c.since is not None]
        return min(begun) + self.filler_after if round_.waits and begun else None

    def settle(self, now: float, *, quiet: bool, answers: bool = True) -> Iterator[Command]:
        """Carry out what the time makes due, and find the reply that is to follow.

        Args:
            quiet: whether neither side speaks, so that a filler may be said.
            answers: whether replies begin without the client's request. One to a function of this
                server does in any case; one about a client that does not answer only then.
        """
        for _, call in self._all():
            if call.since is not None and now >= call.since + self.seconds:
                yield from self._change(call, CallChange.TIME_UP, now)
        for round_ in self._rounds:
            round_.bridged = round_.bridged or round_.spoke or round_.reply.begun
            at = self._filler_at(round_)
            if at is None or now < at:
                continue
            round_.bridged = True  # also by the caller's own words, or another reply
            if quiet:
                yield from self.say(self.filler, now)
                quiet = False
        for round_ in [each for each in self._rounds if each.ended and not each.waits]:
            self._rounds.remove(round_)
            asked_for = round_.ours or (answers and round_.any(CallState.OVERDUE))
            if asked_for and not (round_.superseded or round_.silent) and self.due is None:
                self.due = self._follow_up(round_.reply)

    def _follow_up(self, reply: ReplyInFlight) -> RespondNow:
        """The options of the reply that follows: those of the first one, but free to speak."""
        asked, self._in_a_row = reply.request, self._in_a_row + 1
        context = asked.context
        if context is not None:
            context = (*context, *answered(reply.entry))
        choice = None if reply.options.tool_choice == "auto" else ToolChoice("auto")
        if self._in_a_row > MAX_ROUNDS:
            choice = ToolChoice("none")
        return replace(asked, items=None, context=context, tool_choice=choice)


def failure(message: str) -> str:
    """The output of a call that failed, for the model."""
    return json.dumps({"error": message}, ensure_ascii=False)
