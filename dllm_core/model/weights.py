"""Filling a model with the tensors of a checkpoint, piece by piece."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from dllm_core.config import ModelConfig
from dllm_core.cpu.packed import Quantised
from dllm_core.errors import WeightsError
from dllm_core.model.families import NameMap
from dllm_core.model.fp8_linear import Fp8Linear
from dllm_core.model.lazy_tensors import Rows, Stored, pieces
from dllm_core.model.packed_transformer import PackedTransformer
from dllm_core.model.quantize import PackedLinear
from dllm_core.model.transformer import LinearKind, Transformer

_LISTED = 20
"""Names that an error lists of each kind."""

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
    """An empty model in its final dtype on its device.

    Not by way of torch's meta device: its first use imports 180 MB of code.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            packed = PackedTransformer.fits(config, kind)
            model = (PackedTransformer if packed else Transformer)(config, kind, context)
    finally:
        torch.set_default_dtype(before)
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
    tensors: Iterable[tuple[str, Rows]],
    progress: Progress | None = None,
) -> None:
    """Copy every tensor to its place, converting and quantising piece by piece on the way.

    Names and shapes are compared before the first weight is read. Beside the model itself only
    a few megabytes are held.

    Raises:
        WeightsError: names every missing, unexpected, repeated and wrongly shaped tensor.
    """
    found, wanted = list(tensors), slots(model.config, names)
    _check(model, names, found, wanted)
    found = [(name, tensor) for name, tensor in found if name in wanted]
    total, done = sum(prod(tensor.shape) for _, tensor in found), 0
    for name, tensor in found:
        slot = wanted[name]
        _store(model, slot, tensor)
        if slot.parameter == "embedding" and model.config.tied_head:
            _copy_to_head(model, tensor)
        done += prod(tensor.shape)
        if progress is not None:
            progress(done / total, f"reading {name}")


def _owner(parameter: str) -> str:
    """The module that a parameter belongs to."""
    return parameter.rpartition(".")[0]


def _target(model: Transformer, slot: Slot) -> Tensor:
    _, _, attribute = slot.parameter.rpartition(".")
    whole: Tensor = getattr(model.get_submodule(_owner(slot.parameter)), attribute)
    return whole[slot.rows]


def _shape(model: Transformer, slot: Slot) -> tuple[int, ...]:
    """Of the tensor that fits there."""
    module = model.get_submodule(_owner(slot.parameter))
    if isinstance(module, PackedLinear) and slot.parameter.endswith("weight"):
        return len(range(module.out_features)[slot.rows]), module.in_features
    return tuple(_target(model, slot).shape)


def _store(model: Transformer, slot: Slot, tensor: Rows) -> None:
    module = model.get_submodule(_owner(slot.parameter))
    if isinstance(module, PackedLinear | Fp8Linear) and slot.parameter.endswith("weight"):
        _store_rows(module, slot.rows.start or 0, tensor)
        return
    target = _target(model, slot)
    for rows in pieces(tensor.shape):
        target[rows].copy_(tensor[rows])


def _store_rows(module: PackedLinear | Fp8Linear, start: int, tensor: Rows) -> None:
    """Quantise rows, or take them as they are quantised: the search for a grid takes far longer."""
    ready = tensor.quantised if isinstance(tensor, Stored) else None
    for rows in pieces(tensor.shape):
        if ready is not None and isinstance(module, PackedLinear):
            module.store_quantised(start + rows.start, ready(rows))
        else:
            module.store_rows(start + rows.start, tensor[rows])


def _copy_to_head(model: Transformer, embedding: Rows) -> None:
    """Quantise the embedding into a tied head; in floating point the head is the embedding."""
    if isinstance(model.head, PackedLinear):
        _store_rows(model.head, 0, embedding)


def _check(
    model: Transformer,
    names: NameMap,
    found: Sequence[tuple[str, Rows]],
    wanted: Mapping[str, Slot],
) -> None:
    counts = Counter(name for name, _ in found)
    strange = {name for name in counts if name not in wanted}
    strange -= {name for name in strange if _is_redundant(name, model.config, names)}
    expected = {name: _shape(model, slot) for name, slot in wanted.items()}
    wrong = [
        f"{name} has {tuple(tensor.shape)} instead of {expected[name]}"
        for name, tensor in found
        if name in expected and tuple(tensor.shape) != expected[name]
    ]
    problems = {
        "missing": sorted(expected.keys() - counts.keys()),
        "unexpected": sorted(strange),
        "there more than once": sorted(name for name, n in counts.items() if n > 1),
        "of another shape": wrong,
    }
    lines = [f"{len(some)} {what}: {_listed(some)}." for what, some in problems.items() if some]
    if lines:
        raise WeightsError(" ".join(["The checkpoint does not fit its configuration.", *lines]))


def _is_redundant(name: str, config: ModelConfig, names: NameMap) -> bool:
    """Tensors that repeat what the model has: a tied head written out, rotary tables."""
    tied = config.tied_head and names.get(name) == "head.weight"
    return tied or name.endswith(("rotary_emb.inv_freq", "rope_freqs.weight"))


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def undo_llama_cpp_rotation(
    tensors: Iterable[tuple[str, Rows]], config: ModelConfig
) -> Iterator[tuple[str, Rows]]:
    """Put the query and key rows of a llama GGUF back into the half-split rotary layout.

    llama.cpp stores them interleaved (first and second half of a head alternate); Qwen files
    are stored as they are.
    """
    for name, tensor in tensors:
        if config.family == "llama" and (".attn_q." in name or ".attn_k." in name):
            tensor = _half_split(tensor, config.head_dim)
        yield name, tensor


def _half_split(tensor: Rows, head_dim: int) -> Stored:
    """The same rows, reordered within the heads that they belong to."""

    def whole_heads(rows: slice) -> tuple[slice, slice]:
        start, stop, _ = rows.indices(tensor.shape[0])
        first = start // head_dim * head_dim
        return slice(first, -(-stop // head_dim) * head_dim), slice(start - first, stop - first)

    def reordered(heads: Tensor) -> Tensor:
        pairs = heads.view(-1, head_dim // 2, 2, *heads.shape[1:]).transpose(1, 2)
        return pairs.reshape(heads.shape)

    def read(rows: slice) -> Tensor:
        heads, wanted = whole_heads(rows)
        return reordered(tensor[heads])[wanted]

    ready = tensor.quantised if isinstance(tensor, Stored) else None

    def quantised(rows: slice) -> Quantised:
        assert ready is not None
        heads, wanted = whole_heads(rows)
        return ready(heads).map(lambda part: reordered(part)[wanted])

    return Stored(tuple(tensor.shape), read, None if ready is None else quantised)
