"""The process that speaks with Piper: ``python -m tts.piper_worker voice.onnx``.

This is the only file that imports piper-tts (GPL-3.0-or-later), and nothing imports this file.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, get_args

import numpy as np
from piper.config import PiperConfig
from piper.const import BOS, EOS, PAD
from piper.voice import PiperVoice

from tts.alignment import PAUSES, Range, spans_of, word_ranges
from tts.engine import SpeechChunk, WordSpan, has_sound
from tts.pipes import PipeMessage, write_message
from tts.serving import serve
from tts.silence import LeadTrimmer, set_pause
from tts.vits import Device, Scales, UnsupportedDevice, UnsupportedVoice, Vits

_WARM_UP = (
    "Good morning, this is a sentence that is long enough to run through all sizes of pieces."
)


@dataclass(frozen=True, slots=True)
class Manner:
    """How the voice speaks; the fields are the command line's options."""

    scales: Scales
    gain: float
    sentence_pause: float
    """Seconds."""
    clause_pause: float
    """Seconds."""


class PiperEngine:
    """A voice in this process: phonemes by espeak-ng, sound by ``Vits``."""

    def __init__(self, voice: Path, threads: int, device: Device, manner: Manner) -> None:
        config = json.loads(voice.with_name(voice.name + ".json").read_text(encoding="utf-8"))
        self._config = PiperConfig.from_dict(config)
        # Piper's own session would be a second copy of the model: only its phonemes are used.
        self._piper = PiperVoice(session=None, config=self._config)
        self._vits = Vits(voice, threads=threads, device=device)
        self._manner = manner

    @property
    def rate(self) -> int:
        return int(self._config.sample_rate)

    def speak(self, text: str) -> Generator[SpeechChunk, None, None]:
        """Sound and words of ``text``; the first chunk starts with at most 10 ms of silence."""
        if not has_sound(text):
            return
        sentences = [
            phonemes
            for phonemes in self._piper.phonemize(text)
            if any(phoneme not in PAUSES for phoneme in phonemes)
        ]
        words = text.split()
        ranges = word_ranges(words, list(chain.from_iterable(sentences)), self._pronounce)
        lead = LeadTrimmer(self.rate)
        offset = 0
        for index, phonemes in enumerate(sentences):
            last = index == len(sentences) - 1
            stop = offset + len(phonemes)
            count = len(words) if last else sum(1 for _, end in ranges if end <= stop)
            inside = [(max(0, start - offset), end - offset) for start, end in ranges[:count]]
            yield from self._sentence(phonemes, words[:count], inside, lead)
            words, ranges, offset = words[count:], ranges[count:], stop

    def _pronounce(self, word: str) -> list[str]:
        return list(chain.from_iterable(self._piper.phonemize(word)))

    def _sentence(
        self,
        phonemes: Sequence[str],
        words: Sequence[str],
        ranges: Sequence[Range],
        lead: LeadTrimmer,
    ) -> Generator[SpeechChunk, None, None]:
        ids, counts = self._ids(phonemes)
        prior = self._vits.encode(ids, self._manner.scales)
        id_ends = np.cumsum(prior.frames_per_id) * self._vits.hop
        waiting = spans_of(words, ranges, [int(id_ends[count - 1]) for count in counts])
        total, position = int(id_ends[-1]), 0
        for piece in self._vits.decode(prior):
            start, position = position, position + len(piece)
            final = position == total
            cut = lead.trim(piece)
            start += cut
            samples = piece[cut:] * np.float32(self._manner.gain)
            if final:
                samples = set_pause(samples, self._pause(phonemes), self.rate)
            if not len(samples):
                continue
            ready = waiting if final else [word for word in waiting if word.end <= position]
            waiting = waiting[len(ready) :]
            yield SpeechChunk(samples.clip(-1, 1), self.rate, _shifted(ready, start, len(samples)))

    def _ids(self, phonemes: Sequence[str]) -> tuple[list[int], list[int]]:
        """Phoneme ids of a sentence, and how many of them stand before each phoneme and the end."""
        table = self._config.phoneme_id_map
        ids = [*table[BOS], *table[PAD]]
        counts = [len(ids)]
        for phoneme in phonemes:
            if phoneme in table:
                ids += [*table[phoneme], *table[PAD]]
            counts.append(len(ids))
        return [*ids, *table[EOS]], counts

    def _pause(self, phonemes: Sequence[str]) -> float:
        ended = any(phoneme in ".!?" for phoneme in phonemes[-1:])
        return self._manner.sentence_pause if ended else self._manner.clause_pause


def _shifted(words: Sequence[WordSpan], start: int, length: int) -> tuple[WordSpan, ...]:
    """Spans counted from the start of the sentence, recounted from the start of a chunk."""
    return tuple(
        WordSpan(word.text, min(word.start - start, length), min(max(word.end - start, 0), length))
        for word in words
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("voice", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=get_args(Device), default="cpu")
    parser.add_argument("--length", type=float, default=1.0)
    parser.add_argument("--noise", type=float, default=0.667)
    parser.add_argument("--duration-noise", type=float, default=0.8)
    parser.add_argument("--gain", type=float, default=1.0)
    parser.add_argument("--sentence-pause", type=float, default=0.2)
    parser.add_argument("--clause-pause", type=float, default=0.08)
    return parser.parse_args()


def _load(options: argparse.Namespace) -> PiperEngine:
    manner = Manner(
        Scales(options.noise, options.length, options.duration_noise),
        options.gain,
        options.sentence_pause,
        options.clause_pause,
    )
    engine = PiperEngine(options.voice, options.threads, options.device, manner)
    for _ in engine.speak(_WARM_UP):
        pass
    return engine


def _private_stdout() -> BinaryIO:
    """The pipe to the parent, out of reach of anything that prints."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def main() -> int:
    """Load, report, serve; the exit code is 1 if the voice cannot be loaded."""
    # Ctrl-C goes to the whole group: the parent decides when its worker ends, by closing the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sink = _private_stdout()
    options = _options()
    try:
        engine = _load(options)
    except (UnsupportedVoice, UnsupportedDevice, KeyError, ValueError, OSError) as error:
        lacking = "its .json lacks " if isinstance(error, KeyError) else ""
        reason = f"cannot load the voice {options.voice}: {lacking}{error}"
        write_message(sink, PipeMessage("fatal", fields={"reason": reason}))
        return 1
    serve(engine, sys.stdin.buffer, sink)
    return 0


if __name__ == "__main__":
    sys.exit(main())
