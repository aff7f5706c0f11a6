"""Several responders side by side: each call keeps to one of them, drawn by weight.

A weight of zero is the kill switch: no new call gets the arm, and calls that had it go to
another one with their next reply. What each arm took is counted for `/metrics`.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

from agent.compute import Compute
from agent.responders.arm_metrics import ArmMeter
from agent.responders.base import (
    PLAIN,
    Answer,
    Message,
    Prefilled,
    Question,
    ReplyOptions,
    ReplyPiece,
    Responder,
    ResponderError,
    WaitingCall,
    uses_tools,
)
from agent.responders.computed import awaited


@dataclass(frozen=True, slots=True)
class Arm:
    """One of the responders that are compared.

    Attributes:
        responder: the responder.
        weight: its share of new calls, relative to the other arms; 0 switches it off.
    """

    responder: Responder
    weight: float


class AbResponder:
    """Responders to compare, by name; shared by all calls.

    Args:
        arms: responder and weight of each arm.
        compute: the compute thread, for arms that compute.
        seed: seed of the draw; None for a different one in every run.

    Raises:
        ResponderError: no arm is switched on.
    """

    def __init__(self, arms: Mapping[str, Arm], compute: Compute, seed: int | None = None) -> None:
        self.arms = {name: arm.responder for name, arm in arms.items()}
        self.compute = compute
        self._random = random.Random(seed)
        self._weights: Mapping[str, float] = {}
        self.weigh({name: arm.weight for name, arm in arms.items()})

    def weigh(self, weights: Mapping[str, float]) -> None:
        """Set all weights at once; may be called from any thread.

        Raises:
            ResponderError: all weights are 0, or they do not name exactly the loaded arms; the
                weights stay as they were.
        """
        if set(weights) != set(self.arms):
            raise ResponderError(
                f"weights are for {sorted(weights)}, but the arms are {sorted(self.arms)}: "
                "arms come and go with a restart only"
            )
        if not any(weight > 0 for weight in weights.values()):
            raise ResponderError(
                "no arm is switched on: give one of responder.arms a weight above 0"
            )
        self._weights = dict(weights)

    @property
    def weights(self) -> Mapping[str, float]:
        """Weight of each arm."""
        return self._weights

    @property
    def uses_tools(self) -> bool:
        """Whether every arm uses tools: a call may get any of them."""
        return all(uses_tools(responder) for responder in self.arms.values())

    @property
    def decides(self) -> bool:
        """Whether every arm answers questions: a call may get any of them."""
        return all(getattr(responder, "decides", False) for responder in self.arms.values())

    @property
    def heads(self) -> frozenset[str]:
        """Names of the questions that heads of every arm answer."""
        found = [frozenset(getattr(each, "heads", ())) for each in self.arms.values()]
        return frozenset.intersection(*found)

    def draw(self) -> str:
        """The arm of a new call."""
        weights = self._weights
        return self._random.choices(list(weights), list(weights.values()))[0]

    def open(self) -> AbCall:
        """A new call, on an arm drawn by weight."""
        return AbCall(self)

    def warm_up(self) -> None:
        for responder in self.arms.values():
            responder.warm_up()

    def close(self) -> None:
        for responder in self.arms.values():
            responder.close()


class AbCall(WaitingCall):
    """One call and the arm that answers it."""

    def __init__(self, responder: AbResponder) -> None:
        self._responder = responder
        self._take(responder.draw())

    def _take(self, name: str) -> None:
        self.arm = name
        call = self._responder.arms[name].open()
        self._call = awaited(call, self._responder.compute)

    async def _leave_dead_arm(self) -> None:
        if self._responder.weights[self.arm] <= 0:
            await self._call.close()
            self._take(self._responder.draw())

    async def prepare(
        self, messages: Sequence[Message], options: ReplyOptions = PLAIN
    ) -> Prefilled:
        await self._leave_dead_arm()
        return await self._call.prepare(messages, options)

    async def reply(
        self,
        messages: Sequence[Message],
        deadline: float | None = None,
        options: ReplyOptions = PLAIN,
    ) -> AsyncGenerator[ReplyPiece, None]:
        await self._leave_dead_arm()
        pieces = self._call.reply(messages, deadline, options)
        with ArmMeter(self.arm) as meter:
            try:
                async for piece in pieces:
                    meter.see(piece)
                    yield piece
            finally:
                await pieces.aclose()

    async def decide(
        self,
        messages: Sequence[Message],
        questions: Sequence[Question],
        words: str = "",
        *,
        quick: bool = False,
    ) -> Sequence[Answer] | None:
        return await self._call.decide(messages, questions, words, quick=quick)

    async def close(self) -> None:
        await self._call.close()
