"""The worker's side: turns, credit, cancellation; and the messages on the pipe."""

from __future__ import annotations

import io
from collections.abc import Generator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.engine import SpeechChunk
from tts.pipes import MAX_PAYLOAD, PipeError, PipeMessage, read_message, write_message
from tts.serving import Server
from tts.tone import ToneSynthesizer


def speak(request: int, text: str, credit: int = 9) -> PipeMessage:
    return PipeMessage("speak", request, {"text": text, "credit": credit})


def replies(sink: io.BytesIO) -> list[tuple[str, int]]:
    sink.seek(0)
    found: list[tuple[str, int]] = []
    while (message := read_message(sink)) is not None:
        found.append((message.kind, message.request))
    return found


def served(*messages: PipeMessage) -> list[tuple[str, int]]:
    """Accept the messages, then serve until nothing is runnable."""
    sink = io.BytesIO()
    server = Server(ToneSynthesizer(), sink)
    for message in messages:
        server.accept(message)
    while server.runnable:
        server.advance()
    return replies(sink)


def test_requests_take_turns_chunk_by_chunk() -> None:
    got = served(speak(1, "a b c"), speak(2, "d"))
    assert got == [
        ("chunk", 1),
        ("chunk", 2),
        ("chunk", 1),
        ("end", 2),
        ("chunk", 1),
        ("end", 1),
    ]


def test_nothing_is_made_without_credit() -> None:
    assert served(speak(1, "a b c", credit=2)) == [("chunk", 1)] * 2
    assert served(speak(1, "a b c", credit=2), PipeMessage("credit", 1)) == [("chunk", 1)] * 3
    assert served(speak(1, "a b", credit=0), speak(2, "c")) == [("chunk", 2), ("end", 2)]


def test_a_cancelled_request_makes_nothing_more() -> None:
    assert served(speak(1, "a"), speak(2, "b"), PipeMessage("cancel", 1)) == [
        ("chunk", 2),
        ("end", 2),
    ]
    assert served(PipeMessage("cancel", 7), PipeMessage("credit", 7)) == []


class _Failing(ToneSynthesizer):
    def speak(self, text: str) -> Generator[SpeechChunk, None, None]:
        yield next(super().speak(text))
        raise RuntimeError("out of breath")


def test_a_failure_is_reported_for_its_request() -> None:
    sink = io.BytesIO()
    server = Server(_Failing(), sink)
    server.accept(speak(3, "a b"))
    while server.runnable:
        server.advance()
    assert replies(sink) == [("chunk", 3), ("error", 3)]


@given(st.text(max_size=20), st.integers(0, 2**40), st.binary(max_size=50))
def test_messages_survive_the_pipe(text: str, number: int, payload: bytes) -> None:
    pipe = io.BytesIO()
    sent = PipeMessage("kind", number, {"text": text}, payload)
    write_message(pipe, sent)
    write_message(pipe, PipeMessage("end"))
    pipe.seek(0)
    assert read_message(pipe) == sent
    assert read_message(pipe) == PipeMessage("end")
    assert read_message(pipe) is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"abc", "ended inside"),
        (b"\x05\0\0\0\0\0\0\0ab", "ended inside"),
        (b"\xff" * 8, "out of bounds"),
        (b"\x02\0\0\0" + (MAX_PAYLOAD + 1).to_bytes(4, "little"), "out of bounds"),
        (b"\x02\0\0\0\0\0\0\0no", "not one of ours"),
        (b"\x02\0\0\0\0\0\0\0[]", "not one of ours"),
    ],
)
def test_what_is_no_message_is_an_error(data: bytes, reason: str) -> None:
    with pytest.raises(PipeError, match=reason):
        read_message(io.BytesIO(data))


def test_a_missing_field_is_an_error() -> None:
    with pytest.raises(PipeError, match="lacks 'text'"):
        PipeMessage("speak", 1, {})["text"]
