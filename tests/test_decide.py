"""All questions in one pass have the answers of a pass each, and the cache stays as it was."""

from __future__ import annotations

import pytest
import torch
from support.tiny import tiny_config, tiny_model
from test_reply import byte_tokenizer

from dllm_core import Engine, OptionError, PromptTooLongError
from dllm_core.decode.branches import Branch, score
from dllm_core.model.cache import PromptCache
from dllm_core.tasks.calibration import Calibration, calibration_error, fit
from dllm_core.tasks.decide import Decider
from dllm_core.tasks.questions import Choice, Extract, Question, Score, YesNo
from dllm_core.tasks.values import candidates

KINDS = {
    "causal": {},
    "causal, taught to denoise": {"mask_id": 257},
    "bidirectional": {"attention": "bidirectional", "shift": False, "mask_id": 257},
    "bidirectional, shifted": {"attention": "bidirectional", "mask_id": 257},
    "blocks of 4": {"block_length": 4, "shift": False, "mask_id": 257},
    "blocks of 8, shifted": {"block_length": 8, "mask_id": 257},
}
WORDS = "call me at seven or at 12 thirty please"
QUESTIONS: tuple[Question, ...] = (
    YesNo(name="human", text="Wants a human?", description="not a machine"),
    YesNo(name="stop", text="Wants us to stop", examples=(("stop", "yes"), ("hi", "no"))),
    Choice(name="intent", text="Intent", options=("bill", "billing", "new booking", "x")),
    Score(name="mood", text="Mood", low=0, high=10),
    Extract(name="hour", text="Hour", type="integer"),
    Extract(name="words", text="Said"),
)


def engine_of(kind: str, context: int = 4096) -> Engine:
    config = tiny_config(
        vocab_size=260, eos_ids=(258,), context_length=context, **({"mask_id": None} | KINDS[kind])
    )
    return Engine(tiny_model(config), byte_tokenizer(), context)


def held(cache: PromptCache) -> tuple[list[int], list[torch.Tensor]]:
    rows = [part[:, : len(cache)].clone() for layer in cache.store.layers for part in layer]
    return list(cache.ids), rows


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_one_pass_equals_a_pass_for_each_question(kind: str) -> None:
    engine = engine_of(kind)
    decider = Decider(engine, QUESTIONS)
    ids = engine.tokenizer.encode(f"hello {WORDS}!")
    cache = engine.contiguous_cache()
    together = decider.decide(ids, cache, WORDS)
    apart = decider.decide_apart(ids, cache, WORDS)
    assert [each.name for each in together] == [each.name for each in QUESTIONS]
    for one, other in zip(together, apart, strict=True):
        assert one.value == other.value
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        assert sum(one.probabilities.values()) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_cache_stays_as_it_was(kind: str) -> None:
    engine = engine_of(kind)
    decider, cache = Decider(engine, QUESTIONS), engine.contiguous_cache()
    ids = engine.tokenizer.encode(f"hello {WORDS}!")
    engine.host.prefill([*ids, 5, 6, 7, 8, 9], cache)
    before, rows = held(cache)
    behind = decider.decide(ids, cache, WORDS)
    assert held(cache)[0] == before
    assert all(torch.equal(a, b) for a, b in zip(held(cache)[1], rows, strict=True))
    fresh = decider.decide(ids, engine.contiguous_cache(), WORDS)
    if engine.config.attention == "block_causal":  # else the prompt's keys saw the tokens behind
        for one, other in zip(behind, fresh, strict=True):
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


@pytest.mark.slow
def test_a_reply_after_decisions_is_the_reply_without_them() -> None:
    engine, cache = engine_of("causal", 512), None
    ids, decider = engine.tokenizer.encode("hello"), Decider(engine, QUESTIONS[:3])
    alone = engine.reply(ids)
    cache = engine.contiguous_cache()
    decider.decide(ids, cache)
    assert engine.reply(ids, cache).text == alone.text


def test_scores_are_those_of_the_whole_text() -> None:
    engine = engine_of("causal", 512)
    prompt, answers = [5, 9, 2, 70, 41], ((6,), (6, 7), (8, 9, 10))
    branches = [
        Branch((3, 4), answers),
        Branch((3, 5), answers, ends=(1, 2)),
        Branch((3,), ((4,),)),
    ]
    cache = engine.contiguous_cache()
    engine.host.prefill(prompt, cache)
    found = score(engine.model, cache, prompt, branches)
    for branch, scores in zip(branches, found, strict=True):
        for answer, value in zip(branch.answers, scores.tolist(), strict=True):
            endings = [(*answer, end) for end in branch.ends] or [answer]
            whole = [engine.score([*prompt, *branch.known], each) * len(each) for each in endings]
            assert value == pytest.approx(float(torch.tensor(whole).logsumexp(0)), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_relative_scores_are_off_by_a_constant_of_the_branch(kind: str) -> None:
    engine, prompt = engine_of(kind, 512), [5, 9, 2, 70, 41, 8, 8, 8]
    branches = [
        Branch((3, 4), ((6,), (9,), (12,))),
        Branch((3, 5), ((6,), (6, 7), (8, 9, 10))),
        Branch((3, 4), ((6, 7), (8,)), ends=(1, 2)),
        Branch((3, 6), ((6, 7), (8, 9))),
    ]
    cache = engine.contiguous_cache()
    engine.host.prefill(prompt, cache)
    whole = score(engine.model, cache, prompt, branches)
    some = score(engine.model, cache, prompt, branches, relative=True)
    for one, other in zip(whole, some, strict=True):
        assert torch.allclose(one.log_softmax(-1), other.log_softmax(-1), atol=1e-5)


def test_masked_slots_are_scored_like_an_infilling() -> None:
    engine = engine_of("bidirectional", 512)
    known, answers = (3, 4), ((6,), (7,), (8,))
    # Without a prompt to keep, branch and infilling see the same positions.
    found = score(engine.model, engine.contiguous_cache(), [], [Branch(known, answers)])[0]
    whole = [engine.score(known, answer) for answer in answers]
    assert found.log_softmax(0).tolist() == pytest.approx(
        torch.tensor(whole).log_softmax(0).tolist(), abs=1e-5
    )


def test_without_content_labels_are_equally_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dllm_core.tasks.decide.CONTENT_FREE", ("N/A",))
    engine = engine_of("causal")
    decider = Decider(engine, QUESTIONS[:4])
    answers = decider.decide(engine.tokenizer.encode("N/A\n"), engine.contiguous_cache())
    for answer in answers:
        even = dict.fromkeys(answer.probabilities, 1 / len(answer.probabilities))
        assert answer.probabilities == pytest.approx(even, abs=1e-6)
    assert answers[3].mean == pytest.approx(5)


@pytest.mark.slow
def test_a_question_is_calibrated_by_examples() -> None:
    engine = engine_of("causal")
    decider, ids = Decider(engine, QUESTIONS[:1]), engine.tokenizer.encode("a")
    before = decider.decide(ids, engine.contiguous_cache())[0]
    wanted = "no" if before.value else "yes"
    decider.fit("human", [(words, wanted) for words in "abcdefgh"])
    after = decider.decide(ids, engine.contiguous_cache())[0]
    assert after.probabilities[wanted] > before.probabilities[wanted]
    assert after.value is (wanted == "yes")


@pytest.mark.slow
def test_fitting_keeps_what_examples_confirm_and_bounds_what_they_do_not() -> None:
    scores = torch.tensor([[-0.1, -2.0], [-2.0, -0.1]] * 20).log_softmax(-1)
    good = fit(scores, [0, 1] * 20)
    assert good.scale > 1
    random = fit(scores, [0, 1, 1, 0] * 10)
    assert random.scale < 0.5
    assert torch.allclose(Calibration(1.0, (0.0, 0.0)).apply(scores), scores)


def test_the_calibration_error_is_the_distance_of_confidence_and_accuracy() -> None:
    assert calibration_error([0.75] * 4, [True, True, True, False]) == pytest.approx(0)
    assert calibration_error([1.0, 1.0], [True, False]) == pytest.approx(0.5)
    assert calibration_error([], []) == 0


def test_values_stand_in_the_words() -> None:
    engine = engine_of("causal")
    decider = Decider(engine, QUESTIONS[4:])
    for words in (WORDS, "", "nothing of that kind here"):
        hour, said = decider.decide([1, 2, 3], engine.contiguous_cache(), words)
        assert hour.value in (None, 7, 12, 30)
        assert set(hour.probabilities) == {"none", *candidates(words, "integer")}
        assert said.value is None or said.value in words


@pytest.mark.parametrize(
    ("words", "kind", "values"),
    [
        ("a table for twenty-five at 7.30", "number", [25, 7.3]),
        ("two hundred and five, or a thousand and one nights", "integer", [205, 1]),
        ("three million two hundred thousand", "integer", [3_200_000]),
        ("1,250 of them, minus -3", "integer", [1250, -3]),
        ("version 2.5", "integer", []),
        ("my number is +49 (30) 123-4567.", "phone", ["+49301234567"]),
        ("write to ann.lee@example.co.uk, please", "email", ["ann.lee@example.co.uk"]),
        ("", "text", []),
        ("O'Brien, Jo", "text", ["O'Brien", "O'Brien, Jo", "Jo"]),
    ],
)
def test_candidates(words: str, kind: str, values: list[object]) -> None:
    found = candidates(words, kind)  # type: ignore[arg-type]
    assert sorted(map(str, found.values())) == sorted(map(str, values))
    assert all(text in words for text in found)


def yes_no(name: str, **more: object) -> YesNo:
    return YesNo(name=name, text="Is it?", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ([], "no question"),
        ([yes_no(f"q{i}") for i in range(33)], "33 questions"),
        ([yes_no("a"), yes_no("a")], "Two questions"),
        ([yes_no(" ")], "needs a name"),
        ([YesNo(name="a", text="  ")], "needs a name and a text"),
        ([Choice(name="a", text="Which", options=())], "0 labels"),
        ([Choice(name="a", text="Which", options=("x",))], "two labels"),
        ([Choice(name="a", text="Which", options=("x", " "))], "empty label"),
        ([Choice(name="a", text="Which", options=("x", "y", " x"))], "same label"),
        ([Choice(name="a", text="Which", options=("x", "y" * 300))], "300 characters"),
        ([Choice(name="a", text="?", options=tuple(map(str, range(65))))], "65 labels"),
        ([Score(name="a", text="How", low=3, high=3)], "scale"),
        ([Score(name="a", text="How", low=0, high=100)], "scale"),
        ([yes_no("a", description="x" * 3000)], "characters"),
        ([yes_no("a", examples=(("hi", "maybe"),))], "not one of its labels"),
    ],
)
def test_bad_questions_are_refused_with_a_sentence(questions: list[Question], message: str) -> None:
    with pytest.raises(OptionError, match=message) as raised:
        Decider(engine_of("causal"), questions)
    assert "\n" not in str(raised.value)


def test_labels_that_are_the_same_tokens_are_refused() -> None:
    engine = engine_of("causal")

    class Lower:
        def __init__(self) -> None:
            self._inner = engine.tokenizer

        def encode(self, text: str) -> list[int]:
            return self._inner.encode(text.lower())

    engine.tokenizer = Lower()  # type: ignore[assignment]
    with pytest.raises(OptionError, match=r"'Yes' and 'YES'.*same tokens"):
        Decider(engine, [Choice(name="a", text="Which", options=("Yes", "YES"))])


def test_what_does_not_fit_the_context_is_refused_and_harms_nothing() -> None:
    engine = engine_of("causal", 256)
    cache, ids = engine.contiguous_cache(), [7] * 200
    decider = Decider(engine, QUESTIONS, contextual=False)
    with pytest.raises(PromptTooLongError, match="ask fewer"):
        decider.decide(ids, cache, WORDS)
    assert cache.ids == ids
    with pytest.raises(OptionError, match="prompt is empty"):
        decider.decide([], cache)
    with pytest.raises(OptionError, match="no question 'x'"):
        decider.fit("x", [("a", "yes")])
    with pytest.raises(OptionError, match="not a label"):
        decider.fit("human", [("a", "maybe")])
    with pytest.raises(OptionError, match="at least one"):
        decider.fit("human", [])


def test_a_calibration_that_was_measured_serves_other_deciders() -> None:
    engine = engine_of("causal")
    whole, ids = Decider(engine, QUESTIONS[:4]), engine.tokenizer.encode("hello")
    measured = whole.priors
    part = Decider(engine, QUESTIONS[1:3], priors=measured)
    expected = whole.decide(ids, engine.contiguous_cache())[1:3]
    for one, other in zip(part.decide(ids, engine.contiguous_cache()), expected, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
