"""What the answers to questions bring about: a table of effects, and the last words of a call.

Last words are said whole: what speaks into them, such as an answering machine, cuts them, and they
are said again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent.decision import Action
from agent.session.commands import Command, Prepare
from agent.session.conversation import Conversation
from agent.session.events import RespondNow, ToolChoice
from agent.session.lifecycle import Lifecycle
from agent.session.notices import Remark, TransferRequested
from agent.session.pending_reply import PendingReply
from agent.session.replies import Replies

LAST_WORDS_AFTER = 0.5
"""Seconds without the caller's voice after which last words are spoken."""
LAST_WORDS_TRIES = 3
"""Times that last words are begun: an answering machine may speak into them."""
LAST_WORDS_SECONDS = 60.0
"""Seconds after which the call ends even if they could not be said whole."""


@dataclass(slots=True)
class _LastWords:
    """Words that are said whole before the call ends or is transferred."""

    words: str
    reason: str
    until: float
    transfer: str = ""
    tries: int = 0


@dataclass(slots=True)
class Effects:
    """Carries out the actions of one call.

    Attributes:
        muted: whether nothing is carried out: the session only transcribes.
    """

    conversation: Conversation
    replies: Replies
    pending_reply: PendingReply
    lifecycle: Lifecycle
    muted: bool = False
    _last: _LastWords | None = None
    _quiet_since: float | None = None

    @property
    def closing(self) -> bool:
        """Whether the call is being ended, so that the caller gets no replies any more."""
        return self._last is not None

    def carry_out(self, action: Action, now: float) -> Iterator[Command]:
        """Begin what the action brings about."""
        return iter(()) if self.muted else _TABLE[action.do](self, action, now)

    def settle(self, now: float, *, speaks: bool) -> Iterator[Command]:
        """Say last words, and end the call once they were heard."""
        if self._last is not None:
            yield from self._speak_last(self._last, speaks, now)

    @property
    def times(self) -> list[float]:
        """Monotonic seconds at which last words are due or given up."""
        if self._last is None:
            return []
        quiet = self._quiet_since
        return [self._last.until, *([] if quiet is None else [quiet + LAST_WORDS_AFTER])]

    def _none(self, action: Action, now: float) -> Iterator[Command]:
        yield from ()

    def _end_reply(self, action: Action, now: float) -> Iterator[Command]:
        """Say nothing more about this turn."""
        self.pending_reply.withdraw()
        yield from self.replies.discard(None, now)
        yield from self.replies.stop(now, f"decision: {action.question}")

    def _say(self, action: Action, now: float) -> Iterator[Command]:
        yield from self._end_reply(action, now)
        yield from self.replies.say(action.say, now)

    def _instruct(self, action: Action, now: float) -> Iterator[Command]:
        """Replies from now on have these instructions, the one that is due too."""
        self.conversation.instructions = action.to
        yield from self.replies.discard(None, now)
        yield Prepare(self.conversation.messages(), self.replies.settings.options)

    def _tool(self, action: Action, now: float) -> Iterator[Command]:
        """A reply that calls the function takes the place of the one that is due."""
        if all(tool.name != action.to for tool in self.replies.settings.options.tools):
            yield Remark("decision_failed", f"no function is called {action.to!r} in this session")
            return
        yield from self._end_reply(action, now)
        choice = ToolChoice("function", action.to)
        yield from self.pending_reply.ask(RespondNow(tool_choice=choice), now)

    def _leave(self, action: Action, now: float) -> Iterator[Command]:
        yield from self._end_reply(action, now)
        transfer = action.to if action.do == "transfer" else ""
        reason = f"decision: {action.question}"
        if not action.say and not transfer:
            yield from self.lifecycle.leave(reason, now)
            return
        self._last = _LastWords(action.say, reason, now + LAST_WORDS_SECONDS, transfer)

    def _speak_last(self, last: _LastWords, speaks: bool, now: float) -> Iterator[Command]:
        if self.lifecycle.leaving:
            self._last = None
            return
        quiet = not speaks and self.replies.current is None
        self._quiet_since = (self._quiet_since or now) if quiet else None
        said = self.replies.played.finished
        heard = last.tries > 0 and said is not None and not said.entry.interrupted
        over = now >= last.until or not last.words
        if over or (quiet and (heard or last.tries >= LAST_WORDS_TRIES)):
            yield from self._part(last, now)
        elif quiet and now >= (self._quiet_since or now) + LAST_WORDS_AFTER:
            last.tries += 1
            yield from self.replies.say(last.words, now)

    def _part(self, last: _LastWords, now: float) -> Iterator[Command]:
        """End the call, or hand it over."""
        self._last = None
        if last.transfer:
            yield TransferRequested(last.transfer, last.reason)
        else:
            yield from self.lifecycle.leave(last.reason, now, goodbye=False)


_TABLE: dict[str, Callable[[Effects, Action, float], Iterator[Command]]] = {
    "event": Effects._none,
    "tag": Effects._none,
    "say": Effects._say,
    "end_reply": Effects._end_reply,
    "instructions": Effects._instruct,
    "tool": Effects._tool,
    "transfer": Effects._leave,
    "hang_up": Effects._leave,
}
"""What each effect does."""
