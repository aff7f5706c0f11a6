"""The evaluation's questions stay out of the training data; what is learnt is fit to be spoken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.config.settings import INSTRUCTIONS
from dllm_core.adapt.distill import ends_sentence, loops, speakable, spellings
from dllm_core.adapt.evaluate import is_degenerate, is_right
from dllm_core.adapt.held_out import held_out_prompts, plain, questions, without_held_out
from dllm_core.adapt.tasks import SYSTEM, read_prompts
from dllm_core.errors import DataError

DATA = Path(__file__).resolve().parent.parent / "benchmarks" / "adapt" / "data"
FILES = [DATA / "voice_prompts.jsonl", DATA / "smalltalk_pairs.jsonl"]


def test_the_questions_are_as_many_as_the_tables_say() -> None:
    found = questions()
    counts = {kind: sum(q.kind == kind for q in found) for kind in {q.kind for q in found}}
    assert counts == {"facts": 100, "requests": 200, "smalltalk": 100, "dialogues": 50}
    assert all(q.answers for q in found if q.kind == "facts")
    assert all(q.then for q in found if q.kind == "dialogues")
    assert len({plain(q.prompt) for q in found if q.kind == "facts"}) == 100
    assert len(questions(limit=3)) == 12


@pytest.mark.slow
def test_no_question_is_trained_on_in_any_spelling() -> None:
    prompts = read_prompts(FILES)
    assert len(prompts) > 40_000
    assert len(prompts) == len(set(prompts))
    assert {plain(prompt) for prompt in prompts} & held_out_prompts() == set()
    # The files themselves do hold them: the filter is needed.
    lines = FILES[0].read_text(encoding="utf-8").splitlines()
    raw = {plain(json.loads(line)["text"]) for line in lines}
    assert len(raw & held_out_prompts()) >= 200


def test_the_filter_knows_case_and_marks() -> None:
    spelt = ["WHAT is the capital of France", "what is the capital of france?", "And of Spain"]
    assert without_held_out([*spelt, "What is the capital of Peru?"]) == [
        "What is the capital of Peru?"
    ]


def test_the_student_learns_under_the_instructions_that_the_agent_ships() -> None:
    assert SYSTEM == INSTRUCTIONS


def test_a_prompt_without_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "Hi"}\n{"words": "Hi"}\n')
    with pytest.raises(DataError, match="line 2 has neither a prompt nor a text"):
        read_prompts([path])


@pytest.mark.parametrize(
    ("text", "bare", "written"),
    [
        ("what is the time", "what is the time", "What is the time?"),
        ("Tell me a joke!", "tell me a joke", "Tell me a joke!"),
        ("do i need an umbrella", "do i need an umbrella", "Do I need an umbrella?"),
    ],
)
def test_both_spellings_of_a_prompt(text: str, bare: str, written: str) -> None:
    assert spellings(text) == [bare, written]


def test_a_prompt_of_marks_alone_has_no_spelling() -> None:
    assert spellings("?!") == []


@pytest.mark.parametrize(
    ("text", "fit"),
    [
        ("The capital of Japan is Tokyo.", True),
        ('She said "yes."', True),
        ("The capital of Japan is", False),
        ("", False),
        ("1. Boil it. 2. Eat it.", False),
        ("Use **bold** words.", False),
        ("One line.\nAnother.", False),
        ("I am very very very happy.", False),
        ("It is a good day and it is a good day and so on.", False),
    ],
)
def test_only_what_can_be_spoken_is_learnt(text: str, fit: bool) -> None:
    assert speakable(text) is fit


def test_loops_and_ends() -> None:
    assert loops("the the the")
    assert not loops("that that is, is")
    assert ends_sentence("Really?")
    assert ends_sentence("Yes.) ")
    assert not ends_sentence("Yes,")
    assert is_degenerate("")
    assert is_degenerate(" ... ")
    assert not is_degenerate("Yes.")


@pytest.mark.parametrize(
    ("text", "answers", "right"),
    [
        ("It is Tokyo.", ("Tokyo",), True),
        ("It is tokyo", ("Tokyo",), True),
        ("Kyoto.", ("Tokyo",), False),
        ("A spider has 8 legs.", ("8", "eight"), True),
        ("There are 18 of them.", ("8",), False),
        ("There are eighteen.", ("8", "eight"), False),
        ("The US dollars.", ("dollar",), True),
        ("Shakespeare's.", ("Shakespeare",), True),
        ("Gold is Au.", ("Au",), True),
        ("An author.", ("Au",), False),
        ("Leonardo da Vinci did.", ("Leonardo", "da Vinci"), True),
    ],
)
def test_an_answer_counts_when_it_is_there(text: str, answers, right: bool) -> None:
    assert is_right(text, answers) is right
