"""The diffusion responder on an engine with pages, as on a GPU."""

from collections.abc import Sequence

import pytest
from support.tiny import tiny_config, tiny_model, tiny_tokenizer

from agent.responders.base import Message, Prefilled, ReplyDone, ReplyText, ResponderError
from agent.responders.diffusion import DiffusionResponder
from dllm_core.engine import Engine

QUESTION = [Message("system", "ABCDEFGH" * 9), Message("user", "XYZ")]


@pytest.fixture
def responder(monkeypatch: pytest.MonkeyPatch) -> DiffusionResponder:
    model = tiny_model(tiny_config(mask_id=60, context_length=192))
    engine = Engine(model, tiny_tokenizer(), 192)
    engine.use_pages(10)
    monkeypatch.setattr(Engine, "load", lambda source, **options: engine)
    return DiffusionResponder("tiny", max_tokens=20)


def text_of(pieces: Sequence[object]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, ReplyText))


def test_calls_share_the_pages_of_their_instructions(responder: DiffusionResponder) -> None:
    first, second = responder.open(), responder.open()
    begun = [call.reply(QUESTION) for call in (first, second)]
    replies = [list(pieces) for pieces in begun]
    assert text_of(replies[0]) == text_of(replies[1])
    done = replies[0][-1]
    assert isinstance(done, ReplyDone)
    assert done.text == text_of(replies[0])
    assert done.stats["cached_tokens"] >= len(QUESTION[0].content)
    gpu = responder.engine.gpu
    assert gpu is not None
    assert gpu.shares
    pages = [set(call._made.pages) for call in (first, second)]  # type: ignore[union-attr]
    assert pages[0] & pages[1]


def test_replies_begun_one_after_another_share_a_round(responder: DiffusionResponder) -> None:
    calls = [responder.open() for _ in range(2)]
    begun = [iter(call.reply(QUESTION)) for call in calls]
    for pieces in begun:
        assert isinstance(next(pieces), Prefilled)
    gpu = responder.engine.gpu
    assert gpu is not None
    rounds: list[int] = []
    run = gpu.batch._round
    gpu.batch._round = lambda tickets: (rounds.append(len(tickets)), run(tickets))[1]  # type: ignore[method-assign, func-returns-value]
    next(begun[0])
    assert rounds == [2]
    for pieces in begun:
        pieces.close()  # type: ignore[attr-defined]
    assert gpu.batch.idle


def test_a_call_without_room_is_refused_and_has_room_when_another_ends(
    responder: DiffusionResponder,
) -> None:
    *served, refused = (responder.open() for _ in range(4))
    for call in served:
        call.prepare(QUESTION)
    with pytest.raises(ResponderError, match="Try again when one of them has ended"):
        refused.prepare(QUESTION)
    with pytest.raises(ResponderError, match="Try again"):
        list(refused.reply(QUESTION))
    served[0].close()
    assert isinstance(list(refused.reply(QUESTION))[-1], ReplyDone)
    served[1].close()
    served[1].close()
