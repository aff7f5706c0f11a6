"""Chains of thought are neither asked for, nor spoken, nor counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import tiny_config, tiny_engine, tiny_tokenizer
from tokenizers import AddedToken

from dllm_core import DecodeOptions
from dllm_core.decode.reply_text import ReplyDetokenizer
from dllm_core.model.tokenizer import Tokenizer
from dllm_core.thinking import CLOSING, OPENING, ThinkingFilter, closed

QWEN3 = (
    "{% for m in messages %}<start>{{ m.role }}\n{{ m.content }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<start>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% endif %}{% endif %}"
)
"""The part of Qwen3's template that decides on thinking."""
R1 = "{% for m in messages %}{{ m.content }}{% endfor %}<start>assistant<think>\n"


def words(template: str = QWEN3, *, special: bool = False) -> Tokenizer:
    backend = tiny_tokenizer(200).backend
    tags = [AddedToken(tag, special=special) for tag in ("<think>", "</think>")]
    backend.add_tokens(tags)
    return Tokenizer(backend, template, {})


def spoken(pieces: list[str]) -> str:
    aloud = ThinkingFilter()
    return "".join([*map(aloud.push, pieces), aloud.finish()])


def test_qwen3_is_told_not_to_think() -> None:
    tokenizer = words()
    ids = tokenizer.encode_chat([("user", "hello")])
    assert ids[-4:].count(tokenizer.closing_ids[0]) == 1


def test_a_chain_of_thought_that_the_template_opens_is_closed() -> None:
    tokenizer = words(R1)
    ids = tokenizer.encode_chat([("user", "hello")])
    assert ids.index(tokenizer.thinking_ids[0]) < ids.index(tokenizer.closing_ids[0])
    for opening, closing in zip(OPENING, CLOSING, strict=True):
        assert closed(f"x {opening}\n") == f"x {opening}\n\n{closing}\n\n"
    assert closed("x <think> y") == "x <think> y"


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>\nHmm.\n</think>\n\nParis.", "Paris."),
        ("Paris.", "Paris."),
        (" Paris <is> nice.", " Paris <is> nice."),
        ("</think>\n\nParis.", "Paris."),
        ("Yes. <think>or no?</think>No.", "Yes. No."),
        ("<think>never closed", ""),
        ("[THINK]a[/THINK]b", "b"),
        ("1 < 2 and <th", "1 < 2 and <th"),
        ("<think><think>a</think>b", "b"),
        ("", ""),
    ],
)
def test_text_between_tags_is_removed_however_it_is_cut(text: str, expected: str, cut: int) -> None:
    assert spoken([text[i : i + cut] for i in range(0, len(text), cut)]) == expected


@given(st.lists(st.text(alphabet="<>/think ab", max_size=4)))
def test_pieces_make_no_difference(pieces: list[str]) -> None:
    assert spoken(pieces) == spoken(["".join(pieces)])


@pytest.mark.parametrize("special", [False, True])
def test_tokens_between_tags_are_not_released(special: bool) -> None:
    tokenizer = words(special=special)
    inside, outside = tokenizer.encode("secret"), tokenizer.encode("Paris.")
    reply = ReplyDetokenizer(tokenizer)
    said = reply.push([*tokenizer.thinking_ids, *inside])
    said += reply.push([*tokenizer.closing_ids, *outside])
    assert said + reply.finish(complete=True)[0] == "Paris."


@pytest.mark.parametrize("rule", ["fixed_point", "quota", "threshold", "sequential"])
def test_a_banned_token_is_never_committed(rule: Any) -> None:
    masked = None if rule == "fixed_point" else 60
    engine = tiny_engine(tiny_config(mask_id=masked, eos_ids=()))
    options = DecodeOptions(rule=rule, max_tokens=30, canvas_length=6)
    free = engine.reply([1, 2, 3], options=options)
    banned = tuple(set(free.ids))[:5]
    held = engine.reply([1, 2, 3], options=replace(options, banned=banned))
    assert not set(held.ids) & set(banned)
    assert len(held.ids) == 30


def test_an_adapted_model_never_commits_its_mask_under_fixed_point() -> None:
    plain, adapted = (tiny_engine(tiny_config(mask_id=m, eos_ids=())) for m in (None, 60))
    for engine in (plain, adapted):
        with torch.inference_mode():
            engine.model.embedding[60] = engine.model.embedding[:60].mean(0) * 40
    options = DecodeOptions(rule="fixed_point", max_tokens=30, canvas_length=4)
    assert 60 in plain.reply([1, 2, 3], options=options).ids
    assert 60 not in adapted.reply([1, 2, 3], options=options).ids
