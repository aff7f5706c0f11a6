"""The head for ends of turns: its file, its fit, its data, and the one that is shipped."""

from __future__ import annotations

import json

import pytest
import torch

from agent.errors import ModelError
from agent.models import turn_heads
from dllm_core.adapt.turn_fit import auc, fit_turn_head, measure_turn_head, reliability
from dllm_core.adapt.turn_rows import TurnStates, read_turn_examples
from dllm_core.errors import DataError, ModelFileError
from dllm_core.model.turn_head import CLASSES, TurnHead, fingerprint, without_marks


class Model:
    """What a head needs of a model."""

    def __init__(self, size=8, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.norm = torch.rand(size, generator=generator)
        self.embedding = torch.zeros(10, size)


def states(rows=600, size=8):
    """States in which each class has a direction of its own."""
    generator = torch.Generator().manual_seed(1)
    kinds = torch.arange(rows) % len(CLASSES)
    noise = 0.3 * torch.randn(rows, size, generator=generator)
    clean = torch.nn.functional.one_hot(kinds, size).float()
    return TurnStates(10 + 5 * (clean + noise), kinds, torch.arange(rows) % 5 == 0, ())


def test_a_fitted_head_knows_its_classes(tmp_path):
    made = states()
    made = TurnStates(made.states, made.kinds, torch.arange(600) % 7 == 0, ())
    head = fit_turn_head(made, fingerprint(Model()), penalty=0.001)
    quality = measure_turn_head(head, made)
    assert quality.auc > 0.95
    assert min(quality.recall.values()) > 0.8
    assert "AUC" in quality.describe()
    path = tmp_path / "head.safetensors"
    head.save(path)
    assert path.stat().st_size < 10_000
    loaded = TurnHead.load(path, Model())
    state = made.states[3]
    assert loaded.probabilities(state) == pytest.approx(head.probabilities(state), abs=0.02)
    assert sum(loaded.probabilities(state)) == pytest.approx(1.0)


def test_a_head_of_another_model_or_a_damaged_one_is_refused(tmp_path):
    path = tmp_path / "head.safetensors"
    head = TurnHead(torch.zeros(len(CLASSES), 8), torch.zeros(len(CLASSES)), fingerprint(Model()))
    head.save(path)
    with pytest.raises(ModelFileError, match="another model"):
        TurnHead.load(path, Model(seed=1))
    with pytest.raises(ModelFileError, match="another kind"):
        TurnHead.load(path, Model(size=16))
    path.write_bytes(b"nothing")
    with pytest.raises(ModelFileError, match="no head"):
        TurnHead.load(path, Model())
    with pytest.raises(ModelFileError, match="no head"):
        TurnHead.load(tmp_path / "missing", Model())


def test_area_under_the_curve_and_reliability():
    truth = torch.tensor([True, True, False, False])
    assert auc(torch.tensor([0.9, 0.8, 0.2, 0.1]), truth) == 1.0
    assert auc(torch.tensor([0.1, 0.2, 0.8, 0.9]), truth) == 0.0
    assert auc(torch.tensor([0.1, 0.2]), torch.tensor([True, True])) == 0.5
    rows = reliability(torch.tensor([0.1, 0.9, 0.95, 1.0]), truth)
    assert [count for _, _, count in rows] == [1, 3]


def test_examples_are_whole_and_cut(tmp_path):
    data = tmp_path / "data.jsonl"
    rows = [
        {"text": "how far away is the moon from here"},
        {"prompt": "Hi there"},
        {"text": "Hold on.", "kind": "floor"},
        {"text": "Boston", "kind": "whole", "asked": "Which city?"},
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {example.words: example for example in read_turn_examples([data])}
    moon = found["How far away is the moon from here"]
    assert 0 < moon.cut < 8
    assert found["Hi there"].cut == 0
    assert found["Hold on"].kind == "floor"
    assert found["Boston"].asked == "Which city?"
    data.write_text('{"text": "a", "kind": "song"}\n')
    with pytest.raises(DataError, match="song"):
        read_turn_examples([data])


@pytest.mark.parametrize("words", ["It is late.", "It is late?", "It is late... ", "It is late"])
def test_marks_at_the_end_do_not_count(words):
    assert without_marks(words) == "It is late"


def test_the_shipped_head_is_verified(tmp_path, monkeypatch):
    path = turn_heads.shipped_head("smollm2-135m-instruct")
    assert path.stat().st_size < 10_000
    assert turn_heads.shipped_head("some/other-model") is None
    monkeypatch.setattr(turn_heads, "FOLDER", tmp_path)
    with pytest.raises(ModelError, match="reinstall"):
        turn_heads.shipped_head("smollm2-135m-instruct")
    (tmp_path / path.name).write_bytes(b"else")
    with pytest.raises(ModelError, match="damaged"):
        turn_heads.shipped_head("smollm2-135m-instruct")
