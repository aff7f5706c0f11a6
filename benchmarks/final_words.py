"""The critical path of a turn: CPU time of a final transcript in its parts, and what shortens it.

    python benchmarks/final_words.py --windows 6 8 10 --beams 2
    python benchmarks/final_words.py --windows --padding

Each utterance of tests/data and of the package is heard once as recorded and once with a pause of
0.5 s and noise, on one thread. A row has the wrong words of the first decode (no second opinion),
and the median CPU time in ms of the encoder and of the decoder. The last row decodes with the words
that were stable by then (partials every 0.8 s, LocalAgreement-2) as a forced prefix, beside the
same utterances without one. ``--padding`` adds final transcripts after partials every 0.8 s, in
whole windows and with the padding of the last partial's (`asr.padding`), gates and second opinions
included. CPU time is that of the process, so a busy machine changes it little.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import recognition
from recognition import RATE, as_delivered, read_utterances, spoken, wrong_words

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from agent.audio.samples import resample  # noqa: E402
from agent.bench.questions import QUESTIONS  # noqa: E402
from agent.bench.questions import spoken as say  # noqa: E402
from agent.config.settings import Settings  # noqa: E402
from agent.protocol import WIRE_RATE  # noqa: E402
from agent.runtime.engines import load_tts, model_path  # noqa: E402
from asr.gates import is_doubtful, max_tokens  # noqa: E402
from asr.stable_prefix import StablePrefix  # noqa: E402
from asr.whisper import WhisperTranscriber  # noqa: E402

T = TypeVar("T")
Row = dict[str, Any]
DELIVERIES = ("as recorded", "endpoint")
PARTIAL_EVERY = 0.8
STEP = int(PARTIAL_EVERY * RATE)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result of ``work`` and its CPU time in ms."""
    began = time.process_time()
    result = work()
    return result, 1e3 * (time.process_time() - began)


class Finals:
    """Decodes utterances in parts, with the recogniser's own steps."""

    def __init__(self, model: str) -> None:
        self.asr = WhisperTranscriber(model, threads=1)
        self.asr.warm_up()
        folders = (recognition.DATA / "librivox", recognition.DATA / "questions")
        self.read = [
            pair for folder in (*folders, recognition.BUNDLED) for pair in read_utterances(folder)
        ]
        self.utterances = [
            (as_delivered(sound, *recognition.CONDITIONS[name]), text)
            for name in DELIVERIES
            for sound, text in self.read
        ]
        self.words = sum(len(spoken(text).split()) for _, text in self.utterances)

    def row(self, window: float, beam: int) -> dict[str, Any]:
        """Wrong words and CPU time with a shortest window in seconds and a beam."""
        self.asr._shortest, self.asr._beam = round(100 * window), beam
        wrong, doubtful, encoder, decoder = 0, 0, [], []
        for sound, text in self.utterances:
            features = self.asr._features(sound)
            encoded, ms = timed(lambda f=features: self.asr._encode(f, self.asr._window(f)))
            encoder.append(ms)
            tokens = max_tokens(len(sound) / RATE)
            decoded, ms = timed(lambda e=encoded, t=tokens: self.asr._decode(e, t))
            decoder.append(ms)
            wrong += wrong_words(text, decoded.text)
            doubtful += is_doubtful(decoded)
        return {
            "window_s": window,
            "beam": beam,
            "wrong_words": wrong,
            "words": self.words,
            "doubtful": doubtful,
            "encoder_ms": round(statistics.median(encoder), 1),
            "decoder_ms": round(statistics.median(decoder), 1),
        }

    def prefix_row(self) -> dict[str, Any]:
        """The same with the stable words as a forced prefix of the decoder."""
        wrong, plain, forced, length = 0, [], [], []
        prompt = self.asr._prompt
        for sound, text in self.utterances:
            stable = self._stable(sound)
            ids = self.asr._tokenizer.encode(" " + stable) if stable else []
            features = self.asr._features(sound)
            encoded = self.asr._encode(features, self.asr._window(features))
            tokens = max_tokens(len(sound) / RATE)
            _, ms = timed(lambda e=encoded, t=tokens: self.asr._decode(e, t))
            plain.append(ms)
            self.asr._prompt = [*prompt, *ids]
            decoded, ms = timed(lambda e=encoded, t=tokens: self.asr._decode(e, t))
            self.asr._prompt = prompt
            forced.append(ms)
            length.append(len(ids))
            # CTranslate2 gives back the words of its prompt with those that follow.
            whole = decoded.text
            wrong += wrong_words(text, whole if whole.startswith(stable) else f"{stable} {whole}")
        return {
            "forced_prefix_tokens": round(statistics.mean(length), 1),
            "wrong_words": wrong,
            "words": self.words,
            "decoder_ms": round(statistics.mean(plain), 1),
            "decoder_forced_ms": round(statistics.mean(forced), 1),
        }

    def padding_rows(self, spoken_too: Sequence[tuple[recognition.Sound, str]]) -> Iterator[Row]:
        """Final transcripts after partial ones: in whole windows, and with kept padding.

        Args:
            spoken_too: further utterances and their words.
        """
        deliveries = recognition.CONDITIONS.items()
        utterances = {
            name: [(as_delivered(sound, *how), text) for sound, text in self.read]
            for name, how in deliveries
        }
        if spoken_too:
            how = recognition.CONDITIONS["short pause"]
            utterances["in a voice"] = [(as_delivered(s, *how), text) for s, text in spoken_too]
        for name, heard in utterances.items():
            for kept in (False, True):
                yield {"condition": name, "kept_padding": kept, **self._finals(heard, kept)}

    def _finals(self, utterances: list[tuple[recognition.Sound, str]], kept: bool) -> Row:
        wrong, reused, times = 0, 0, []
        opinions = self.asr.second_opinions
        for sound, text in utterances:
            listening = self.asr.listen()
            if not kept:
                listening.padding.frames = lambda *of: None  # type: ignore[method-assign]
            for piece in np.split(sound, range(STEP, len(sound), STEP)):
                if listening.seconds:
                    listening.hypothesis()
                listening.feed(piece)
            final, ms = timed(listening.finish)
            wrong += wrong_words(text, final.text)
            reused += listening.padding.reuses
            times.append(ms)
        return {
            "wrong_words": wrong,
            "words": sum(len(spoken(text).split()) for _, text in utterances),
            "utterances": len(utterances),
            "reused": reused,
            "second_opinions": self.asr.second_opinions - opinions,
            "final_ms": round(statistics.median(times), 1),
            "final_p90_ms": round(sorted(times)[int(0.9 * len(times))], 1),
        }

    def _stable(self, sound: recognition.Sound) -> str:
        prefix, stable = StablePrefix(), ""
        step = int(PARTIAL_EVERY * RATE)
        for end in range(step, len(sound), step):
            if guess := self.asr.guess(sound[:end]):
                text, length = prefix.update(guess)
                stable = text[:length].strip()
        return stable


def rows(finals: Finals, windows: list[float], beams: list[int]) -> Iterator[dict[str, Any]]:
    for window, beam in itertools.product(windows, beams):
        yield finals.row(window, beam)
    finals.asr._shortest, finals.asr._beam = 1000, 2
    if windows:
        yield finals.prefix_row()


def in_a_voice() -> list[tuple[recognition.Sound, str]]:
    """The questions of ``onebreath bench turns`` without hesitations, in the bundled voice."""
    settings = Settings()
    voice = load_tts(settings, 1, lambda line: None)
    try:
        texts = [text for text in QUESTIONS if "{" not in text]
        return [(resample(say(voice, text).samples, WIRE_RATE, RATE), text) for text in texts]
    finally:
        voice.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--padding", action="store_true", help="whole windows and kept padding")
    parser.add_argument("--windows", type=float, nargs="*", default=[6.0, 8.0, 10.0])
    parser.add_argument("--beams", type=int, nargs="+", default=[2])
    options = parser.parse_args()
    finals = Finals(str(model_path("whisper-base", lambda line: None)))
    found = rows(finals, options.windows, options.beams)
    if options.padding:
        found = itertools.chain(found, finals.padding_rows(in_a_voice()))
    for row in found:
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
