"""Parts of the responders on transformers' own classes: device, prompt cache, chat template."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import torch
from jinja2 import TemplateError

from agent.responders.base import Message, Prefilled, ResponderError
from dllm_core.errors import OptionError
from dllm_core.model.cache import shared_prefix
from dllm_core.model.chat_forms import Chat, rendered
from dllm_core.model.place import choose_device
from dllm_core.model.tokenizer import WITHOUT_THINKING, Tokenizer


class TokenCache(ABC):
    """Token ids that a model has read, with their keys and values in a cache of transformers.

    A new prompt keeps the longest prefix that it shares with the last one: the cache is cut
    back to it and reads on from there.
    """

    def __init__(self) -> None:
        self.ids: list[int] = []

    def read(self, ids: Sequence[int]) -> Prefilled:
        """Make `ids` the tokens that are read."""
        begin = perf_counter()
        shared = shared_prefix(self.ids, ids)
        if shared < len(self.ids):
            self._crop(shared)
            del self.ids[shared:]
        if shared < len(ids):
            self._append(ids[shared:])
        return Prefilled(shared, len(ids) - shared, (perf_counter() - begin) * 1e3)

    @abstractmethod
    def _crop(self, length: int) -> None:
        """Remove the keys and values after the first `length` tokens, of which there are more."""

    @abstractmethod
    def _append(self, ids: Sequence[int]) -> object:
        """Run the model over `ids` and add them to `self.ids`."""


def place_of(dtype: str, device: str) -> tuple[torch.device, torch.dtype]:
    """Device and number format of these names; `auto` is bfloat16 on a GPU, float32 on a CPU.

    Raises:
        ResponderError: there is no such device, or transformers does not run in this format.
    """
    try:
        place = choose_device(device)
    except OptionError as error:
        raise ResponderError(str(error)) from error
    if dtype == "auto":
        dtype = "float32" if place.type == "cpu" else "bfloat16"
    formats = {"bfloat16": torch.bfloat16, "float32": torch.float32}
    if dtype not in formats:
        raise ResponderError(
            f"A model on transformers' classes does not run in {dtype}: use auto, bfloat16 or "
            "float32."
        )
    return place, formats[dtype]


def chat_ids(tokenizer: Any, plain: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """Prompt ids, ending where the reply begins; see `Tokenizer.encode_chat`.

    Raises:
        ResponderError: there is no chat template, or the template refuses the conversation.
    """
    roles = [message.role for message in messages]

    def render(contents: Sequence[str]) -> str:
        chat = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=True)]
        return rendered(chat, write)

    def write(chat: Chat) -> str:
        return str(tokenizer.apply_chat_template(chat, tokenize=False, **WITHOUT_THINKING))

    try:
        return plain.encode_around([message.content for message in messages], render)
    except (ValueError, TemplateError) as error:
        raise ResponderError(f"The chat template refuses the conversation: {error}") from error
