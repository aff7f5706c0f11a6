from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from faster_whisper.feature_extractor import FeatureExtractor
from support.sounds import RATE, Sound, librivox, question, white_noise

from agent.audio.smart_turn import MAX_WAITING, SECONDS, SmartTurn, log_mel
from agent.errors import ModelError
from agent.models import store

FEATURES = FeatureExtractor(chunk_length=SECONDS)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """One that has smart-turn's input and output, and answers sigmoid(mean of the last frame)."""
    make, number = onnx.helper, onnx.TensorProto.FLOAT
    starts, ends, axes = (
        onnx.numpy_helper.from_array(np.array([value], np.int64), name)
        for name, value in (("starts", 799), ("ends", 800), ("axes", 2))
    )
    both = onnx.numpy_helper.from_array(np.array([1, 2], np.int64), "both")
    nodes = [
        make.make_node("Slice", ["input_features", "starts", "ends", "axes"], ["frame"]),
        make.make_node("ReduceMean", ["frame", "both"], ["mean"], keepdims=0),
        make.make_node("Sigmoid", ["mean"], ["logits"]),
    ]
    graph = make.make_graph(
        nodes,
        "stand-in",
        [make.make_tensor_value_info("input_features", number, ["n", 80, 800])],
        [make.make_tensor_value_info("logits", number, ["n"])],
        [starts, ends, axes, both],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "network.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def turn(network: Path) -> Iterator[SmartTurn]:
    loaded = SmartTurn.load(network)
    yield loaded
    loaded.close()


@pytest.mark.transformers
@pytest.mark.parametrize("seconds", [0.5, 3.0, 8.0, 11.0])
def test_the_features_are_those_of_transformers(seconds: float) -> None:
    from transformers import WhisperFeatureExtractor

    sound = np.tile(librivox("0880"), 4)[: int(seconds * RATE)]
    window = np.pad(sound[-SECONDS * RATE :], (max(0, SECONDS * RATE - len(sound)), 0))
    reference = WhisperFeatureExtractor(chunk_length=SECONDS)
    expected = reference(window, sampling_rate=RATE, do_normalize=True, return_tensors="np")
    found = log_mel(sound, FEATURES)
    assert found.shape == (80, 800)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.input_features[0], atol=1e-4)


@pytest.mark.parametrize("sound", [np.zeros(0, np.float32), np.zeros(RATE, np.float32)])
def test_no_sound_is_no_error(turn: SmartTurn, sound: Sound) -> None:
    assert 0 <= turn.probability(sound) <= 1


def test_it_hears_the_end_of_the_sound(turn: SmartTurn) -> None:
    loud = white_noise(9.0, 0.1)
    fading = loud * np.linspace(1, 0, len(loud), dtype=np.float32)
    assert turn.probability(loud) > turn.probability(fading) + 0.05


def test_a_question_is_answered_on_the_networks_own_thread(turn: SmartTurn) -> None:
    names = []
    plain = turn.probability

    def noted(sound: Sound) -> float:
        names.append(threading.current_thread().name)
        return plain(sound)

    turn.probability = noted  # type: ignore[method-assign]
    asked = turn.submit(librivox("0880"))
    assert asked is not None
    assert asked.result(10) == plain(librivox("0880"))
    assert names[0].startswith("smart-turn")


def test_only_so_many_questions_wait(turn: SmartTurn, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    monkeypatch.setattr(turn, "probability", lambda sound: float(free.wait(10)))
    asked = [turn.submit(np.zeros(1, np.float32)) for _ in range(MAX_WAITING)]
    assert turn.submit(np.zeros(1, np.float32)) is None
    free.set()
    assert [question.result(10) for question in asked if question] == [1.0] * MAX_WAITING
    turn.close()  # when the thread has ended, every place is free again
    assert turn._places._value == MAX_WAITING  # type: ignore[attr-defined]


def test_what_was_not_fetched_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEBREATH_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match=r"run: \S*onebreath models --fetch smart-turn"):
        SmartTurn.load()


def test_a_damaged_network_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(b"no network")
    with pytest.raises(ModelError, match="models --fetch smart-turn"):
        SmartTurn.load(path)


@pytest.mark.model
@pytest.mark.skipif(
    bool(store.problems("smart-turn")), reason="fetch it: onebreath models --fetch smart-turn"
)
def test_the_network_itself_tells_a_question_from_its_first_half() -> None:
    loaded = SmartTurn.load()
    whole = question("romeo_and_juliet")
    assert loaded.probability(whole) > 0.5
    assert loaded.probability(whole) > loaded.probability(whole[: len(whole) // 2])
    loaded.close()
