"""The caller's side of a turn: frames of sound in, turns with their transcripts out.

A transcript is asked for in every pause, under a revision number. If the caller goes on, that
revision is void; if the turn is over, its transcript is there already.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from agent.config.settings import TurnSettings
from agent.reply import TurnEnding
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
from agent.turn_taking.ending import SHORTEST
from agent.turn_taking.openings import only_opens
from agent.turn_taking.pre_roll import PreRoll
from asr.transcript import Transcript

STARVED_SECONDS = 1.0
"""Seconds without any sound, after the endpoint delay, that end a turn."""
STARVED_RESUMABLE_SECONDS = 5.0
"""The same where the client can come back over another connection: the sound may be missing
because the old one is dead and nobody has noticed yet."""


GAPS_PER_PAUSE: Final = 4
"""Pauses that may begin work, over those whose words become known: most are gaps within words."""
ONSET_SECONDS: Final = 0.2
"""Seconds of a sound that may become speech after which a reply no longer waits for it."""
REST_SHARE: Final = 1 / 2
"""Share of the time between two partial transcripts that passes after one at least, however long it
took: a busy machine makes fewer of them."""
RETRY_SHARE: Final = 1 / 10
"""Share of the time to decide after which the words of an overlap are asked for again."""


@dataclass(slots=True)
class OpenTurn:
    """The turn that the caller has begun and not ended.

    Attributes:
        partial_due: position of the next partial transcript, in seconds of the caller's sound.
        partial_running: whether a partial transcript is being decoded.
        shown: the stable words of the transcript so far; told once the turn is announced.
        words: the transcript up to the current pause; None while it is not known.
        end_probability: the turn model's probability that the current pause ends the turn.
        ending: what the responder's head says of the words up to the current pause.
        awaits_ending: whether the head has been asked and has not answered.
        ends_within: most seconds of silence that end it, whatever its words.
        drafts: number of pauses whose words became known while they lasted.
        silent: seconds of the pauses within it.
    """

    turn: Turn
    partial_due: float
    partial_running: bool = False
    shown: str = ""
    words: Transcript | None = None
    end_probability: float = 0.0
    ending: TurnEnding | None = None
    awaits_ending: bool = False
    ends_within: float = math.inf
    drafts: int = 0
    silent: float = 0.0

    def awaits(self, turn: int, revision: int) -> bool:
        """Whether ``turn`` and ``revision`` name the current pause of this turn."""
        return (self.turn.id, self.turn.revision) == (turn, revision)


@dataclass(slots=True)
class UserTurn:
    """Opens and closes the caller's turns and asks for their transcripts.

    Attributes:
        language: the recogniser's language, by its ISO 639-1 code.
        detection: False for push to talk: the client ends each turn.
        open: the turn in which the caller speaks; None between turns.
        closed: finished turns, by id, whose transcript is still being decoded.
        position: seconds of sound received since the call began.
        last_sound_at: monotonic second at which the last frame arrived.
        has_head: whether the responder judges the words up to a pause that it drafts a reply to.
        starved_seconds: seconds without any sound, after the endpoint delay, that end a turn.
    """

    settings: TurnSettings
    language: str = LANGUAGE
    detection: bool = True
    detector: TurnDetector = field(init=False)
    endpointing: Endpointing = field(init=False)
    open: OpenTurn | None = None
    closed: dict[int, Turn] = field(default_factory=dict)
    position: float = 0.0
    last_sound_at: float = 0.0
    has_head: bool = False
    starved_seconds: float = STARVED_SECONDS
    _last_speech_at: float = 0.0
    _release: float = 0.0
    """The configured release threshold; a client's threshold may lower the one in use."""
    _pre_roll: PreRoll = field(default_factory=PreRoll)

    def __post_init__(self) -> None:
        self.detector = TurnDetector(self.settings)
        self.endpointing = Endpointing(self.settings, self.language)
        self._release = self.settings.release

    def configure(self, change: Configure) -> Iterator[Command]:
        """Apply new settings from the next frame on; a change of mode drops the open turn."""
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
        """Take one frame; returns the change that it made. ``feed`` passes its sound on."""
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
        """Push to talk: a turn opens with the next frame and ends when the client commits it."""
        if self.open is None:
            return TurnEvent.BEGAN
        full = self.position - self.open.turn.speech_start >= self.settings.max_turn
        return TurnEvent.ENDED if full else None

    def begin(self, turn: Turn, *, announced: bool = True) -> Iterator[Command]:
        """Open a turn; the pre-roll goes to the recogniser with it.

        A turn over the agent's speech is opened unannounced. It may prove to be a backchannel or
        noise, so that its first partial transcript is asked for at once, and the client is told
        of the turn only once it proves to be an interruption (``announce``).
        """
        turn.speech_start, turn.announced = self._pre_roll.start, announced
        wait = self.settings.partial_every if announced else 0.0
        self.open = OpenTurn(turn, self.position + wait)
        self._update_delay()
        if announced and self.detection:
            yield SpeechStarted(turn.item_id, turn.speech_start)

    def announce(self) -> Iterator[Command]:
        """Tell the client of an unannounced turn, with the stable words of its transcript."""
        if self.open is None or self.open.turn.announced:
            return
        turn, shown = self.open.turn, self.open.shown
        turn.announced, self.open.ends_within = True, math.inf
        self._update_delay()
        yield SpeechStarted(turn.item_id, turn.speech_start)
        if shown:
            yield TranscriptUpdated(turn.item_id, shown, shown, final=False)

    def tell_again(self) -> Iterator[Command]:
        """Tell another connection of the open turn, which goes on."""
        if self.open is None or not self.open.turn.announced or not self.detection:
            return
        turn, shown = self.open.turn, self.open.shown
        yield SpeechStarted(turn.item_id, turn.speech_start)
        if shown:
            yield TranscriptUpdated(turn.item_id, shown, shown, final=False)

    def reconnected(self, now: float) -> None:
        """Wait for sound from now on: there was nobody to send it."""
        self.last_sound_at = now

    def feed(self) -> Iterator[Command]:
        """Give the sound that arrived since the last call to the recogniser."""
        if self.open is None:
            return
        samples = self._pre_roll.take()
        if samples is not None:
            yield FeedRecogniser(self.open.turn.id, samples)
        speaking = not self.detector.open or self.detector.speech_end == self.position
        if not self.open.turn.announced:
            # A last word that has just ended is known sooner by a glance than by the final decode.
            speaking = self.detector.pause(self.position) < self.settings.speculate_after
        due = self.position >= self.open.partial_due and not self.open.partial_running
        if speaking and due:
            # A partial decode that began in a pause would delay the final one.
            self.open.partial_running = True
            self.open.partial_due = self.position + self.settings.partial_every
            yield DecodePartial(self.open.turn.id, urgent=not self.open.turn.announced)

    # ---- words ---------------------------------------------------------------------

    def take_partial(self, turn: int, transcript: Transcript) -> Iterator[Command]:
        """Take a hypothesis of the open turn; tells the client of new stable words."""
        if self.open is None or self.open.turn.id != turn:
            return
        self.open.partial_running = False
        settings = self.settings
        if self.open.turn.announced:
            rest = REST_SHARE * settings.partial_every
            self.open.partial_due = max(self.open.partial_due, self.position + rest)
        else:
            self.open.partial_due = self.position + settings.decide_within * RETRY_SHARE
        stable = transcript.stable_text
        if stable.startswith(self.open.shown) and stable != self.open.shown:
            delta = stable[len(self.open.shown) :]
            self.open.shown = stable
            if self.open.turn.announced:
                yield TranscriptUpdated(self.open.turn.item_id, transcript.text, delta, final=False)

    def ask_turn_model(self) -> Iterator[Command]:
        """Ask the turn model at the first silent frame of a pause, as in its training."""
        if self.open is not None and self.settings.turn_model == "smart-turn":
            yield JudgePause(self.open.turn.id, self.open.turn.revision)

    def pause_judged(self, event: PauseJudged) -> None:
        """Take the turn model's probability for the current pause."""
        opened = self.open
        if opened is not None and opened.awaits(event.turn, event.revision):
            opened.end_probability = event.probability
            self._update_delay()

    def await_ending(self) -> None:
        """Wait for the head's judgement, which comes as the draft's prompt has been read."""
        if self.open is not None and self.has_head and self.endpointing.semantic:
            self.open.awaits_ending = True
            self._update_delay()

    def take_ending(self, ending: TurnEnding | None) -> None:
        """Take the head's judgement on the words up to the current pause; None for no judgement."""
        if self.open is not None and self.open.words is not None:
            self.open.ending, self.open.awaits_ending = ending, False
            self._update_delay()

    def request_transcript(self, now: float) -> Iterator[Command]:
        """Ask for the transcript so far once a pause is longer than the gap between two words."""
        opened, settings = self.open, self.settings
        if opened is None or opened.turn.asked_at is not None:
            return
        if opened.turn.announced and not settings.speculation:
            return
        settled = (
            self.detector.state is TurnState.PAUSED
            and self.detector.pause(self.position) >= settings.speculate_after
        )
        if settled and self._may_revise(opened):
            opened.turn.asked_at = now
            # The final decode takes the place of a partial one, whose words never come.
            if opened.partial_running:
                opened.partial_running, opened.partial_due = False, self.position
            self._update_delay()
            urgent = not opened.turn.announced
            yield DecodeFinal(opened.turn.id, opened.turn.revision, urgent)

    def _may_revise(self, opened: OpenTurn) -> bool:
        """Whether one more pause may begin work; a gap within a word costs little of it."""
        most = self.settings.max_revisions
        return opened.drafts < most and opened.turn.revision < GAPS_PER_PAUSE * most

    def take_revision(self, turn: int, revision: int, words: Transcript, now: float) -> bool:
        """Take the transcript up to a pause of the open turn; returns whether the pause lasts."""
        opened = self.open
        if opened is None or not opened.awaits(turn, revision) or opened.turn.asked_at is None:
            return False
        opened.turn.work.append(WorkSpan("asr", opened.turn.asked_at, now))
        opened.words = words
        opened.drafts += 1
        self._update_delay()
        return True

    def find(self, turn: int) -> Turn | None:
        """The turn of an id, open or without its transcript yet."""
        if self.open is not None and self.open.turn.id == turn:
            return self.open.turn
        return self.closed.get(turn)

    def revision_failed(self, turn: int, revision: int) -> bool:
        """Take that the words up to a pause of the open turn could not be told.

        Returns whether it is such a pause: the end of the turn then asks for its words again.
        """
        opened = self.open
        if opened is None or not opened.awaits(turn, revision) or opened.turn.asked_at is None:
            return False
        opened.turn.revision += 1
        opened.turn.asked_at = opened.words = None
        opened.drafts = self.settings.max_revisions  # nothing more is tried before the end
        self._update_delay()
        return True

    def resume(self, now: float) -> Iterator[Command]:
        """Void the revision of a pause after which the caller goes on."""
        opened = self.open
        if opened is None:
            return
        opened.end_probability, opened.ends_within = 0.0, math.inf
        opened.ending, opened.awaits_ending = None, False
        self.endpointing.pace.went_on_after(self.detector.last_pause)
        opened.silent += self.detector.last_pause if self.detector.last_pause >= SHORTEST else 0.0
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

    def end_within(self, seconds: float) -> None:
        """Set the most seconds of silence that end the open turn, whatever its words."""
        if self.open is not None and self.open.ends_within != seconds:
            self.open.ends_within = seconds
            self._update_delay()

    def _update_delay(self) -> None:
        """Set the endpoint delay by what is known of the turn's words."""
        self.detector.delay = self._endpoint_delay()
        if self.open is not None:
            self.detector.delay = min(self.detector.delay, self.open.ends_within)

    def _endpoint_delay(self) -> float:
        opened, endpointing = self.open, self.endpointing
        if opened is None or opened.turn.asked_at is None:
            return endpointing.default_delay
        if opened.words is not None and not opened.awaits_ending:
            # Answers are short, so that their length says nothing about their end.
            length = None if opened.turn.after_question else self.voiced - opened.silent
            delay = endpointing.delay_after(
                opened.words.text,
                self.voiced,
                opened.end_probability,
                opened.ending,
                length,
            )
            return max(delay, self._delay_after_opening(opened))
        if endpointing.semantic or not opened.turn.announced:
            return endpointing.delay_for_words
        return endpointing.default_delay

    def _delay_after_opening(self, opened: OpenTurn) -> float:
        """Seconds of silence after a bare "no" or "sorry" to a statement: its reason may follow."""
        words = "" if opened.words is None else opened.words.text
        english = self.language == LANGUAGE and self.endpointing.semantic
        more = english and opened.turn.after_statement and only_opens(words)
        return self.endpointing.default_delay if more else 0.0

    @property
    def untranscribed(self) -> Turn | None:
        """The newest turn whose transcript is not final."""
        if self.open is not None and self.detection:
            return self.open.turn
        return self.closed[max(self.closed)] if self.closed else None

    # ---- the end -------------------------------------------------------------------

    def close(self, now: float) -> Iterator[Command]:
        """End the turn; asks for its transcript unless the pause did already."""
        if self.open is None:
            return
        turn, words = self.open.turn, self.open.words
        if words is not None:
            turn.to_others = self.endpointing.to_others(words.text, self.open.ending)
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
        turn.voiced = self.voiced if detected else math.inf
        speech_end_at = self._last_speech_at if detected else self.last_sound_at
        turn.timings.mark(Stage.SPEECH_END, speech_end_at)
        turn.timings.mark(Stage.TURN_END, now)

    def drop(self) -> Iterator[Command]:
        """Drop the open turn; the client is not told."""
        if self.open is not None:
            yield DropTurnAudio(self.open.turn.id)
        self.open = None
        self.detector.reset()

    def clear(self) -> Iterator[Command]:
        """Drop the open turn and the pre-roll at the client's request."""
        yield from self.drop()
        self._pre_roll.clear()
        yield AudioCleared()

    def take_final(self, turn_id: int, revision: int, now: float) -> Turn | None:
        """Take the final transcript of a closed turn; returns the turn, or None if unknown.

        A transcript of an earlier revision belongs to no turn any more.
        """
        turn = self.closed.get(turn_id)
        if turn is None or turn.revision != revision:
            return None
        if not turn.work and turn.asked_at is not None:
            turn.work.append(WorkSpan("asr", turn.asked_at, now))
        return self.closed.pop(turn_id)

    @property
    def onset_left(self) -> float:
        """Seconds for which a sound that has just set in may still become speech; 0 without one."""
        if self.detector.state is not TurnState.ONSET:
            return 0.0
        return max(0.0, self.detector.began + ONSET_SECONDS - self.position)

    @property
    def voiced(self) -> float:
        """Seconds from the first to the last speech of the open turn."""
        return self.detector.speech_end - self.detector.began

    @property
    def speech_end_at(self) -> float:
        """Monotonic second at which the last speech arrived."""
        return self._last_speech_at

    @property
    def starved_at(self) -> float | None:
        """Monotonic second at which the open turn ends if no sound arrives; None without one."""
        if self.open is None or not self.detection:
            return None
        return self.last_sound_at + self.endpointing.default_delay + self.starved_seconds
