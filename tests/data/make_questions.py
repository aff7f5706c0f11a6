"""Speak the questions: writes *.wav (16 kHz mono PCM16) and expected.json into two folders.

agent/questions comes with the package, for the demo and the bench; questions is for tests.

Run from the repository root, with ``espeak-ng`` installed and the path of a Piper voice:

    python tests/data/make_questions.py path/to/en_US-joe-medium.onnx

The files are kept in the repository, so the tests need neither program. Piper draws noise: a new
run says the same words with another intonation.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import wave
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from piper import PiperVoice

RATE = 16_000
ROOT = Path(__file__).parent.parent.parent

BUNDLED = {
    "capital_of_france": ("piper", "What is the capital of France?"),
    "spider_legs": ("piper", "How many legs does a spider have?"),
    "opposite_of_hot": ("piper", "What is the opposite of hot?"),
    "romeo_and_juliet": ("piper", "Who wrote Romeo and Juliet?"),
    "two_plus_two": ("piper", "What is two plus two?"),
}
"""File name -> (program, words)."""

OTHERS = {
    "color_of_the_sky": ("espeak", "What color is the sky?"),
    "months_in_a_year": ("espeak", "How many months are in a year?"),
    # So short, or so repetitive, that a gate against hallucinations may swallow them:
    "yes": ("piper", "Yes."),
    "no": ("piper", "No."),
    "stop": ("piper", "Stop."),
    "five_five_five": ("piper", "Five, five, five, five."),
}


def resample(samples: NDArray[np.int16], rate: int) -> NDArray[np.int16]:
    """Mono PCM16 at ``rate`` to mono PCM16 at 16 kHz."""
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([f.to_ndarray().reshape(-1) for f in frames]).astype(np.int16)


def speak_espeak(text: str) -> NDArray[np.int16]:
    command = ["espeak-ng", "-v", "en-us", "-s", "150", "--stdout", text]
    wav = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(wav)) as reader:
        rate = reader.getframerate()
        # espeak-ng cannot know the length when it streams to a pipe: read what is there.
        pcm = reader.readframes(len(wav))
    return resample(np.frombuffer(pcm, dtype="<i2"), rate)


def speak_piper(voice: PiperVoice, text: str) -> NDArray[np.int16]:
    chunks = list(voice.synthesize(text))
    samples = np.concatenate([chunk.audio_int16_array for chunk in chunks])
    return resample(samples, chunks[0].sample_rate)


def main(voice_path: str) -> None:
    voice = PiperVoice.load(voice_path)
    speak_all(BUNDLED, ROOT / "agent" / "questions", voice)
    speak_all(OTHERS, ROOT / "tests" / "data" / "questions", voice)


def speak_all(spoken: dict[str, tuple[str, str]], folder: Path, voice: PiperVoice) -> None:
    for name, (program, text) in spoken.items():
        samples = speak_espeak(text) if program == "espeak" else speak_piper(voice, text)
        with wave.open(str(folder / f"{name}.wav"), "wb") as writer:
            writer.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
            writer.writeframes(samples.astype("<i2").tobytes())
    expected = {name: text for name, (_, text) in spoken.items()}
    path = folder / "expected.json"
    path.write_text(json.dumps(expected, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_questions.py path/to/voice.onnx")
    main(sys.argv[1])
