"""Builds an empty model and fills it with the tensors of a checkpoint, piece by piece."""

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
"""Most names that an error lists for each problem."""

Progress = Callable[[float, str], None]
"""Callback for progress: share done (0 to 1), and a description of the work."""


@dataclass(frozen=True, slots=True)
class TensorRows:
    """A parameter of the model, or some of its rows, that one tensor of a checkpoint fills."""

    parameter: str
    rows: slice


def build(
    config: ModelConfig, kind: LinearKind, context: int, dtype: torch.dtype, device: torch.device
) -> Transformer:
    """An empty model in its final dtype on its device; no gradients.

    torch's meta device is not used, for its first use imports 180 MB of code.
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


def slots(config: ModelConfig, names: NameMap) -> dict[str, TensorRows]:
    """Rows of the model by checkpoint tensor name, for exactly the tensors that it needs."""
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
    found: dict[str, TensorRows] = {}
    for source, target in names.items():
        parameter, _, part = target.partition(":")
        if parameter.endswith(tuple(unused)):
            continue
        layers = range(config.num_layers) if "{}" in source else range(1)
        for i in layers:
            found[source.format(i)] = TensorRows(parameter.format(i), parts[part])
    return found


def fill(
    model: Transformer,
    names: NameMap,
    tensors: Iterable[tuple[str, Rows]],
    progress: Progress | None = None,
) -> None:
    """Copy every tensor into the model, converting or quantising it piece by piece.

    Names and shapes are checked before the first weight is read. Memory beside the model is a
    few megabytes.

    Raises:
        WeightsError: tensors are missing, unexpected, repeated or of another shape; the message
            names them.
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
    """Name of the module that a parameter belongs to."""
    return parameter.rpartition(".")[0]


def _target(model: Transformer, slot: TensorRows) -> Tensor:
    _, _, attribute = slot.parameter.rpartition(".")
    whole: Tensor = getattr(model.get_submodule(_owner(slot.parameter)), attribute)
    return whole[slot.rows]


def _shape(model: Transformer, slot: TensorRows) -> tuple[int, ...]:
    """Shape of the tensor that fills these rows."""
    module = model.get_submodule(_owner(slot.parameter))
    if isinstance(module, PackedLinear) and slot.parameter.endswith("weight"):
        return len(range(module.out_features)[slot.rows]), module.in_features
    return tuple(_target(model, slot).shape)


def _store(model: Transformer, slot: TensorRows, tensor: Rows) -> None:
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
    wanted: Mapping[str, TensorRows],
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
    lines = [
        f"{len(some)} {problem}: {_listed(some)}." for problem, some in problems.items() if some
    ]
    if lines:
        raise WeightsError(" ".join(["The checkpoint does not fit its configuration.", *lines]))


def _is_redundant(name: str, config: ModelConfig, names: NameMap) -> bool:
    """Whether a tensor repeats another: a tied head that is written out, or rotary tables."""
    tied = config.tied_head and names.get(name) == "head.weight"
    return tied or name.endswith(("rotary_emb.inv_freq", "rope_freqs.weight"))


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def undo_llama_cpp_rotation(
    tensors: Iterable[tuple[str, Rows]], config: ModelConfig
) -> Iterator[tuple[str, Rows]]:
    """Put the query and key rows of a llama GGUF back into the half-split rotary layout.

    llama.cpp interleaves them (first and second half of a head alternate) for llama; the rows
    of Qwen files are unchanged.
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
