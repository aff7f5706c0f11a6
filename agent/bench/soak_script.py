"""The calls of a soak: short conversations drawn from the acts of the panel's callers.

A call is the same in every run, whichever calls came before it. All functions are pure.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from agent.bench.panel_script import Conversation, EventKind, Moment, Step
from agent.bench.panel_voices import SpokenConversation, SpokenStep

TOOL_LABEL: Final = "tool"
REQUESTS: Final = (
    "When do you open on Monday?",
    "What are your opening hours on Friday?",
    "Are you open on Sunday?",
)
"""Turns that ask for the function `agent.bench.soak_tool.opening_hours`."""
HANG_UP_SHARE: Final = 0.1
"""Share of the callers who hang up in the middle of something."""
HANG_UP_SECONDS: Final = (2.0, 12.0)
"""Second of the call at which they do."""
_REQUEST_VOICE: Final = "piper"


@dataclass(frozen=True, slots=True)
class SoakCall:
    """One call of a soak.

    Attributes:
        number: number of the call, from 1.
        spoken: the conversation as sound.
        hangs_up_at: second at which the caller hangs up in the middle of it; None: at its end.
    """

    number: int
    spoken: SpokenConversation
    hangs_up_at: float | None

    @property
    def acts(self) -> list[str]:
        """The acts of the caller, as ``kind: label``."""
        return [f"{step.kind}: {step.label}" for step in self.spoken.script.steps]


def requests() -> Conversation:
    """A conversation with the turns that ask for a function, to be spoken with the others."""
    steps = tuple(
        Step(EventKind.TURN, TOOL_LABEL, (words,), wants_reply=True) for words in REQUESTS
    )
    return Conversation("requests", _REQUEST_VOICE, "clear", "room", "", steps)


class CallDraw:
    """Draws calls from spoken conversations.

    Args:
        spoken: the conversations whose acts are drawn, `requests` among them.
    """

    def __init__(self, spoken: Sequence[SpokenConversation]) -> None:
        self._spoken = spoken

    def call(self, number: int) -> SoakCall:
        """The call of a number: a turn, one thing that happens, and mostly another turn."""
        draw = random.Random(f"soak {number}")
        of = draw.choice(self._spoken)
        steps = [self._one(draw, _turn)]
        happens = draw.choice((_over, _over, _silence, _silence, _interruption, _request))
        steps.append(self._one(draw, happens))
        if draw.random() < 0.6:
            steps.append(self._one(draw, _request if draw.random() < 0.3 else _turn))
        script = replace(
            of.script, name=f"soak {number}", steps=tuple(spoken.step for spoken in steps)
        )
        hangs_up = draw.uniform(*HANG_UP_SECONDS) if draw.random() < HANG_UP_SHARE else None
        return SoakCall(number, SpokenConversation(script, tuple(steps), of.background), hangs_up)

    def _one(self, draw: random.Random, wanted: Callable[[Step], bool]) -> SpokenStep:
        return draw.choice(
            [step for each in self._spoken for step in each.steps if wanted(step.step)]
        )


def acts_of(calls: Iterable[SoakCall]) -> Counter[str]:
    """Number of acts by kind; requests for a function and empty turns have names of their own."""
    return Counter(_name(step) for call in calls for step in call.spoken.script.steps)


def _name(step: Step) -> str:
    if step.label == TOOL_LABEL:
        return "request for a tool"
    return "empty turn" if _silence(step) else str(step.kind).replace("_", " ")


def _turn(step: Step) -> bool:
    return step.kind is EventKind.TURN and step.label != TOOL_LABEL


def _request(step: Step) -> bool:
    return step.label == TOOL_LABEL


def _interruption(step: Step) -> bool:
    return step.kind is EventKind.INTERRUPTION


def _over(step: Step) -> bool:
    return step.moment is Moment.OVER and step.kind is not EventKind.INTERRUPTION


def _silence(step: Step) -> bool:
    """A sound into the silence: noise, a tic or an aside, a turn without words for the agent."""
    return step.moment is Moment.IDLE
