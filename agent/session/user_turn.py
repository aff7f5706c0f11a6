"""The caller's half of a turn: from frames of sound to words, without doing the work.

Every pause asks for the words so far, under a revision number. If the caller goes on, that
revision is void; if the turn is over, its words are there already.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.config.settings import TurnSettings
from agent.session.commands import (
    CancelDecode,
    Command,
    DecodeFinal,
    DecodePartial,
    DropTurnAudio,
    FeedRecogniser,
    JudgePause,
)
from agent.session.conversation import Turn
from agent.session.endpointing import Endpointing
from agent.session.events import AudioFrame, Configure, PauseJudged
from agent.session.notices import (
    AudioCleared,
    SpeechStarted,
    SpeechStopped,
    TranscriptUpdated,
    TurnCommitted,
)
from agent.timing import Stage, WorkSpan
from agent.turn_taking.completeness import LANGUAGE
from agent.turn_taking.detector import TurnDetector, TurnEvent, TurnState
from agent.turn_taking.pre_roll import PreRoll
from asr.transcript import Transcript

STARVED_SECONDS = 1.0
"""A turn also ends when no sound arrives for this long after the endpoint delay."""


@dataclass(slots=True)
class OpenTurn:
    """A turn in which the caller still speaks."""

    turn: Turn
    partial_due: float
    partial_running: bool = False
    shown: str = ""
    """Stable words that the client knows already."""
    words: Transcript | None = None
    """The words up to this pause."""
    end_probability: float = 0.0
    """The turn model's probability that this pause is the end."""

    def awaits(self, turn: int, revision: int) -> bool:
        """Whether something about that pause is about the one that lasts."""
        return (self.turn.id, self.turn.revision) == (turn, revision)


@dataclass(slots=True)
class UserTurn:
    """Opens and closes turns and asks for transcripts."""

    settings: TurnSettings
    language: str = LANGUAGE
    """Of the recogniser."""
    detection: bool = True
    """False: the client says when a turn is over (push to talk)."""
    detector: TurnDetector = field(init=False)
    endpointing: Endpointing = field(init=False)
    open: OpenTurn | None = None
    closed: dict[int, Turn] = field(default_factory=dict)
    """Turns whose final words are still being decoded."""
    position: float = 0.0
    """Seconds of sound received since the call began."""
    last_sound_at: float = 0.0
    _last_speech_at: float = 0.0
    _release: float = 0.0
    """As configured, whatever thresholds a client chose since."""
    _pre_roll: PreRoll = field(default_factory=PreRoll)

    def __post_init__(self) -> None:
        self.detector = TurnDetector(self.settings)
        self.endpointing = Endpointing(self.settings, self.language)
        self._release = self.settings.release

    def configure(self, change: Configure) -> Iterator[Command]:
        """Take new settings from the next frame on; another mode takes an open turn back."""
        wanted = {"threshold": change.threshold, "pre_roll": change.pre_roll}
        if change.threshold is not None:
            wanted["release"] = min(change.threshold, self._release)
        changes = {key: value for key, value in wanted.items() if value is not None}
        self.settings = self.detector.settings = self.settings.model_copy(update=changes)
        self.endpointing.configure(change)
        self._update_delay()
        if change.turn_detection not in (None, self.detection):
            self.detection = not self.detection
            if self.open is not None:
                yield from self.clear()

    # ---- sound ---------------------------------------------------------------------

    def take_frame(self, frame: AudioFrame) -> TurnEvent | None:
        """Take one frame; says what it changed. The sound itself is kept for ``feed``."""
        chunk = frame.chunk
        start, end = chunk.start / chunk.rate, chunk.end / chunk.rate
        self.position, self.last_sound_at = end, chunk.captured_at
        self._pre_roll.append(chunk)
        if self.open is None:
            self._pre_roll.keep(self.settings.pre_roll + self.settings.min_speech)
        if not self.detection:
            return self._undetected()
        event = self.detector.frame(frame.probability, start, end)
        if self.detector.speech_end == end:
            self._last_speech_at = chunk.captured_at
        return event

    def _undetected(self) -> TurnEvent | None:
        """Push to talk: a turn is open from the first frame on until the client commits it."""
        if self.open is None:
            return TurnEvent.BEGAN
        full = self.position - self.open.turn.speech_start >= self.settings.max_turn
        return TurnEvent.ENDED if full else None

    def begin(self, turn: Turn, *, announced: bool = True) -> Iterator[Command]:
        """Open a turn; the pre-roll goes to the recogniser with it.

        One that is not announced may turn out to be nothing: the client hears of it when it is
        something, and what it is has to be known soon.
        """
        turn.speech_start, turn.announced = self._pre_roll.start, announced
        settings = self.settings
        wait = settings.partial_every if announced else settings.decide_within / 3
        self.open = OpenTurn(turn, self.position + wait)
        self._update_delay()
        if announced and self.detection:
            yield SpeechStarted(turn.item_id, turn.speech_start)

    def announce(self) -> Iterator[Command]:
        """Tell the client that the caller speaks, and what he has said, unless it knows."""
        if self.open is None or self.open.turn.announced:
            return
        turn, shown = self.open.turn, self.open.shown
        turn.announced = True
        self._update_delay()
        yield SpeechStarted(turn.item_id, turn.speech_start)
        if shown:
            yield TranscriptUpdated(turn.item_id, shown, shown, final=False)

    def feed(self) -> Iterator[Command]:
        """Give the sound that arrived since the last call to the recogniser."""
        if self.open is None:
            return
        samples = self._pre_roll.take()
        if samples is not None:
            yield FeedRecogniser(self.open.turn.id, samples)
        speaking = not self.detector.open or self.detector.speech_end == self.position
        due = self.position >= self.open.partial_due and not self.open.partial_running
        if speaking and due:
            # None is begun in a pause: it would stand in the way of the final decode.
            self.open.partial_running = True
            yield DecodePartial(self.open.turn.id, urgent=not self.open.turn.announced)

    # ---- words ---------------------------------------------------------------------

    def take_partial(self, turn: int, transcript: Transcript) -> Iterator[Command]:
        """Show new stable words of the open turn."""
        if self.open is None or self.open.turn.id != turn:
            return
        self.open.partial_running = False
        settings = self.settings
        wait = settings.partial_every if self.open.turn.announced else settings.decide_within
        self.open.partial_due = self.position + wait
        stable = transcript.stable_text
        if stable.startswith(self.open.shown) and stable != self.open.shown:
            delta = stable[len(self.open.shown) :]
            self.open.shown = stable
            if self.open.turn.announced:
                yield TranscriptUpdated(self.open.turn.item_id, transcript.text, delta, final=False)

    def pause(self) -> Iterator[Command]:
        """The first silent frame of a pause: the moment for which the turn model was trained."""
        if self.open is not None and self.settings.turn_model == "smart-turn":
            yield JudgePause(self.open.turn.id, self.open.turn.revision)

    def pause_judged(self, event: PauseJudged) -> None:
        """The turn model's opinion."""
        opened = self.open
        if opened is not None and opened.awaits(event.turn, event.revision):
            opened.end_probability = event.probability
            self._update_delay()

    def request_transcript(self, now: float) -> Iterator[Command]:
        """Ask for the words so far once a pause is more than the gap between two of them."""
        opened, settings = self.open, self.settings
        if opened is None or opened.turn.asked_at is not None:
            return
        if opened.turn.announced and not settings.speculation:
            return
        settled = (
            self.detector.state is TurnState.PAUSED
            and self.detector.pause(self.position) >= settings.speculate_after
        )
        if settled and opened.turn.revision < settings.max_revisions:
            opened.turn.asked_at = now
            self._update_delay()
            yield DecodeFinal(opened.turn.id, opened.turn.revision)

    def take_revision(self, turn: int, revision: int, words: Transcript, now: float) -> bool:
        """Take the words up to a pause of the open turn; returns whether they are still wanted."""
        opened = self.open
        if opened is None or not opened.awaits(turn, revision) or opened.turn.asked_at is None:
            return False
        opened.turn.work.append(WorkSpan("asr", opened.turn.asked_at, now))
        opened.words = words
        self._update_delay()
        return True

    def resume(self, now: float) -> Iterator[Command]:
        """The pause was not the end: what was asked for in it is void."""
        opened = self.open
        if opened is None:
            return
        opened.end_probability = 0.0
        if opened.turn.asked_at is None:
            return
        turn = opened.turn
        if opened.words is None:
            turn.work.append(WorkSpan("asr", opened.turn.asked_at, now))
            yield CancelDecode(turn.id)
        turn.wasted += sum(span.end - span.start for span in turn.work)
        turn.work.clear()
        turn.revision += 1
        turn.asked_at = opened.words = None
        self._update_delay()

    def _update_delay(self) -> None:
        """Let the pause last as long as what is known of the words asks for."""
        opened, endpointing = self.open, self.endpointing
        if opened is None or opened.turn.asked_at is None:
            self.detector.delay = endpointing.default_delay
        elif opened.words is not None:
            seconds = self.detector.speech_end - self.detector.began
            self.detector.delay = endpointing.delay_after(
                opened.words.text, seconds, opened.end_probability
            )
        elif endpointing.semantic or not opened.turn.announced:
            self.detector.delay = endpointing.delay_for_words
        else:
            self.detector.delay = endpointing.default_delay

    @property
    def untranscribed(self) -> Turn | None:
        """The newest turn whose words are not all known."""
        if self.open is not None and self.detection:
            return self.open.turn
        return self.closed[max(self.closed)] if self.closed else None

    # ---- the end -------------------------------------------------------------------

    def close(self, now: float) -> Iterator[Command]:
        """The turn is over; asks for its words unless that was done in the pause."""
        if self.open is None:
            return
        turn = self.open.turn
        self._mark_end(turn, now)
        self.open = None
        self.detector.reset()
        self.closed[turn.id] = turn
        if turn.asked_at is None:
            turn.asked_at = now
            yield DecodeFinal(turn.id, turn.revision)

    def announce_end(self, turn: Turn, previous_item_id: str | None) -> Iterator[Command]:
        """Tell the client that the turn is over and part of the conversation."""
        if self.detection:
            yield SpeechStopped(turn.item_id, turn.speech_end or 0.0)
        yield TurnCommitted(turn.item_id, previous_item_id)

    def _mark_end(self, turn: Turn, now: float) -> None:
        detected = self.detection and self._last_speech_at > 0
        turn.speech_end = self.detector.speech_end if detected else self.position
        speech_end_at = self._last_speech_at if detected else self.last_sound_at
        turn.timings.mark(Stage.SPEECH_END, speech_end_at)
        turn.timings.mark(Stage.TURN_END, now)

    def drop(self) -> Iterator[Command]:
        """Drop the open turn without a word to the client."""
        if self.open is not None:
            yield DropTurnAudio(self.open.turn.id)
        self.open = None
        self.detector.reset()

    def clear(self) -> Iterator[Command]:
        """Take the open turn back."""
        yield from self.drop()
        self._pre_roll.clear()
        yield AudioCleared()

    def take_final(self, turn_id: int, revision: int, now: float) -> Turn | None:
        """The turn that these words belong to; None when they are not wanted any more."""
        turn = self.closed.get(turn_id)
        if turn is None or turn.revision != revision:
            return None
        if not turn.work and turn.asked_at is not None:
            turn.work.append(WorkSpan("asr", turn.asked_at, now))
        return self.closed.pop(turn_id)

    @property
    def speech_end_at(self) -> float:
        """Monotonic second at which the last speech arrived."""
        return self._last_speech_at

    @property
    def starved_at(self) -> float | None:
        """When the open turn ends for want of sound."""
        if self.open is None or not self.detection:
            return None
        return self.last_sound_at + self.endpointing.default_delay + STARVED_SECONDS
