"""Text to token ids and back, and the chat template of a conversation."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend
from tokenizers.decoders import DecodeStream

from dllm_core import thinking
from dllm_core.errors import ModelFileError, OptionError, UnsupportedModelError
from dllm_core.model.chat_forms import Chat, rendered
from dllm_core.model.json_files import POINTER, is_pointer, read_json, read_text
from dllm_core.model.sentencepiece import sentencepiece

_CONTROL, _USER_DEFINED = 3, 4
_FIRST_MARK = 0xF0000
_MARKS = re.compile("[\U000f0000-\U000ffffd]")
"""Private characters that stand for special tokens while a template is rendered."""
_TAG = re.compile(r"[<\[|◁].*[>\]|▷]", re.DOTALL)

WITHOUT_THINKING = {"add_generation_prompt": True, "enable_thinking": False, "thinking": False}
"""Variables of chat templates: where the reply begins, and that it begins without a chain of
thought (Qwen3 and others)."""
_NAMED = ("bos_token", "eos_token", "mask_token")
"""Purposes of special tokens that a checkpoint's files name."""
# GPT-4's split, as Qwen2's tokenizer.json states it.
_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3_SPLIT = _QWEN2_SPLIT.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
_QWEN2, _LLAMA3 = ("qwen2", "deepseek-r1-qwen"), ("llama-bpe", "llama3", "llama-v3")
"""Names of a split in GGUF files; that of Llama 3 takes digits in threes."""


class Tokenizer:
    """A tokenizer of the Hugging Face library with its special tokens and its chat template.

    Args:
        backend: the tokenizer itself.
        chat_template: Jinja source, or None.
        special: spelling of special tokens by purpose, such as `eos_token`.

    Attributes:
        backend: the argument.
        vocab_size: one more than the largest id.
        thinking_ids, closing_ids: tokens that begin and end a chain of thought; empty where the
            tokenizer has no such tokens.
    """

    def __init__(
        self, backend: Backend, chat_template: str | None, special: dict[str, str]
    ) -> None:
        self.backend = backend
        self._added = backend.get_added_tokens_decoder()
        self._controls = {i for i, token in self._added.items() if _is_control(token)}
        self.thinking_ids = self._ids_of(thinking.OPENING)
        self.closing_ids = self._ids_of(thinking.CLOSING)
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

    def piece(self, token: int) -> str:
        """Text that a token adds behind others; `decode` of it alone may leave out its space."""
        ids, text = self._stood_before
        return self.decode([*ids, token]).removeprefix(text)

    @cached_property
    def _stood_before(self) -> tuple[list[int], str]:
        """Tokens before a piece, and their text; none where decoding leaves out no space."""
        if "".join(self.decode([i]) for i in self.encode("a a")) == "a a":
            return [], ""
        ids = self.encode("a")
        return ids, self.decode(ids)

    def encode_chat(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """Token ids of a conversation of (role, content) pairs, ready for the reply.

        Special tokens that are written out in a content stay text: a caller cannot end a turn or
        speak for another role. A model that can think before it replies is told not to. Where the
        template refuses system messages, they stand at the head of the user's.

        Raises:
            OptionError: the model has no chat template, or the template refuses these roles.
        """
        if self._template is None:
            raise OptionError(
                "This model has no chat template: it may be a base model, that was never taught to "
                "reply. Take its instruct version, put a chat_template.jinja beside its "
                "tokenizer.json, or encode the prompt yourself."
            )
        template, roles = self._template, [role for role, _ in messages]

        def render(contents: Sequence[str]) -> str:
            chat = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=True)]
            return rendered(chat, write)

        def write(chat: Chat) -> str:
            return str(template.render(messages=chat, **WITHOUT_THINKING, **self._special))

        try:
            return self.encode_around([content for _, content in messages], render)
        except Exception as error:  # a template may divide by zero as well
            raise OptionError(f"The chat template refuses this conversation: {error}") from error

    def encode_around(
        self, contents: Sequence[str], render: Callable[[Sequence[str]], str]
    ) -> list[int]:
        """Token ids of the text that `render` makes of the contents of a conversation.

        Only what `render` adds becomes special tokens. A chain of thought that it opens at the end
        is closed again.
        """
        marks: dict[str, str] = {}
        text = thinking.closed(render([self._marked(content, marks) for content in contents]))
        if not marks:
            return self.encode(text)
        pieces = re.split(f"([{''.join(marks)}])", text)
        ids = [self._as_text(marks[p]) if p in marks else self.encode(p) for p in pieces]
        return [i for part in ids for i in part]

    def _marked(self, content: str, marks: dict[str, str]) -> str:
        """The content with a private character for each special token written out in it.

        `marks` gets the text by character.
        """
        content = _MARKS.sub("\ufffd", content)
        while True:
            found = self.backend.encode(content, add_special_tokens=False)
            places = zip(found.ids, found.offsets, strict=True)
            spans = [span for i, span in places if i in self._controls]
            if not spans:
                return content
            for start, stop in reversed(spans):
                known = {text: mark for mark, text in marks.items()}
                mark = known.get(content[start:stop], chr(_FIRST_MARK + len(marks)))
                marks[mark] = content[start:stop]
                content = content[:start] + mark + content[stop:]

    def _as_text(self, text: str) -> list[int]:
        """Token ids of a text without any special token: cut until none is recognised."""
        ids = self.encode(text)
        if len(text) < 2 or not self._controls.intersection(ids):
            return [i for i in ids if i not in self._controls]
        return [*self._as_text(text[:1]), *self._as_text(text[1:])]

    def _ids_of(self, tags: Sequence[str]) -> tuple[int, ...]:
        found = {token.content: i for i, token in self._added.items()}
        return tuple(found[tag] for tag in tags if tag in found)

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
        return TextStream(self.backend, self._stood_before[0])


class TextStream:
    """Decodes ids piece by piece; a character is held back until it is whole.

    `before` are tokens that stand before a piece whose space is to be kept.
    """

    def __init__(self, backend: Backend, before: Sequence[int] = ()) -> None:
        self._backend, self._before = backend, before
        self._stream = DecodeStream(skip_special_tokens=True)

    def push(self, ids: Sequence[int]) -> str:
        """Decode `ids`; returns the text that they complete, maybe empty."""
        return "".join(self._step(i) for i in ids)

    def _step(self, token: int) -> str:
        try:
            return self._stream.step(self._backend, token) or ""
        except Exception:  # the library raises Exception itself
            # SentencePiece's bytes: one that was a letter is none with a wrong one behind it.
            self._stream = DecodeStream(skip_special_tokens=True)
            for i in self._before:
                self._stream.step(self._backend, i)
            return self._stream.step(self._backend, token) or ""


def _is_control(token: AddedToken) -> bool:
    """Whether an added token has a meaning for the model, and is no word."""
    return bool(token.special) or _TAG.fullmatch(token.content) is not None


def from_gguf(metadata: dict[str, Any]) -> Tokenizer:
    """Build the tokenizer that the metadata of a GGUF file describes.

    Raises:
        UnsupportedModelError: the tokenizer is neither a byte-level BPE of a known split nor
            SentencePiece's.
        ModelFileError: the file carries no tokenizer, or a damaged one.
    """
    kind = metadata.get("tokenizer.ggml.model")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise UnsupportedModelError(
            f"The GGUF file's tokenizer is {kind!r}; byte-level BPE ('gpt2') and SentencePiece's "
            "BPE ('llama') are supported. Load the original directory with its tokenizer.json "
            "instead."
        )
    try:
        tokens: list[str] = metadata["tokenizer.ggml.tokens"]
        types: list[int] = metadata["tokenizer.ggml.token_type"]
        if len(types) != len(tokens):
            raise ValueError(f"{len(types)} types of {len(tokens)} tokens")
        backend = _KINDS[kind](metadata, tokens, types)
    except KeyError as error:
        raise ModelFileError(f"The GGUF file lacks {error}.") from error
    except UnsupportedModelError:
        raise
    except Exception as error:  # the library raises Exception itself
        raise ModelFileError(f"The GGUF file's tokenizer is damaged: {error}.") from error
    backend.add_tokens([t for t, k in zip(tokens, types, strict=True) if k == _USER_DEFINED])
    control = [t for t, k in zip(tokens, types, strict=True) if k == _CONTROL]
    backend.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    special = {
        f"{name}_token": tokens[metadata[key]]
        for name in ("bos", "eos")
        if metadata.get(key := f"tokenizer.ggml.{name}_token_id", len(tokens)) < len(tokens)
    }
    return Tokenizer(backend, _chat_template(metadata.get("tokenizer.chat_template")), special)


def _byte_level(metadata: dict[str, Any], tokens: list[str], types: list[int]) -> Backend:
    split = metadata.get("tokenizer.ggml.pre")
    merges: list[str] = metadata["tokenizer.ggml.merges"]
    backend = Backend(_bpe(tokens, merges, whole_words=split in _LLAMA3))
    backend.pre_tokenizer = _split(split)
    backend.decoder = decoders.ByteLevel()
    return backend


def _pieces(metadata: dict[str, Any], tokens: list[str], types: list[int]) -> Backend:
    """Absent fields are as llama.cpp has them."""
    return sentencepiece(
        tokens, metadata["tokenizer.ggml.scores"], types,
        unknown=tokens[metadata.get("tokenizer.ggml.unknown_token_id", 0)],
        begins_with_space=metadata.get("tokenizer.ggml.add_space_prefix", True),
    )  # fmt: skip


_KINDS = {"gpt2": _byte_level, "llama": _pieces}
"""Kinds of tokenizers in GGUF files."""


def _bpe(tokens: list[str], merges: list[str], *, whole_words: bool) -> models.BPE:
    """The merges of a GGUF file; `whole_words` takes a word of the vocabulary as it is."""
    vocabulary = {token: i for i, token in enumerate(tokens)}
    pairs = [(first, second) for first, _, second in (m.partition(" ") for m in merges)]
    return models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=whole_words)


def from_directory(path: Path) -> Tokenizer:
    """Read tokenizer.json, and the chat template beside it.

    Raises:
        ModelFileError: there is no readable tokenizer.json.
    """
    try:
        backend = Backend.from_file(str(path / "tokenizer.json"))
    except Exception as error:  # the library raises Exception itself
        why = POINTER if is_pointer(path / "tokenizer.json") else str(error)
        raise ModelFileError(
            f"{path / 'tokenizer.json'} cannot be read: {why} (transformers writes this file: "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...).)"
        ) from error
    values: dict[str, Any] = {}
    # Where both name a special token, the second file counts.
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        if (path / file).exists():
            values |= {k: v for k, v in read_json(path / file).items() if v is not None}
    special = {name: _spelled(values.get(name)) for name in _NAMED}
    template = path / "chat_template.jinja"
    chat = read_text(template) if template.exists() else _chat_template(values.get("chat_template"))
    return Tokenizer(backend, chat, special)


def _spelled(token: object) -> str:
    """A special token, which is written as text or as an object with its content; or nothing."""
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else ""


def _chat_template(found: object) -> str | None:
    """The template that a file states: a text, or the `default` one of a list."""
    if isinstance(found, list):
        named = {each.get("name"): each.get("template") for each in found if isinstance(each, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None


def _split(name: str | None) -> pre_tokenizers.PreTokenizer:
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if name == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, byte_level])
    if name in _QWEN2 or name in _LLAMA3:
        pattern = _QWEN2_SPLIT if name in _QWEN2 else _LLAMA3_SPLIT
        split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
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
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = time.strftime
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise ModelFileError(f"The model's chat template cannot be read: {error}.") from error


class _Generation(Extension):
    """The tag `generation`, which marks for training what the model says; its text is kept."""

    tags = {"generation"}  # noqa: RUF012 (as jinja2 declares it)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(value: object, **options: Any) -> str:
    """JSON as templates expect it, without the escapes that jinja2's own filter adds for HTML."""
    return json.dumps(value, **{"ensure_ascii": False, **options})
