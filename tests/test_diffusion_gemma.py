"""DiffusionGemma as a responder, on a tiny random model with a window shorter than its prompts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from agent.config.settings import Settings
from agent.responders.base import (
    CanvasStep,
    Message,
    Prefilled,
    ReplyDone,
    ReplyText,
    ResponderError,
)
from agent.runtime.engines import make_responder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from agent.responders.diffusion_gemma import DiffusionGemmaCall, DiffusionGemmaResponder

pytestmark = pytest.mark.transformers

WINDOW, CANVAS, STEPS = 16, 8, 4
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
FIRST = [Message("system", "be short"), Message("user", "what is the capital of japan")]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A token a letter, so that any reply is text that encodes to the same tokens again."""
    from transformers import PreTrainedTokenizerFast

    letters = [*"abcdefghijklmnopqrstuvwxyz:", "Ġ", "Ċ"]
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<eos>", "<bos>", *letters])}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    fast.chat_template = TEMPLATE
    return fast


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("diffusion_gemma")
    from transformers import DiffusionGemmaConfig, DiffusionGemmaForBlockDiffusion

    tokenizer = tiny_tokenizer()
    text = {
        "vocab_size": len(tokenizer) + 1,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "global_head_dim": 8,
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention"],
        "num_experts": 4,
        "top_k_experts": 2,
        "moe_intermediate_size": 16,
        "max_position_embeddings": 512,
    }
    vision = {"model_type": "gemma4_vision", "hidden_size": 16, "intermediate_size": 16}
    vision |= {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
    image = len(tokenizer)
    config = DiffusionGemmaConfig(
        text_config=text,
        vision_config=vision | {"head_dim": 8},
        canvas_length=CANVAS,
        image_token_id=image,
        boi_token_id=image,
        eoi_token_id=image,
        initializer_range=0.2,
    )
    torch.manual_seed(0)
    model = DiffusionGemmaForBlockDiffusion(config)
    model.generation_config.max_denoising_steps = STEPS
    model.generation_config.eos_token_id = 1
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def responder(checkpoint: Path) -> DiffusionGemmaResponder:
    from agent.responders.diffusion_gemma import DiffusionGemmaResponder

    return DiffusionGemmaResponder(checkpoint, device="cpu", max_tokens=20)


def ask(call: DiffusionGemmaCall, messages: list[Message]) -> tuple[Prefilled, str]:
    """The prefill, and the reply, with all rules of the contract checked on the way."""
    prefilled, *pieces, done = call.reply(messages)
    assert isinstance(prefilled, Prefilled)
    assert isinstance(done, ReplyDone)
    text = "".join(piece.text for piece in pieces if isinstance(piece, ReplyText))
    steps = [piece for piece in pieces if isinstance(piece, CanvasStep)]
    assert text == done.text
    assert [step.step for step in steps] == list(range(1, done.steps + 1))
    assert all(0 <= p <= 1 for step in steps for p in step.confidence)
    assert len(steps[0].tokens) == len(steps[0].masked) == CANVAS
    return prefilled, text


def test_a_reply_of_several_canvases_comes_out_and_repeats(
    responder: DiffusionGemmaResponder,
) -> None:
    responder.warm_up()
    prefilled, text = ask(responder.open(), FIRST)
    assert text
    assert prefilled.cached_tokens == 0
    assert ask(responder.open(), FIRST)[1] == text
    responder.seed = 1
    assert ask(responder.open(), FIRST)[1] != text
    responder.seed = 0


@pytest.mark.slow
@pytest.mark.parametrize(("confidence", "forwards"), [(0.005, 3 * STEPS), (9.0, 3 * STEPS - 1)])
def test_the_tokens_are_those_of_transformers_generate(
    responder: DiffusionGemmaResponder,
    confidence: float,
    forwards: int,
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
) -> None:
    """The last step shows the whole reply, so that all tokens can be compared, not the text."""
    monkeypatch.setattr(responder, "schedule", replace(responder.schedule, confidence=confidence))
    call, ids = responder.open(), responder.encode_chat(FIRST)
    steps = [piece for piece in call.reply(FIRST) if isinstance(piece, CanvasStep)]
    torch.manual_seed(0)
    expected = responder.model.generate(
        torch.tensor([ids]), max_new_tokens=20, confidence_threshold=confidence
    )
    assert float(expected.tokens_per_forward) == 3 * CANVAS / len(steps)
    words = [responder.plain.decode([i]) for i in expected.sequences[0, len(ids) :].tolist()]
    assert list(steps[-1].tokens) == words
    assert len(words) == 3 * CANVAS
    recwarn.clear()  # generate imports torch's compiler, which warns about itself


def test_the_reply_ends_where_the_model_ends_it(
    responder: DiffusionGemmaResponder, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, done = responder.open().reply(FIRST)
    assert isinstance(done, ReplyDone)
    assert done.stats["cut"] == 1.0
    tokens = responder.plain.encode(done.text)
    end = tokens.index(tokens[12])
    monkeypatch.setattr(responder, "eos_ids", (tokens[end],))
    *_, ended = responder.open().reply(FIRST)
    assert isinstance(ended, ReplyDone)
    assert ended.stats["cut"] == 0.0
    assert ended.stats["tokens"] == end + 1
    assert done.text.startswith(ended.text)


def test_a_second_turn_reads_only_what_is_new(responder: DiffusionGemmaResponder) -> None:
    call = responder.open()
    _, text = ask(call, FIRST)
    second = [*FIRST, Message("assistant", text), Message("user", "and of spain")]
    prefilled, again = ask(call, second)
    first_length = len(responder.encode_chat(FIRST))
    assert first_length > 2 * WINDOW
    assert prefilled.cached_tokens >= first_length
    assert prefilled.cached_tokens + prefilled.new_tokens == len(responder.encode_chat(second))
    assert again == ask(responder.open(), second)[1]
    assert again != text


def test_a_prompt_may_grow_and_change(responder: DiffusionGemmaResponder) -> None:
    call = responder.open()
    for words in ("what is the", "what is the capital", "what is the capitol of", "what"):
        last = [FIRST[0], Message("user", words)]
        prepared = call.prepare(last)
    assert prepared.cached_tokens > WINDOW
    assert call.prepare(last).new_tokens == 0
    assert ask(call, last)[1] == ask(responder.open(), last)[1]


def test_an_abandoned_reply_leaves_the_cache_valid(responder: DiffusionGemmaResponder) -> None:
    call = responder.open()
    pieces = call.reply(FIRST)
    next(pieces)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    prefilled, text = ask(call, FIRST)
    assert prefilled.new_tokens == 0
    assert text == ask(responder.open(), FIRST)[1]
    call.close()
    assert call.prepare(FIRST).cached_tokens == 0


def test_the_settings_reach_the_responder(checkpoint: Path) -> None:
    from agent.responders.diffusion_gemma import DiffusionGemmaResponder

    chosen = {"engine": "diffusion-gemma", "model": str(checkpoint), "max_tokens": 7}
    settings = Settings(responder={**chosen, "device": "cpu"})  # type: ignore[arg-type]
    lines: list[str] = []
    loaded = make_responder(settings.responder, 1, lines.append)
    assert isinstance(loaded, DiffusionGemmaResponder)
    assert loaded.max_tokens == 7
    assert any("loading" in line for line in lines)


def test_what_cannot_run_says_what_to_do(checkpoint: Path, tmp_path: Path) -> None:
    from transformers import LlamaConfig

    from agent.responders.diffusion_gemma import DiffusionGemmaResponder

    with pytest.raises(ResponderError, match="Give the model as google/diffusiongemma"):
        DiffusionGemmaResponder(tmp_path)
    LlamaConfig(num_hidden_layers=1).save_pretrained(tmp_path)
    with pytest.raises(ResponderError, match="is a llama, not a diffusion_gemma"):
        DiffusionGemmaResponder(tmp_path)
    with pytest.raises(ResponderError, match="does not run in int8"):
        DiffusionGemmaResponder(checkpoint, dtype="int8")
    with pytest.raises(ResponderError, match="cpu, cuda or auto"):
        DiffusionGemmaResponder(checkpoint, device="toaster")
    short = DiffusionGemmaResponder(checkpoint, device="cpu", context=40)
    with pytest.raises(ResponderError, match="shorten the history"):
        short.open().prepare(FIRST)
