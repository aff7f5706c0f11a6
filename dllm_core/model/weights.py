"""Builds an empty model and fills it with the tensors of a checkpoint, piece by piece."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dllm_core.config import ModelConfig
from dllm_core.errors import WeightsError
from dllm_core.model import heap
from dllm_core.model.families import NameMap
from dllm_core.model.fp8_linear import Fp8Linear
from dllm_core.model.lazy_tensors import Rows, Stored, pieces
from dllm_core.model.packed_transformer import PackedTransformer
from dllm_core.model.quantize import PackedLinear, Stretch
from dllm_core.model.stored_embedding import StoredEmbedding
from dllm_core.model.transformer import LinearKind, Transformer

_LISTED = 20
"""Most names that an error lists for each problem."""

Progress = Callable[[float, str], None]
"""Callback for progress: share done (0 to 1), and a description of the work."""

Filled = Callable[[str], None]
"""Callback for the name of a module all of whose tensors are stored."""


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
    filled: Filled | None = None,
) -> None:
    """Copy every tensor into the model, converting or quantising it piece by piece.

    Names and shapes are checked before the first weight is read. Memory beside the model is a
    few megabytes. The embedding comes last.

    Raises:
        WeightsError: tensors are missing, unexpected, repeated or of another shape; the message
            names them.
    """
    found, wanted = list(tensors), slots(model.config, names)
    _check(model, names, found, wanted)
    if model.config.tied_head:
        _check_tied(names, dict(found))
    given = [(name, wanted[name], tensor) for name, tensor in found if name in wanted]
    given.sort(key=lambda each: each[1].parameter == "embedding")
    _plan(model, [(slot, tensor) for _, slot, tensor in given])
    left = Counter(owner for _, slot, _ in given for owner in _owners(model, slot))
    total, done = sum(prod(tensor.shape) for *_, tensor in given), 0
    for name, slot, tensor in given:
        for owner in _stored(model, slot, tensor):
            left[owner] -= 1
            if filled is not None and not left[owner]:
                filled(owner)
        heap.trim()  # else pieces and narrower layers leave holes, a fifth of the weights in F16
        done += prod(tensor.shape)
        if progress is not None:
            progress(done / total, f"reading {name}")


def _owners(model: Transformer, slot: TensorRows) -> list[str]:
    """Names of the modules that a tensor fills: an embedding may be a packed head, too."""
    tied = slot.parameter == "embedding" and model.config.tied_head
    return [*(["head"] if tied and isinstance(model.head, PackedLinear) else []),
            _owner(slot.parameter)]  # fmt: skip


def _stored(model: Transformer, slot: TensorRows, tensor: Rows) -> Iterator[str]:
    """Store a tensor in every module that it fills; yields their names."""
    for owner in _owners(model, slot):
        if owner == _owner(slot.parameter):
            _store(model, slot, tensor)
        elif isinstance(model.head, PackedLinear):
            _store_rows(model.head, 0, tensor)
        yield owner


def _plan(model: Transformer, tensors: Sequence[tuple[TensorRows, Rows]]) -> None:
    """Give every packed layer parts in the formats of the tensors that fill it."""
    stretches: dict[str, list[Stretch]] = {}
    for slot, tensor in tensors:
        names = [slot.parameter]
        if slot.parameter == "embedding" and model.config.tied_head:
            names.append("head.weight")
        start, form = slot.rows.start or 0, tensor.form if isinstance(tensor, Stored) else None
        for name in names:
            if name.endswith("weight"):
                stretch = Stretch(start, start + tensor.shape[0], form)
                stretches.setdefault(_owner(name), []).append(stretch)
    for name, own in stretches.items():
        module = None if name == "head" and model.head is None else model.get_submodule(name)
        if isinstance(module, PackedLinear):
            module.plan(own)


def _owner(parameter: str) -> str:
    """Name of the module that a parameter belongs to."""
    return parameter.rpartition(".")[0]


def _target(model: Transformer, slot: TensorRows) -> Tensor:
    _, _, attribute = slot.parameter.rpartition(".")
    whole: Tensor = getattr(model.get_submodule(_owner(slot.parameter)), attribute)
    return whole[slot.rows]


def _shape(model: Transformer, slot: TensorRows) -> tuple[int, ...]:
    """Shape of the tensor that fills these rows."""
    if slot.parameter == "embedding":
        return tuple(model.embedding.shape)
    module = model.get_submodule(_owner(slot.parameter))
    if isinstance(module, PackedLinear) and slot.parameter.endswith("weight"):
        return len(range(module.out_features)[slot.rows]), module.in_features
    return tuple(_target(model, slot).shape)


def _store(model: Transformer, slot: TensorRows, tensor: Rows) -> None:
    module = model.get_submodule(_owner(slot.parameter))
    if isinstance(module, PackedLinear | Fp8Linear) and slot.parameter.endswith("weight"):
        _store_rows(module, slot.rows.start or 0, tensor)
        return
    if slot.parameter == "embedding" and isinstance(model.head, PackedLinear):
        stored = StoredEmbedding.of(tensor)
        if stored is not None:
            model.use_embedding(stored)
            return
    target = _target(model, slot)
    for rows in pieces(tensor.shape):
        target[rows].copy_(tensor[rows])


def _store_rows(module: PackedLinear | Fp8Linear, start: int, tensor: Rows) -> None:
    """Quantise rows, or take them as they are quantised, where the layer keeps their format."""
    form = tensor.form if isinstance(tensor, Stored) else None
    for rows in pieces(tensor.shape):
        at = start + rows.start
        blocks = tensor.blocks(rows) if isinstance(tensor, Stored) and form is not None else None
        if isinstance(module, PackedLinear) and blocks is not None:
            module.store_blocks(at, blocks)
        else:
            module.store_rows(at, tensor[rows])


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


def _check_tied(names: NameMap, tensors: Mapping[str, Rows]) -> None:
    """Refuse a head that is written out and differs from the embedding which it is said to be."""
    source = {parameter: name for name, parameter in names.items()}
    name = source["head.weight"]
    if name not in tensors:
        return
    embedding, head = tensors[source["embedding"]], tensors[name]
    same = tuple(embedding.shape) == tuple(head.shape) and all(
        torch.equal(embedding[rows], head[rows]) for rows in pieces(embedding.shape)
    )
    if not same:
        raise WeightsError(
            f"The configuration says that the head is the embedding, but {name} differs from it: "
            'give config={"tied_head": False} if the head was trained, or delete that tensor.'
        )


def check_size(config: ModelConfig, tensors: Sequence[Rows]) -> None:
    """Refuse a configuration of far more weights than there are, before memory is taken for them.

    Raises:
        WeightsError: it is one.
    """
    heads = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
    layer = config.hidden_size * (heads + 3 * config.intermediate_size)
    wanted = config.vocab_size * config.hidden_size + config.num_layers * layer
    there = sum(prod(tensor.shape) for tensor in tensors)
    if wanted > 2 * there + 2**24:
        raise WeightsError(
            f"The configuration is that of a model of {wanted:.2g} weights, and the files have "
            f"{there:.2g}: they belong to different checkpoints, or a file is missing."
        )


def _is_redundant(name: str, config: ModelConfig, names: NameMap) -> bool:
    """Whether a tensor repeats another: a tied head that is written out, or rotary tables."""
    tied = config.tied_head and names.get(name) == "head.weight"
    return tied or name.endswith(("rotary_emb.inv_freq", "rope_freqs.weight"))


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def arrange_heads(
    tensors: Iterable[tuple[str, Rows]], config: ModelConfig, *, interleaved: bool = False
) -> Iterator[tuple[str, Rows]]:
    """Put the rows of queries, keys and their norms into the layout that `Rotary` rotates.

    Checkpoints have it already, with two exceptions. llama.cpp interleaves the rotated rows of a
    llama (first and second half of a head alternate). Where a part of the head is rotated, the
    rotated rows come first; here each half of a head begins with its half of them.
    """
    order = _order(config, interleaved=interleaved)
    for name, tensor in tensors:
        if order is not None and _ROTATED.search(name):
            tensor = _reordered(tensor, order)
        yield name, tensor


_ROTATED = re.compile(r"(q_proj|k_proj|q_norm|k_norm|attn_q|attn_k|attn_q_norm|attn_k_norm)\.")


def _order(config: ModelConfig, *, interleaved: bool) -> Tensor | None:
    """Row of the checkpoint for each row of a head; None where they are the same."""
    size, turned = config.head_dim, config.rope.width(config.head_dim)
    if turned == size and not interleaved:
        return None
    rows, rest = torch.arange(turned), torch.arange(turned, size)
    first, second = (rows[::2], rows[1::2]) if interleaved else rows.chunk(2)
    spare = size // 2 - turned // 2
    return torch.cat([first, rest[:spare], second, rest[spare:]])


def _reordered(tensor: Rows, order: Tensor) -> Stored:
    """The same rows, reordered within the heads that they belong to."""
    size = len(order)

    def whole_heads(rows: slice) -> tuple[slice, slice]:
        start, stop, _ = rows.indices(tensor.shape[0])
        first = start // size * size
        return slice(first, -(-stop // size) * size), slice(start - first, stop - first)

    def reordered(heads: Tensor) -> Tensor:
        return heads.view(-1, size, *heads.shape[1:])[:, order].reshape(heads.shape)

    def read(rows: slice) -> Tensor:
        heads, wanted = whole_heads(rows)
        return reordered(tensor[heads])[wanted]

    if not isinstance(tensor, Stored) or tensor.raw is None:
        return Stored(tuple(tensor.shape), read)
    stored, places = tensor.raw, order.numpy()

    def raw(rows: slice) -> NDArray[np.uint8]:
        heads, wanted = whole_heads(rows)
        given = stored(heads)
        whole = given.reshape(-1, size, *given.shape[1:])[:, places]
        return whole.reshape(given.shape)[wanted]

    return Stored(tuple(tensor.shape), read, tensor.kind, raw)
