"""Events that wait for their turn on a data channel, behind the agent's sound. Pure.

Sound and events share one link, and the events of a turn come at once: 5 to 6 KB when a reply
begins, which a link of 64 kbit/s takes 0.7 s to carry, and behind which the first sound would wait.
So only little of them is under way at a time, and on a slow link less than what the sound leaves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agent.rates import TokenBucket

WINDOW_BYTES: Final = 1200
"""Bytes under way from which on events wait: one full packet, 0.15 s of a link of 64 kbit/s and,
with a round trip of 0.1 s, 12 KB a second."""
LATE_SECONDS: Final = 0.3
"""Seconds by which the confirmation of an event may be later than the earliest was. Chromium waits
0.2 s with the confirmation of a single packet."""
LATE_IN_A_ROW: Final = 3
"""Late confirmations in a row that make a link slow."""
STALLED_SECONDS: Final = 0.9
"""The same, while none comes at all."""
BLOCKED_SECONDS: Final = 0.1
"""Seconds between two looks at the link from which on this process was late, not the link."""
SLOW_RATE: Final = 1600.0
"""Bytes per second on a slow link, headers included: what 24 kbit/s of voice with their headers
leave of 64 kbit/s."""
SLOW_BURST: Final = 600.0
"""Bytes that may go at once on a slow link: 75 ms of one with 64 kbit/s."""
HEADER_BYTES: Final = 93
"""Bytes of the headers of IP, UDP, DTLS and SCTP that an event costs beside its own."""
QUIET_FACTOR: Final = 2.0
"""Factor of that while no sound is sent; packets of silence are little more than headers."""
PATIENCE_SECONDS: Final = 20.0
"""Seconds without a late confirmation after which a slow link is tried as a fast one again; twice
that after each time in vain."""
MAX_PATIENCE: Final = 320.0
PROOF_SECONDS: Final = 10.0
"""Seconds after which a link that was tried as a fast one has proved itself."""
ORNAMENTAL: Final = frozenset({"onebreath.denoise.step"})
"""Events that a slow link is spared: they only show how a reply comes about."""
URGENT: Final = frozenset(
    {
        "error",
        "input_audio_buffer.speech_started",
        "onebreath.playback.duck",
        "onebreath.playback.resume",
        "onebreath.playback.stop",
        "onebreath.session.resumable",
        "onebreath.transfer",
        "output_audio_buffer.cleared",
        "response.function_call_arguments.done",
        "session.created",
    }
)
"""Events with which all that wait go at once: somebody is to act on them."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    kind: str
    text: str
    size: int


class EventOutbox:
    """Decides when each event goes; their order stays. `take` is to be called every 20 ms.

    Args:
        now: monotonic seconds.

    Attributes:
        slow: whether confirmations come late, so that events take little of the link.
    """

    def __init__(self, now: float) -> None:
        self.slow = False
        self._waiting: deque[_Waiting] = deque()
        self._sent = 0
        self._under_way: deque[tuple[float, int]] = deque()
        """When each unconfirmed event went, and the bytes that had been sent by its end."""
        self._least: float | None = None
        """Seconds of the earliest confirmation so far."""
        self._late = 0
        """Late confirmations since the last that was in time."""
        self._budget = TokenBucket(SLOW_RATE, SLOW_BURST, now)
        self._free_at = now
        self._looked_at = now
        self._calm_since = now
        self._patience = PATIENCE_SECONDS
        self._tried_at: float | None = None
        """When the link was last tried as a fast one, until that has proved itself."""
        self._rushed = False

    @property
    def waiting(self) -> int:
        """Bytes of the events that wait."""
        return sum(event.size for event in self._waiting)

    def put(self, kind: str, text: str) -> None:
        """Take an event of type ``kind``."""
        if self.slow and kind in ORNAMENTAL:
            return
        self._waiting.append(_Waiting(kind, text, len(text.encode())))
        self._rushed = self._rushed or kind in URGENT

    def take(self, unconfirmed: int, sounding: bool, now: float) -> Iterator[str]:
        """The events that go now.

        Args:
            unconfirmed: bytes of the events before that the client has not confirmed.
            sounding: whether the agent's sound is being sent.
        """
        self._judge(unconfirmed, now)
        while self._waiting and (self._rushed or self._may_go(unconfirmed, now)):
            event = self._waiting.popleft()
            unconfirmed += event.size
            if self.slow:
                cost = (event.size + HEADER_BYTES) / (1.0 if sounding else QUIET_FACTOR)
                self._free_at = now + self._budget.spend(cost, now)
            yield self._gone(event, now)
        self._rushed = self._rushed and bool(self._waiting)

    def rush(self) -> None:
        """Let all that wait go with the next `take`."""
        self._rushed = True

    def _may_go(self, unconfirmed: int, now: float) -> bool:
        if not self.slow:
            return unconfirmed < WINDOW_BYTES
        return now >= self._free_at and unconfirmed < SLOW_BURST

    def _gone(self, event: _Waiting, now: float) -> str:
        self._sent += event.size
        self._under_way.append((now, self._sent))
        return event.text

    # ---- whether the link is slow ------------------------------------------------------

    def _judge(self, unconfirmed: int, now: float) -> None:
        """Look at what has been confirmed since, and at how long the rest takes."""
        blocked, self._looked_at = now - self._looked_at, now
        if blocked > BLOCKED_SECONDS:
            self._under_way = deque((at + blocked, sent) for at, sent in self._under_way)
        confirmed = self._sent - unconfirmed
        while self._under_way and self._under_way[0][1] <= confirmed:
            self._confirmed(now - self._under_way.popleft()[0], now)
        if self._under_way and now - self._under_way[0][0] > (self._least or 0.0) + STALLED_SECONDS:
            self._go_slow(now)
        if self.slow and now - self._calm_since >= self._patience:
            self.slow, self._tried_at = False, now
        if self._tried_at is not None and not self.slow and now - self._tried_at >= PROOF_SECONDS:
            self._tried_at, self._patience = None, PATIENCE_SECONDS

    def _confirmed(self, waited: float, now: float) -> None:
        self._least = waited if self._least is None else min(self._least, waited)
        if waited <= self._least + LATE_SECONDS:
            self._late = 0
            return
        self._late += 1
        if self._late >= LATE_IN_A_ROW:
            self._go_slow(now)

    def _go_slow(self, now: float) -> None:
        self._calm_since = now
        if self.slow:
            return
        self.slow = True
        self._waiting = deque(each for each in self._waiting if each.kind not in ORNAMENTAL)
        if self._tried_at is not None:
            self._patience = min(MAX_PATIENCE, 2 * self._patience)
            self._tried_at = None
