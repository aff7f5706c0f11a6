"""The head for ends of turns: its file, its fit, its data, and the one that is shipped."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from support.tiny import tiny_config, tiny_engine

from agent.errors import ModelError
from agent.models import turn_heads
from dllm_core.adapt import turn_rows
from dllm_core.adapt.turn_fit import auc, fit_turn_head, measure_turn_head, reliability
from dllm_core.adapt.turn_rows import TurnExample, TurnStates, read_turn_examples, turn_states
from dllm_core.config import DecodeOptions
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
    return TurnStates(
        10 + 5 * (clean + noise), kinds, torch.arange(rows) % 5 == 0, torch.ones(rows)
    )


def test_a_fitted_head_knows_its_classes(tmp_path):
    made = states()
    made = replace(made, kept_out=torch.arange(600) % 7 == 0)
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
        {"text": "to boston please", "asked": "Where to?"},
        {"text": "Hold on.", "kind": "floor"},
        {"text": "Boston", "kind": "whole", "asked": "Which city?"},
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {example.words: example for example in read_turn_examples([data])}
    moon = found["How far away is the moon from here"]
    assert moon.cuts == (1, 2, 3, 4, 5, 6, 7)
    assert moon.before == ()
    assert found["To boston please"].before == (("assistant", "Where to?"),)
    assert found["Hold on"].kind == "floor"
    assert found["Hold on"].cuts == ()
    assert found["Boston"].before == (("assistant", "Which city?"),)
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


def test_some_turns_follow_an_exchange(tmp_path):
    data = tmp_path / "data.jsonl"
    rows = [{"prompt": f"what is item number {n}", "reply": f"It is {n}."} for n in range(40)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_turn_examples([data])
    later = [example for example in found if example.before]
    assert 5 < len(later) < 30
    assert all([role for role, _ in example.before] == ["user", "assistant"] for example in later)
    assert read_turn_examples([data]) == found


def test_reliability_counts_by_weight():
    scores, truth = torch.tensor([0.9, 0.9]), torch.tensor([True, False])
    ((mean, share, count),) = reliability(scores, truth, torch.tensor([3.0, 1.0]))
    assert (mean, share, count) == (0.9, 0.75, 2)


@pytest.mark.parametrize("shared", [False, True])
def test_one_pass_gives_the_states_of_every_part(shared):
    """The state behind a token is the same whether the ids go on after it or not."""
    engine = tiny_engine(tiny_config())
    ids, options, cache = [5, 9, 2, 44, 17, 8, 30], DecodeOptions(), engine.new_cache()
    if shared:
        engine.read(ids[:5], cache, options)
    _, both = engine.read_with_states(ids, (3, 5), cache, options)
    for place, state in zip((3, 5), both, strict=True):
        part = [*ids[:place], 1, 1]
        _, alone = engine.read_with_states(part, (place,), engine.new_cache(), options)
        assert torch.allclose(state, alone[0], atol=1e-4)
    for outside in ((), (0,), (3, len(ids))):
        assert engine.read_with_states(ids, outside, engine.new_cache(), options)[1] is None


class Recorder:
    """An engine that notes what is read and returns the number of the token as its state."""

    tokenizer = None

    def __init__(self):
        self.read = []

    def new_cache(self):
        return None

    def encode_chat(self, messages):
        return [*range(100, 100 + len(messages)), *map(len, messages[-1][1].split()), 0]

    def read_with_states(self, ids, places, cache, options):
        self.read.append(places)
        return None, torch.tensor([[float(place)] for place in places])


def test_the_cuts_of_a_turn_weigh_as_much_as_the_turn(monkeypatch):
    monkeypatch.setattr(
        turn_rows, "word_ids", lambda tokenizer, said: range(len(said) + len(said[-1][1].split()))
    )
    engine = Recorder()
    examples = [
        TurnExample("how far away is it", "whole", (), (1, 2, 4)),
        TurnExample("yes", "backchannel", (("assistant", "And then?"),)),
    ]
    made = turn_states(engine, examples, "Be brief.")
    kinds = ("more", "more", "more", "whole", "backchannel")
    assert made.kinds.tolist() == [CLASSES.index(kind) for kind in kinds]
    assert made.weights.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1.0, 1.0])
    assert engine.read == [[3, 4, 6, 7], [4]]
    assert made.kept_out.tolist() == [True] * 4 + [False]
