"""The caller's side of a conversation as sound: voices, levels, line and background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.audio.samples import Samples, resample
from agent.bench import panel_sounds
from agent.bench.panel_script import VOICES, Conversation, EventKind, Step
from agent.bench.utterances import SpeakParts, program_parts, synthesizer_parts
from asr.engine import RATE
from tts.engine import Synthesizer

SPEECH_PEAK: Final = 0.4
"""Peak of the caller's speech to the agent."""
ASIDE_DB: Final = 6.0
"""dB by which the caller turns away when he speaks to others."""
FAR_DB: Final = (18.0, 28.0)
"""Range of dB by which other people are softer than the caller."""
TELEVISION_DB: Final = (15.0, 24.0)
"""Range of dB by which a television is softer than the caller."""
ROOM_DBFS: Final = -60.0
"""Level of the noise of the room."""
BACKGROUND_SECONDS: Final = 30.0
"""Length of a background, which is repeated."""


@dataclass(frozen=True, slots=True)
class SpokenStep:
    """A step as sound.

    Attributes:
        step: the step.
        samples: float32 mono at 16 kHz, from the first to the last sound.
        pauses: beginning and end of each pause, in seconds of the sound.
    """

    step: Step
    samples: Samples
    pauses: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class SpokenConversation:
    """A conversation as sound.

    Attributes:
        script: the conversation.
        steps: its steps, in order.
        background: sound behind the whole call, to be repeated; float32 mono at 16 kHz.
    """

    script: Conversation
    steps: tuple[SpokenStep, ...]
    background: Samples


class PanelVoices:
    """Speaks conversations with Piper and espeak-ng.

    Args:
        piper: the bundled voice.
    """

    def __init__(self, piper: Synthesizer) -> None:
        self._piper = synthesizer_parts(piper)

    def speak(self, script: Conversation) -> SpokenConversation:
        """Make the sound of a conversation; the same in every run.

        Raises:
            AudioError: espeak-ng is missing or fails.
        """
        steps = tuple(self._step(script, step) for step in script.steps)
        return SpokenConversation(script, steps, self._background(script))

    def _step(self, script: Conversation, step: Step) -> SpokenStep:
        if not step.parts:
            sound = panel_sounds.sound(step.label, step.seed)
            return SpokenStep(step, panel_sounds.over_line(sound, script.line))
        voice = another(script.voice) if step.label == "far" else script.voice
        parts = self._parts(voice, step.parts)
        pieces, pauses, at = [parts[0]], [], len(parts[0])
        for seconds, part in zip(step.pauses, parts[1:], strict=True):
            silence = np.zeros(round(seconds * RATE), np.float32)
            pauses.append((at / RATE, (at + len(silence)) / RATE))
            pieces += [silence, part]
            at += len(silence) + len(part)
        sound = _placed(np.concatenate(pieces), step)
        return SpokenStep(step, panel_sounds.over_line(sound, script.line), tuple(pauses))

    def _parts(self, voice: str, parts: Sequence[str]) -> list[Samples]:
        """The parts in a voice, at one level; ``piper:1.1`` is Piper, faster and higher."""
        program, _, variant = voice.partition(":")
        speak: SpeakParts = self._piper if program == "piper" else program_parts(voice)
        spoken = speak(parts)
        if program == "piper" and variant:
            spoken = [resample(part, round(RATE * float(variant)), RATE) for part in spoken]
        gain = SPEECH_PEAK / max(float(np.abs(part).max()) for part in spoken)
        return [(part * gain).astype(np.float32) for part in spoken]

    def _background(self, script: Conversation) -> Samples:
        random = np.random.default_rng(len(script.television) + len(script.steps))
        length = int(BACKGROUND_SECONDS * RATE)
        room = random.normal(0, 10 ** (ROOM_DBFS / 20), length).astype(np.float32)
        if script.background != "television":
            return room
        (said,) = self._parts(another(script.voice), [script.television])
        tune = panel_sounds.sound("music", len(script.television))
        programme = np.concatenate([said, 0.5 * tune])
        behind = panel_sounds.far(programme, random, random.uniform(*TELEVISION_DB))
        behind = panel_sounds.over_line(behind, script.line)
        return room + np.resize(behind, length).astype(np.float32)


def another(voice: str) -> str:
    """A voice of another person."""
    return VOICES[(VOICES.index(voice) + 3) % len(VOICES)]


def _placed(speech: Samples, step: Step) -> Samples:
    """The speech from the place of its speaker: at the microphone, turned away, across the room."""
    if step.kind is not EventKind.NOT_DIRECTED:
        return speech
    if step.label == "far":
        random = np.random.default_rng(step.seed)
        return panel_sounds.far(speech, random, random.uniform(*FAR_DB))
    turned = speech * 10 ** (-ASIDE_DB / 20)
    return panel_sounds.muffled(turned) if step.label == "muffled" else turned
