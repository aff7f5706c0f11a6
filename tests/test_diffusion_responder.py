"""The diffusion engine behind the responder's contract."""

import pytest
from support.smollm import SYSTEM, smollm_path

from agent.responders.base import (
    CanvasStep,
    Message,
    Prefilled,
    ReplyDone,
    ReplyText,
    ResponderError,
)
from agent.responders.diffusion import DiffusionResponder

MESSAGES = [Message("system", SYSTEM), Message("user", "What is the capital of Japan?")]


def test_a_missing_model_is_a_responder_error() -> None:
    with pytest.raises(ResponderError, match="no model file"):
        DiffusionResponder("/nowhere/model.gguf")


@pytest.mark.model
def test_a_call_replies_piece_by_piece() -> None:
    responder = DiffusionResponder(smollm_path(), threads=1)
    call = responder.open()
    prepared = call.prepare(MESSAGES)
    assert prepared.new_tokens > 0
    first, *pieces, done = call.reply(MESSAGES)
    assert isinstance(first, Prefilled)
    assert first.new_tokens == 0
    assert isinstance(done, ReplyDone)
    text = "".join(piece.text for piece in pieces if isinstance(piece, ReplyText))
    assert text == done.text
    assert "Tokyo" in text
    assert done.steps == sum(isinstance(piece, CanvasStep) for piece in pieces)

    abandoned = call.reply(MESSAGES)
    next(abandoned)
    abandoned.close()  # type: ignore[attr-defined]
    other = responder.open()
    assert list(other.reply(MESSAGES))[-1].text == done.text  # type: ignore[union-attr]
    assert list(call.reply(MESSAGES))[-1].text == done.text  # type: ignore[union-attr]
    other.close()
    call.close()
    responder.close()


@pytest.mark.model
def test_the_oldest_messages_go_when_the_prompt_is_too_long() -> None:
    responder = DiffusionResponder(smollm_path(), threads=1, max_tokens=8)
    call = responder.open()
    long = [Message("user", "tea " * 500), Message("assistant", "Fine.")] * 5
    done = list(call.reply([MESSAGES[0], *long, MESSAGES[1]]))[-1]
    assert isinstance(done, ReplyDone)
    with pytest.raises(ResponderError, match="do not fit the context"):
        list(call.reply([MESSAGES[0], Message("user", "tea " * 3000)]))
    responder.close()
