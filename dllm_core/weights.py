"""Filling a model with the tensors of a checkpoint, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from dllm_core.config import ModelConfig
from dllm_core.errors import WeightsError
from dllm_core.families import NameMap
from dllm_core.fp8_linear import Fp8Linear
from dllm_core.model import LinearKind, Rotary, Transformer
from dllm_core.quantize import Int8Linear

Progress = Callable[[float, str], None]
"""Called with the share done (0 to 1) and what is being done."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in the model: a parameter, or some rows of one."""

    parameter: str
    rows: slice


def build(
    config: ModelConfig, kind: LinearKind, context: int, dtype: torch.dtype, device: torch.device
) -> Transformer:
    """An empty model in its final dtype on its device; no weight exists twice."""
    with torch.device("meta"):
        model = Transformer(config, kind, context).to(dtype)
        for module in model.modules():
            if isinstance(module, Fp8Linear):
                module.set_formats()
    model = model.to_empty(device=device)
    model.rotary = Rotary(config, context).to(device)
    return model.requires_grad_(False).eval()


def slots(config: ModelConfig, names: NameMap) -> dict[str, Slot]:
    """Checkpoint tensor name -> its place, for exactly the tensors this model needs."""
    query, key = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    inner = config.intermediate_size
    parts = {
        "": slice(None),
        "q": slice(0, query),
        "k": slice(query, query + key),
        "v": slice(query + key, query + 2 * key),
        "gate": slice(0, inner),
        "up": slice(inner, 2 * inner),
    }
    unused = [
        target
        for target, used in (
            ("qkv.bias", config.qkv_bias),
            ("q_norm", config.qk_norm),
            ("k_norm", config.qk_norm),
            ("head.weight", not config.tied_head),
        )
        if not used
    ]
    found: dict[str, Slot] = {}
    for source, target in names.items():
        parameter, _, part = target.partition(":")
        if parameter.endswith(tuple(unused)):
            continue
        layers = range(config.num_layers) if "{}" in source else range(1)
        for i in layers:
            found[source.format(i)] = Slot(parameter.format(i), parts[part])
    return found


def fill(
    model: Transformer,
    names: NameMap,
    tensors: Iterable[tuple[str, Tensor]],
    progress: Progress | None = None,
) -> None:
    """Copy every tensor to its place, converting and quantising on the way.

    Raises:
        WeightsError: names every missing and unexpected tensor, or the first of wrong shape.
    """
    wanted = slots(model.config, names)
    total = len(wanted)
    unexpected: list[str] = []
    for name, tensor in tensors:
        slot = wanted.pop(name, None)
        if slot is None:
            unexpected.append(name)
            continue
        _store(model, slot, name, tensor)
        if progress is not None:
            progress(1 - len(wanted) / total, f"reading {name}")
    unexpected = [name for name in unexpected if not _is_redundant(name, model.config, names)]
    if wanted or unexpected:
        raise WeightsError(_report(sorted(wanted), sorted(unexpected)))
    if model.config.tied_head and isinstance(model.head, Int8Linear):
        model.head.store_rows(0, model.embedding)
    for module in model.modules():
        if isinstance(module, Int8Linear):
            module.settle()


def _store(model: Transformer, slot: Slot, name: str, tensor: Tensor) -> None:
    module_name, _, attribute = slot.parameter.rpartition(".")
    module = model.get_submodule(module_name)
    target: Tensor = getattr(module, attribute)[slot.rows]
    if target.shape != tensor.shape:
        raise WeightsError(
            f"{name} has shape {tuple(tensor.shape)}, but the configuration asks for "
            f"{tuple(target.shape)}: the configuration belongs to another checkpoint."
        )
    if isinstance(module, Int8Linear | Fp8Linear) and attribute == "weight":
        module.store_rows(slot.rows.start or 0, tensor)
    else:
        target.copy_(tensor)


def _is_redundant(name: str, config: ModelConfig, names: NameMap) -> bool:
    """Tensors that repeat what the model has: a tied head written out, rotary tables."""
    tied = config.tied_head and names.get(name) == "head.weight"
    return tied or name.endswith(("rotary_emb.inv_freq", "rope_freqs.weight"))


def _report(missing: list[str], unexpected: list[str]) -> str:
    def listed(names: list[str]) -> str:
        return ", ".join(islice(names, 20)) + (f" and {len(names) - 20} more" * (len(names) > 20))

    lines = ["The checkpoint does not fit its configuration."]
    if missing:
        lines.append(f"{len(missing)} missing: {listed(missing)}.")
    if unexpected:
        lines.append(f"{len(unexpected)} unexpected: {listed(unexpected)}.")
    return " ".join(lines)


def undo_llama_cpp_rotation(
    tensors: Iterable[tuple[str, Tensor]], config: ModelConfig
) -> Iterator[tuple[str, Tensor]]:
    """Put the query and key rows of a llama GGUF back into the half-split rotary layout.

    llama.cpp stores them interleaved (first and second half of a head alternate); Qwen files
    are stored as they are.
    """
    heads = {"attn_q": config.num_heads, "attn_k": config.num_kv_heads}
    for name, tensor in tensors:
        count = next((n for part, n in heads.items() if f".{part}." in name), None)
        if config.family == "llama" and count is not None:
            pairs = tensor.view(count, config.head_dim // 2, 2, *tensor.shape[1:])
            tensor = pairs.transpose(1, 2).reshape(tensor.shape)
        yield name, tensor
