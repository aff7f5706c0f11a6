from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.sounds import NOT_SPEECH, Sound, in_a_call, librivox, question, silence, white_noise

from agent.audio.vad import EnergyVad, SileroVad, SpeechGate, SpeechGateFactory, VadError

silero = SileroVad.load()


def probabilities(gate: SpeechGate, sound: Sound) -> np.ndarray:
    step = gate.frame_samples
    return np.array(
        [gate.probability(sound[i : i + step]) for i in range(0, len(sound) - step + 1, step)]
    )


@pytest.fixture(params=["silero", "energy"])
def make(request: pytest.FixtureRequest) -> SpeechGateFactory:
    return silero if request.param == "silero" else EnergyVad


class TestSpeechGate:
    def test_speech_is_found_and_the_silence_around_it_is_not(
        self, make: SpeechGateFactory
    ) -> None:
        heard = probabilities(make(), in_a_call(librivox("0880")))
        assert ((heard >= 0) & (heard <= 1)).all()
        assert (heard[:8] < 0.5).all()
        assert (heard[-8:] < 0.5).all()
        assert np.count_nonzero(heard > 0.5) > 40

    @pytest.mark.parametrize("name", ["silence", "faint noise"])
    def test_quiet_is_no_speech(self, make: SpeechGateFactory, name: str) -> None:
        assert probabilities(make(), NOT_SPEECH[name]).max() < 0.5

    def test_it_starts_anew_after_reset(self, make: SpeechGateFactory) -> None:
        gate = make()
        first = probabilities(gate, librivox("0930"))
        gate.reset()
        np.testing.assert_array_equal(probabilities(gate, librivox("0930")), first)

    def test_two_calls_do_not_mix(self, make: SpeechGateFactory) -> None:
        one, other = make(), make()
        alone = probabilities(make(), librivox("0880"))
        step = one.frame_samples
        mixed = []
        for i in range(0, len(librivox("0880")) - step + 1, step):
            mixed.append(one.probability(librivox("0880")[i : i + step]))
            other.probability(white_noise(1, 0.1)[:step])
        np.testing.assert_array_equal(mixed, alone)

    def test_a_frame_of_the_wrong_size_is_refused(self, make: SpeechGateFactory) -> None:
        with pytest.raises(ValueError, match="512 samples"):
            make().probability(np.zeros(480, dtype=np.float32))


@pytest.mark.parametrize("name", NOT_SPEECH)
def test_silero_is_not_fooled_by_noise(name: str) -> None:
    assert probabilities(silero(), NOT_SPEECH[name]).max() < 0.5


@pytest.mark.parametrize("word", ["yes", "no", "stop"])
def test_silero_hears_a_short_word(word: str) -> None:
    assert np.count_nonzero(probabilities(silero(), in_a_call(question(word))) > 0.5) >= 8


def test_silero_needs_its_left_context() -> None:
    """Frames that begin without the samples before them are heard worse: the context is used."""
    gate = silero()
    speech = librivox("0880")
    with_context = probabilities(gate, speech)
    gate.reset()
    without = []
    for start in range(0, len(speech) - 511, 512):
        gate._input.fill(0.0)  # type: ignore[attr-defined]
        without.append(gate.probability(speech[start : start + 512]))
    assert np.abs(with_context - np.array(without)).max() > 0.05


def test_the_energy_gate_takes_a_steady_noise_for_the_floor() -> None:
    heard = probabilities(EnergyVad(), white_noise(8, 0.02))
    assert heard[:10].max() > 0.5
    assert heard[-10:].max() < 0.1


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_damaged_model_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "silero.onnx"
    path.write_bytes(content)
    with pytest.raises(VadError, match="Reinstall"):
        SileroVad.load(path)


def test_a_missing_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(VadError, match="Reinstall"):
        SileroVad.load(tmp_path / "nothing.onnx")


def test_silence_after_speech_ends_it_within_a_few_frames() -> None:
    sound = np.concatenate([librivox("0880")[: 16_000 * 2], silence(0.5)])
    heard = probabilities(silero(), sound)
    assert (heard[-10:] < 0.5).all()
