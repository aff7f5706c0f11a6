"""Token by token: on transformers' classes with a tiny random model, on the engine with a GGUF."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from support.smollm import SYSTEM, smollm_path
from test_diffusion_gemma import tiny_tokenizer

from agent.config.settings import Settings
from agent.responders.autoregressive import AutoregressiveResponder
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
    from agent.responders.causal import CausalCall, CausalResponder

pytestmark = pytest.mark.transformers

FIRST = [Message("system", "be short"), Message("user", "what is the capital of japan")]
WINDOW, BOUND = 12, 10
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.4,
    "bos_token_id": 2,
    "eos_token_id": 1,
}


def save(config: object, path: Path) -> Path:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module", params=["llama", "a window shorter than the prompt"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import LlamaConfig, MistralConfig

    size = {**SHAPE, "vocab_size": len(tiny_tokenizer())}
    llama = request.param == "llama"
    config = LlamaConfig(**size) if llama else MistralConfig(**size, sliding_window=WINDOW)
    return save(config, tmp_path_factory.mktemp("causal"))


@pytest.fixture(scope="module")
def responder(checkpoint: Path) -> CausalResponder:
    from agent.responders.causal import CausalResponder

    return CausalResponder(checkpoint, device="cpu", max_tokens=BOUND)


def ask(call: CausalCall, messages: list[Message]) -> tuple[Prefilled, str]:
    """The prefill, and the reply, with all rules of the contract checked on the way."""
    prefilled, *pieces, done = call.reply(messages)
    assert isinstance(prefilled, Prefilled)
    assert isinstance(done, ReplyDone)
    text = "".join(piece.text for piece in pieces if isinstance(piece, ReplyText))
    steps = [piece for piece in pieces if isinstance(piece, CanvasStep)]
    assert text == done.text
    assert [len(step.tokens) for step in steps] == list(range(1, done.steps + 1))
    assert all(0 <= p <= 1 for step in steps for p in step.confidence)
    assert done.stats["tokens"] == done.forwards == done.steps
    return prefilled, text


@pytest.mark.slow
def test_the_tokens_are_those_of_generate(responder: CausalResponder) -> None:
    responder.warm_up()
    _, text = ask(responder.open(), FIRST)
    ids = responder.encode_chat(FIRST)
    whole = responder.model.generate(
        torch.tensor([ids]), do_sample=False, max_new_tokens=BOUND, pad_token_id=0
    )
    assert text == responder.plain.decode(whole[0, len(ids) :].tolist())
    assert text


def test_only_what_is_new_is_read_and_the_reply_is_as_without_a_cache(
    responder: CausalResponder,
) -> None:
    call = responder.open()
    heard = [FIRST[0], Message("user", "what is")]
    assert call.prepare(heard).cached_tokens == 0
    prefilled, text = ask(call, FIRST)
    assert prefilled.cached_tokens > 20
    second = [*FIRST, Message("assistant", text), Message("user", "and of france")]
    prefilled, again = ask(call, second)
    assert prefilled.cached_tokens >= len(responder.encode_chat(FIRST)) - 1
    assert again == ask(responder.open(), second)[1]
    assert ask(call, FIRST)[1] == text


def test_a_reply_that_is_left_leaves_a_cache_that_can_be_used(responder: CausalResponder) -> None:
    call = responder.open()
    pieces = call.reply(FIRST)
    for _ in range(4):
        next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert ask(call, FIRST)[1] == ask(responder.open(), FIRST)[1]
    call.close()
    assert call.prepare(FIRST).cached_tokens == 0


def test_the_settings_reach_the_responder(checkpoint: Path) -> None:
    chosen = {"engine": "autoregressive", "model": str(checkpoint), "max_tokens": 7}
    settings = Settings(responder={**chosen, "device": "cpu"})  # type: ignore[arg-type]
    loaded = make_responder(settings.responder, 1, lambda line: None)
    *_, done = loaded.open().reply(FIRST)  # type: ignore[misc]
    assert isinstance(done, ReplyDone)
    assert 1 <= done.steps <= 7


def test_what_cannot_run_says_what_to_do(checkpoint: Path, tmp_path: Path) -> None:
    from transformers import MambaConfig

    from agent.responders.causal import CausalResponder

    with pytest.raises(ResponderError, match="or a GGUF file"):
        AutoregressiveResponder(tmp_path)
    with pytest.raises(ResponderError, match="does not run in int8"):
        AutoregressiveResponder(checkpoint, dtype="int8")
    with pytest.raises(ResponderError, match="shorten the history"):
        CausalResponder(checkpoint, context=20).open().prepare(FIRST)
    size = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "state_size": 4}
    with pytest.raises(ResponderError, match="cannot be cut back"):
        AutoregressiveResponder(save(MambaConfig(**size), tmp_path / "mamba"))


@pytest.mark.model
def test_a_gguf_file_runs_on_the_engine_token_by_token() -> None:
    responder = AutoregressiveResponder(smollm_path(), threads=1, max_tokens=24)
    asked = [Message("system", SYSTEM), Message("user", "What is the capital of Japan?")]
    *_, done = responder.open().reply(asked)  # type: ignore[misc]
    assert isinstance(done, ReplyDone)
    assert "Tokyo" in done.text
    assert done.stats["tokens_per_forward"] == 1.0
    responder.close()
