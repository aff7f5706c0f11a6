"""Random conversations against the pure session: whatever comes, in whatever order, nothing of
an old generation is heard, nothing is remembered that was not, and nothing is left hanging."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.fakes import Desk
from support.session_witness import Witness, voice

from agent.config.settings import Settings
from agent.reply import Prefilled, ReplyDone, ReplyText
from agent.session.commands import Command, DecodeFinal, DecodePartial, Respond, Speak, WakeAt
from agent.session.events import (
    CallStarted,
    CancelReply,
    ClearAudio,
    ClientItem,
    CommitAudio,
    Configure,
    CreateItem,
    DeleteItem,
    FinalTranscript,
    Input,
    PartialTranscript,
    ReplyEvent,
    RespondNow,
    RetrieveItem,
    SegmentSpoken,
    SoundReady,
    StageFailed,
    TextTyped,
    Tick,
    Truncate,
)
from agent.session.notices import ReplyStarted
from agent.session.playback import Delivery
from agent.session.session import Session
from asr.transcript import Transcript

SEQUENCES = int(os.environ.get("SEQUENCES", "200"))
"""Of the slow test. `make test-long` takes ten thousand, which need minutes, and a new seed."""
SEED = os.environ.get("SEED", "1")
"""Of the slow test: a number, or "new" for one that no run had before."""
HEARD = ("", "mhm", "what time is it?", "I want a pizza and", "hello there", "stop")
SETTINGS = (
    {},
    {"turns": {"speculation": False}},
    {"turns": {"backchannels": False}},
    {"call": {"greeting": "Good day to you, caller."}},
    {"call": {"filler": "Let me see.", "filler_after": 0.4}},
    {"call": {"idle_after": 5.0, "goodbye": None}},
    {"turns": {"max_turn": 2.0}, "responder": {"history_characters": 200}},
    {"budget": {"total": 0.5}},
)


@dataclass
class EngineOfOneReply:
    """What a responder and a voice do for one generation, piece by piece, when told to go on."""

    generation: int
    pieces: list[Input]
    segments: list[tuple[int, list[str]]] = field(default_factory=list)

    def think(self) -> Input | None:
        return self.pieces.pop(0) if self.pieces else None

    def speak(self) -> tuple[Input, str | None] | None:
        """The next sound and its word, or the end of a segment."""
        if not self.segments:
            return None
        segment, words = self.segments[0]
        if words:
            word = words.pop(0)
            return SoundReady(self.generation, segment, voice(self.generation, word)), word
        self.segments.pop(0)
        return SegmentSpoken(self.generation, segment), None


def word(generation: int, number: int) -> str:
    """A word that no other reply has."""
    letters = "bcdfghjklmnpqrstvwxz"
    return "za" + letters[generation // 20 % 20] + letters[generation % 20] + letters[number]


def script(generation: int) -> list[Input]:
    """A reply of nine words in three pieces."""
    said = [word(generation, number) for number in range(9)]
    texts = [" ".join(said[:2]), f" {said[2]}, " + " ".join(said[3:6]) + ".", ""]
    texts[2] = " " + " ".join(said[6:]) + "."
    pieces: list[Input] = [ReplyEvent(generation, Prefilled(1, 1, 0.0))]
    pieces += [ReplyEvent(generation, ReplyText(text)) for text in texts]
    return [*pieces, ReplyEvent(generation, ReplyDone("".join(texts), 3, 3, 0.0, 0.0))]


@dataclass
class WatchedDesk(Desk):
    """A desk with a witness, and with engines that work when they are told to."""

    witness: Witness | None = None
    engines: dict[int, EngineOfOneReply] = field(default_factory=dict)
    finals: list[DecodeFinal] = field(default_factory=list)
    unanswered: dict[tuple[int, int], DecodeFinal] = field(default_factory=dict)
    partials: list[DecodePartial] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    wake: float = 0.0

    def tell(self, event: Input) -> list[Command]:
        assert self.witness is not None
        if self.witness.hung_up:
            return []
        new = self.session.handle(event, self.now)
        for command in new:
            self.witness.see(command)
            self._note(command)
        return new

    def _note(self, command: Command) -> None:
        match command:
            case Respond():
                pieces = script(command.generation)
                self.engines[command.generation] = EngineOfOneReply(command.generation, pieces)
            case Speak():
                # What is said of the agent's own accord comes without a Respond.
                engine = self.engines.setdefault(
                    command.generation, EngineOfOneReply(command.generation, [])
                )
                engine.segments.append((command.segment, command.text.split()))
            case DecodeFinal():
                self.finals.append(command)
                self.unanswered[command.turn, command.revision] = command
            case DecodePartial():
                self.partials.append(command)
            case ReplyStarted():
                self.replies.append(command.item_id)
            case WakeAt():
                self.wake = command.when

    def understand(self, task: DecodeFinal, text: str) -> None:
        """The recogniser has the words of a turn."""
        self.unanswered.pop((task.turn, task.revision), None)
        self.tell(FinalTranscript(task.turn, task.revision, Transcript(text, len(text), True)))

    def sound(self, engine: EngineOfOneReply) -> bool:
        """The voice of one reply goes on; returns whether it had anything to do."""
        assert self.witness is not None
        made = engine.speak()
        if made is None:
            return False
        event, said = made
        if said is not None:
            self.witness.spoken.setdefault(engine.generation, []).append(said.strip(".,?!"))
        self.tell(event)
        return True


class AnyConversation(RuleBasedStateMachine):
    """Frames, transcripts, pieces of replies and clients' wishes in any order."""

    sequences = 0

    def __init__(self) -> None:
        super().__init__()
        AnyConversation.sequences += 1

    @initialize(settings=st.sampled_from(SETTINGS), delivery=st.sampled_from(Delivery))
    def begin(self, settings: dict[str, object], delivery: Delivery) -> None:
        session = Session(Settings(**settings), 0.0, delivery)
        self.desk = WatchedDesk(session, witness=Witness(session))
        self.desk.tell(CallStarted())

    # ---- the caller ----------------------------------------------------------------

    @rule(seconds=st.floats(0.03, 0.7), probability=st.sampled_from([0.0, 0.0, 0.4, 0.9, 0.9]))
    def hear(self, seconds: float, probability: float) -> None:
        self.desk.hear(seconds, probability)

    @rule(pause=st.sampled_from([0.12, 0.3, 0.6]))
    def say_something(self, pause: float) -> None:
        self.desk.hear(0.3, 0.9)
        self.desk.hear(pause, 0.0)

    @rule(
        event=st.sampled_from(
            [
                CommitAudio(),
                ClearAudio(),
                RespondNow(),
                CancelReply(),
                TextTyped("typed words"),
                Configure(turn_detection=False),
                Configure(turn_detection=True),
                Configure(create_response=False),
                Configure(create_response=True, interrupt_response=True),
                Configure(interrupt_response=False),
                Configure(endpoint_delay=0.2, threshold=0.6),
                RespondNow(instructions="Be brief.", metadata={"a": "b"}),
                RespondNow(text_only=True),
                RespondNow(apart=True),
                RespondNow(apart=True, text_only=True, metadata={"topic": "x"}),
                RespondNow(apart=True, text_only=True, items=(ClientItem(text="sort"),)),
                RespondNow(apart=True, text_only=True, items=(ClientItem("reference", "no"),)),
                Configure(text_only=True),
                Configure(text_only=False),
                CreateItem(ClientItem(role="system", text="a rule")),
                CreateItem(ClientItem(role="assistant", text="")),
                CreateItem(ClientItem("function_call_output", call_id="c", text="out")),
                RetrieveItem("item_000001"),
                DeleteItem("item_000001"),
                DeleteItem("item_000002"),
            ]
        )
    )
    def client(self, event: Input) -> None:
        self.desk.tell(event)

    @precondition(lambda self: self.desk.replies)
    @rule(back=st.integers(1, 3), part=st.floats(0.0, 1.0))
    def truncate(self, back: int, part: float) -> None:
        """The player says how much of a reply it has played, of what it was sent."""
        item_id = self.desk.replies[-back:][0]
        self.desk.tell(Truncate(item_id, part * self.desk.witness.sent(item_id)))

    @precondition(lambda self: self.desk.witness.apart)
    @rule()
    def cancel_one_apart(self) -> None:
        self.desk.tell(CancelReply(min(self.desk.witness.apart)))

    # ---- time ----------------------------------------------------------------------

    @rule(seconds=st.floats(0.0, 1.5))
    def wait(self, seconds: float) -> None:
        self.desk.now += seconds
        self.desk.tell(Tick())

    @rule(times=st.integers(1, 5))
    def wake(self, times: int) -> None:
        for _ in range(times):
            if self.desk.wake < self.desk.now + 10:
                self.desk.now = max(self.desk.now, self.desk.wake)
                self.desk.tell(Tick())

    # ---- the engines ---------------------------------------------------------------

    @precondition(lambda self: self.desk.partials)
    @rule(back=st.integers(1, 2), text=st.sampled_from(HEARD), stable=st.floats(0, 1))
    def partial(self, back: int, text: str, stable: float) -> None:
        task = self.desk.partials[-back:][0]
        self.desk.tell(
            PartialTranscript(task.turn, Transcript(text, int(stable * len(text)), False))
        )

    @precondition(lambda self: self.desk.finals)
    @rule(back=st.integers(1, 3), text=st.sampled_from(HEARD))
    def final(self, back: int, text: str) -> None:
        self.desk.understand(self.desk.finals[-back:][0], text)

    @precondition(lambda self: self.desk.finals)
    @rule(back=st.integers(1, 2))
    def recogniser_fails(self, back: int) -> None:
        task = self.desk.finals[-back:][0]
        self.desk.unanswered.pop((task.turn, task.revision), None)
        self.desk.tell(StageFailed("asr", "no ears", task.turn, revision=task.revision))

    def _engine(self, back: int) -> EngineOfOneReply:
        return list(self.desk.engines.values())[-back:][0]

    @precondition(lambda self: self.desk.engines)
    @rule(back=st.integers(1, 3), pieces=st.integers(1, 5))
    def think(self, back: int, pieces: int) -> None:
        engine = self._engine(back)
        for _ in range(pieces):
            if piece := engine.think():
                self.desk.tell(piece)

    @precondition(lambda self: self.desk.engines)
    @rule(back=st.integers(1, 3), chunks=st.integers(1, 12))
    def speak(self, back: int, chunks: int) -> None:
        engine = self._engine(back)
        for _ in range(chunks):
            self.desk.sound(engine)

    @precondition(lambda self: self.desk.engines)
    @rule(back=st.integers(1, 3), stage=st.sampled_from(["responder", "tts"]))
    def engine_fails(self, back: int, stage: str) -> None:
        engine = self._engine(back)
        engine.pieces.clear()
        engine.segments.clear()
        self.desk.tell(StageFailed(stage, "out of order", generation=engine.generation))

    # ---- the end -------------------------------------------------------------------

    @invariant()
    def the_next_wake_is_not_lost(self) -> None:
        if hasattr(self, "desk") and not self.desk.witness.hung_up:
            assert self.desk.wake < float("inf")

    def teardown(self) -> None:
        """Let everything come to its end; then the call must still be of use."""
        if not hasattr(self, "desk"):
            return
        desk, witness = self.desk, self.desk.witness
        desk.tell(Configure(turn_detection=True, create_response=True, interrupt_response=True))
        desk.tell(Configure(text_only=False))
        self._come_to_rest()
        if witness.hung_up:
            return
        assert witness.running is None, "a reply never ends"
        assert not witness.apart, "a reply outside the conversation never ends"
        assert not witness.owed, "an answer is owed and never given"
        before = len(witness.statuses)
        desk.hear(0.5, 0.9)
        self._come_to_rest()
        assert witness.hung_up or len(witness.statuses) > before, "the session answers no more"
        assert witness.hung_up or list(witness.statuses.values())[-1] == "completed"

    def _come_to_rest(self) -> None:
        """The caller is silent and all engines finish what they have begun."""
        desk = self.desk
        for _ in range(6):
            desk.hear(0.4, 0.0)
            for task in list(desk.unanswered.values()):
                desk.understand(task, "what time is it?")
            for engine in list(desk.engines.values()):
                while piece := engine.think():
                    desk.tell(piece)
                while desk.sound(engine):
                    pass
            for _ in range(200):
                if desk.witness.running is None:
                    break
                desk.now = max(desk.now, desk.wake)
                desk.tell(Tick())


TestAnyConversation = AnyConversation.TestCase
TestAnyConversation.settings = hypothesis_settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True
)


@pytest.mark.slow
def test_many_sequences(capsys):
    chosen = random.SystemRandom().randrange(2**32) if SEED == "new" else int(SEED)
    with capsys.disabled():
        print(f"\n{SEQUENCES} sequences (SEQUENCES sets it), seed {chosen} (SEED repeats it)")
    AnyConversation.sequences = 0
    run_state_machine_as_test(
        seed(chosen)(AnyConversation),
        settings=hypothesis_settings(
            max_examples=SEQUENCES,
            stateful_step_count=25,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert AnyConversation.sequences >= SEQUENCES
