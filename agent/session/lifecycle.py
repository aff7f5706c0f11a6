"""The lifecycle of a call: greeting, filler in a wait, questions into a silence, goodbye."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from agent.close_codes import NORMAL_CLOSURE
from agent.config.settings import CallSettings
from agent.session.commands import Command, HangUp
from agent.session.notices import IdleTimedOut
from agent.session.replies import Replies
from agent.timing import Stage

LINE_OPENS = 0.15
"""Seconds of silence before a greeting: a fresh line loses its first sound."""
GOODBYE_SECONDS = 10.0
"""Seconds that a goodbye may take; the call ends after them in any case."""


class Phase(Enum):
    """The phase of a call."""

    TALKING = auto()
    LEAVING = auto()
    """The agent is saying goodbye."""
    OVER = auto()


class LifecycleAction(Enum):
    """An action that time alone brings about."""

    PROMPT = auto()
    """Ask whether the caller is still there."""
    GOODBYE = auto()
    HANG_UP = auto()


@dataclass(slots=True)
class Lifecycle:
    """Measures silences and the length of the call, and acts on them.

    Attributes:
        ends_at: monotonic second at which the call reaches its maximum length.
        reason: why the call ends.
        client_idle_after: seconds of silence before the caller is asked, by the client; infinite
            for never, None for the settings'.
        detects_turns: False while the client ends the turns itself. Its time of silence belongs
            to turn detection and rests meanwhile.
    """

    settings: CallSettings
    replies: Replies
    ends_at: float
    phase: Phase = Phase.TALKING
    reason: str = ""
    client_idle_after: float | None = None
    detects_turns: bool = True
    _ends_because: str = "the call reached its maximum length"
    _quiet_since: float | None = None
    _quiet_from: float = 0.0
    """Position in the caller's sound, in seconds, at which the silence began."""
    _position: float = 0.0
    _prompts: int = 0
    _left_at: float = 0.0
    _says_goodbye: bool = True

    @property
    def idle_after(self) -> float:
        """Seconds of silence before the caller is asked; infinite for never."""
        asked = self.client_idle_after
        if asked is not None and (self.detects_turns or math.isinf(asked)):
            return asked
        after = self.settings.idle_after
        return math.inf if after is None else after

    def caller_spoke(self) -> None:
        """Reset the count of questions: the caller said or typed something."""
        self._prompts = 0

    def observe(self, now: float, *, quiet: bool, position: float = 0.0) -> None:
        """Start or end the silence; ``quiet`` means that nobody speaks and no reply is due.

        Args:
            position: seconds of the caller's sound so far.
        """
        self._position = position
        if not quiet:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since, self._quiet_from = now, position

    def greet(self, now: float) -> Iterator[Command]:
        """Speak the greeting, if there is one, as the line opens."""
        if self.settings.greeting:
            yield from self.replies.say(self.settings.greeting, now, LINE_OPENS)

    def leave(self, reason: str, now: float, *, goodbye: bool = True) -> Iterator[Command]:
        """End the call as at its maximum length; ``act`` begins it.

        Args:
            goodbye: whether the agent says goodbye first.
        """
        if not self.leaving:
            self.ends_at, self._ends_because, self._says_goodbye = now, reason, goodbye
        yield from ()

    def due_to_end(self, now: float) -> bool:
        """Whether the call has reached its maximum length, or was asked to end."""
        return self.phase is Phase.TALKING and now >= self.ends_at

    def end(self, reason: str = "") -> Iterator[Command]:
        """End the call at once, without a goodbye: nobody is there to hear it."""
        if self.phase is not Phase.OVER:
            self.phase = Phase.OVER
            self.reason = reason or self._ends_because
            yield HangUp(NORMAL_CLOSURE, self.reason)

    def act(self, now: float) -> Iterator[Command]:
        """Carry out what is due: a filler, a question, goodbye, the end of the call."""
        filler_at = self.filler_at
        if filler_at is not None and now >= filler_at and self.replies.current is not None:
            yield from self.replies.fill(self.settings.filler or "")
        match self.take_due(now):
            case LifecycleAction.PROMPT:
                if self.replies.current is None:
                    name = self.replies.new_id("item")
                    yield IdleTimedOut(name, self._quiet_from, self._position)
                yield from self.replies.say(self.settings.idle_prompt, now)
            case LifecycleAction.GOODBYE:
                yield from self.replies.stop(now, self.reason)
                yield from self.replies.say(self.settings.goodbye or "", now)
            case LifecycleAction.HANG_UP:
                yield HangUp(NORMAL_CLOSURE, self.reason)

    @property
    def filler_at(self) -> float | None:
        """Monotonic second at which the wait for the current reply needs a filler; None: never."""
        reply = self.replies.current
        if not self.settings.filler or reply is None or reply.turn is None or reply.begun:
            return None
        over = reply.turn.timings.marks.get(Stage.TURN_END)
        return None if over is None else over + self.settings.filler_after

    @property
    def leaving(self) -> bool:
        """Whether the agent has begun to say goodbye."""
        return self.phase is not Phase.TALKING

    def take_due(self, now: float) -> LifecycleAction | None:
        """Take the action that is due, if any, and note it as done: each is returned once."""
        match self.phase:
            case Phase.TALKING if now >= self.ends_at:
                return self._leave(now, self._ends_because)
            case Phase.TALKING if now >= self._prompt_at:
                self._quiet_since = None
                if self._prompts == self.settings.max_idle_prompts:
                    return self._leave(now, "nobody answered")
                self._prompts += 1
                return LifecycleAction.PROMPT
            case Phase.LEAVING if now >= self._gone_at:
                self.phase = Phase.OVER
                return LifecycleAction.HANG_UP
        return None

    def _leave(self, now: float, reason: str) -> LifecycleAction:
        self.reason = reason
        self._left_at, self._quiet_since = now, None
        goodbye = self._says_goodbye and self.settings.goodbye
        self.phase = Phase.LEAVING if goodbye else Phase.OVER
        return LifecycleAction.GOODBYE if goodbye else LifecycleAction.HANG_UP

    @property
    def _prompt_at(self) -> float:
        return math.inf if self._quiet_since is None else self._quiet_since + self.idle_after

    @property
    def _gone_at(self) -> float:
        """Monotonic second at which goodbye is over: at the next silence, or after its limit."""
        said = math.inf if self._quiet_since is None else self._quiet_since
        return min(said, self._left_at + GOODBYE_SECONDS)

    @property
    def wakes_at(self) -> float:
        """Monotonic second of the next action, if no input changes it; infinite for none."""
        match self.phase:
            case Phase.TALKING:
                return min(self.ends_at, self._prompt_at, self.filler_at or math.inf)
            case Phase.LEAVING:
                return self._gone_at
            case Phase.OVER:
                return math.inf
