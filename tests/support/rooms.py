"""A caller without headphones: what the microphone hears of the agent, and when speech begins."""

from __future__ import annotations

import numpy as np

from agent.audio.echo import EchoDetector
from agent.audio.samples import AudioChunk
from agent.audio.vad import FRAME_SAMPLES, SpeechGate
from agent.config.settings import TurnSettings
from agent.runtime.audio_input import NO_SPEECH
from agent.turn_taking.detector import TurnDetector, TurnEvent
from support.sounds import RATE, Sound

FRAME = FRAME_SAMPLES / RATE
PIECE = 960
"""Samples of one piece of playback: 60 ms, as the server sends them."""
LEAD = 0.3
START = 1000.0
"""Monotonic second at which a call begins."""


def level(sound: Sound) -> float:
    """RMS of the frames that hold speech: those above a tenth of the loudest."""
    frames = sound[: len(sound) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    rms = np.sqrt(np.square(frames).mean(axis=1))
    return float(np.sqrt(np.square(rms[rms > rms.max() / 10]).mean()))


def at_level(sound: Sound, dbfs: float) -> Sound:
    return (sound * (10 ** (dbfs / 20) / level(sound))).astype(np.float32)


def room(reverberation: float, seed: int) -> Sound:
    """Impulse response: a direct sound, and noise that decays by 60 dB in ``reverberation`` s."""
    length = int(reverberation * RATE)
    response = np.random.default_rng(seed).normal(0, 1, length)
    response *= 10 ** (-3 * np.arange(length) / length)
    response *= np.sqrt(0.7 / np.square(response).sum())
    response[0] += np.sqrt(0.3)
    return response.astype(np.float32)


def echo(sound: Sound, delay: float, decibels: float, reverberation: float, seed: int = 1) -> Sound:
    """The sound after the room, ``decibels`` louder than it was played, as long as it was."""
    size = 1 << (len(sound) + int(reverberation * RATE)).bit_length()
    spectrum = np.fft.rfft(sound, size) * np.fft.rfft(room(reverberation, seed), size)
    returned = np.fft.irfft(spectrum, size)[: len(sound)]
    returned *= level(sound) / level(returned) * 10 ** (decibels / 20)
    late = int(delay * RATE)
    return np.pad(returned, (late, 0))[: len(sound)].astype(np.float32)


def noise(length: int, dbfs: float, seed: int = 2) -> Sound:
    return np.random.default_rng(seed).normal(0, 10 ** (dbfs / 20), length).astype(np.float32)


def speech(gate: SpeechGate, sound: Sound) -> Sound:
    """Speech probability of every whole frame."""
    starts = range(0, len(sound) - FRAME_SAMPLES + 1, FRAME_SAMPLES)
    return np.array([gate.probability(sound[i : i + FRAME_SAMPLES]) for i in starts], np.float32)


def judged(
    microphone: Sound,
    agent: Sound,
    jitter: float = 0.0,
    line: float = 0.02,
    probabilities: Sound | None = None,
) -> Sound:
    """Echo likelihood of every frame in a call in which ``agent`` is played from the beginning.

    Frames whose speech probability is given and says that nobody speaks are skipped, as in a call.
    """
    judge, random = EchoDetector(), np.random.default_rng(3)
    likelihoods, played = [], 0
    for start in range(0, len(microphone) - FRAME_SAMPLES + 1, FRAME_SAMPLES):
        now = START + (start + FRAME_SAMPLES) / RATE
        while played < len(agent) and START + played / RATE < now + LEAD:
            judge.played(agent[played : played + PIECE], RATE, START + played / RATE)
            played += PIECE
        arrived = now + line + jitter * float(random.random())
        frame = AudioChunk(microphone[start : start + FRAME_SAMPLES], RATE, start, arrived)
        if probabilities is not None and probabilities[len(likelihoods)] <= NO_SPEECH:
            judge.skip(frame)
            likelihoods.append(0.0)
        else:
            likelihoods.append(judge.likelihood(frame))
    return np.array(likelihoods, np.float32)


def starts(probabilities: Sound) -> list[float]:
    """Seconds at which the detector, as configured by default, hears a turn begin."""
    detector = TurnDetector(TurnSettings())
    found = []
    for number, probability in enumerate(probabilities):
        event = detector.frame(float(probability), number * FRAME, (number + 1) * FRAME)
        if event is TurnEvent.BEGAN:
            found.append((number + 1) * FRAME)
    return found
