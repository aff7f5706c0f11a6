"""The caller's half of a turn: from frames of sound to words, without doing the work."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from agent.audio import AudioChunk, Samples
from agent.commands import Command, DecodeFinal, DecodePartial, Forget, Hear
from agent.config import TurnSettings
from agent.conversation import Turn
from agent.events import Configure, Heard
from agent.notices import AudioCleared, SpeechStarted, SpeechStopped, TurnCommitted, WordsHeard
from agent.timing import Stage
from agent.turns import TurnDetector, TurnEvent
from asr.transcript import Transcript

STARVED_SECONDS = 1.0
"""A turn also ends when no sound arrives for this long after the endpoint delay."""


@dataclass(slots=True)
class OpenTurn:
    """A turn in which the caller still speaks."""

    turn: Turn
    began: float
    """Seconds of sound since the call began."""
    partial_due: float
    partial_running: bool = False
    shown: str = ""
    """Stable words that the client knows already."""


@dataclass(slots=True)
class Hearing:
    """Opens and closes turns and asks for transcripts."""

    settings: TurnSettings
    detection: bool = True
    """False: the client says when a turn is over (push to talk)."""
    detector: TurnDetector = field(init=False)
    open: OpenTurn | None = None
    closed: dict[int, Turn] = field(default_factory=dict)
    """Turns whose final words are still being decoded."""
    position: float = 0.0
    """Seconds of sound received since the call began."""
    last_sound_at: float = 0.0
    _last_speech_at: float = 0.0
    _release: float = 0.0
    """As configured, whatever thresholds a client chose since."""
    _pre_roll: deque[AudioChunk] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.detector = TurnDetector(self.settings)
        self._release = self.settings.release

    def configure(self, change: Configure) -> Iterator[Command]:
        """Take new settings from the next frame on; another mode takes an open turn back."""
        wanted = {
            "threshold": change.threshold,
            "endpoint_delay": change.endpoint_delay,
            "pre_roll": change.pre_roll,
        }
        if change.threshold is not None:
            wanted["release"] = min(change.threshold, self._release)
        changes = {key: value for key, value in wanted.items() if value is not None}
        self.settings = self.detector.settings = self.settings.model_copy(update=changes)
        if change.turn_detection not in (None, self.detection):
            self.detection = not self.detection
            if self.open is not None:
                yield from self.clear()

    def frame(self, heard: Heard) -> TurnEvent | None:
        """Take one frame; says what it changed. The sound itself is kept for ``feed``."""
        chunk = heard.chunk
        start, end = chunk.start / chunk.rate, chunk.end / chunk.rate
        self.position, self.last_sound_at = end, chunk.captured_at
        self._remember(chunk)
        if not self.detection:
            return self._undetected()
        event = self.detector.frame(heard.probability, start, end)
        if self.detector.speech_end == end:
            self._last_speech_at = chunk.captured_at
        return event

    def _undetected(self) -> TurnEvent | None:
        """Push to talk: a turn is open from the first frame on until the client commits it."""
        if self.open is None:
            return TurnEvent.BEGAN
        full = self.position - self.open.began >= self.settings.max_turn
        return TurnEvent.ENDED if full else None

    def _remember(self, chunk: AudioChunk) -> None:
        kept = self._pre_roll
        kept.append(chunk)
        seconds = self.settings.pre_roll + self.settings.min_speech
        while self.open is None and chunk.end - kept[0].end > seconds * chunk.rate:
            kept.popleft()

    def begin(self, turn: Turn) -> Iterator[Command]:
        """Open a turn; the pre-roll goes to the recogniser with it."""
        first = self._pre_roll[0]
        began = first.start / first.rate
        self.open = OpenTurn(turn, began, self.position + self.settings.partial_every)
        if self.detection:
            yield SpeechStarted(turn.item_id, began)

    def feed(self) -> Iterator[Command]:
        """Give the sound that arrived since the last call to the recogniser."""
        if self.open is None:
            return
        pieces: list[Samples] = [chunk.samples for chunk in self._pre_roll]
        self._pre_roll.clear()
        if pieces:
            yield Hear(self.open.turn.id, np.concatenate(pieces))
        speaking = not self.detector.open or self.detector.speech_end == self.position
        if speaking and not self.open.partial_running and self.position >= self.open.partial_due:
            # None is begun in a pause: it would stand in the way of the final decode.
            self.open.partial_running = True
            yield DecodePartial(self.open.turn.id)

    def partial(self, turn: int, transcript: Transcript) -> Iterator[Command]:
        """Show new stable words of the open turn."""
        if self.open is None or self.open.turn.id != turn:
            return
        self.open.partial_running = False
        self.open.partial_due = self.position + self.settings.partial_every
        stable = transcript.stable_text
        if stable.startswith(self.open.shown) and stable != self.open.shown:
            delta = stable[len(self.open.shown) :]
            self.open.shown = stable
            yield WordsHeard(self.open.turn.item_id, transcript.text, delta, final=False)

    def end(self, now: float, previous_item_id: str | None) -> Iterator[Command]:
        """Close the open turn and ask for its final words."""
        if self.open is None:
            return
        turn = self.open.turn
        detected = self.detection and self._last_speech_at > 0
        turn.speech_end = self.detector.speech_end if detected else self.position
        speech_end_at = self._last_speech_at if detected else self.last_sound_at
        turn.timings.mark(Stage.SPEECH_END, speech_end_at)
        turn.timings.mark(Stage.TURN_END, now)
        self.open = None
        self.detector.reset()
        self.closed[turn.id] = turn
        if self.detection:
            yield SpeechStopped(turn.item_id, turn.speech_end)
        yield TurnCommitted(turn.item_id, previous_item_id)
        yield DecodeFinal(turn.id, turn.revision)

    def clear(self) -> Iterator[Command]:
        """Take the open turn back."""
        if self.open is not None:
            yield Forget(self.open.turn.id)
        self.open = None
        self.detector.reset()
        self._pre_roll.clear()
        yield AudioCleared()

    def final(self, turn_id: int, revision: int) -> Turn | None:
        """The turn that these words belong to; None when they are not wanted any more."""
        turn = self.closed.get(turn_id)
        if turn is None or turn.revision != revision:
            return None
        return self.closed.pop(turn_id)

    @property
    def starved_at(self) -> float | None:
        """When the open turn ends for want of sound."""
        if self.open is None or not self.detection:
            return None
        return self.last_sound_at + self.settings.endpoint_delay + STARVED_SECONDS
