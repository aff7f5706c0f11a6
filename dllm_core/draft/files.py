"""A drafter on disk: config.json and drafter.safetensors, matrices in 8 bits, n-grams. One without
a network has the n-grams alone.

A matrix (out, in) is kept as levels, int8 of the same shape, and steps, float16 (out, in / 32): one
for every group of 32 along a row. The configuration has the SHA-256 of the weights.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from dllm_core.draft.calibration import Calibration
from dllm_core.draft.config import BaseConfig, DrafterConfig
from dllm_core.draft.network import DraftNetwork
from dllm_core.draft.ngrams import NEXT, NgramArrays, Ngrams
from dllm_core.errors import DrafterError
from dllm_core.model.stored_embedding import StoredEmbedding

CONFIG, WEIGHTS = "config.json", "drafter.safetensors"
GROUP = 32
_LARGEST = 127
_KIND, _COUNTED = "onebreath-drafter", "onebreath-counts"
_NGRAMS = "ngrams."
_MISSING = 65535
"""A token that is not there, among tokens of 16 bits."""


@dataclass(frozen=True, slots=True)
class DrafterFile:
    """What was read."""

    config: DrafterConfig
    calibration: Calibration
    tensors: Mapping[str, Tensor]
    """Parameters and buffers of a DraftNetwork, float32."""
    ngrams: Ngrams | None = None
    """What the base usually says, where that was counted."""

    def network(self, embedding: Tensor | StoredEmbedding) -> DraftNetwork:
        """The plain network, with the base's embedding (vocab_size, hidden_size)."""
        network = DraftNetwork(self.config, embedding, self.tensors["vocabulary"])
        try:
            network.load_state_dict(dict(self.tensors))
        except RuntimeError as error:
            raise DrafterError(f"The drafter's weights do not fit its config: {error}") from error
        network.use(embedding)
        return network.requires_grad_(False).eval()


def quantised(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Levels int8 (out, in) and steps float16 (out, in / 32)."""
    groups = matrix.float().view(len(matrix), -1, GROUP)
    steps = (groups.abs().amax(-1) / _LARGEST).half()
    levels = groups / steps.float().clamp_min(1e-12)[..., None]
    return levels.round().clamp(-_LARGEST, _LARGEST).to(torch.int8).flatten(1), steps


def dequantised(levels: Tensor, steps: Tensor) -> Tensor:
    """The matrix (out, in) in float32."""
    groups = levels.float().view(*steps.shape, GROUP) * steps.float()[..., None]
    return groups.flatten(1)


def save(
    network: DraftNetwork,
    calibration: Calibration,
    directory: Path,
    facts: Mapping[str, Any],
    ngrams: NgramArrays | None = None,
) -> str:
    """Write a drafter; `facts` go into config.json for people. Returns the weights' SHA-256."""
    directory.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        if name == "vocabulary":
            kept[name] = tensor.int()
        elif tensor.ndim == 2 and tensor.shape[1] % GROUP == 0 and tensor.shape[0] > GROUP:
            kept[f"{name}.levels"], kept[f"{name}.steps"] = quantised(tensor)
        else:
            kept[name] = tensor.float()
    if ngrams is not None:
        kept |= _stored_ngrams(ngrams)
    told = {"calibration": calibration.to_json(), **facts}
    return _write(directory, kept, _KIND, network.config, told)


def save_counts(
    config: BaseConfig, ngrams: NgramArrays, directory: Path, facts: Mapping[str, Any]
) -> str:
    """Write a drafter without a network, as `save` does."""
    directory.mkdir(parents=True, exist_ok=True)
    return _write(directory, _stored_ngrams(ngrams), _COUNTED, config, facts)


def _write(
    directory: Path,
    kept: Mapping[str, Tensor],
    kind: str,
    config: BaseConfig,
    told: Mapping[str, Any],
) -> str:
    data = save_tensors({name: tensor.contiguous() for name, tensor in sorted(kept.items())})
    digest = hashlib.sha256(data).hexdigest()
    values = {"kind": kind, "sha256": digest, "drafter": config.to_json(), **told}
    for name, content in (
        (WEIGHTS, data), (CONFIG, (json.dumps(values, indent=2) + "\n").encode()),
    ):  # fmt: skip
        # Whoever reads meanwhile finds the file before or the one after.
        partial = directory / f"{name}.partial"
        partial.write_bytes(content)
        os.replace(partial, directory / name)
    return digest


def read(directory: Path) -> DrafterFile:
    """Read a drafter.

    Raises:
        DrafterError: a file is missing, damaged or of another kind.
    """
    values = read_config(directory)
    if values.get("kind") != _KIND:
        raise DrafterError(f"{directory / CONFIG} does not describe a drafter of this project.")
    stored, path = _verified(directory, values), directory / WEIGHTS
    config = DrafterConfig.from_json(values.get("drafter", {}))
    calibration = Calibration.from_json(values.get("calibration", {}), config.block)
    return DrafterFile(config, calibration, _whole(stored), _ngrams(stored, path, config))


def is_counted(values: Mapping[str, Any]) -> bool:
    """Whether a config.json describes a drafter without a network."""
    return values.get("kind") == _COUNTED


def read_counts(directory: Path) -> tuple[BaseConfig, Ngrams]:
    """Read a drafter without a network: its base, and its table.

    Raises:
        DrafterError: a file is missing or damaged.
    """
    values = read_config(directory)
    stored, path = _verified(directory, values), directory / WEIGHTS
    config = BaseConfig.from_json(values.get("drafter", {}))
    table = _ngrams(stored, path, config)
    if table is None:
        raise DrafterError(f"{path} has no n-grams: make it again.")
    return config, table


def _verified(directory: Path, values: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of the weights that a config.json tells of.

    Raises:
        DrafterError: they are missing or damaged.
    """
    path = directory / WEIGHTS
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DrafterError(f"{path} cannot be read: {error}.") from error
    found = hashlib.sha256(data).hexdigest()
    if found != values.get("sha256"):
        raise DrafterError(
            f"{path} is damaged: its sha256 is {found}, and {CONFIG} says "
            f"{values.get('sha256')}. Fetch or make it again."
        )
    try:
        return load_tensors(data)
    except SafetensorError as error:
        raise DrafterError(f"{path} is no safetensors file: {error}.") from error


def read_config(directory: Path) -> dict[str, Any]:
    """What config.json says, of whatever kind the drafter is.

    Raises:
        DrafterError: it is missing or damaged.
    """
    path = directory / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DrafterError(f"{directory} holds no drafter: {path} cannot be read.") from error
    if not isinstance(values, dict):
        raise DrafterError(f"{path} does not describe a drafter.")
    return values


def _stored_ngrams(arrays: NgramArrays) -> dict[str, Tensor]:
    """Tokens as 16 bits where all fit, the missing one as the largest of them."""
    small = int(arrays.tokens.max(initial=0)) < _MISSING
    tokens = arrays.tokens.astype(np.uint16) if small else arrays.tokens
    kept = (arrays.keys, tokens, arrays.chances, arrays.marker)
    return {_NGRAMS + n: torch.from_numpy(a) for n, a in zip(arrays._fields, kept, strict=True)}


def _ngrams(stored: Mapping[str, Tensor], path: Path, config: BaseConfig) -> Ngrams | None:
    """Raises DrafterError where the table's arrays do not fit each other or the vocabulary."""
    if f"{_NGRAMS}keys" not in stored:
        return None
    try:
        keys, tokens, chances, marker = (stored[_NGRAMS + n].numpy() for n in NgramArrays._fields)
    except KeyError as error:
        raise DrafterError(f"{path} has n-grams without their {error}.") from error
    whole = tokens.astype(np.int32)
    if tokens.dtype == np.uint16:
        whole[tokens == _MISSING] = -1
    if whole.shape != chances.shape or whole.shape != (len(keys), NEXT):
        raise DrafterError(f"{path} has n-grams whose parts do not belong together.")
    if whole.size and not -1 <= whole.min() <= whole.max() < config.vocab_size:
        raise DrafterError(f"{path} has n-grams of tokens that its base does not have.")
    return Ngrams(NgramArrays(keys, whole, chances, marker))


def _whole(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if name.startswith(_NGRAMS):
            continue
        if name.endswith(".levels"):
            name = name.removesuffix(".levels")
            found[name] = dequantised(tensor, stored[f"{name}.steps"])
        elif not name.endswith(".steps"):
            found[name] = tensor.long() if name == "vocabulary" else tensor.float()
    return found
