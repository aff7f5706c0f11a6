"""Calls that reply at the same time share the engine's steps, and know nothing of each other."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest
from support.checkpoints import write_checkpoint

from agent.responders.base import CanvasStep, Message, ReplyDone, ReplyPiece
from agent.responders.diffusion import DiffusionResponder
from dllm_core.config import DecodeOptions

ASKED = [[Message("user", text)] for text in ("hello", "who are you?", "tell me of winter")]
CANVASES = DecodeOptions(
    rule="quota", canvas_length=8, steps=4, max_tokens=24, cache="prompt_frozen"
)


@pytest.fixture(params=["llama", "llada"])
def responder(request: pytest.FixtureRequest, tmp_path: Path) -> DiffusionResponder:
    """One that replies token by token, and one that denoises canvases."""
    source = write_checkpoint(tmp_path, request.param)
    options = CANVASES if request.param == "llada" else DecodeOptions(max_tokens=24)
    return DiffusionResponder(source, dtype="float32", options=options)


class Passes:
    """Counts the forward passes of a responder's model."""

    def __init__(self, responder: DiffusionResponder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        forward = responder.engine.model.forward

        def counted(*arguments: object) -> object:
            self.count += 1
            return forward(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(responder.engine.model, "forward", counted)


def text(pieces: list[ReplyPiece]) -> str:
    done = pieces[-1]
    assert isinstance(done, ReplyDone)
    return done.text


def in_turn(replies: list[Iterator[ReplyPiece]]) -> list[list[ReplyPiece]]:
    """A piece of each after the other, as the compute thread asks for them."""
    found: list[list[ReplyPiece]] = [[] for _ in replies]
    while running := [i for i, r in enumerate(replies) if not ended(found[i])]:
        for i in running:
            found[i].append(next(replies[i]))
    return found


def ended(pieces: list[ReplyPiece]) -> bool:
    return bool(pieces) and isinstance(pieces[-1], ReplyDone)


def test_replies_together_are_those_alone_in_fewer_passes(
    responder: DiffusionResponder, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = Passes(responder, monkeypatch)
    alone = [list(responder.open().reply(messages)) for messages in ASKED]
    taken, passes.count = passes.count, 0
    together = in_turn([responder.open().reply(messages) for messages in ASKED])
    assert [text(pieces) for pieces in together] == [text(pieces) for pieces in alone]
    assert [len(pieces) for pieces in together] == [len(pieces) for pieces in alone]
    # Beside three prompts apart, no more passes than the longest reply.
    longest = max(sum(isinstance(p, CanvasStep) for p in pieces) for pieces in alone)
    assert passes.count <= longest + 2 * len(ASKED) < taken


def test_a_reply_that_is_given_up_leaves_the_others(responder: DiffusionResponder) -> None:
    expected = text(list(responder.open().reply(ASKED[0])))
    call = responder.open()
    kept, dropped = responder.open().reply(ASKED[0]), call.reply(ASKED[1])
    for _ in range(4):
        next(kept)
        next(dropped)
    dropped.close()  # type: ignore[attr-defined]
    rest = list(kept)
    assert text(rest) == expected
    assert responder.engine.host.batch.idle
    assert text(list(call.reply(ASKED[1]))) == text(list(responder.open().reply(ASKED[1])))


def test_a_short_reply_does_not_wait_for_a_long_one(responder: DiffusionResponder) -> None:
    curt = copy(responder)
    curt.options = replace(responder.options, max_tokens=8)
    long, short = responder.open().reply(ASKED[0]), curt.open().reply(ASKED[0])
    pieces = in_turn([long, short])
    steps = [sum(isinstance(piece, CanvasStep) for piece in each) for each in pieces]
    assert steps[0] == 3 * steps[1]  # the short one is done when a third of the long one is
    assert text(pieces[0]).startswith(text(pieces[1]).rstrip())


def test_a_call_alone_takes_as_many_passes_as_before(
    responder: DiffusionResponder, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = Passes(responder, monkeypatch)
    engine = responder.engine
    ids = engine.encode_chat([(m.role, m.content) for m in ASKED[0]])
    expected = engine.reply(ids, options=replace(responder.options))
    before, passes.count = passes.count, 0
    pieces = list(responder.open().reply(ASKED[0]))
    assert text(pieces) == expected.text
    assert passes.count == before


def test_wide_canvases_go_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = replace(CANVASES, canvas_length=24)
    responder = DiffusionResponder(
        write_checkpoint(tmp_path, "llada"), dtype="float32", options=wide
    )
    passes = Passes(responder, monkeypatch)
    alone = [list(responder.open().reply(messages)) for messages in ASKED]
    taken, passes.count = passes.count, 0
    together = in_turn([responder.open().reply(messages) for messages in ASKED])
    assert [text(pieces) for pieces in together] == [text(pieces) for pieces in alone]
    assert passes.count == taken
