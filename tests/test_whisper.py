"""Whisper base on real and made-up speech, and on what is no speech at all."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import ctranslate2
import jiwer
import numpy as np
import pytest
from numpy.typing import NDArray
from support.sounds import (
    LIBRIVOX,
    NOT_SPEECH,
    QUESTIONS,
    RATE,
    in_a_call,
    librivox,
    question,
    silence,
)
from whisper_normalizer.english import EnglishTextNormalizer

from asr.engine import AsrError
from asr.gates import Decoded
from asr.padding import SURE_LOGPROB
from asr.whisper import WhisperListening, WhisperTranscriber

pytestmark = pytest.mark.model

REPEAT = "five_five_five"
SHORT_WORDS = ["yes", "no", "stop"]
normalize = EnglishTextNormalizer()


@pytest.fixture(scope="module")
def whisper(whisper_base_dir: Path) -> Iterator[WhisperTranscriber]:
    transcriber = WhisperTranscriber(whisper_base_dir)
    yield transcriber
    transcriber.close()


def word_error_rate(expected: list[str], heard: list[str]) -> float:
    return float(
        jiwer.wer([normalize(text) for text in expected], [normalize(text) for text in heard])
    )


def test_real_speech_is_heard_within_ten_percent(whisper: WhisperTranscriber) -> None:
    heard = [whisper.transcribe(in_a_call(librivox(name))) for name in LIBRIVOX]
    assert word_error_rate(list(LIBRIVOX.values()), heard) <= 0.10


@pytest.mark.slow
def test_spoken_questions_are_heard_within_ten_percent(whisper: WhisperTranscriber) -> None:
    names = [name for name in QUESTIONS if name != REPEAT]
    heard = [whisper.transcribe(in_a_call(question(name))) for name in names]
    assert word_error_rate([QUESTIONS[name] for name in names], heard) <= 0.10


@pytest.mark.parametrize("word", SHORT_WORDS)
def test_a_short_word_survives_the_gates(whisper: WhisperTranscriber, word: str) -> None:
    assert normalize(whisper.transcribe(in_a_call(question(word)))) == word
    assert normalize(whisper.guess(in_a_call(question(word)))) == word


@pytest.mark.parametrize("word", SHORT_WORDS)
def test_a_short_word_is_known_at_a_glance(whisper: WhisperTranscriber, word: str) -> None:
    assert normalize(whisper.glance(in_a_call(question(word)))) == word


def test_skimmed_words_are_final(whisper: WhisperTranscriber) -> None:
    listening = whisper.listen()
    listening.feed(in_a_call(question("stop")))
    skimmed = listening.skim()
    assert skimmed.final
    assert normalize(skimmed.text) == "stop"


def as_in_a_turn(
    whisper: WhisperTranscriber, sound: NDArray[np.float32], every: float
) -> WhisperListening:
    """An utterance with partial transcripts ``every`` so many seconds, as a call decodes them."""
    listening, step = whisper.listen(), int(every * RATE)
    for start in range(0, len(sound), step):
        listening.feed(sound[start : start + step])
        if start + step < len(sound):
            listening.hypothesis()
    return listening


def test_real_speech_is_heard_within_ten_percent_with_kept_padding(
    whisper: WhisperTranscriber,
) -> None:
    turns = [as_in_a_turn(whisper, in_a_call(librivox(name)), 0.8) for name in LIBRIVOX]
    heard = [listening.finish().text for listening in turns]
    assert word_error_rate(list(LIBRIVOX.values()), heard) <= 0.10
    assert [listening.padding.reuses for listening in turns] == [1, 1, 1]


def test_doubtful_words_of_kept_padding_are_decoded_in_a_whole_window(
    whisper: WhisperTranscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening = as_in_a_turn(whisper, in_a_call(librivox("0880")), 0.8)
    windows: list[int] = []
    decodes = iter(
        [
            Decoded("the end the end", SURE_LOGPROB + 0.1, 0.0, complete=True),
            Decoded("the end", SURE_LOGPROB - 0.1, 0.0, complete=True),
        ]
    )
    encode = whisper._encode

    def noted(features: NDArray[np.float32], frames: int) -> ctranslate2.StorageView:
        windows.append(frames)
        return encode(features, frames)

    monkeypatch.setattr(whisper, "_encode", noted)
    monkeypatch.setattr(whisper, "_decode", lambda *of: next(decodes))
    assert listening.finish().text == "the end"
    assert len(windows) == 2
    assert windows[0] < windows[1] == 1000


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in QUESTIONS if name not in SHORT_WORDS])
def test_a_question_with_kept_padding_has_the_words_of_a_plain_one(
    whisper: WhisperTranscriber, name: str
) -> None:
    sound = in_a_call(question(name))
    listening = as_in_a_turn(whisper, sound, 0.8)
    assert normalize(listening.finish().text) == normalize(whisper.transcribe(sound))
    assert listening.padding.reuses == 1


def test_a_word_without_a_partial_transcript_is_encoded_in_a_whole_window(
    whisper: WhisperTranscriber,
) -> None:
    listening = whisper.listen()
    listening.feed(in_a_call(question("stop")))
    assert normalize(listening.finish().text) == "stop"
    assert listening.padding.reuses == 0


@pytest.mark.slow
def test_a_genuine_repeat_survives_the_guards(whisper: WhisperTranscriber) -> None:
    heard = normalize(whisper.transcribe(in_a_call(question(REPEAT))))
    assert heard.replace(" ", "") == "5555"


@pytest.mark.parametrize("name", NOT_SPEECH)
def test_what_is_no_speech_has_no_words(whisper: WhisperTranscriber, name: str) -> None:
    assert whisper.transcribe(NOT_SPEECH[name]) == ""
    assert whisper.guess(NOT_SPEECH[name]) == ""
    assert whisper.glance(NOT_SPEECH[name]) == ""


@pytest.mark.parametrize("name", ["faint noise", "loud white noise", "mains hum"])
def test_the_decoder_gates_hold_without_the_speech_detector(
    whisper: WhisperTranscriber, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("asr.whisper.speech_seconds", lambda samples: 1.0)
    assert whisper.transcribe(NOT_SPEECH[name]) == ""


@pytest.mark.slow
def test_more_than_a_window_is_heard_piece_by_piece(whisper: WhisperTranscriber) -> None:
    names = [name for name in QUESTIONS if name != REPEAT]
    sounds = [*map(question, names), *map(librivox, LIBRIVOX)]
    words = [*(QUESTIONS[name] for name in names), *LIBRIVOX.values()]
    sound = np.concatenate([part for sound in sounds for part in (sound, silence(0.8))])
    assert 32 * RATE < len(sound) < 60 * RATE
    listening = whisper.listen()
    listening.feed(sound)
    assert word_error_rate([" ".join(words)], [listening.finish().text]) <= 0.10


def test_more_than_a_window_at_once_is_refused(whisper: WhisperTranscriber) -> None:
    with pytest.raises(AsrError, match="30 s"):
        whisper.transcribe(silence(31))


def test_a_loop_is_decoded_again_in_the_full_window(
    whisper: WhisperTranscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows: list[int] = []
    decodes = iter(
        [
            Decoded("go go go go go", -0.2, 0.0, complete=False),
            Decoded("go go go go", -0.2, 0.0, complete=False),
            Decoded("go home", -0.2, 0.0, complete=True),
        ]
    )
    ngrams: list[int] = []

    def encode(features: object, frames: int) -> None:
        windows.append(frames)

    def decode(encoded: None, tokens: int, no_repeat_ngram: int = 0) -> Decoded:
        ngrams.append(no_repeat_ngram)
        return next(decodes)

    monkeypatch.setattr(whisper, "_encode", encode)
    monkeypatch.setattr(whisper, "_decode", decode)
    assert whisper.transcribe(in_a_call(question("stop"))) == "go home"
    assert windows[1:] == [3000]
    assert windows[0] < 3000
    assert ngrams == [0, 0, 3]


@pytest.mark.parametrize("tokens", [2, 5, 8])
def test_a_decode_that_was_cut_off_is_known(whisper: WhisperTranscriber, tokens: int) -> None:
    features = whisper._features(librivox("0880"))
    encoded = whisper._encode(features, 1000)
    assert not whisper._decode(encoded, tokens).complete
    assert whisper._decode(encoded, 33).complete


def test_the_first_word_does_not_wait_for_the_network(
    whisper_base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a model in a directory must not reach for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    WhisperTranscriber(whisper_base_dir).close()


class TestBadModel:
    def test_an_unknown_name_lists_the_known_ones(self) -> None:
        with pytest.raises(AsrError, match=r"'bass'.*tiny\.en.*base"):
            WhisperTranscriber("bass")

    def test_a_directory_without_the_files_names_them(self, tmp_path: Path) -> None:
        with pytest.raises(AsrError, match=r"model\.bin, config\.json, tokenizer\.json"):
            WhisperTranscriber(tmp_path)

    @pytest.mark.parametrize("damaged", ["model.bin", "tokenizer.json", "config.json"])
    def test_a_damaged_file_says_what_to_do(
        self, tmp_path: Path, whisper_base_dir: Path, damaged: str
    ) -> None:
        for file in whisper_base_dir.iterdir():
            if file.name == "model.bin":
                (tmp_path / file.name).symlink_to(file)
            else:
                shutil.copy(file, tmp_path)
        (tmp_path / damaged).unlink()
        (tmp_path / damaged).write_bytes(b"not this")
        with pytest.raises(AsrError, match="fetch the model again"):
            WhisperTranscriber(tmp_path)

    def test_an_unknown_language_lists_the_known_ones(self, whisper_base_dir: Path) -> None:
        with pytest.raises(AsrError, match=r"'english'.*en"):
            WhisperTranscriber(whisper_base_dir, language="english")

    @pytest.mark.parametrize(
        "option", [{"beam": 0}, {"threads": 0}, {"max_seconds": 0.0}, {"shortest_window": 40.0}]
    )
    def test_a_bad_option_is_named(self, whisper_base_dir: Path, option: dict[str, float]) -> None:
        with pytest.raises(AsrError, match=next(iter(option))):
            WhisperTranscriber(whisper_base_dir, **option)  # type: ignore[arg-type]

    def test_a_device_that_is_not_there(self, whisper_base_dir: Path) -> None:
        with pytest.raises(AsrError, match="abacus"):
            WhisperTranscriber(whisper_base_dir, device="abacus")

    @pytest.mark.skipif(ctranslate2.get_cuda_device_count() > 0, reason="there is a CUDA device")
    def test_a_gpu_that_is_not_there(self, whisper_base_dir: Path) -> None:
        with pytest.raises(AsrError, match="no CUDA device: use the device cpu or auto"):
            WhisperTranscriber(whisper_base_dir, device="cuda")
