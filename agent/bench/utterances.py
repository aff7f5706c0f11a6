"""Conversational speech to measure endpointing on: utterances.txt, spoken, with pauses for thought.

A voice with word times (Piper) says the whole utterance, which is then cut at the end of a word and
held apart, as somebody who stops to think does; other voices say the parts one by one.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
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
from agent.errors import AudioError
from asr.engine import RATE
from tts.engine import Synthesizer

UTTERANCES: Final = Path(__file__).with_name("utterances.txt")
SHORTEST_PAUSE: Final = 0.3
LONGEST_PAUSE: Final = 1.2
BEFORE: Final = 0.4
"""Seconds of silence before the first word."""
AFTER: Final = 3.0
"""After the last: longer than any endpoint delay."""
ROOM_DBFS: Final = -60.0
"""Level of the noise under everything."""

_FADE: Final = RATE // 100
_SPEAK_SECONDS: Final = 30.0
"""A program that speaks one part takes longer than this only if it hangs."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """What one caller says in one turn."""

    kind: str
    parts: tuple[str, ...]
    """The words between the pauses."""

    @property
    def text(self) -> str:
        return " ".join(self.parts)

    @property
    def pauses(self) -> tuple[float, ...]:
        """Seconds of the pause after each part but the last; the same in every run."""
        span = LONGEST_PAUSE - SHORTEST_PAUSE
        return tuple(
            SHORTEST_PAUSE + span * _share(f"{number} {self.text}")
            for number in range(1, len(self.parts))
        )

    @property
    def held_out(self) -> bool:
        """Whether it belongs to the half on which no rule was tuned."""
        return _share(self.text) < 0.5


@dataclass(frozen=True, slots=True)
class Spoken:
    """An utterance as the line delivers it."""

    samples: Samples
    """16 kHz."""
    speech_end: float
    """Seconds at which the last word ends."""


CallersVoice = Callable[[Utterance], Spoken]


def read_utterances(path: Path = UTTERANCES) -> list[Utterance]:
    """The lines of the file, in order."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.split(":", 1) for line in lines if line and not line.startswith("#"))
    return [
        Utterance(kind, tuple(part.strip() for part in words.split("|"))) for kind, words in pairs
    ]


def synthesizer_voice(voice: Synthesizer) -> CallersVoice:
    """A caller with a voice of ours."""
    return lambda utterance: _assemble(_cut(utterance, voice), utterance)


def program_voice(name: str) -> CallersVoice:
    """A caller with the voice of a program: ``espeak-ng:en-gb`` or ``flite:slt``.

    Raises:
        AudioError: the program is unknown, not installed, or does not speak.
    """
    program, _, voice = name.partition(":")
    if program not in _PROGRAMS:
        raise AudioError(f"no voice {name!r}: give piper, espeak-ng:VOICE or flite:VOICE")
    if shutil.which(program) is None:
        raise AudioError(f"{program} is not installed; leave {name} out or install it")
    return lambda utterance: _assemble(
        [_speak(program, voice, part) for part in utterance.parts], utterance
    )


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


def _cut(utterance: Utterance, voice: Synthesizer) -> list[Samples]:
    """Say the whole, then cut it where a part ends."""
    pieces, ends, said = [], [], 0
    for chunk in voice.speak(utterance.text):
        ends += [said + word.end for word in chunk.words]
        pieces.append(chunk.samples)
        said += len(chunk.samples)
    sound = resample(np.concatenate(pieces), voice.rate, RATE)
    words, cuts = 0, [0]
    for part in utterance.parts[:-1]:
        words += len(part.split())
        cuts.append(round(ends[words - 1] * RATE / voice.rate))
    cuts.append(len(sound))
    return [_trim(sound[a:b]) for a, b in pairwise(cuts)]


def _trim(sound: Samples) -> Samples:
    """Without the silence at the ends; faded, for a cut in a vowel would click."""
    first, last = first_above(sound, NOISE_FLOOR_DBFS), last_above(sound, NOISE_FLOOR_DBFS)
    if first is None or last is None:
        raise AudioError("a part of an utterance is silent")
    kept = sound[first : last + 1].copy()
    fade = np.linspace(0, 1, min(_FADE, len(kept)), dtype=np.float32)
    kept[: len(fade)] *= fade
    kept[len(kept) - len(fade) :] *= fade[::-1]
    return kept


def _assemble(parts: list[Samples], utterance: Utterance) -> Spoken:
    pieces = [_silence(BEFORE), parts[0]]
    for seconds, part in zip(utterance.pauses, parts[1:], strict=True):
        pieces += [_silence(seconds), part]
    speech = np.concatenate(pieces)
    sound = np.concatenate([speech, _silence(AFTER)])
    random = np.random.default_rng(int(1e9 * _share(utterance.text)))
    noise = random.normal(0, 10 ** (ROOM_DBFS / 20), len(sound))
    return Spoken((sound + noise).astype(np.float32), len(speech) / RATE)


def _silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE), np.float32)


def _share(text: str) -> float:
    """A number in [0, 1) that only the text decides."""
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
