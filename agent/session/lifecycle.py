"""What the agent says of its own accord: greeting, words that fill a wait or a silence, goodbye."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from agent.close_codes import NORMAL_CLOSURE
from agent.config.settings import CallSettings
from agent.session.commands import Command, HangUp
from agent.session.replies import Answering
from agent.timing import Stage

LINE_OPENS = 0.15
"""Seconds of silence before a greeting: a fresh line swallows what comes first."""
GOODBYE_SECONDS = 10.0
"""A goodbye that takes longer is cut by the end of the call."""


class Phase(Enum):
    """Where a call stands."""

    TALKING = auto()
    LEAVING = auto()
    """Goodbye is being said."""
    OVER = auto()


class Wish(Enum):
    """What is due."""

    PROMPT = auto()
    """Ask whether the caller is still there."""
    GOODBYE = auto()
    HANG_UP = auto()


@dataclass(slots=True)
class Manners:
    """Counts silences and the length of the call, and speaks when it is time to."""

    settings: CallSettings
    answering: Answering
    ends_at: float
    """Monotonic second at which the call is long enough."""
    phase: Phase = Phase.TALKING
    reason: str = ""
    idle_after: float = field(init=False)
    _quiet_since: float | None = None
    _prompts: int = 0
    _left_at: float = 0.0

    def __post_init__(self) -> None:
        after = self.settings.idle_after
        self.idle_after = math.inf if after is None else after

    def caller_spoke(self) -> None:
        """The caller said or typed something: he is there."""
        self._prompts = 0

    def observe(self, now: float, *, quiet: bool) -> None:
        """Nobody speaks and nothing is being worked on, or somebody does."""
        if not quiet:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = now

    def greet(self, now: float) -> Iterator[Command]:
        """The line is open."""
        if self.settings.greeting:
            yield from self.answering.say(self.settings.greeting, now, LINE_OPENS)

    def act(self, now: float) -> Iterator[Command]:
        """Do what is due."""
        filler_at = self.filler_at
        if filler_at is not None and now >= filler_at and self.answering.speaking is not None:
            yield from self.answering.speaking.fill(self.settings.filler or "")
        match self.due(now):
            case Wish.PROMPT:
                yield from self.answering.say(self.settings.idle_prompt, now)
            case Wish.GOODBYE:
                yield from self.answering.stop(now, self.reason)
                yield from self.answering.say(self.settings.goodbye or "", now)
            case Wish.HANG_UP:
                yield HangUp(NORMAL_CLOSURE, self.reason)

    @property
    def filler_at(self) -> float | None:
        """When the reply that is being made is late."""
        speaking = self.answering.speaking
        if not self.settings.filler or speaking is None or speaking.turn is None or speaking.begun:
            return None
        over = speaking.turn.timings.marks.get(Stage.TURN_END)
        return None if over is None else over + self.settings.filler_after

    @property
    def leaving(self) -> bool:
        """Whether the agent has begun to say goodbye."""
        return self.phase is not Phase.TALKING

    def due(self, now: float) -> Wish | None:
        """What is to be done now. Asking for it is doing it: it is due once."""
        match self.phase:
            case Phase.TALKING if now >= self.ends_at:
                return self._leave(now, "the call reached its maximum length")
            case Phase.TALKING if now >= self._prompt_at:
                self._quiet_since = None
                if self._prompts == self.settings.max_idle_prompts:
                    return self._leave(now, "nobody answered")
                self._prompts += 1
                return Wish.PROMPT
            case Phase.LEAVING if now >= self._gone_at:
                self.phase = Phase.OVER
                return Wish.HANG_UP
        return None

    def _leave(self, now: float, reason: str) -> Wish:
        self.reason = reason
        self._left_at, self._quiet_since = now, None
        self.phase = Phase.LEAVING if self.settings.goodbye else Phase.OVER
        return Wish.GOODBYE if self.settings.goodbye else Wish.HANG_UP

    @property
    def _prompt_at(self) -> float:
        return math.inf if self._quiet_since is None else self._quiet_since + self.idle_after

    @property
    def _gone_at(self) -> float:
        """When goodbye was said, which is when it gets quiet, or has had its time."""
        said = math.inf if self._quiet_since is None else self._quiet_since
        return min(said, self._left_at + GOODBYE_SECONDS)

    @property
    def wakes_at(self) -> float:
        """When something may be due, if nothing happens before."""
        match self.phase:
            case Phase.TALKING:
                return min(self.ends_at, self._prompt_at, self.filler_at or math.inf)
            case Phase.LEAVING:
                return self._gone_at
            case Phase.OVER:
                return math.inf
