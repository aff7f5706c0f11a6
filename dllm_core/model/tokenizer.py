"""Text to token ids and back, and the chat template of a conversation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend
from tokenizers.decoders import DecodeStream

from dllm_core.errors import ModelFileError, OptionError, UnsupportedModelError

_CONTROL, _USER_DEFINED = 3, 4
# GPT-4's split, as Qwen2's tokenizer.json states it.
_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Tokenizer:
    """A tokenizer of the Hugging Face library with its special tokens and its chat template.

    Args:
        backend: the tokenizer itself.
        chat_template: Jinja source, or None.
        special: spelling of special tokens by purpose, such as `eos_token`.

    Attributes:
        backend: the argument.
        vocab_size: one more than the largest id.
    """

    def __init__(
        self, backend: Backend, chat_template: str | None, special: dict[str, str]
    ) -> None:
        self.backend = backend
        self._added = backend.get_added_tokens_decoder()
        self.vocab_size = max(backend.get_vocab_size(), 1 + max(self._added, default=-1))
        self._special = special
        self._template = None if chat_template is None else _compile(chat_template)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`; special tokens written out in it are recognised."""
        ids: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids` without special tokens."""
        text: str = self.backend.decode(list(ids), skip_special_tokens=True)
        return text

    def encode_chat(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """Token ids of a conversation of (role, content) pairs, ready for the reply.

        Raises:
            OptionError: the model has no chat template, or the template refuses these roles.
        """
        if self._template is None:
            raise OptionError("This model has no chat template: encode the prompt yourself.")
        try:
            text = self._template.render(
                messages=[{"role": role, "content": content} for role, content in messages],
                add_generation_prompt=True,
                **self._special,
            )
        except TemplateError as error:
            raise OptionError(f"The chat template refuses this conversation: {error}") from error
        return self.encode(text)

    def token_id(self, token: str) -> int | None:
        """Id of a token by its spelling in the vocabulary, or None."""
        found: int | None = self.backend.token_to_id(token)
        return found

    def named_id(self, purpose: str) -> int | None:
        """Id of the token that the files name for a purpose, such as `eos_token`, or None."""
        token = self._special.get(purpose)
        return self.token_id(token) if token else None

    def is_special(self, token: int) -> bool:
        """Whether an id is an added token, such as a mask or an end, and not text."""
        return token in self._added

    def spelling(self, token: int) -> str:
        """The quoted spelling of an id in the vocabulary, for messages."""
        found = self.backend.id_to_token(token)
        return "not there" if found is None else repr(found)

    def stream(self) -> TextStream:
        """A decoder that takes ids piece by piece."""
        return TextStream(self.backend)


class TextStream:
    """Decodes ids piece by piece; a character is held back until it is whole."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._stream = DecodeStream(skip_special_tokens=True)

    def push(self, ids: Sequence[int]) -> str:
        """Decode `ids`; returns the text that they complete, maybe empty."""
        pieces = (self._stream.step(self._backend, i) for i in ids)
        return "".join(piece for piece in pieces if piece is not None)


def from_gguf(metadata: dict[str, Any]) -> Tokenizer:
    """Build the tokenizer that the metadata of a GGUF file describes.

    Raises:
        UnsupportedModelError: the tokenizer is not a byte-level BPE of a known split.
        ModelFileError: the file carries no tokenizer.
    """
    kind = metadata.get("tokenizer.ggml.model")
    if kind != "gpt2":
        raise UnsupportedModelError(
            f"The GGUF file's tokenizer is {kind!r}; byte-level BPE ('gpt2') is supported. "
            "Load the original directory with its tokenizer.json instead."
        )
    try:
        tokens: list[str] = metadata["tokenizer.ggml.tokens"]
        merges: list[str] = metadata["tokenizer.ggml.merges"]
        types: list[int] = metadata["tokenizer.ggml.token_type"]
    except KeyError as error:
        raise ModelFileError(f"The GGUF file lacks {error}.") from error
    vocabulary = {token: i for i, token in enumerate(tokens)}
    pairs = [(first, second) for first, _, second in (m.partition(" ") for m in merges)]
    backend = Backend(models.BPE(vocab=vocabulary, merges=pairs))
    backend.pre_tokenizer = _split(metadata.get("tokenizer.ggml.pre"))
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens([t for t, k in zip(tokens, types, strict=True) if k == _USER_DEFINED])
    control = [t for t, k in zip(tokens, types, strict=True) if k == _CONTROL]
    backend.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    special = {
        f"{name}_token": tokens[metadata[key]]
        for name in ("bos", "eos")
        if (key := f"tokenizer.ggml.{name}_token_id") in metadata
    }
    return Tokenizer(backend, metadata.get("tokenizer.chat_template"), special)


def from_directory(path: Path) -> Tokenizer:
    """Read tokenizer.json, and the chat template beside it.

    Raises:
        ModelFileError: there is no readable tokenizer.json.
    """
    try:
        backend = Backend.from_file(str(path / "tokenizer.json"))
    except Exception as error:  # the library raises Exception itself
        raise ModelFileError(f"{path / 'tokenizer.json'} cannot be read: {error}") from error
    settings, template = path / "tokenizer_config.json", path / "chat_template.jinja"
    values = json.loads(settings.read_text(encoding="utf-8")) if settings.exists() else {}
    chat = (
        template.read_text(encoding="utf-8") if template.exists() else values.get("chat_template")
    )
    special = {}
    for name in ("bos_token", "eos_token", "mask_token"):
        token = values.get(name)
        # Written either as the token or as an object with its content.
        special[name] = token.get("content", "") if isinstance(token, dict) else token or ""
    return Tokenizer(backend, chat, special)


def _split(name: str | None) -> pre_tokenizers.PreTokenizer:
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if name == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, byte_level])
    if name == "qwen2":
        split = pre_tokenizers.Split(Regex(_QWEN2_SPLIT), behavior="isolated")
        bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return pre_tokenizers.Sequence([split, bytes_only])
    if name in (None, "default", "gpt-2"):
        return byte_level
    raise UnsupportedModelError(
        f"The GGUF file splits text in the manner of {name!r}, which is not known here. Load the "
        "original directory with its tokenizer.json instead."
    )


def _compile(source: str) -> Any:
    def refuse(message: str) -> NoReturn:
        raise TemplateError(message)

    # A template comes with the weights and is not trusted: the sandbox allows no side effect.
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = refuse
    return environment.from_string(source)
