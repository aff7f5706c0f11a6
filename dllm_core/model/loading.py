"""Loads a model: opens the checkpoint, builds the transformer, fills it, adds the adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dllm_core.model import checkpoint, lora, packed_store, weights
from dllm_core.model.packed_weights import PackedCache
from dllm_core.model.place import Dtype, choose_device, choose_kind
from dllm_core.model.tokenizer import Tokenizer
from dllm_core.model.transformer import Transformer


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """The arguments of an `Engine`.

    Attributes:
        model: the transformer with its weights.
        tokenizer: its tokenizer.
        context: longest sequence in positions, at most the model's own.
        denoiser: canvas and steps that the adapter was trained for; None without such an adapter.
    """

    model: Transformer
    tokenizer: Tokenizer
    context: int
    denoiser: lora.DenoiserSettings | None


def load(
    source: str | Path,
    *,
    dtype: Dtype,
    device: str,
    threads: int | None,
    context: int,
    config: Mapping[str, Any] | None,
    adapter: str | Path | None,
    merge: bool,
    progress: weights.Progress | None,
    packed: str | Path,
    packed_limit: int,
) -> LoadedModel:
    """Load a model; arguments and errors are those of `Engine.load`."""
    place = choose_device(device)
    kind, float_dtype = choose_kind(dtype, place)
    if threads is not None:
        torch.set_num_threads(threads)
    denoiser = None if adapter is None else lora.read_denoiser(Path(adapter))
    taught = {} if denoiser is None else {"mask_id": denoiser.mask_id}
    found = checkpoint.find(source, {**taught, **(config or {})})
    change = None if adapter is None else lora.load(Path(adapter), found.config)
    context = min(context, found.config.context_length)
    tensors = list(found.tensors)
    weights.check_size(found.config, [tensor for _, tensor in tensors])
    model = weights.build(found.config, kind, context, float_dtype, place)
    merged = change is not None and merge
    if change is not None and merged:
        tensors = list(change.merged(tensors, weights.slots(found.config, found.names)))

    def fill(filled: weights.Filled | None = None) -> None:
        weights.fill(model, found.names, tensors, progress, filled)

    store = packed_store.choose(packed, packed_limit)
    folder = Path(adapter) if adapter is not None and merged else None
    kept = PackedCache.of(store, kind, found.path, folder, repr(found.config))
    _fill(model, kept, fill)
    if change is not None:
        lora.set_mask_row(model, change)
        if not merge:
            lora.attach(model, change)
    return LoadedModel(model, found.tokenizer, context, denoiser)


def _fill(
    model: Transformer,
    kept: PackedCache | None,
    fill: Callable[[weights.Filled | None], None],
) -> None:
    """Fill an empty model from its file of packed weights, or from the checkpoint."""
    if kept is None:
        fill(None)
    elif not kept.load(model):
        with kept.store.locked(kept.key):
            if not kept.load(model):  # another process may have been faster
                kept.pack(model, fill)
