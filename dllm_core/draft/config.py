"""Shape of a drafter, and of the base that it belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import torch

from dllm_core.config import ModelConfig
from dllm_core.errors import DrafterError
from dllm_core.model.transformer import Transformer

_SAMPLED = 61
"""Every so many rows of the embedding go into a base's fingerprint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseConfig:
    """The base that a drafter belongs to."""

    base: str
    """Its name, for messages."""
    fingerprint: str
    """Of its weights (`fingerprint`)."""
    base_layers: int
    vocab_size: int
    hidden_size: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Raises DrafterError where a field is missing or unknown."""
        known = {field.name for field in fields(cls)}
        try:
            return cls(**{key: value for key, value in values.items() if key in known})
        except (AttributeError, KeyError, TypeError) as error:
            raise DrafterError(f"The drafter's config.json is incomplete: {error}.") from error

    @classmethod
    def of(cls, base: str, model: Transformer) -> BaseConfig:
        """That of a model of this name."""
        config = model.config
        return BaseConfig(
            base=base, fingerprint=fingerprint(model), base_layers=config.num_layers,
            vocab_size=config.vocab_size, hidden_size=config.hidden_size,
        )  # fmt: skip

    def check(self, model: Transformer) -> None:
        """Refuse to draft for a base that this drafter was not made for.

        Raises:
            DrafterError: its shape, its vocabulary or its weights are others.
        """
        mine = (self.base_layers, self.hidden_size, self.vocab_size)
        config = model.config
        found = (config.num_layers, config.hidden_size, config.vocab_size)
        if mine != found:
            raise DrafterError(
                f"This drafter belongs to {self.base}, whose layers, width and vocabulary are "
                f"{mine}; the model that is loaded has {found}. Give it its own drafter, or none."
            )
        if self.fingerprint != fingerprint(model):
            raise DrafterError(
                f"This drafter was trained for other weights ({self.base}): its drafts would be "
                "wrong. Train one for this model with `onebreath adapt drafter`, or use none."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DrafterConfig(BaseConfig):
    """Everything about a drafter but its weights. Its width is that of the base."""

    norm_eps: float
    rope_theta: float
    layers: int = 2
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    block: int = 6
    """Rows of a block: the last known token and masks. Row j predicts the token j + 1 further."""
    features: tuple[int, ...]
    """Layers of the base, counted from 0, after which its hidden states are taken."""
    rank: int = 64
    """Of the Markov head."""
    words: int
    """Tokens that it can draft."""
    depth_decay: float = 2.0
    """Gamma of the loss: a token at depth k weighs exp(-k / gamma)."""

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "kv_heads", "head_dim", "block", "rank", "words"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise DrafterError(f"A drafter's {name} must be positive, not {value!r}.")
        wrong = [i for i in self.features if not 0 <= i < self.base_layers]
        if wrong or not self.features or list(self.features) != sorted(set(self.features)):
            raise DrafterError(
                f"A drafter reads hidden states after some layers of its base, which are 0 to "
                f"{self.base_layers - 1} and in rising order, not {list(self.features)}."
            )

    @property
    def group_size(self) -> int:
        return self.heads // self.kv_heads

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Raises DrafterError where a field is missing or unknown."""
        listed = values.get("features") if isinstance(values, Mapping) else None
        if not isinstance(listed, list | tuple):
            raise DrafterError("The drafter's config.json is incomplete: 'features'.")
        return super(DrafterConfig, cls).from_json({**values, "features": tuple(listed)})


def shape_for(config: ModelConfig, features: tuple[int, ...] | None = None) -> dict[str, Any]:
    """Fields of a DrafterConfig that follow from the base: as wide, with its heads."""
    last = config.num_layers - 1
    return {
        "base_layers": config.num_layers,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "heads": config.num_heads,
        "kv_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.intermediate_size,
        "features": features or (last // 3, 2 * last // 3, last),
    }


def fingerprint(model: Transformer) -> str:
    """SHA-256 over what all number formats of a checkpoint share: its norms, and a part of its
    embedding, in bfloat16."""
    digest = hashlib.sha256()
    parts = [model.norm, model.embedding[::_SAMPLED]]
    parts += [p for name, p in model.named_parameters() if name.endswith("_norm")]
    for part in parts:
        rounded = part.detach().to("cpu", torch.bfloat16).contiguous()
        digest.update(rounded.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()
