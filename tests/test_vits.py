"""The voice cut into graphs: pieces must equal the whole."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.voices import joe_voice

from tts.vits import FIRST_FRAMES, LARGEST_FRAMES, Scales, UnsupportedVoice, Vits, piece_bounds


@pytest.mark.parametrize("total", [1, 19, 20, 21, 39, 40, 100, 1000])
def test_pieces_cover_the_sentence_and_grow(total: int) -> None:
    bounds = list(piece_bounds(total))
    assert bounds[0][0] == 0
    assert bounds[-1][1] == total
    assert all(before[1] == after[0] for before, after in itertools.pairwise(bounds))
    sizes = [end - start for start, end in bounds]
    assert sizes[0] < 2 * FIRST_FRAMES
    assert max(sizes) < LARGEST_FRAMES + FIRST_FRAMES
    assert sizes[:-1] == sorted(sizes[:-1])
    assert all(size >= min(total, FIRST_FRAMES) for size in sizes)


def test_a_file_that_is_no_graph(tmp_path: Path) -> None:
    path = tmp_path / "voice.onnx"
    with pytest.raises(UnsupportedVoice, match="no voice file"):
        Vits(path)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(UnsupportedVoice, match="fetch it again"):
        Vits(path)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (["input", "input_lengths", "scales", "sid"], "single-speaker"),
        (["input", "input_lengths", "scales"], "rounding of durations"),
    ],
)
def test_a_graph_that_is_no_voice(tmp_path: Path, inputs: list[str], reason: str) -> None:
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in inputs]
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1])
    node = helper.make_node("Identity", ["input"], ["output"])
    path = tmp_path / "voice.onnx"
    onnx.save(helper.make_model(helper.make_graph([node], "g", tensors, [output])), str(path))
    with pytest.raises(UnsupportedVoice, match=reason):
        Vits(path)


@pytest.fixture(scope="module")
def joe() -> Path:
    return joe_voice()


@pytest.fixture(scope="module")
def vits(joe: Path) -> Vits:
    return Vits(joe)


@pytest.mark.model
def test_pieces_equal_the_whole_decode(vits: Vits) -> None:
    ids = [1, 0, *np.random.default_rng(7).integers(14, 60, 80).repeat(2).tolist(), 2]
    prior = vits.encode(ids, Scales(noise=0.0, duration_noise=0.0))
    whole = vits.decode_whole(prior)
    pieces = list(vits.decode(prior))
    assert len(pieces) > 4
    assert len(whole) == prior.frames_per_id.sum() * vits.hop
    assert np.abs(np.concatenate(pieces) - whole).max() < 1e-5


@pytest.mark.model
def test_the_whole_decode_equals_the_uncut_voice(vits: Vits, joe: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    ids = [1, 0, *range(14, 60), 2]
    session = onnxruntime.InferenceSession(str(joe), providers=["CPUExecutionProvider"])
    inputs = {
        "input": np.asarray([ids], np.int64),
        "input_lengths": np.asarray([len(ids)], np.int64),
        "scales": np.asarray([0, 1, 0], np.float32),
    }
    uncut = session.run(None, inputs)[0].reshape(-1)
    cut = vits.decode_whole(vits.encode(ids, Scales(noise=0.0, duration_noise=0.0)))
    assert np.abs(cut - uncut).max() < 1e-4


@pytest.mark.model
def test_a_damaged_voice_is_an_error(joe: Path, tmp_path: Path) -> None:
    path = tmp_path / "voice.onnx"
    path.write_bytes(joe.read_bytes()[:1_000_000])
    with pytest.raises(UnsupportedVoice, match="fetch it again"):
        Vits(path)
