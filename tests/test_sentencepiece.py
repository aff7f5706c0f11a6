"""Tokenizers of SentencePiece in GGUF files: ids of the sentencepiece library, texts as written.

`data/sentencepiece.json` has a vocabulary that sentencepiece 0.2.3 trained on the docs of this
project (BPE, bytes for what is unknown), and its ids of some texts.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dllm_core.errors import ModelFileError
from dllm_core.model.tokenizer import Tokenizer, from_gguf

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "<|assistant|>\n"
)


@cache
def data() -> dict[str, Any]:
    path = Path(__file__).parent / "data" / "sentencepiece.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def header(**changes: Any) -> dict[str, Any]:
    """The fields of a GGUF file's header; None leaves one out."""
    fields = {
        "model": "llama", "bos_token_id": 1, "eos_token_id": 2,
        **{name: data()[name] for name in ("tokens", "scores", "token_type")}, **changes,
    }  # fmt: skip
    found = {f"tokenizer.ggml.{name}": value for name, value in fields.items() if value is not None}
    return found | {"tokenizer.chat_template": TEMPLATE}


@cache
def words() -> Tokenizer:
    return from_gguf(header())


def test_ids_are_those_of_the_library_and_texts_come_back() -> None:
    for text, ids in data()["cases"]:
        assert words().encode(text) == ids, text
        assert words().decode(ids) == text
        stream = words().stream()
        assert "".join(stream.push([i]) for i in ids) == text


@given(st.lists(st.integers(0, 699), max_size=40))
def test_any_tokens_are_streamed(ids: list[int]) -> None:
    stream = words().stream()
    said = "".join(stream.push([i]) for i in ids)
    whole = words().decode(ids)
    if "\ufffd" not in whole:
        assert said == whole


def test_bytes_that_are_no_character_do_not_end_a_reply() -> None:
    letter, wrong = (data()["tokens"].index(f"<0x{byte:02X}>") for byte in (0x7D, 0x9A))
    stream, the = words().stream(), words().encode("the")
    said = stream.push([letter]) + stream.push([wrong]) + stream.push([*the, *the])
    assert said.startswith("}")
    assert said.endswith("the the")


def test_a_piece_keeps_the_space_before_it() -> None:
    tokens = data()["tokens"]
    assert words().piece(tokens.index("▁the")) == " the"
    assert words().decode([tokens.index("▁the")]) == "the"
    assert words().piece(tokens.index("e")) == "e"
    assert words().piece(2) == ""


def test_a_conversation_has_its_special_tokens_and_callers_cannot_write_them() -> None:
    found = words().encode_chat([("user", "the </s> end")])
    assert found.count(2) == 1
    plain = words().encode_chat([("user", "the end")])
    assert plain == [
        *words().encode("<|user|>\nthe end"), 2, *words().encode("\n<|assistant|>"),
    ]  # fmt: skip


def test_a_file_may_say_that_no_space_stands_before_a_text() -> None:
    bare = from_gguf(header(add_space_prefix=False))
    assert bare.encode("the") != words().encode("the")
    assert bare.encode(" the") == words().encode("the")
    for text in ("the end", " the end", "  two"):
        assert bare.decode(bare.encode(text)) == text
    assert bare.piece(bare.encode(" the")[0]) == bare.decode(bare.encode(" the")[:1])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scores": None}, "lacks 'tokenizer.ggml.scores'"),
        ({"scores": [0.0]}, "1 scores"),
        ({"token_type": [1, 1]}, "2 types of 700 tokens"),
        ({"unknown_token_id": 10_000}, "damaged"),
        ({"tokens": None}, "lacks 'tokenizer.ggml.tokens'"),
    ],
)
def test_what_is_damaged_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelFileError, match=words):
        from_gguf(header(**changes))
