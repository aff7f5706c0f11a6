"""A linear head on a hidden state: what the last word that was read says about the turn's end."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dllm_core.errors import ModelFileError
from dllm_core.model.cache import shared_prefix
from dllm_core.model.tokenizer import Tokenizer
from dllm_core.model.transformer import Transformer

CLASSES = ("whole", "more", "aside", "backchannel", "floor")
"""The classes in the order of the weights' rows: the words are whole, more must come, they are not
meant for the agent, they are a sign of listening, they ask it to stop or wait."""


_MARKS = re.compile(r"[\s.?!,;:…—–-]+$")


def without_marks(words: str) -> str:
    """The words without the marks at their end, which a recogniser also sets at a cut."""
    return _MARKS.sub("", words)


def word_ids(tokenizer: Tokenizer, messages: Sequence[tuple[str, str]]) -> list[int]:
    """Token ids of a conversation up to the last word of its last message, without its marks."""
    *before, (role, words) = messages
    plain = without_marks(words)
    whole = tokenizer.encode_chat([*before, (role, plain)])
    longer = tokenizer.encode_chat([*before, (role, f"{plain} and")])
    return whole[: shared_prefix(whole, longer)]


def fingerprint(model: Transformer) -> str:
    """A short hash of the model's final norm, which tells one base model from another."""
    weight = model.norm.detach().float().cpu().contiguous()
    return sha256(weight.numpy().tobytes()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class TurnHead:
    """Multinomial logistic regression on the hidden state after the last layer.

    Attributes:
        weight: float32 (classes, hidden_size); features are not normalised.
        bias: float32 (classes,).
        model: the `fingerprint` of the model that it was fitted on.
    """

    weight: Tensor
    bias: Tensor
    model: str

    def probabilities(self, hidden: Tensor) -> list[float]:
        """Probabilities of `CLASSES` for one hidden state (hidden_size,)."""
        logits = self.weight @ hidden.float().cpu() + self.bias
        found: list[float] = torch.softmax(logits, 0).tolist()
        return found

    def save(self, path: Path) -> None:
        """Write the head as safetensors in float16, with its model and classes as metadata."""
        tensors = {"weight": self.weight.half().contiguous(), "bias": self.bias.half().contiguous()}
        save_file(tensors, path, {"model": self.model, "classes": json.dumps(CLASSES)})

    @classmethod
    def load(cls, path: Path, model: Transformer) -> TurnHead:
        """Load a head that was fitted on ``model``.

        Raises:
            ModelFileError: the file is missing or damaged, or belongs to another model.
        """
        try:
            with safe_open(str(path), "pt") as file:
                meta = file.metadata() or {}
                weight, bias = file.get_tensor("weight").float(), file.get_tensor("bias").float()
        except (OSError, SafetensorError) as error:
            raise ModelFileError(f"{path}: this is no head for ends of turns ({error})") from error
        shape = (len(CLASSES), model.embedding.shape[1])
        if meta.get("classes") != json.dumps(CLASSES) or tuple(weight.shape) != shape:
            raise ModelFileError(f"{path}: a head of another kind; run `onebreath adapt turns`")
        if meta.get("model") != fingerprint(model):
            raise ModelFileError(
                f"{path}: the head was fitted on another model; run `onebreath adapt turns`"
            )
        return cls(weight, bias, meta["model"])
