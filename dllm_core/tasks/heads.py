"""Linear heads on cached activations: questions answered without a forward pass.

The features of a caller's words are the values of two early layers in the prompt cache, averaged
over the words and over the tokens between them and the reply. They bear no position, so that a head
serves every place of a conversation, and they are there as soon as the prompt has been read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dllm_core.config import ModelConfig
from dllm_core.engine import Engine
from dllm_core.errors import ModelFileError, OptionError
from dllm_core.model.cache import PromptCache, shared_prefix
from dllm_core.model.transformer import Transformer
from dllm_core.model.turn_head import fingerprint, word_ids

DEPTHS = (0.2, 1 / 3)
"""Depths of the layers whose values are read, as shares of all layers (docs/decisions.md)."""

Messages = Sequence[tuple[str, str]]
"""(role, content) of each message, the caller's words last."""


@dataclass(frozen=True, slots=True)
class Head:
    """Multinomial logistic regression for one question.

    Attributes:
        labels: the answers, in the order of the weights' rows.
        weight: float32 (labels, features).
        bias: float32 (labels,).
    """

    labels: tuple[str, ...]
    weight: Tensor
    bias: Tensor

    def probabilities(self, features: Tensor) -> dict[str, float]:
        """Probability of each label for features (features,)."""
        likely = torch.softmax(self.weight @ features + self.bias, 0).double()
        return dict(zip(self.labels, (likely / likely.sum()).tolist(), strict=True))


def layers_of(config: ModelConfig) -> list[int]:
    """Indices of the layers whose values are read."""
    return sorted({round(depth * config.num_layers) for depth in DEPTHS})


def word_span(
    engine: Engine, messages: Messages, ids: Sequence[int] | None = None
) -> tuple[Sequence[int], int, int]:
    """(token ids of the prompt, first token of the last message's words, first one behind them).

    Args:
        ids: token ids of the prompt, where they are known already.

    Raises:
        OptionError: the model has no chat template, or reads the end of a prompt with its reply,
            as all but causal ones do.
    """
    if not engine.config.autoregressive:
        raise OptionError(
            "This model reads the last words with its reply: it has no heads, only questions that "
            "are asked in a pass."
        )
    *before, (role, _) = messages
    ids = engine.encode_chat(messages) if ids is None else ids
    begin = shared_prefix(ids, engine.encode_chat([*before, (role, "")]))
    end = min(len(word_ids(engine.tokenizer, messages)), len(ids) - 1)
    return ids, min(begin, end - 1), end


def features(config: ModelConfig, cache: PromptCache, begin: int, end: int, stop: int) -> Tensor:
    """Features float32 (features,) of the words at positions `begin` to `end`.

    Args:
        config: the model's configuration.
        cache: holds the prompt up to `stop`.
        begin, end: the words.
        stop: end of the prompt without its last token, which a reply may read itself.
    """
    found = []
    for layer in layers_of(config):
        values = cache.store.values(layer)
        for first, last in ((begin, end), (end, max(stop, end + 1))):
            found.append(values[:, first:last].float().mean(1).flatten().cpu())
    return torch.cat(found)


def read_features(
    engine: Engine, messages: Messages, cache: PromptCache, ids: Sequence[int] | None = None
) -> Tensor:
    """Features of the last message's words; what the cache lacks of the prompt is read into it.

    Raises:
        OptionError: the model has no chat template.
        PromptTooLongError: the prompt does not fit the context.
    """
    ids, begin, end = word_span(engine, messages, ids)
    if cache.shared_prefix(ids) < len(ids) - 1:
        engine.host.prefill(ids, cache)
    return features(engine.config, cache, begin, end, len(ids) - 1)


def cached_features(
    engine: Engine, messages: Messages, cache: PromptCache, ids: Sequence[int] | None = None
) -> Tensor | None:
    """As `read_features`, without reading anything; None where the cache lacks some of it."""
    ids, begin, end = word_span(engine, messages, ids)
    if cache.shared_prefix(ids) < len(ids) - 1:
        return None
    return features(engine.config, cache, begin, end, len(ids) - 1)


def save_heads(path: Path, heads: Mapping[str, Head], model: Transformer) -> None:
    """Write heads by the name of their question as safetensors in float16."""
    tensors = {}
    for name, head in heads.items():
        tensors[f"{name}.weight"] = head.weight.half().contiguous()
        tensors[f"{name}.bias"] = head.bias.half().contiguous()
    labels = {name: list(head.labels) for name, head in heads.items()}
    save_file(tensors, path, {"model": fingerprint(model), "decisions": json.dumps(labels)})


def load_heads(path: Path, model: Transformer) -> dict[str, Head]:
    """Load heads that were fitted on ``model``, by the name of their question.

    Raises:
        ModelFileError: the file is missing or damaged, or belongs to another model.
    """
    try:
        with safe_open(str(path), "pt") as file:
            meta = file.metadata() or {}
            labels: dict[str, list[str]] = json.loads(meta["decisions"])
            heads = {
                name: Head(
                    tuple(known),
                    file.get_tensor(f"{name}.weight").float(),
                    file.get_tensor(f"{name}.bias").float(),
                )
                for name, known in labels.items()
            }
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelFileError(
            f"{path}: this is no file of heads ({error}); run `onebreath adapt decisions`"
        ) from error
    config = model.config
    size = 2 * len(layers_of(config)) * config.num_kv_heads * config.head_dim
    fits = all(
        tuple(head.weight.shape) == (len(head.labels), size) and len(head.bias) == len(head.labels)
        for head in heads.values()
    )
    if meta.get("model") != fingerprint(model) or not fits:
        raise ModelFileError(
            f"{path}: the heads were fitted on another model; run `onebreath adapt decisions`"
        )
    return heads
