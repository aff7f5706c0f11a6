"""Scripts of the panel's conversations: steps of a caller, drawn from texts by a seed.

The build half and the held-out half have different texts and seeds. All functions are pure.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

TEXTS: Final = Path(__file__).with_name("panel_texts.txt")
CONVERSATIONS: Final = 24
"""Conversations of each half."""


class Half(StrEnum):
    """Half of the conversations: ``build`` to tune on, ``held-out`` for figures."""

    BUILD = "build"
    HELD_OUT = "held-out"


SEEDS: Final = {Half.BUILD: 19, Half.HELD_OUT: 1900}


class EventKind(StrEnum):
    """What the caller's side does, by its meaning for the agent.

    Attributes:
        TURN: speech to the agent while it is silent.
        INTERRUPTION: speech to the agent while it speaks.
        BACKCHANNEL: a sign of listening while the agent speaks.
        VOCAL_TIC: a cough, a cleared throat, "um".
        NOT_DIRECTED: speech of the caller or of others that is not meant for the agent.
        NOISE: a burst of noise, or music on hold.
    """

    TURN = "turn"
    INTERRUPTION = "interruption"
    BACKCHANNEL = "backchannel"
    VOCAL_TIC = "vocal_tic"
    NOT_DIRECTED = "not_directed"
    NOISE = "noise"


class Moment(StrEnum):
    """Moment at which a step is played.

    Attributes:
        NEXT: once the agent has been silent for a moment, as the next turn.
        OVER: some seconds into the agent's reply.
        IDLE: in the silence after a reply, in which nobody waits for anything.
    """

    NEXT = "next"
    OVER = "over"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Step:
    """One act of the caller's side.

    Attributes:
        kind: meaning of the act.
        label: kind of the text or sound, such as ``dictation`` or ``cough``.
        parts: words between the pauses; empty for a sound that is no speech.
        pauses: seconds of the pause after each part except the last.
        moment: moment at which it is played.
        after: seconds of the reply before it (`Moment.OVER`).
        wants_reply: whether the agent should reply; False for "stop" and everything but turns.
        seed: seed of a synthesised sound.
    """

    kind: EventKind
    label: str
    parts: tuple[str, ...] = ()
    pauses: tuple[float, ...] = ()
    moment: Moment = Moment.NEXT
    after: float = 0.0
    wants_reply: bool = False
    seed: int = 0

    @property
    def text(self) -> str:
        """All words of the step."""
        return " ".join(self.parts)


@dataclass(frozen=True, slots=True)
class Conversation:
    """The script of one call.

    Attributes:
        name: half and number.
        voice: name of the caller's voice, as `panel_voices` knows it.
        line: channel of the caller's sound: ``clear``, ``muffled`` or ``telephone``.
        background: sound behind the whole call: ``room`` or ``television``.
        television: text that the television says.
        steps: acts of the caller's side, in order.
    """

    name: str
    voice: str
    line: str
    background: str
    television: str
    steps: tuple[Step, ...]


VOICES: Final = (
    "piper",
    "espeak-ng:en-us",
    "piper:1.1",
    "espeak-ng:en-gb+f3",
    "piper:0.92",
    "espeak-ng:en-us+m3",
)
LINES: Final = ("clear", "clear", "telephone", "clear", "muffled")
BACKGROUNDS: Final = ("room", "room", "room", "television")
SOUNDS: Final = {
    EventKind.VOCAL_TIC: ("cough", "throat"),
    EventKind.NOISE: ("slam", "clatter", "clink", "music"),
}
"""Synthesised sounds that are no speech, by kind."""

Texts = Mapping[str, Sequence[str]]


def read_texts(half: Half, path: Path = TEXTS) -> Texts:
    """Read the texts of a half, by kind."""
    texts: dict[str, list[str]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        head, words = line.split(":", 1)
        of, kind = head.split(" ", 1)
        if of == half:
            texts[kind].append(words.strip())
    return texts


def conversations(half: Half, count: int = CONVERSATIONS) -> list[Conversation]:
    """The first ``count`` conversations of a half; the same ones in every run."""
    texts = read_texts(half)
    return [_conversation(half, number, texts) for number in range(count)]


def _conversation(half: Half, number: int, texts: Texts) -> Conversation:
    draw = _Draw(texts, number, SEEDS[half], random.Random(f"{SEEDS[half]} {number}"))
    return Conversation(
        name=f"{half} {number + 1}",
        voice=VOICES[number % len(VOICES)],
        line=LINES[number % len(LINES)],
        background=BACKGROUNDS[number % len(BACKGROUNDS)],
        television=draw.text("television"),
        steps=tuple(_steps(draw)),
    )


def _steps(draw: _Draw) -> Iterator[Step]:
    """Four turns with what happens over their replies and between them."""
    yield draw.turn("question" if draw.number % 2 else "command")
    yield draw.turn("story")
    yield draw.spoken(EventKind.BACKCHANNEL, "backchannel", Moment.OVER, 1.0)
    yield draw.tic(Moment.OVER, 2.5)
    yield draw.interruption("interruption", 4.0)
    yield draw.tic(Moment.IDLE)
    yield draw.turn("hesitant")
    yield draw.spoken(EventKind.BACKCHANNEL, "backchannel", Moment.OVER, 0.9)
    yield draw.noise(Moment.OVER, 2.4)
    yield draw.aside(Moment.IDLE)
    yield draw.turn("story")
    yield draw.aside(Moment.OVER, 1.0)
    yield draw.interruption("stop", 3.8)
    yield draw.turn("dictation" if draw.number % 3 else "hesitant")
    yield draw.noise(Moment.IDLE)


USES: Final = {"story": 2, "backchannel": 2, "near": 2, "far": 2, "tic": 2, "hesitant": 2}
"""Texts of a kind that one conversation may use, if more than one."""


@dataclass(slots=True)
class _Draw:
    """Draws the steps of one conversation; its texts differ from those of its neighbours."""

    texts: Texts
    number: int
    seed: int
    random: random.Random
    _used: Counter[str] = field(default_factory=Counter)

    def text(self, kind: str) -> str:
        """The next text of a kind; conversations go on where the one before them stopped."""
        options = list(self.texts[kind])
        random.Random(f"{self.seed} {kind}").shuffle(options)
        place = USES.get(kind, 1) * self.number + self._used[kind]
        self._used[kind] += 1
        return options[place % len(options)]

    def one_of(self, options: Sequence[str]) -> str:
        return self.random.choice(options)

    def turn(self, kind: str) -> Step:
        parts = tuple(part.strip() for part in self.text(kind).split("|"))
        pauses = tuple(round(self.random.uniform(0.3, 1.5), 2) for _ in parts[1:])
        return Step(EventKind.TURN, kind, parts, pauses, wants_reply=True)

    def interruption(self, kind: str, after: float) -> Step:
        wants = kind == "interruption"
        words = (self.text(kind),)
        return Step(EventKind.INTERRUPTION, kind, words, (), Moment.OVER, after, wants_reply=wants)

    def spoken(self, kind: EventKind, label: str, moment: Moment, after: float = 0.0) -> Step:
        return Step(kind, label, (self.text(label),), (), moment, after, seed=self._seed())

    def aside(self, moment: Moment, after: float = 0.0) -> Step:
        """Speech to others: the caller's, through a hand on the microphone or not, or a far one."""
        label = self.one_of(("near", "muffled", "far"))
        words = self.text("far" if label == "far" else "near")
        kind = EventKind.NOT_DIRECTED
        return Step(kind, label, (words,), (), moment, after, seed=self._seed())

    def _seed(self) -> int:
        return self.random.randrange(10**6)

    def tic(self, moment: Moment, after: float = 0.0) -> Step:
        """A tic with the voice or without it."""
        if self.random.random() < 0.4:
            return self.spoken(EventKind.VOCAL_TIC, "tic", moment, after)
        return self._sound(EventKind.VOCAL_TIC, moment, after)

    def noise(self, moment: Moment, after: float = 0.0) -> Step:
        return self._sound(EventKind.NOISE, moment, after)

    def _sound(self, kind: EventKind, moment: Moment, after: float) -> Step:
        return Step(kind, self.one_of(SOUNDS[kind]), (), (), moment, after, seed=self._seed())
