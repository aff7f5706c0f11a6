"""Opens a checkpoint: a GGUF file, a directory, or a Hugging Face name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dllm_core.config import ModelConfig
from dllm_core.errors import ModelFileError, WeightsError
from dllm_core.model import families, fields_of_json, heap, lora, tokenizer
from dllm_core.model.families import NameMap
from dllm_core.model.field_types import is_whole
from dllm_core.model.gguf_file import GgufFile
from dllm_core.model.json_files import POINTER, is_pointer, read_json
from dllm_core.model.lazy_tensors import Rows, Stored
from dllm_core.model.stored_embedding import FLOATS
from dllm_core.model.tokenizer import Tokenizer
from dllm_core.model.weights import arrange_heads

_FLOATS = ("F64", "F32", "F16", "BF16")
_MASKS = ("<|mask|>", "<|MASK|>", "|<MASK>|", "<|mdm_mask|>", "[MASK]", "<mask>", "<M>")
"""Spellings of a mask token that neither config.json nor the tokenizer's settings name."""
_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An opened checkpoint; the names and shapes of its tensors are read, their data are not.

    Attributes:
        config: configuration of the model.
        tokenizer: its tokenizer.
        names: parameter of the model for each tensor name.
        tensors: (name, tensor) in the order of the files.
        path: GGUF file, or directory of safetensors files.
    """

    config: ModelConfig
    tokenizer: Tokenizer
    names: NameMap
    tensors: Iterable[tuple[str, Rows]]
    path: Path


def find(source: str | Path, changes: Mapping[str, Any] | None = None) -> Checkpoint:
    """Open the checkpoint at `source`.

    A name of the form `owner/model` that is no path is fetched from the Hugging Face Hub, or
    taken from its local cache. Only data is read, never code.

    Raises:
        ModelFileError, UnsupportedModelError, WeightsError: as `Engine.load`.
    """
    path, given = Path(source), families.checked(changes or {})
    if "://" in str(source):
        raise ModelFileError(
            f"{source} is an address, which is not fetched: download the file and name its path, "
            "or give the owner/model of a Hugging Face repository with safetensors files."
        )
    if path.is_dir():
        _check_directory(path)
        checkpoint = _from_directory(path, given)
    elif path.suffix == ".gguf" or path.is_file() or str(source).count("/") != 1:
        checkpoint = _from_gguf(path, given)
    else:
        fetched = _fetch(str(source))
        if not (fetched / "config.json").exists():
            raise ModelFileError(
                f"The repository {source} has no config.json. Where it holds GGUF files, download "
                "one of them and name its path."
            )
        checkpoint = _from_directory(fetched, given)
    _check_agreement(checkpoint, given)
    heap.trim()  # what made the tokenizer is gone: the weights need the room
    return checkpoint


def _check_directory(path: Path) -> None:
    """Refuse a directory that is no checkpoint, with what may have been meant."""
    if (path / "config.json").exists():
        return
    files = sorted(path.glob("*.gguf"))
    if files:
        raise ModelFileError(
            f"{path} holds no config.json but GGUF files: name the file itself, such as {files[0]}."
        )
    if (path / lora.SETTINGS).exists():
        raise ModelFileError(
            f"{path} holds an adapter and no model: name the model that it was made for, and give "
            "this directory as its adapter."
        )


def _from_gguf(path: Path, changes: Mapping[str, Any]) -> Checkpoint:
    file = GgufFile(path)
    tensors = dict(file.read())
    factors = tensors.get("rope_freqs.weight")
    divisors = () if factors is None else tuple(factors[:].tolist())
    families.check_gguf(file.metadata)
    words = tokenizer.from_gguf(file.metadata)
    config = families.config_from_gguf(file.metadata, file.tensors, divisors, **changes)
    file.forget_words()
    arranged = arrange_heads(tensors.items(), config, interleaved=config.family == "llama")
    return Checkpoint(config, words, families.GGUF, arranged, path)


def _from_directory(path: Path, changes: Mapping[str, Any]) -> Checkpoint:
    values = read_json(path / "config.json")
    words = tokenizer.from_directory(path)
    family, named = values.get("model_type", ""), words.named_id("mask_token")
    if values.get("mask_token_id") is None:
        spelled = (words.token_id(token) for token in _MASKS)
        found = named if named is not None else next((i for i in spelled if i is not None), None)
        plain = family in families.AUTOREGRESSIVE
        values["mask_token_id"] = named if plain else found
    mask = values["mask_token_id"]
    spelling = words.backend.id_to_token(mask) if is_whole(mask) else None
    changes = {**families.names_diffusion(family, spelling, changes), **changes}
    if (path / "generation_config.json").exists():
        ends = read_json(path / "generation_config.json").get("eos_token_id")
        values["eos_token_id"] = _joined(values.get("eos_token_id"), ends)
    if values.get("eos_token_id") is None:
        values["eos_token_id"] = words.named_id("eos_token")
    config = families.config_from_json(values, **changes)
    tensors = arrange_heads(read_shards(path), config)
    return Checkpoint(config, words, families.names_of(config), tensors, path)


def _joined(config: object, generation: object) -> list[int] | None:
    """All stated ids, each once. Chat models often name a second end only for generation."""
    first = fields_of_json.token_ids("config.json", config)
    second = fields_of_json.token_ids("generation_config.json", generation)
    return list(dict.fromkeys([*first, *second])) or None


def read_shards(path: Path) -> list[tuple[str, Rows]]:
    """All tensors of a directory's safetensors files; only the headers are read.

    Raises:
        ModelFileError: there is no such file, one of the index is missing, or one is damaged.
        WeightsError: a tensor is not of floating-point numbers.
    """
    index, single = path / "model.safetensors.index.json", path / "model.safetensors"
    if index.exists():
        shards = _listed(index)
    else:
        shards = [single] if single.exists() else sorted(path.glob("*.safetensors"))
    if not shards:
        raise ModelFileError(
            f"{path} holds no safetensors file. Weights in PyTorch's own format (.bin, .pt) are "
            "not read: save them as safetensors."
        )
    return [named for shard in shards for named in _headers(shard)]


def _listed(index: Path) -> list[Path]:
    """The shards that an index names."""
    places = read_json(index).get("weight_map")
    names = list(places.values()) if isinstance(places, dict) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise ModelFileError(f"{index} has no weight_map from tensors to files: fetch it again.")
    return [index.parent / name for name in sorted(set(names))]


def _headers(shard: Path) -> list[tuple[str, Rows]]:
    found: list[tuple[str, Rows]] = []
    try:
        with safe_open(shard, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (safe_open is no mapping)
                stored = file.get_slice(name)
                if stored.get_dtype() not in _FLOATS:
                    raise WeightsError(
                        f"{name} in {shard} holds {stored.get_dtype()}, a number format of "
                        "quantised checkpoints that is not read: load the unquantised one."
                    )
                read, kind = partial(_rows, shard, name), stored.get_dtype()
                kept = kind if kind in FLOATS else None
                shape = tuple(stored.get_shape())
                found.append((name, Stored(shape, read, None, partial(_raw, read), kept)))
    except (SafetensorError, OSError) as error:
        why = POINTER if is_pointer(shard) else f"{error}."
        raise ModelFileError(f"The shard {shard} is missing or damaged: {why}") from error
    return found


def _rows(shard: Path, name: str, rows: slice) -> Tensor:
    # Opened for every piece: pages of a mapping, once read, count as our memory until it closes.
    with safe_open(shard, framework="pt") as file:
        piece: Tensor = file.get_slice(name)[rows]
    return piece


def _raw(read: Callable[[slice], Tensor], rows: slice) -> NDArray[np.uint8]:
    return read(rows).contiguous().view(torch.uint8).numpy()


def _fetch(name: str) -> Path:
    # Imported here: it takes a while, and only Hugging Face names need it.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=_FILES))
    except LocalEntryNotFoundError as error:
        raise ModelFileError(
            f"There is no path {name}, and the Hugging Face Hub cannot be reached to fetch it."
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelFileError(
            f"There is no path {name}, and the Hugging Face Hub does not give it: {error}"
        ) from error


def _check_agreement(checkpoint: Checkpoint, changes: Mapping[str, Any]) -> None:
    config, words = checkpoint.config, checkpoint.tokenizer
    if words.vocab_size > config.vocab_size:
        raise WeightsError(
            f"The tokenizer has {words.vocab_size} tokens, the configuration only "
            f"{config.vocab_size}: they belong to different checkpoints."
        )
    named = words.named_id("mask_token")
    if "mask_id" not in changes and None not in (named, config.mask_id) and named != config.mask_id:
        raise WeightsError(
            f"The configuration's mask token is {config.mask_id}, the tokenizer's {named}: they "
            'belong to different checkpoints. If you know better, give config={"mask_id": ...}.'
        )
    purposes = {"eos_ids": config.eos_ids, "mask_id": (config.mask_id,)}
    for field, ids in purposes.items():
        for i in ids:
            if field not in changes and i is not None and not words.is_special(i):
                raise WeightsError(
                    f"The configuration has {i} among {field}, which to the tokenizer is "
                    f"{words.spelling(i)} and no special token: they belong to different "
                    f'checkpoints. If you know better, give config={{"{field}": ...}}.'
                )
