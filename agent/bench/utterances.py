"""Utterances with pauses for thought, spoken from utterances.txt, to measure endpointing.

A voice with word times (Piper) speaks the whole utterance, which is then cut at the end of a word
and separated by a pause; other voices speak the parts one by one.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from agent.audio.samples import (
    NOISE_FLOOR_DBFS,
    Samples,
    first_above,
    last_above,
    read_sound_file,
    resample,
)
from agent.errors import AudioError, ConfigError
from asr.engine import RATE
from tts.engine import Synthesizer

UTTERANCES: Final = Path(__file__).with_name("utterances.txt")
SHORTEST_PAUSE: Final = 0.3
LONGEST_PAUSE: Final = 1.2
"""Bounds of a pause for thought, in seconds."""
SILENCE_BEFORE: Final = 0.4
"""Seconds of silence before the first word."""
SILENCE_AFTER: Final = 3.0
"""Seconds of silence after the last word, longer than any endpoint delay."""
ROOM_DBFS: Final = -60.0
"""Level of the background noise."""

_FADE: Final = RATE // 100
_SPEAK_SECONDS: Final = 30.0
"""Time limit for a program that speaks one part, in seconds."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """The words of one turn with its pauses.

    Attributes:
        kind: kind of the utterance, such as ``question``.
        parts: words between the pauses.
        unseen: whether it belongs to a file on which no rule was tuned at all.
    """

    kind: str
    parts: tuple[str, ...]
    unseen: bool = False

    @property
    def text(self) -> str:
        """All words of the utterance."""
        return " ".join(self.parts)

    @property
    def pauses(self) -> tuple[float, ...]:
        """Seconds of the pause after each part except the last; the same in every run."""
        span = LONGEST_PAUSE - SHORTEST_PAUSE
        return tuple(
            SHORTEST_PAUSE + span * _share(f"{number} {self.text}")
            for number in range(1, len(self.parts))
        )

    @property
    def held_out(self) -> bool:
        """Whether the utterance belongs to the half on which no rule was tuned."""
        return self.unseen or _share(self.text) < 0.5


@dataclass(frozen=True, slots=True)
class SpokenUtterance:
    """An utterance as audio.

    Attributes:
        samples: float32 mono at 16 kHz.
        speech_end: end of the last word, in seconds.
    """

    samples: Samples
    speech_end: float


SpeakUtterance = Callable[[Utterance], SpokenUtterance]
SpeakParts = Callable[[Sequence[str]], list[Samples]]
"""Speaks the parts of an utterance: 16 kHz mono without silence around them."""


def read_utterances(path: Path = UTTERANCES) -> list[Utterance]:
    """Read the utterances of a file, in order; those of other files than the bundled are unseen.

    Raises:
        ConfigError: the file is no text, or a line has no kind or a part without words.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text: {error}") from error
    return [
        _utterance(line, f"{path}, line {number}", path != UTTERANCES)
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    ]


def _utterance(line: str, place: str, unseen: bool) -> Utterance:
    kind, colon, words = line.partition(":")
    parts = tuple(part.strip() for part in words.split("|"))
    if not colon or not all(any(map(str.isalnum, part)) for part in parts):
        raise ConfigError(f"{place}: write kind, colon and words, with words around each bar")
    return Utterance(kind.strip(), parts, unseen)


def synthesizer_voice(voice: Synthesizer) -> SpeakUtterance:
    """Speak utterances with a synthesizer of the agent."""
    parts = synthesizer_parts(voice)
    return lambda utterance: _assemble(parts(utterance.parts), utterance)


def program_voice(name: str) -> SpeakUtterance:
    """Speak utterances with a program: ``espeak-ng:VOICE`` or ``flite:VOICE``.

    Raises:
        AudioError: the program is unknown, not installed, or fails.
    """
    parts = program_parts(name)
    return lambda utterance: _assemble(parts(utterance.parts), utterance)


def synthesizer_parts(voice: Synthesizer) -> SpeakParts:
    """Speak parts as one sentence with a synthesizer of the agent that knows its words' times."""
    return lambda parts: _cut(parts, voice)


def program_parts(name: str) -> SpeakParts:
    """Speak parts one by one with a program; see `program_voice`."""
    program, _, voice = name.partition(":")
    if program not in _PROGRAMS:
        raise AudioError(f"no voice {name!r}: give piper, espeak-ng:VOICE or flite:VOICE")
    if shutil.which(program) is None:
        raise AudioError(f"{program} is not installed; leave {name} out or install it")
    return lambda parts: [_speak(program, voice, part) for part in parts]


_PROGRAMS: Final = {
    "espeak-ng": lambda voice, path, text: ["espeak-ng", "-v", voice or "en-us", "-w", path, text],
    "flite": lambda voice, path, text: ["flite", "-voice", voice or "slt", "-o", path, "-t", text],
}


def _speak(program: str, voice: str, text: str) -> Samples:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "part.wav")
        command = _PROGRAMS[program](voice, str(path), text)
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=_SPEAK_SECONDS)
        except (subprocess.SubprocessError, OSError) as error:
            raise AudioError(f"{program} cannot say {text!r}: {error}") from error
        return _trim(read_sound_file(path, RATE).samples)


def _cut(parts: Sequence[str], voice: Synthesizer) -> list[Samples]:
    """Speak the whole utterance and cut it at the ends of its parts."""
    pieces, ends, said = [], [], 0
    for chunk in voice.speak(" ".join(parts)):
        ends += [said + word.end for word in chunk.words]
        pieces.append(chunk.samples)
        said += len(chunk.samples)
    sound = resample(np.concatenate(pieces), voice.rate, RATE)
    words, cuts = 0, [0]
    for part in parts[:-1]:
        words += len(part.split())
        cuts.append(round(ends[words - 1] * RATE / voice.rate))
    cuts.append(len(sound))
    return [_trim(sound[a:b]) for a, b in pairwise(cuts)]


def _trim(sound: Samples) -> Samples:
    """Trim the silence at both ends and fade them, because a cut in a vowel would click."""
    first, last = first_above(sound, NOISE_FLOOR_DBFS), last_above(sound, NOISE_FLOOR_DBFS)
    if first is None or last is None:
        raise AudioError("a part of an utterance is silent")
    kept = sound[first : last + 1].copy()
    fade = np.linspace(0, 1, min(_FADE, len(kept)), dtype=np.float32)
    kept[: len(fade)] *= fade
    kept[len(kept) - len(fade) :] *= fade[::-1]
    return kept


def _assemble(parts: list[Samples], utterance: Utterance) -> SpokenUtterance:
    pieces = [_silence(SILENCE_BEFORE), parts[0]]
    for seconds, part in zip(utterance.pauses, parts[1:], strict=True):
        pieces += [_silence(seconds), part]
    speech = np.concatenate(pieces)
    sound = np.concatenate([speech, _silence(SILENCE_AFTER)])
    random = np.random.default_rng(int(1e9 * _share(utterance.text)))
    noise = random.normal(0, 10 ** (ROOM_DBFS / 20), len(sound))
    return SpokenUtterance((sound + noise).astype(np.float32), len(speech) / RATE)


def _silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE), np.float32)


def _share(text: str) -> float:
    """A pseudo-random number in [0, 1) that depends only on the text."""
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
