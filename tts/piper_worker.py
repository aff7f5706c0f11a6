"""The process that speaks with Piper: ``python -m tts.piper_worker voice.onnx``.

This is the only file that imports piper-tts (GPL-3.0-or-later), and nothing imports this file.
"""

from __future__ import annotations

import argparse
import json
import os
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

from tts.alignment import (
    PAUSES,
    Range,
    spans_of,
    split_long,
    with_pronunciations,
    word_ranges,
)
from tts.engine import SpeechChunk, TtsError, WordSpan, has_sound
from tts.lexicon import EMPTY, Lexicon, read_lexicon
from tts.pipes import PipeMessage, write_message
from tts.pronunciation import pronunciations
from tts.scripts import script_for, without_foreign
from tts.serving import leave_signals_to_the_parent, serve
from tts.silence import LeadTrimmer, set_pause
from tts.vits import Device, Scales, UnsupportedDevice, UnsupportedVoice, Vits

MAX_PHONEMES = 250
"""Longer sentences are cut at a word: the encoder takes a whole one before the first sound."""
_WARM_UP = "Good morning."
"""The first sentence was measured to take no longer than later ones, so a short one will do."""


@dataclass(frozen=True, slots=True)
class Manner:
    """Loudness, rhythm and pauses of the voice; the fields are the command line's options.

    Attributes:
        scales: variation and speed.
        gain: factor on the samples.
        sentence_pause: seconds of silence after a sentence.
        clause_pause: seconds of silence after text without a final mark.
    """

    scales: Scales
    gain: float
    sentence_pause: float
    clause_pause: float


class PiperEngine:
    """A voice in this process: phonemes by espeak-ng, sound by ``Vits``."""

    def __init__(
        self, voice: Path, threads: int, device: Device, manner: Manner, lexicon: Lexicon = EMPTY
    ) -> None:
        config = json.loads(voice.with_name(voice.name + ".json").read_text(encoding="utf-8"))
        self._config = PiperConfig.from_dict(config)
        # Piper's own session would be a second copy of the model: only its phonemes are used.
        self._piper = PiperVoice(session=None, config=self._config)
        self._vits = Vits(voice, threads=threads, device=device)
        self._manner = manner
        language = str(self._config.espeak_voice or "en")
        self._english = language.startswith("en")
        self._script = script_for(language)
        self._lexicon = lexicon

    @property
    def rate(self) -> int:
        return int(self._config.sample_rate)

    def speak(self, text: str) -> Generator[SpeechChunk, None, None]:
        """Sound and words of ``text``; the first chunk starts with at most 10 ms of silence.

        Raises:
            TtsError: the text is in a script that the voice cannot speak.
        """
        if not has_sound(text):
            return
        words = text.split()
        sentences, ranges = self._phonemes(words)
        lead = LeadTrimmer(self.rate)
        offset = 0
        for index, phonemes in enumerate(sentences):
            last = index == len(sentences) - 1
            stop = offset + len(phonemes)
            count = len(words) if last else sum(1 for _, end in ranges if end <= stop)
            inside = [(max(0, start - offset), end - offset) for start, end in ranges[:count]]
            yield from self._sentence(phonemes, words[:count], inside, lead)
            words, ranges, offset = words[count:], ranges[count:], stop

    def _phonemes(self, words: Sequence[str]) -> tuple[list[list[str]], list[Range]]:
        """Phonemes by sentence, long sentences in parts, and the place of each word in them."""
        said = [without_foreign(word, self._script) for word in words]
        if not has_sound(" ".join(said)):
            raise TtsError("the text has no letter that this voice can speak; use another voice")
        sentences = [
            phonemes
            for phonemes in self._piper.phonemize(" ".join(said))
            if any(phoneme not in PAUSES for phoneme in phonemes)
        ]
        ranges = word_ranges(said, list(chain.from_iterable(sentences)), self._pronounce)
        own = pronunciations(said, self._lexicon, english=self._english)
        sentences, ranges = with_pronunciations(sentences, ranges, own)
        return split_long(sentences, MAX_PHONEMES), ranges

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
    parser.add_argument("--lexicon", type=Path)
    return parser.parse_args()


def _load(options: argparse.Namespace) -> PiperEngine:
    manner = Manner(
        Scales(options.noise, options.length, options.duration_noise),
        options.gain,
        options.sentence_pause,
        options.clause_pause,
    )
    lexicon = EMPTY if options.lexicon is None else read_lexicon(options.lexicon)
    engine = PiperEngine(options.voice, options.threads, options.device, manner, lexicon)
    for _ in engine.speak(_WARM_UP):
        pass
    return engine


def _private_stdout() -> BinaryIO:
    """The pipe to the parent; other output of the process goes to standard error."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def main() -> int:
    """Load, report, serve; the exit code is 1 if the voice cannot be loaded."""
    leave_signals_to_the_parent()
    sink = _private_stdout()
    options = _options()
    try:
        engine = _load(options)
    except (
        UnsupportedVoice,
        UnsupportedDevice,
        TtsError,
        KeyError,
        ValueError,
        OSError,
    ) as error:
        lacking = "its .json lacks " if isinstance(error, KeyError) else ""
        reason = f"cannot load the voice {options.voice}: {lacking}{error}"
        write_message(sink, PipeMessage("fatal", fields={"reason": reason}))
        return 1
    serve(engine, sys.stdin.buffer, sink)
    return 0


if __name__ == "__main__":
    sys.exit(main())
