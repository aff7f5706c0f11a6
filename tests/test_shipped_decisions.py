"""The shipped questions on realistic transcripts that no head was fitted on."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agent.config.settings import INSTRUCTIONS
from agent.decision import SHIPPED, Answer
from agent.models import store
from agent.models.decision_heads import shipped_heads
from agent.reply import Message
from agent.session.decision_rules import RULED, rule_answer

ROWS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent / "data/decision_transcripts.jsonl").read_text().splitlines()
]
BUSINESS = [row["text"] for row in ROWS if not any(row["answers"].get(name) for name in RULED)]


def test_no_transcript_is_an_example_of_the_fit() -> None:
    path = Path(__file__).parents[1] / "benchmarks/decision_examples.jsonl"
    fitted = {json.loads(line)["text"].lower() for line in path.read_text().splitlines()}
    same = [row["text"] for row in ROWS if row["text"].lower() in fitted]
    assert len(same) <= 1  # a call screening of one manufacturer always says the same


@pytest.mark.parametrize("words", BUSINESS)
def test_rules_are_silent_about_everything_else(words: str) -> None:
    assert [name for name in RULED if rule_answer(name, words)] == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("opt_out", "STOP CALLING ME"),
        ("opt_out", "don’t call me again"),
        ("opt_out", "please take me off of your list, thanks"),
        ("human", "Operator!"),
        ("human", "i want to speak to a real person"),
        ("voicemail", "please leave your message after the tone"),
        ("hold", "(hold music)"),
        ("hold", "♪♪♪"),
    ],
)
def test_rules_find_phrases_however_they_are_written(name: str, words: str) -> None:
    answer = rule_answer(name, words)
    assert answer is not None
    assert (answer.value, answer.by) == (True, "rule")


@pytest.mark.model
def test_phrases_and_heads_together_find_most_and_alarm_rarely() -> None:
    from agent.responders.diffusion import DiffusionResponder

    responder = DiffusionResponder(store.locate("smollm2-135m-instruct"), threads=1)
    heads = shipped_heads("smollm2-135m-instruct")
    assert heads is not None
    asked = [SHIPPED[name] for name in ROWS[0]["answers"]]
    responder.use_decisions(asked, [heads], INSTRUCTIONS)
    call, counts = responder.open(), Counter[str]()
    for row in ROWS:
        found: dict[str, Answer] = {}
        messages = [Message("system", INSTRUCTIONS), Message("user", row["text"])]
        for answer in call.decide(messages, asked, quick=True) or ():
            found[answer.name] = rule_answer(answer.name, row["text"]) or answer
        for name, wanted in row["answers"].items():
            right = found[name].value == wanted
            kind = "language" if name == "language" else "yes" if wanted else "no"
            counts[kind] += 1
            counts[f"{kind} right"] += right
            if not right:
                print(name, found[name].label, f"{found[name].probability:.2f}", row["text"])
    call.close()
    print(dict(counts))
    assert counts["yes right"] >= 0.8 * counts["yes"]
    assert counts["no right"] >= 0.97 * counts["no"]
    assert counts["language right"] >= 0.95 * counts["language"]
