"""Messages of clients: JSON is read from text and from bytes, all else is told."""

import json

import pytest

from agent.session.events import TextTyped
from agent.session.notices import Trouble
from agent.transports.reading import MAX_BAD_EVENTS, EventReader

CLEAR = json.dumps({"type": "input_audio_buffer.clear"})


def read(message, most=1000):
    return EventReader(most).read(message)


@pytest.mark.parametrize(
    "message",
    [
        CLEAR.encode(),
        b"\xef\xbb\xbf" + CLEAR.encode(),
        b"\n\t " + CLEAR.encode() + b"\r\n",
    ],
)
def test_json_in_a_binary_message_is_an_event(message):
    assert read(message) == read(CLEAR)
    assert not isinstance(read(message)[0], Trouble)


def test_words_in_a_binary_message_keep_their_letters():
    content = [{"type": "input_text", "text": "Grüße, 東京 🙂"}]
    item = {"type": "message", "role": "user", "content": content}
    event = {"type": "conversation.item.create", "item": item}
    (given,) = read(json.dumps(event, ensure_ascii=False).encode())
    found = getattr(given, "input", given)
    assert isinstance(found, TextTyped) or "東京" in repr(found)


@pytest.mark.parametrize(
    "message",
    [b"", b"\x00\x01", b"[1]", b"RIFF....WAVE", b'{"type": "\xff"}', CLEAR.encode("utf-16")],
)
def test_other_bytes_are_told(message):
    (trouble,) = read(message)
    assert trouble.code == "invalid_message"
    assert "base64 into input_audio_buffer.append" in trouble.message


def test_bytes_are_bounded_as_text_is():
    long = json.dumps({"type": "input_audio_buffer.append", "audio": "A" * 2000, "event_id": "e1"})
    assert read(long.encode())[0].code == "message_too_large"
    assert read(long.encode()) == read(long)
    reader = EventReader(1000)
    for _ in range(MAX_BAD_EVENTS + 1):
        reader.read(b"{" * 3)
    assert reader.exhausted
