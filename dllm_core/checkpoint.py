"""Where a model comes from: a GGUF file, a directory, or a Hugging Face name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from dllm_core import families, tokenizer
from dllm_core.config import ModelConfig
from dllm_core.errors import ModelFileError, WeightsError
from dllm_core.families import NameMap
from dllm_core.gguf_file import GgufFile
from dllm_core.tokenizer import Tokenizer
from dllm_core.weights import undo_llama_cpp_rotation

_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything needed to build a model; the tensors are read when they are iterated."""

    config: ModelConfig
    tokenizer: Tokenizer
    names: NameMap
    tensors: Iterable[tuple[str, Tensor]]


def find(source: str | Path, changes: Mapping[str, Any] | None = None) -> Checkpoint:
    """Open the checkpoint at `source`.

    A name of the form `owner/model` that is no path is fetched from the Hugging Face Hub, or
    taken from its local cache. Only data is read, never code.

    Raises:
        ModelFileError, UnsupportedModelError, WeightsError: see Engine.load.
    """
    path = Path(source)
    if path.is_dir():
        checkpoint = _from_directory(path, changes or {})
    elif path.suffix == ".gguf" or path.is_file() or str(source).count("/") != 1:
        checkpoint = _from_gguf(path, changes or {})
    else:
        checkpoint = _from_directory(_fetch(str(source)), changes or {})
    _check_vocabulary(checkpoint)
    return checkpoint


def _from_gguf(path: Path, changes: Mapping[str, Any]) -> Checkpoint:
    file = GgufFile(path)
    config = families.config_from_gguf(file.metadata, file.tensors, **changes)
    words = tokenizer.from_gguf(file.metadata)
    return Checkpoint(config, words, families.GGUF, undo_llama_cpp_rotation(file.read(), config))


def _from_directory(path: Path, changes: Mapping[str, Any]) -> Checkpoint:
    values = read_json(path / "config.json")
    words = tokenizer.from_directory(path)
    mask = words.token_id("<|mask|>")
    if mask is not None:
        values.setdefault("mask_token_id", mask)
    config = families.config_from_json(values, **changes)
    return Checkpoint(config, words, families.names_of(config), read_shards(path))


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ModelFileError: it is missing or damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelFileError(f"{path.parent} holds no {path.name}.") from error
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}.") from error
    if not isinstance(values, dict):
        raise ModelFileError(f"{path} does not hold a JSON object.")
    return values


def read_shards(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor of a directory's safetensors files, one at a time.

    Raises:
        ModelFileError: there is none, one of the index is missing, or one is damaged.
    """
    shards = sorted(path.glob("*.safetensors"))
    index = path / "model.safetensors.index.json"
    if index.exists():
        shards = [path / name for name in sorted(set(read_json(index)["weight_map"].values()))]
    if not shards:
        raise ModelFileError(f"{path} holds no safetensors file.")
    for shard in shards:
        try:
            with safe_open(shard, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 (safe_open is no mapping)
                    yield name, file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise ModelFileError(f"The shard {shard} is missing or damaged: {error}.") from error


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


def _check_vocabulary(checkpoint: Checkpoint) -> None:
    config, words = checkpoint.config, checkpoint.tokenizer
    if words.vocab_size > config.vocab_size:
        raise WeightsError(
            f"The tokenizer has {words.vocab_size} tokens, the configuration only "
            f"{config.vocab_size}: they belong to different checkpoints."
        )
