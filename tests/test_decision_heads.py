"""Heads on cached activations: their features, their fit, their file, and their use in a call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_decide import KINDS, engine_of, held
from test_engine_tools import call_of
from test_engine_tools import chatting as chatting_engine

from agent.decision import SHIPPED, Question
from agent.errors import ModelError
from agent.models import decision_heads
from agent.reply import Message
from agent.responders.engine_decisions import EngineDecisions
from dllm_core.engine import Engine
from dllm_core.errors import DataError, ModelFileError, OptionError
from dllm_core.tasks.decide import Decider
from dllm_core.tasks.decision_examples import read_decision_examples
from dllm_core.tasks.decision_fit import fit_head, read_examples
from dllm_core.tasks.heads import (
    Head,
    cached_features,
    layers_of,
    load_heads,
    read_features,
    save_heads,
)
from dllm_core.tasks.questions import Choice, Extract, Score, YesNo


def chatting(kind: str = "causal") -> Engine:
    """A tiny engine whose tokenizer knows chats, too."""
    engine = chatting_engine(kind)
    engine.tokenizer.encode_chat = engine.encode_chat  # type: ignore[method-assign]
    return engine


CHAT = [("system", "be short"), ("user", "is it cold in Oslo")]


def size(engine: object) -> int:
    config = engine.config  # type: ignore[attr-defined]
    return 2 * len(layers_of(config)) * config.num_kv_heads * config.head_dim


CAUSAL = [kind for kind in KINDS if kind.startswith("causal")]


@pytest.mark.parametrize("kind", CAUSAL)
def test_features_are_read_from_the_cache_and_leave_it_as_it_is(kind: str) -> None:
    engine = chatting(kind)
    cache = engine.contiguous_cache()
    assert cached_features(engine, CHAT, cache) is None
    found = read_features(engine, CHAT, cache)
    assert found.shape == (size(engine),)
    before = held(cache)
    again = cached_features(engine, CHAT, cache)
    assert again is not None
    assert torch.equal(again, found)
    assert held(cache)[0] == before[0]
    assert all(torch.equal(a, b) for a, b in zip(held(cache)[1], before[1], strict=True))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in CAUSAL])
def test_a_model_that_reads_last_words_with_its_reply_has_no_heads(kind: str) -> None:
    engine = chatting(kind)
    with pytest.raises(OptionError, match="no heads"):
        read_features(engine, CHAT, engine.contiguous_cache())


def test_other_words_have_other_features() -> None:
    engine = chatting()
    one = read_features(engine, CHAT, engine.contiguous_cache())
    other = read_features(
        engine, [CHAT[0], ("user", "is it warm in Oslo")], engine.contiguous_cache()
    )
    assert not torch.allclose(one, other)


def separable(count: int = 30) -> tuple[list[torch.Tensor], list[str]]:
    generator = torch.Generator().manual_seed(0)
    answers = [("yes", "no", "maybe")[i % 3] for i in range(count)]
    centres = {"yes": 0, "no": 1, "maybe": 2}
    rows = [
        torch.nn.functional.one_hot(torch.tensor([centres[a]] * 2), 12).float()
        + 0.2 * torch.randn(2, 12, generator=generator)
        for a in answers
    ]
    return rows, answers


@pytest.mark.slow
def test_a_head_is_fitted_cross_validated_and_calibrated() -> None:
    rows, answers = separable()
    head, quality = fit_head("mood", rows, answers)
    assert quality.accuracy > 0.95
    assert quality.calibration_error < 0.1
    assert quality.examples == 30
    likely = head.probabilities(rows[0][0])
    assert max(likely, key=likely.__getitem__) == answers[0]
    assert sum(likely.values()) == pytest.approx(1)
    assert "mood: " in quality.describe()


@pytest.mark.slow
def test_examples_that_say_nothing_give_a_head_that_is_not_sure() -> None:
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randn(1, 12, generator=generator) for _ in range(60)]
    head, quality = fit_head("noise", rows, [("a", "b")[i % 2] for i in range(60)])
    assert quality.accuracy < 0.75
    assert quality.calibration_error < 0.2
    unseen = [torch.randn(12, generator=generator) for _ in range(50)]
    sure = [max(head.probabilities(row).values()) for row in unseen]
    assert sum(sure) / len(sure) < 0.8


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no examples"),
        ([{"text": "hi"}], "line 1: a row needs"),
        ([{"text": " ", "answer": "a"}], "line 1: a row needs"),
        ([{"text": "hi", "answers": {"q": None}}], "line 1: a row needs"),
        ([{"text": f"a {i}", "answer": "a"} for i in range(4)], "'a' of 'intent' has 4 examples"),
        ([{"text": f"a {i}", "answer": "a"} for i in range(9)], "another answer"),
    ],
)
def test_bad_examples_are_refused_with_a_sentence(
    tmp_path: Path, rows: Sequence[object], message: str
) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=message):
        read_decision_examples([path])


def test_examples_may_be_written_in_several_ways(tmp_path: Path) -> None:
    rows = [
        *({"text": f"a {i}", "answer": True, "question": "q"} for i in range(5)),
        *({"words": f"b {i}", "answers": {"q": "no", "r": "x"}} for i in range(5)),
        *({"prompt": f"c {i}", "answers": {"r": "y"}, "asked": "Well?"} for i in range(5)),
    ]
    path = tmp_path / "examples.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    found = read_decision_examples([path])
    assert {(each.question, each.answer) for each in found} == {
        ("q", "yes"),
        ("q", "no"),
        ("r", "x"),
        ("r", "y"),
    }
    engine = chatting()
    read = read_examples(engine, found, "be short")
    assert all(each.shape == (2, size(engine)) for each in read)


def test_a_file_of_heads_belongs_to_its_model(tmp_path: Path) -> None:
    engine, path = chatting(), tmp_path / "heads.safetensors"
    heads = {"q": Head(("yes", "no"), torch.randn(2, size(engine)), torch.zeros(2))}
    save_heads(path, heads, engine.model)
    loaded = load_heads(path, engine.model)["q"]
    assert loaded.labels == ("yes", "no")
    assert torch.allclose(loaded.weight, heads["q"].weight, atol=0.01)
    with torch.no_grad():
        engine.model.norm += 1
    with pytest.raises(ModelFileError, match="another model"):
        load_heads(path, engine.model)
    path.write_bytes(b"nothing")
    with pytest.raises(ModelFileError, match="no file of heads"):
        load_heads(path, engine.model)


def test_the_shipped_heads_are_whole_and_others_are_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert decision_heads.shipped_heads("smollm2-135m-instruct") is not None
    assert decision_heads.shipped_heads("another") is None
    monkeypatch.setattr(decision_heads, "FOLDER", tmp_path)
    with pytest.raises(ModelError, match="reinstall"):
        decision_heads.shipped_heads("smollm2-135m-instruct")


# ---- in a call -------------------------------------------------------------------------

MESSAGES = [Message("system", "be short"), Message("user", "call me at seven")]
HOUR = Question("hour", "extract", "Hour", type="integer")
MOOD = Question("mood", "score", "Mood")


def heads_for(engine: object, tmp_path: Path) -> Path:
    path = tmp_path / "heads.safetensors"
    head = Head(("yes", "no"), torch.zeros(2, size(engine)), torch.tensor([2.0, 0.0]))
    save_heads(path, {"human": head}, engine.model)  # type: ignore[attr-defined]
    return path


def test_heads_and_passes_answer_together(tmp_path: Path) -> None:
    engine = chatting()
    call = call_of(engine)
    call._decisions.use([SHIPPED["human"], MOOD, HOUR], [heads_for(engine, tmp_path)], "be short")
    quick = call.decide(MESSAGES, [SHIPPED["human"], MOOD], quick=True)
    assert quick is not None
    assert [(each.name, each.value, each.by) for each in quick] == [("human", True, "head")]
    answers = call.decide(MESSAGES, [MOOD, SHIPPED["human"], HOUR])
    assert answers is not None
    assert [each.name for each in answers] == ["mood", "human", "hour"]
    assert [each.by for each in answers] == ["model", "head", "model"]
    assert answers[0].mean is not None
    assert answers[2].value in (None, 7)


def test_a_decision_beside_a_reply_only_reads_the_cache(tmp_path: Path) -> None:
    engine = chatting()
    call = call_of(engine)
    call._decisions.use([SHIPPED["human"]], [heads_for(engine, tmp_path)], "be short")
    alone = list(call_of(engine).reply_with(MESSAGES, _plain()))
    pieces, reply = [], call.reply_with(MESSAGES, _plain())
    assert call.decide(MESSAGES, [SHIPPED["human"]], quick=True) is not None
    for piece in reply:
        pieces.append(piece)
        assert call.decide(MESSAGES, [SHIPPED["human"]], quick=True) is not None
        if len(pieces) < len(alone):
            assert call.decide(MESSAGES, [MOOD]) is None
    assert pieces[-1].text == alone[-1].text  # type: ignore[union-attr]
    assert call.decide(MESSAGES, [MOOD]) is not None


def _plain() -> object:
    from agent.reply import PLAIN

    return PLAIN


def test_heads_of_other_answers_are_refused(tmp_path: Path) -> None:
    engine = chatting()
    decisions = EngineDecisions(engine)
    asked = Question("human", "choice", "Human", options=("a", "b"))
    with pytest.raises(OptionError, match="knows yes, no, but the question has a, b"):
        decisions.use([asked], [heads_for(engine, tmp_path)], "be short")


# ---- every answer is valid -------------------------------------------------------------

_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=60)
_NAMES = ["a", "b", "c", "d"]
_QUESTIONS = st.sampled_from(
    [
        YesNo(name="a", text="Wants a human"),
        Choice(name="b", text="Intent", options=("bill", "billing", "new booking")),
        Score(name="c", text="Mood", low=-2, high=3),
        *(Extract(name="d", text="Value", type=t) for t in ("text", "integer", "number", "phone")),  # type: ignore[arg-type]
    ]
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(words=_WORDS, asked=st.lists(_QUESTIONS, min_size=1, max_size=4, unique_by=lambda q: q.name))
def test_every_answer_has_its_type_whatever_was_said(words: str, asked: list[object]) -> None:
    engine = engine_of("causal")
    decider = Decider(engine, asked, contextual=False)  # type: ignore[arg-type]
    ids = engine.tokenizer.encode(f"user: {words}\n")
    for question, answer in zip(
        asked, decider.decide(ids, engine.contiguous_cache(), words), strict=True
    ):
        assert sum(answer.probabilities.values()) == pytest.approx(1)
        assert 0 <= answer.probability <= 1
        match question:
            case YesNo():
                assert isinstance(answer.value, bool)
            case Score(low=low, high=high):
                assert low <= answer.value <= high
                assert answer.mean is not None
                assert low <= answer.mean <= high
            case Choice():
                assert answer.value in question.labels
            case Extract(type=kind):
                assert answer.value is None or _stands_in(answer.value, words, kind)


def _stands_in(value: object, words: str, kind: str) -> bool:
    if kind == "text":
        return str(value) in words
    if kind == "phone":
        return all(digit in words for digit in str(value))
    return isinstance(value, int | float)
