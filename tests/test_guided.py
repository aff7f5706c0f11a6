"""A draft never changes a deterministic reply, only how many passes it takes."""

from __future__ import annotations

import pytest
from support.tiny import tiny_config, tiny_engine, tiny_tokenizer

from dllm_core import DecodeOptions, Engine, OptionError, PromptTooLongError
from dllm_core.tasks.guided import DraftRound, Guided

PROMPT = [5, 9, 2, 44, 17]
NEVER_ENDS = tiny_config(eos_ids=())
JUDGE = tiny_engine(NEVER_ENDS)
MASKED = {"mask_id": 60, "eos_ids": ()}
SAME = tiny_engine(tiny_config(**MASKED))
"""The judge's own weights: a draft of one position is what the judge would write."""
STRANGER = tiny_engine(tiny_config(attention="bidirectional", shift=False, **MASKED), seed=7)
BLOCKS = tiny_engine(tiny_config(block_length=4, shift=False, **MASKED), seed=3)


def greedy(engine: Engine, max_tokens: int) -> tuple[int, ...]:
    return engine.reply(PROMPT, options=DecodeOptions(max_tokens=max_tokens)).ids


def reply_of(rounds: list[DraftRound]) -> tuple[int, ...]:
    return tuple(token for each in rounds for token in each.ids)


@pytest.mark.crossed
@pytest.mark.parametrize("drafter", [SAME, STRANGER, BLOCKS])
@pytest.mark.parametrize("max_tokens", [1, 8, 9, 30])
@pytest.mark.parametrize("length", [1, 5, 8])
def test_the_reply_is_the_judges_greedy_one(drafter: Engine, max_tokens: int, length: int) -> None:
    draft = DecodeOptions(rule="quota", canvas_length=length, steps=2)
    rounds = list(Guided(JUDGE, drafter, draft).iterate(PROMPT, max_tokens))
    assert reply_of(rounds) == greedy(JUDGE, max_tokens)
    assert [each.ended is not None for each in rounds] == [False] * (len(rounds) - 1) + [True]
    text = "".join(each.text for each in rounds)
    assert text
    assert JUDGE.tokenizer.decode(reply_of(rounds)).startswith(text)
    assert all(each.accepted <= each.drafted <= length for each in rounds)


@pytest.mark.slow
def test_a_good_draft_saves_passes_and_a_strange_one_none() -> None:
    draft = DecodeOptions(rule="sequential", canvas_length=1)
    good = list(Guided(JUDGE, SAME, draft).iterate(PROMPT, 30))
    strange = list(Guided(JUDGE, STRANGER, draft).iterate(PROMPT, 30))
    assert [each.accepted for each in good] == [1] * 15
    assert len(strange) > 25


@pytest.mark.slow
def test_it_stops_where_the_judge_ends_the_reply() -> None:
    expected = greedy(JUDGE, 12)
    end = expected[7]
    until = expected[: expected.index(end)]
    judge = tiny_engine(tiny_config(eos_ids=(end,)))
    for drafter in (tiny_engine(tiny_config(mask_id=60, eos_ids=(end,))), STRANGER):
        draft = DecodeOptions(rule="sequential", canvas_length=4)
        rounds = list(Guided(judge, drafter, draft).iterate(PROMPT, 30))
        assert reply_of(rounds) == until
        assert rounds[-1].ended == "eos"


@pytest.mark.slow
def test_a_lenient_judge_accepts_more() -> None:
    draft = DecodeOptions(rule="sequential", canvas_length=8, temperature=1.0)
    accepted = [
        sum(e.accepted for e in Guided(JUDGE, SAME, draft, relative=share).iterate(PROMPT, 40))
        for share in (1.0, 1e-9)
    ]
    assert accepted[0] < accepted[1]


def test_engines_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OptionError, match="causal attention"):
        Guided(STRANGER, SAME)
    with pytest.raises(OptionError, match="not taught to denoise"):
        Guided(JUDGE, JUDGE)
    with pytest.raises(OptionError, match="relative"):
        Guided(JUDGE, SAME, relative=0.0)
    other = Engine(SAME.model, tiny_tokenizer(59), 128)
    with pytest.raises(OptionError, match="number 2 tokens differently"):
        Guided(JUDGE, other)
    extra = Engine(JUDGE.model, tiny_tokenizer(60), 128)
    Guided(extra, SAME)  # the drafter's mask token alone is one more
    with pytest.raises(OptionError, match="empty"):
        Guided(JUDGE, SAME).iterate([])
    with pytest.raises(PromptTooLongError, match="shorten"):
        Guided(JUDGE, SAME).iterate([5] * 128)
