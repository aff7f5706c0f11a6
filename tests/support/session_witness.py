"""Watches the commands of a session, one by one, and knows what must never happen."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from agent.session.commands import (
    Abandon,
    Command,
    DecodeFinal,
    DropTurnAudio,
    FeedRecogniser,
    HangUp,
    Respond,
    Speak,
    WakeAt,
)
from agent.session.notices import (
    AudioCleared,
    Duck,
    Play,
    ReplyFinished,
    ReplyStarted,
    ReplyTextDelta,
    SpeechStarted,
    SpeechStopped,
    StopPlaying,
    TextAccepted,
    TranscriptUpdated,
    Trouble,
    TurnCommitted,
    TurnTimed,
    Unduck,
    WordTimestamps,
)
from agent.session.session import Session
from agent.session.turns import MAX_UNTRANSCRIBED
from agent.turn_taking.backchannel import is_backchannel
from agent.turn_taking.floor import FloorRequest, floor_request
from tts.engine import SpeechChunk, WordSpan

RATE = 1000
WORD = 100
"""Samples of one word."""
LOUDNESS, STEP = 0.1, 1e-4
"""A sample says which generation it belongs to: LOUDNESS + generation * STEP."""


def voice(generation: int, word: str) -> SpeechChunk:
    """One word of a generation, recognisable in what is played."""
    samples = np.full(WORD, LOUDNESS + generation * STEP, np.float32)
    return SpeechChunk(samples, RATE, (WordSpan(word, 0, WORD),))


def bare(text: str) -> list[str]:
    return [word.strip(".,?!") for word in text.split()]


@dataclass
class Witness:
    """Everything that was commanded so far, as far as it binds what may follow."""

    session: Session
    running: str | None = None
    stopped: bool = False
    """The running reply was stopped and is about to be finished."""
    statuses: dict[str, str] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    """Which generation was heard of each reply."""
    newest: int = 0
    abandoned: set[int] = field(default_factory=set)
    spoken: dict[int, list[str]] = field(default_factory=dict)
    """The words whose sound was made, by generation, in order."""
    samples: dict[int, int] = field(default_factory=dict)
    """How much of it was played."""
    seconds: dict[str, float] = field(default_factory=dict)
    """How much of each item was played, silence included."""
    caller_open: bool = False
    items: set[str] = field(default_factory=set)
    listening: set[int] = field(default_factory=set)
    owed: bool = False
    answers: bool = False
    """Whether the running reply is one that was owed."""
    apart: set[str] = field(default_factory=set)
    """Replies of words alone outside the conversation that are being generated."""
    apart_generations: set[int] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    """Words of replies without sound that belong to the conversation."""
    text_only: set[str] = field(default_factory=set)
    hung_up: bool = False

    def see(self, command: Command) -> None:
        match command:
            case Respond():
                self._responds(command)
            case Speak():
                assert command.generation not in self.abandoned, "work for a generation given up"
                assert command.generation not in self.apart_generations, "sound of words alone"
            case Abandon():
                assert command.generation not in self.abandoned, "given up twice"
                self.abandoned.add(command.generation)
            case FeedRecogniser():
                self.listening.add(command.turn)
                assert len(self.listening) <= MAX_UNTRANSCRIBED + 2, "recordings pile up"
            case DropTurnAudio():
                self.listening.discard(command.turn)
            case ReplyStarted(text_only=True, apart=True):
                assert command.response_id not in self.apart, f"{command} twice"
                self._new_item(command.item_id)
                self.apart.add(command.response_id)
            case ReplyFinished() if command.response_id in self.apart:
                self.apart.discard(command.response_id)
            case ReplyTextDelta() if command.response_id in self.apart:
                pass
            case ReplyStarted() | ReplyFinished():
                self._reply(command)
            case Play():
                self._plays(command)
            case (
                ReplyTextDelta()
                | WordTimestamps()
                | TurnTimed()
                | Duck()
                | Unduck()
                | StopPlaying()
            ):
                assert command.response_id == self.running, f"{command} and it does not run"
                assert not self.stopped, f"{command} after its stop"
                self.stopped = isinstance(command, StopPlaying)
                if isinstance(command, ReplyTextDelta) and command.response_id in self.text_only:
                    self.written |= set(bare(command.delta))
            case SpeechStarted() | SpeechStopped() | AudioCleared():
                self._caller(command)
            case TurnCommitted() | TextAccepted():
                self._new_item(command.item_id)
            case TranscriptUpdated():
                self._words(command)
            case Trouble():
                self.owed = self.owed and command.code != "too_many_turns"
            case HangUp():
                self.hung_up = True
            case DecodeFinal() | WakeAt() | _:
                pass

    def _responds(self, command: Respond) -> None:
        assert command.generation > self.newest, "generations only rise"
        self.newest = command.generation
        assert command.messages[0].role == "system"
        if command.apart:
            self.apart_generations.add(command.generation)
            return  # it may see the words of the reply that runs, heard or not
        known = self.written | {
            word for generation in self.spoken for word in self.heard(generation)
        }
        for message in command.messages:
            if message.role == "assistant":
                unheard = set(bare(message.content)) - known
                assert not unheard, f"{unheard} in the history, and nobody heard it"

    def sent(self, item_id: str) -> float:
        """Seconds of the reply that were played, by its item."""
        return self.seconds.get(item_id, 0.0)

    def heard(self, generation: int) -> list[str]:
        """The words of a generation that were played from beginning to end."""
        return self.spoken[generation][: self.samples.get(generation, 0) // WORD]

    def _reply(self, command: ReplyStarted | ReplyFinished) -> None:
        response_id = command.response_id
        if isinstance(command, ReplyStarted):
            assert self.running is None, "two replies at once"
            assert response_id not in self.statuses, "a reply that was over begins"
            self._new_item(command.item_id)
            self.running, self.stopped = response_id, False
            if command.text_only:
                self.text_only.add(response_id)
            # A reply outside the conversation answers nobody.
            self.answers = self.owed and not command.apart
            self.owed = self.owed and command.apart
            return
        assert response_id == self.running, "the end of a reply that does not run"
        self.statuses[response_id], self.running = command.status, None
        generation = self.generations.get(response_id)
        heard = [] if generation is None else self.heard(generation)
        if response_id in self.text_only:
            return
        if command.status == "completed":
            assert set(bare(command.text)) <= set(heard), "completed, and not heard"
        else:
            missing = set(bare(command.text)) - set(heard)
            assert not missing, f"{missing} is said to be heard"
            unheard = command.reason == "turn_detected" and generation is None
            # Whoever coughs while the agent thinks still waits for the answer.
            self.owed = self.owed or (unheard and self.answers)

    def _plays(self, command: Play) -> None:
        assert command.response_id == self.running, "sound of a reply that does not run"
        assert not self.stopped, "sound after the stop"
        seconds = len(command.samples) / command.rate
        self.seconds[command.item_id] = self.seconds.get(command.item_id, 0.0) + seconds
        loud = command.samples[command.samples > LOUDNESS / 2]
        generations = {round((float(sample) - LOUDNESS) / STEP) for sample in np.unique(loud)}
        for generation in generations:
            assert generation not in self.abandoned, "sound of a generation that was given up"
            known = self.generations.setdefault(command.response_id, generation)
            assert known == generation, "sound of two generations in one reply"
            self.samples[generation] = self.samples.get(generation, 0) + len(loud)

    def _caller(self, command: SpeechStarted | SpeechStopped | AudioCleared) -> None:
        if isinstance(command, SpeechStarted):
            assert not self.caller_open, "two turns at once"
        if isinstance(command, SpeechStopped):
            assert self.caller_open, "a turn ends that did not begin"
        self.caller_open = isinstance(command, SpeechStarted)
        if isinstance(command, AudioCleared):
            # Who takes back the words that he interrupted with does not say what he wants.
            self.owed = self.owed and not self.answers

    def _words(self, command: TranscriptUpdated) -> None:
        asked_for = self.session.turns.create_response and self.session.user_turn.detection
        means_something = bool(command.text) and not is_backchannel(command.text)
        if command.final and asked_for and means_something:
            # "Stop" and "hold on" want silence, and take back what was asked.
            wish = floor_request(command.text)
            # An assistant item that the client wrote meanwhile is an answer, too.
            open_question = self.session.conversation.unanswered() is not None
            self.owed = open_question and wish not in (FloorRequest.STOP, FloorRequest.WAIT)
        if command.final and not asked_for:
            # Whoever now answers only when he is asked to owes nothing for what he was cut in.
            self.owed = self.owed and not self.answers

    def _new_item(self, item_id: str) -> None:
        assert item_id not in self.items, f"{item_id} twice"
        self.items.add(item_id)
