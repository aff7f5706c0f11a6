"""The diffusion engine behind the responder's contract."""

import pytest
from support.smollm import SYSTEM, smollm_path

from agent.models.turn_heads import shipped_head
from agent.responders.base import (
    CanvasStep,
    Message,
    Prefilled,
    ReplyDone,
    ReplyText,
    ResponderError,
    TurnEnding,
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


@pytest.mark.model
def test_a_head_judges_the_callers_words_in_the_pass_that_reads_them() -> None:
    head = shipped_head("smollm2-135m-instruct")
    responder = DiffusionResponder(smollm_path(), threads=1, turn_head=head)
    assert responder.judges_turns
    call = responder.open()

    def judged(words: str) -> TurnEnding:
        pieces = call.reply([MESSAGES[0], Message("user", words)])
        first = next(pieces)
        pieces.close()  # type: ignore[attr-defined]
        assert isinstance(first, Prefilled)
        assert first.ending is not None
        return first.ending

    whole = judged("What is the capital of Japan?")
    assert whole.over > 0.8
    assert judged("What is the capital of").over < 0.2
    again = judged("What is the capital of Japan?")
    assert again.over == pytest.approx(whole.over, abs=0.02), "cached or not"
    assert judged("What is the capital of Japan").over == pytest.approx(whole.over, abs=0.02)
    assert judged("Hold on.").floor > 0.5
    text = list(call.reply(MESSAGES))[-1].text  # type: ignore[union-attr]
    plain = DiffusionResponder(smollm_path(), threads=1)
    assert not plain.judges_turns
    assert text == list(plain.open().reply(MESSAGES))[-1].text  # type: ignore[union-attr]
