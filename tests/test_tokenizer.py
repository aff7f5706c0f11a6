import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.smollm import SYSTEM, smollm_path
from test_reply import byte_tokenizer

from dllm_core.errors import ModelFileError, OptionError, UnsupportedModelError
from dllm_core.model.gguf_file import GgufFile
from dllm_core.model.tokenizer import Tokenizer, from_gguf


def test_without_a_chat_template_it_says_so() -> None:
    with pytest.raises(OptionError, match="no chat template"):
        byte_tokenizer().encode_chat([("user", "hi")])


def test_a_template_may_refuse() -> None:
    template = "{{ raise_exception('roles must alternate') }}"
    words = Tokenizer(byte_tokenizer().backend, template, {})
    with pytest.raises(OptionError, match="roles must alternate"):
        words.encode_chat([("user", "hi"), ("user", "hi")])


def test_a_template_cannot_reach_the_machine() -> None:
    template = "{{ messages.__class__.__base__.__subclasses__() }}"
    words = Tokenizer(byte_tokenizer().backend, template, {})
    with pytest.raises(OptionError, match="unsafe"):
        words.encode_chat([("user", "hi")])


def test_other_tokenizers_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="'bert'"):
        from_gguf({"tokenizer.ggml.model": "bert"})
    with pytest.raises(ModelFileError, match="merges"):
        from_gguf(
            {
                "tokenizer.ggml.model": "gpt2",
                "tokenizer.ggml.tokens": [],
                "tokenizer.ggml.token_type": [],
            }
        )


@given(st.lists(st.integers(0, 255), max_size=30))
def test_streamed_text_is_the_decoded_text(ids: list[int]) -> None:
    words = byte_tokenizer()
    stream = words.stream()
    text = "".join(stream.push([i]) for i in ids)
    assert words.decode(ids).startswith(text)


@pytest.mark.model
@pytest.mark.slow
def test_smollm_tokens_are_those_of_transformers() -> None:
    from transformers import AutoTokenizer

    path = smollm_path()
    reference = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    words = from_gguf(GgufFile(path).metadata)
    messages = [
        ("system", SYSTEM),
        ("user", "Room 1024, at 19:30? It's 5°C – naïve 漢字 🎈!\n\tI'd'll  pay £3.50"),
        ("assistant", "def f(x): return x**2"),
        ("user", "The end isn't near"),
    ]
    chat = [{"role": role, "content": content} for role, content in messages]
    for part in (messages, messages[1:]):
        expected = reference.apply_chat_template(
            chat[-len(part) :], add_generation_prompt=True, tokenize=False
        )
        assert words.encode_chat(part) == reference(expected, add_special_tokens=False).input_ids

    @given(st.text(max_size=60))
    @settings(max_examples=200, deadline=None)
    def same_ids(text: str) -> None:
        assert words.encode(text) == reference(text, add_special_tokens=False).input_ids

    same_ids()
