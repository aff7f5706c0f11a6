"""The contract that every synthesiser keeps, the name table, and the Piper voice."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from support.voices import joe_voice

import tts
from tts import SpeechChunk, Synthesizer, TtsError
from tts.engine import MAX_TEXT
from tts.piper import PiperSynthesizer
from tts.tone import ToneSynthesizer

_TEXT = "In the north of the country it rains. That is all, for now - OK?"


@pytest.fixture(scope="module")
def joe() -> Path:
    return joe_voice()


@pytest.fixture(scope="module")
def piper(joe: Path) -> Iterator[PiperSynthesizer]:
    synthesizer = PiperSynthesizer(joe, noise_scale=0, duration_noise=0)
    yield synthesizer
    synthesizer.close()


@pytest.fixture(params=["tone", pytest.param("piper", marks=pytest.mark.model)])
def synthesizer(request: pytest.FixtureRequest) -> Synthesizer:
    if request.param == "tone":
        return ToneSynthesizer()
    loaded: Synthesizer = request.getfixturevalue("piper")
    return loaded


def joined(chunks: list[SpeechChunk]) -> np.ndarray:
    return np.concatenate([chunk.samples for chunk in chunks])


class TestContract:
    """Run on every synthesiser."""

    def test_it_has_the_shape_of_the_protocol(self, synthesizer: Synthesizer) -> None:
        assert isinstance(synthesizer, Synthesizer)
        synthesizer.warm_up()

    def test_the_sound_is_float32_within_bounds(self, synthesizer: Synthesizer) -> None:
        chunks = list(synthesizer.speak(_TEXT))
        assert len(chunks) > 1, "sound comes in pieces"
        for chunk in chunks:
            assert chunk.samples.dtype == np.float32
            assert chunk.samples.ndim == 1
            assert len(chunk.samples) > 0
            assert chunk.rate == synthesizer.rate
        assert 0.1 < np.abs(joined(chunks)).max() <= 1

    def test_the_words_are_those_of_the_text(self, synthesizer: Synthesizer) -> None:
        chunks = list(synthesizer.speak(_TEXT))
        assert " ".join(chunk.text for chunk in chunks if chunk.words) == _TEXT

    def test_word_spans_are_in_order(self, synthesizer: Synthesizer) -> None:
        offset, last = 0, 0
        for chunk in synthesizer.speak(_TEXT):
            for word in chunk.words:
                assert last <= offset + word.start <= offset + word.end
                assert 0 <= word.end <= len(chunk.samples)
                last = offset + word.end
            offset += len(chunk.samples)

    @pytest.mark.parametrize("text", ["", " \n", "...", "?! -"])
    def test_text_without_words_has_no_sound(self, synthesizer: Synthesizer, text: str) -> None:
        assert list(synthesizer.speak(text)) == []

    def test_too_long_a_text_is_refused_at_once(self, synthesizer: Synthesizer) -> None:
        with pytest.raises(TtsError, match=r"cut the text with tts\.segments"):
            synthesizer.speak("a" * (MAX_TEXT + 1))

    def test_closing_early_leaves_it_usable(self, synthesizer: Synthesizer) -> None:
        running = synthesizer.speak(_TEXT)
        next(running)
        running.close()
        assert list(synthesizer.speak("Hello"))

    def test_several_texts_at_once_do_not_mix(self, synthesizer: Synthesizer) -> None:
        texts = ["One two three.", "Four five six seven.", "Eight nine."]
        alone = [joined(list(synthesizer.speak(text))) for text in texts]
        with ThreadPoolExecutor(3) as pool:
            together = list(pool.map(lambda text: joined(list(synthesizer.speak(text))), texts))
        for one, other in zip(alone, together, strict=True):
            assert np.abs(one - other).max() < 1e-4


def test_names_and_paths_load() -> None:
    assert isinstance(tts.load("tone", rate=8000), ToneSynthesizer)
    assert tts.load("tts.tone:ToneSynthesizer").rate == 16000


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("espeak", {}, "use piper, tone or package.module:Class"),
        ("no_such_module:X", {}, "cannot import"),
        ("tts.tone:Nothing", {}, "cannot import"),
        ("tone", {"pitch": 3}, "does not take these options"),
        ("piper", {"voice": "/nowhere/voice.onnx"}, "no voice file at /nowhere/voice.onnx"),
    ],
)
def test_what_cannot_load_says_why(name: str, options: dict[str, object], reason: str) -> None:
    with pytest.raises(TtsError, match=reason):
        tts.load(name, **options)


def test_importing_the_package_loads_no_engine() -> None:
    code = "import sys, tts; print({'onnx', 'piper', 'babel', 'torch'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_a_closed_synthesizer_says_so() -> None:
    synthesizer = ToneSynthesizer()
    synthesizer.close()
    with pytest.raises(TtsError, match="closed"):
        list(synthesizer.speak("x"))


@pytest.mark.model
class TestPiper:
    """What only a real voice can show."""

    def test_the_first_sound_starts_within_ten_ms(self, piper: PiperSynthesizer) -> None:
        first = next(piper.speak("Hello there."))
        loud = np.flatnonzero(np.abs(first.samples) >= 0.005)
        assert loud[0] <= 0.0101 * piper.rate

    def test_words_lie_where_they_sound(self, piper: PiperSynthesizer) -> None:
        """The pause between two sentences is silent, and no word's middle is."""
        chunks = list(piper.speak("I ate bananas. Apples fall."))
        sound, offset, spans = joined(chunks), 0, []
        for chunk in chunks:
            spans += [(offset + word.start, offset + word.end) for word in chunk.words]
            offset += len(chunk.samples)
        assert chunks[0].words, "a word ends in the first chunk"
        assert spans[0][0] < 0.045 * piper.rate, "the spans moved with the silence that was cut"
        for start, end in spans:
            assert np.abs(sound[max(0, start) : end]).max() > 0.05
        gap = sound[spans[2][1] + piper.rate // 10 : spans[3][0]]
        assert np.sqrt(np.mean(gap**2)) < 0.02

    def test_a_sentence_pauses_longer_than_a_clause(self, piper: PiperSynthesizer) -> None:
        sentence, clause = (joined(list(piper.speak(text))) for text in ("Good day.", "Good day,"))
        tails = [
            len(sound) - np.flatnonzero(np.abs(sound) >= 0.005)[-1] for sound in (sentence, clause)
        ]
        assert tails[0] / piper.rate == pytest.approx(0.2, abs=0.001)
        assert tails[1] / piper.rate == pytest.approx(0.08, abs=0.001)

    def test_a_device_that_is_not_there(self, joe: Path) -> None:
        with pytest.raises(TtsError, match="cpu or cuda, not on 'abacus'"):
            PiperSynthesizer(joe, device="abacus")

    @pytest.mark.skipif(
        "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
        reason="this onnxruntime reaches a GPU",
    )
    def test_a_gpu_without_the_package_for_it(self, joe: Path) -> None:
        with pytest.raises(TtsError, match="use the device cpu, or replace it by onnxruntime-gpu"):
            PiperSynthesizer(joe, device="cuda")

    def test_a_script_that_it_cannot_speak_is_refused_at_once(
        self, piper: PiperSynthesizer
    ) -> None:
        began = time.perf_counter()
        with pytest.raises(TtsError, match="no letter that this voice can speak"):
            list(piper.speak("中文字符" * 150))
        assert time.perf_counter() - began < 0.2

    def test_letters_of_other_scripts_are_skipped(self, piper: PiperSynthesizer) -> None:
        chunks = list(piper.speak("中文字符 hello 中文 there"))
        assert [word.text for chunk in chunks for word in chunk.words] == [
            "中文字符",
            "hello",
            "中文",
            "there",
        ]
        assert len(joined(chunks)) < len(joined(list(piper.speak("hello there")))) * 1.5

    def test_a_long_sentence_is_made_in_parts(self, piper: PiperSynthesizer) -> None:
        text = "seven " * 120
        chunks = list(piper.speak(text))
        assert [word.text for chunk in chunks for word in chunk.words] == text.split()
        places = [word.end - word.start for chunk in chunks for word in chunk.words]
        assert min(places) > 0

    def test_the_lexicon_gives_it_other_phonemes(
        self, joe: Path, piper: PiperSynthesizer, tmp_path: Path
    ) -> None:
        lexicon = tmp_path / "words.toml"
        lexicon.write_text('"Nguyen" = "/wˈɪn/"', encoding="utf-8")
        own = PiperSynthesizer(joe, noise_scale=0, duration_noise=0, lexicon=lexicon)
        try:
            other, usual = (joined(list(v.speak("Nguyen"))) for v in (own, piper))
            same, as_usual = (joined(list(v.speak("Sean is here."))) for v in (own, piper))
        finally:
            own.close()
        assert len(other) != len(usual) or not np.allclose(other, usual)
        assert np.array_equal(same, as_usual)

    def test_a_damaged_voice_names_the_file(self, joe: Path, tmp_path: Path) -> None:
        voice = tmp_path / "voice.onnx"
        voice.write_bytes(b"damaged")
        Path(f"{voice}.json").write_bytes(Path(f"{joe}.json").read_bytes())
        with pytest.raises(TtsError, match=r"voice\.onnx is not an ONNX file"):
            PiperSynthesizer(voice)
        Path(f"{voice}.json").write_text("{}")
        with pytest.raises(TtsError, match="cannot load the voice"):
            PiperSynthesizer(voice)
