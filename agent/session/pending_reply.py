"""The reply that the caller waits for: it begins once the conversation allows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.session.commands import Command
from agent.session.conversation import Conversation
from agent.session.ids import Ids
from agent.session.notices import Remark, Trouble
from agent.session.replies import Replies
from agent.session.user_turn import UserTurn
from agent.timing import Stage

NOTHING_TO_ANSWER = Trouble("conversation_empty", "nothing was said yet that could be answered")


@dataclass(slots=True)
class PendingReply:
    """A request for a reply that waits until it can begin.

    Attributes:
        wanted: whether a reply is due that has not begun.
    """

    conversation: Conversation
    user_turn: UserTurn
    replies: Replies
    ids: Ids
    wanted: bool = False
    _asked: bool = False
    """Whether it was asked for, so that an empty conversation is an error for the client."""
    _trimmed: int = 0

    def ask(self) -> Iterator[Command]:
        """Take the client's request for a reply; an error while another reply is played."""
        if self.replies.current is not None:
            yield Trouble(
                "conversation_already_has_active_response",
                f"{self.replies.current.response_id} is still being spoken; "
                "wait for response.done or send response.cancel",
            )
        else:
            self.ask_again()

    def ask_again(self) -> None:
        """Request a reply as if the client had asked, also in place of one that was cut."""
        self.wanted = self._asked = True

    def settle(self, now: float) -> Iterator[Command]:
        """Begin the reply once all transcripts are final, nobody speaks and no reply is current."""
        speaks = self.user_turn.open is not None and self.user_turn.detection
        if not self.wanted or speaks or self.user_turn.closed or self.replies.current is not None:
            return
        asked, self.wanted, self._asked = self._asked, False, False
        if not self.conversation.messages()[1:]:
            if asked:
                yield NOTHING_TO_ANSWER
            return
        turn = self.conversation.unanswered()
        if turn is None:
            if not asked:
                return
            turn = self.ids.turn()
            self.conversation.add(turn)
        turn.timings.mark(Stage.TRANSCRIPT, now)
        yield from self.replies.respond(turn, now)
        yield from self._tell_what_was_trimmed()

    def _tell_what_was_trimmed(self) -> Iterator[Command]:
        if self.conversation.trimmed > self._trimmed:
            self._trimmed = self.conversation.trimmed
            message = f"the oldest {self._trimmed} exchanges are too old for the prompt"
            yield Remark("context_trimmed", message)
