"""The engine on the embedded default model."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from support.smollm import SYSTEM, questions, smollm_path

from dllm_core import DecodeOptions, Engine, ModelFileError, OptionError, PromptTooLongError

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load(smollm_path(), threads=1)


def prompt(engine: Engine, *turns: str) -> list[int]:
    roles = ("user", "assistant")
    messages = [(roles[i % 2], turn) for i, turn in enumerate(turns)]
    return engine.encode_chat([("system", SYSTEM), *messages])


def test_it_answers(engine: Engine) -> None:
    reply = engine.reply(prompt(engine, "What is the capital of Japan?"))
    assert "Tokyo" in reply.text
    assert reply.stats.ended == "eos"
    assert reply.stats.tokens == len(reply.ids) + 1


def test_pieces_concatenate_to_the_reply_and_final_tokens_stay(engine: Engine) -> None:
    ids = prompt(engine, "How do I boil an egg?")
    steps = list(engine.iterate(ids, engine.new_cache(), DecodeOptions(canvas_length=4)))
    final: tuple[int, ...] = ()
    for i, step in enumerate(steps, 1):
        count = step.canvas.masked.count(False)
        assert step.step == i
        assert step.canvas.ids[: len(final)] == final
        assert [word == "" for word in step.tokens] == list(step.canvas.masked)
        assert all(0 <= p <= 1 for p in step.canvas.confidence)
        final = step.canvas.ids[:count]
    text = "".join(step.text for step in steps)
    assert engine.tokenizer.decode(final).startswith(text)
    assert [step.stats is not None for step in steps] == [False] * (len(steps) - 1) + [True]


def test_a_second_turn_reads_only_what_is_new(engine: Engine) -> None:
    cache = engine.new_cache()
    first = prompt(engine, "What is the capital of France?")
    reply = engine.reply(first, cache)
    second = prompt(engine, "What is the capital of France?", reply.text, "And of Spain?")
    again = engine.reply(second, cache)
    read = again.stats.prefill
    assert read.cached_tokens >= len(first) + len(reply.ids)
    assert read.cached_tokens + read.new_tokens == len(second) - 1
    assert again.text == engine.reply(second).text


def test_a_growing_transcript_is_read_word_by_word(engine: Engine) -> None:
    cache = engine.new_cache()
    words = ["what", "is", "the", "capital", "of", "japan"]
    for i in range(1, len(words) + 1):
        stats = engine.prefill(prompt(engine, " ".join(words[:i])), cache)
    assert stats.new_tokens <= 8
    ids = prompt(engine, " ".join(words))
    assert engine.reply(ids, cache).text == engine.reply(ids).text


def test_closing_the_iterator_leaves_the_cache_valid(engine: Engine) -> None:
    cache = engine.new_cache()
    ids = prompt(engine, "What is the capital of Italy?")
    steps = engine.iterate(ids, cache)
    next(steps)
    steps.close()
    assert cache.ids[: len(ids)] == ids
    assert engine.reply(ids, cache).text == engine.reply(ids).text


def test_the_bound_is_kept(engine: Engine) -> None:
    options = DecodeOptions(max_tokens=5)
    reply = engine.reply(prompt(engine, "How do I boil an egg?"), options=options)
    assert len(reply.ids) == 5
    assert reply.stats.ended == "length"


def test_bad_requests_say_what_to_do(engine: Engine) -> None:
    with pytest.raises(OptionError, match="empty"):
        next(engine.iterate([], engine.new_cache()))
    with pytest.raises(PromptTooLongError, match="shorten the history"):
        next(engine.iterate([5] * engine.context, engine.new_cache()))
    with pytest.raises(ModelFileError, match="no model file"):
        Engine.load("/nowhere/model.gguf")
    with pytest.raises(OptionError, match="cpu, cuda or auto"):
        Engine.load(smollm_path(), device="toaster")


def test_the_package_imports_no_torch() -> None:
    code = "import sys, dllm_core; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


@pytest.fixture(scope="module")
def exact() -> Engine:
    return Engine.load(smollm_path(), dtype="float32", threads=1)


@pytest.fixture(scope="module")
def reference() -> Any:
    from transformers import AutoModelForCausalLM

    path = smollm_path()
    return AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name).eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    "asked", [questions()[:8], pytest.param(questions()[8:], marks=pytest.mark.long)], ids=len
)
def test_fp32_replies_are_the_greedy_ones_of_transformers(
    exact: Engine, reference: Any, asked: Sequence[str]
) -> None:
    """A reply is greedy if every token is the argmax of the reference after those before it."""
    assert len(questions()) == 50
    for question, reply in zip(asked, _replies(exact, asked), strict=True):
        ids = prompt(exact, question)
        expected = [*reply, *exact.config.eos_ids][:24]
        with torch.inference_mode():
            logits = reference(torch.tensor([ids + reply])).logits[0]
        assert logits.argmax(-1)[len(ids) - 1 :].tolist()[: len(expected)] == expected, question


@pytest.mark.slow
def test_the_greedy_replies_are_those_that_transformers_generates(
    exact: Engine, reference: Any
) -> None:
    asked = questions()[:3]
    for question, reply in zip(asked, _replies(exact, asked), strict=True):
        ids = prompt(exact, question)
        generated = reference.generate(
            torch.tensor([ids]), max_new_tokens=24, do_sample=False, eos_token_id=2
        )
        assert generated[0, len(ids) :].tolist() == [*reply, *exact.config.eos_ids][:24]


TOGETHER = 10
"""Replies of one batch: a step reads the weights, which takes the most time, once for all."""


def _replies(engine: Engine, asked: Sequence[str]) -> Iterator[list[int]]:
    options = DecodeOptions(max_tokens=24, canvas_length=3)
    for at in range(0, len(asked), TOGETHER):
        under_way = [
            engine.submit(prompt(engine, question), engine.new_cache(), options)
            for question in asked[at : at + TOGETHER]
        ]
        for steps in under_way:
            *_, last = steps
            yield list(last.canvas.ids)
