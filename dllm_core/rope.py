"""Frequencies of rotary positions that were scaled for longer contexts.

Plain ones are theta**(-2i / d) (RoFormer, arXiv 2104.09864). Linear scaling divides all of them
(arXiv 2306.15595); YaRN divides the slow ones and scales attention (arXiv 2309.00071); llama3
divides the slow ones as Llama 3.1 does (arXiv 2407.21783). The values are those of transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from dllm_core.errors import OptionError, UnsupportedModelError

Kind = Literal["default", "linear", "llama3", "yarn"]
Frequencies = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rope:
    """Scaling of rotary positions, and the part of a head that is rotated.

    Attributes:
        kind: how the frequencies are scaled.
        factor: by how much the context was stretched.
        original: positions that the model was trained on before; llama3 and YaRN.
        low, high: rotations within `original` below which a frequency is divided by `factor`, and
            above which it stays (llama3's factors; YaRN's beta_slow and beta_fast).
        truncate: whether YaRN rounds the bounds between these to whole pairs.
        attention: factor of sines and cosines.
        rotated: share of a head's width that is rotated, above 0, at most 1.
        divisors: numbers that divide the frequencies one by one (GGUF's rope_freqs); empty for
            none.

    Raises:
        OptionError: a number is out of its range.
    """

    kind: Kind = "default"
    factor: float = 1.0
    original: int | None = None
    low: float = 1.0
    high: float = 4.0
    truncate: bool = True
    attention: float = 1.0
    rotated: float = 1.0
    divisors: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            known = ", ".join(get_args(Kind))
            raise OptionError(f"There are no rotary positions of the kind {self.kind!r}: {known}.")
        if not (self.factor > 0 and 0 < self.rotated <= 1 and self.attention > 0):
            raise OptionError(
                "The factors of rotary positions must be positive, the share at most 1."
            )
        if self.kind in ("llama3", "yarn") and (self.original or 0) <= 0:
            raise OptionError(f"{self.kind} needs the original context of the model, in positions.")
        if self.kind == "llama3" and self.low == self.high:
            raise OptionError(f"llama3 needs two different factors of frequencies, not {self.low}.")

    def width(self, head_dim: int) -> int:
        """Dimensions of a head that are rotated, the first ones."""
        return int(head_dim * self.rotated)

    def frequencies(self, head_dim: int, theta: float) -> Frequencies:
        """Radians per position of each pair of rotated dimensions, (width / 2,)."""
        width = self.width(head_dim)
        plain = theta ** (-np.arange(0, width, 2, dtype=np.float64) / width)
        if self.divisors:
            if len(self.divisors) != len(plain):
                raise OptionError(
                    f"{len(self.divisors)} factors of frequencies do not fit {len(plain)} pairs."
                )
            plain = plain / np.array(self.divisors)
        if self.kind == "default":
            return plain
        kept = np.zeros_like(plain) if self.kind == "linear" else self._kept(plain, width, theta)
        return plain * kept + plain / self.factor * (1 - kept)

    def _kept(self, plain: Frequencies, width: int, theta: float) -> Frequencies:
        """Share of each frequency that is not scaled, 0 to 1."""
        assert self.original is not None
        if self.kind == "llama3":
            rotations = self.original * plain / (2 * math.pi)
            return np.clip((rotations - self.low) / (self.high - self.low), 0, 1)
        first, last = (
            width * math.log(self.original / (turns * 2 * math.pi)) / (2 * math.log(theta))
            for turns in (self.high, self.low)
        )
        if self.truncate:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, width - 1)
        ramp = (np.arange(len(plain)) - first) / (last - first if last != first else 1e-3)
        kept: Frequencies = 1 - np.clip(ramp, 0, 1)
        return kept


PLAIN_ROPE = Rope()

_KEYS = {
    "rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings",
    "attention_factor", "beta_fast", "beta_slow", "low_freq_factor", "high_freq_factor",
    "mscale", "mscale_all_dim", "truncate", "partial_rotary_factor", "finetuned",
}  # fmt: skip
"""Fields of `rope_parameters` that are understood."""


_MOST = 1e12
"""Bound of the numbers: far beyond any base and any context."""
_TEXTS = {"rope_type", "type", "truncate", "finetuned"}
"""Those of them that are no numbers."""


def stated(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The rotary positions of a config.json, under their newer or their older name.

    Raises:
        UnsupportedModelError: it is no object, a number in it is none, or the two contradict each
            other: readers differ in which of them counts.
    """
    names = [name for name in ("rope_parameters", "rope_scaling") if values.get(name)]
    found = [_checked(values[name]) for name in names]
    if len(found) == 2 and any(found[1].get(key, own) != own for key, own in found[0].items()):
        raise UnsupportedModelError(
            "The checkpoint's config.json states rotary positions twice, and differently: take out "
            "rope_parameters or rope_scaling."
        )
    return {key: value for part in found for key, value in part.items()}


def _checked(rope: object) -> dict[str, Any]:
    """Rotary positions whose numbers are such, with the newer name of their kind."""
    given = dict(rope) if isinstance(rope, Mapping) else {"": rope}
    given = {key: value for key, value in given.items() if value is not None}
    for key, value in given.items():
        if key not in _TEXTS and not _is_number(value):
            raise UnsupportedModelError(
                f"Rotary positions of {rope} are not understood: {key} is no number."[:300]
            )
    kind = given.pop("type", "default")
    return {"rope_type": kind, **given}


def _is_number(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= cast(float, value) < _MOST


def from_json(values: Mapping[str, Any], context: int) -> Rope:
    """The scaling that a config.json states; `values` are its fields, `context` its positions.

    Raises:
        UnsupportedModelError: the kind or a field is not known.
        OptionError: a number is missing or out of its range.
    """
    rope = stated(values)
    kind = rope.get("rope_type", "default")
    strange = sorted(key for key, value in rope.items() if key not in _KEYS and value is not None)
    if kind not in get_args(Kind) or strange:
        raise UnsupportedModelError(
            f"Rotary positions of the kind {rope} are not supported; these are: "
            f"{', '.join(get_args(Kind))}."
        )
    rotated = rope.get("partial_rotary_factor") or values.get("partial_rotary_factor") or 1.0
    if kind == "default":
        return Rope(rotated=rotated)
    original = values.get("original_max_position_embeddings") or rope.get(
        "original_max_position_embeddings"
    )
    original = int(original or context)
    factor = float(rope.get("factor") or context / original)
    if kind == "llama3":
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    else:
        low, high = rope.get("beta_slow") or 1, rope.get("beta_fast") or 32
    return Rope(
        kind=cast(Kind, kind),
        factor=factor,
        original=original,
        low=float(low),
        high=float(high),
        truncate=rope.get("truncate", True),
        attention=_attention(rope, factor) if kind == "yarn" else 1.0,
        rotated=rotated,
    )


def _attention(rope: Mapping[str, Any], factor: float) -> float:
    """YaRN's factor of sines and cosines."""
    if rope.get("attention_factor") is not None:
        return float(rope["attention_factor"])
    first, second = rope.get("mscale"), rope.get("mscale_all_dim")
    if first and second:
        return _growth(factor, first) / _growth(factor, second)
    return _growth(factor)


def _growth(factor: float, scale: float = 1.0) -> float:
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0


def from_gguf(
    metadata: Mapping[str, Any], family: str, head_dim: int, divisors: tuple[float, ...]
) -> Rope:
    """The scaling that a GGUF file states; `divisors` is its tensor rope_freqs.weight.

    Raises:
        UnsupportedModelError: the kind is not known.
        OptionError: a number is out of its range.
    """
    kind = metadata.get(f"{family}.rope.scaling.type", "")
    if kind not in ("", "none", "linear", "yarn"):
        raise UnsupportedModelError(
            f"GGUF files with rotary positions scaled in the manner of {kind!r} are not "
            "supported; linear, yarn and rope_freqs are."
        )
    # llama.cpp's older name of the linear factor.
    factor = metadata.get(f"{family}.rope.scaling.factor") or metadata.get(
        f"{family}.rope.scale_linear", 1.0
    )
    if not kind:  # llama.cpp's default
        kind = "none" if factor == 1.0 else "linear"
    width = metadata.get(f"{family}.rope.dimension_count", head_dim)
    scaling = f"{family}.rope.scaling."
    attention = metadata.get(f"{scaling}attn_factor", 1.0) * metadata.get(
        f"{scaling}yarn_attn_factor", 1.0
    )
    if metadata.get(f"{scaling}yarn_ext_factor", 1.0) != 1.0:
        raise UnsupportedModelError("GGUF files with a yarn_ext_factor are not supported.")
    return Rope(
        kind="default" if kind == "none" else cast(Kind, kind),
        factor=factor,
        original=metadata.get(
            f"{scaling}original_context_length", metadata[f"{family}.context_length"]
        ),
        low=metadata.get(f"{scaling}yarn_beta_slow", 1.0),
        high=metadata.get(f"{scaling}yarn_beta_fast", 32.0),
        attention=attention * (_growth(factor) if kind == "yarn" else 1.0),
        rotated=width / head_dim,
        divisors=divisors,
    )
