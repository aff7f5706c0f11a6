"""The reply that the caller waits for: it begins once the conversation allows it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.session.commands import Command
from agent.session.conversation import Conversation
from agent.session.events import RespondNow
from agent.session.ids import Ids
from agent.session.notices import Remark, Trouble
from agent.session.replies import Replies
from agent.session.reply_settings import BY_SESSION
from agent.session.user_turn import UserTurn
from agent.timing import Stage

MAX_QUEUED = 16
"""Replies that the client may have asked for and that have not begun."""


@dataclass(slots=True)
class PendingReply:
    """The replies that are due and wait until they can begin, one after another.

    Attributes:
        wanted: whether a reply of the conversation is due that has not begun. One apart from it
            is due without that.
    """

    conversation: Conversation
    user_turn: UserTurn
    replies: Replies
    ids: Ids
    wanted: bool = False
    _asked: deque[RespondNow] = field(default_factory=deque)
    """The requests of the client among them."""
    _following: RespondNow | None = None
    _trimmed: int = 0

    def ask(self, request: RespondNow, now: float) -> Iterator[Command]:
        """Take the client's request for a reply."""
        if request.apart and self.replies.settings.text_only_of(request):
            yield from self.replies.respond_apart(request, now)
        elif len(self._asked) >= MAX_QUEUED:
            yield Trouble(
                "conversation_already_has_active_response",
                f"{MAX_QUEUED} replies wait already; wait for response.done or send "
                "response.cancel",
            )
        else:
            self._asked.append(request)
            self.wanted = self.wanted or not request.apart

    def ask_again(self) -> None:
        """Request a reply as if the client had asked, also in place of one that was cut."""
        if all(request.apart for request in self._asked):
            self._asked.append(BY_SESSION)
        self.wanted = True

    def follow(self, request: RespondNow) -> None:
        """Request the reply that follows calls of functions, once."""
        if not any(asked is request for asked in self._asked):
            self._asked.append(request)
            self._following = request
            self.wanted = True

    def withdraw(self) -> None:
        """Want no reply, neither to the caller's words nor to calls of functions."""
        self._asked = deque(asked for asked in self._asked if asked is not self._following)
        self.wanted = False

    def settle(self, now: float) -> Iterator[Command]:
        """Begin the reply once all transcripts are final, nobody speaks and no reply is current."""
        speaks = self.user_turn.open is not None and self.user_turn.detection
        apart = bool(self._asked) and self._asked[0].apart
        due = self.wanted or apart
        if not due or speaks or self.user_turn.closed:
            return
        if self._asked:
            yield from self.replies.make_room(now)
        if self.replies.current is not None:
            return
        request = self._asked.popleft() if self._asked else None
        if not apart:
            self.wanted = any(not other.apart for other in self._asked)
        turn = self.conversation.unanswered()
        if turn is None or apart:
            if request is None:
                return
            turn = self.ids.turn()
            turn.shown = False
            if not apart:
                self.conversation.add(turn)
        turn.timings.mark(Stage.TRANSCRIPT, now)
        yield from self.replies.respond(turn, now, request or BY_SESSION)
        yield from self._tell_what_was_trimmed()

    def _tell_what_was_trimmed(self) -> Iterator[Command]:
        if self.conversation.trimmed > self._trimmed:
            self._trimmed = self.conversation.trimmed
            message = f"the oldest {self._trimmed} exchanges are too old for the prompt"
            yield Remark("context_trimmed", message)
