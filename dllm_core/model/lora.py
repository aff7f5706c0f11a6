"""Low-rank adapters (LoRA, arXiv 2106.09685) in the files of the PEFT library.

PEFT wraps each projection by itself; here query, key and value share one matrix, as do gate and
up. So the arithmetic is our own and the format is PEFT's: adapters trained here load there, and
the reverse. Beside PEFT's two files lies `denoiser.json`, which says how an adapted
autoregressive model denoises.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dllm_core.config import ModelConfig
from dllm_core.errors import AdapterError
from dllm_core.model.families import names_of
from dllm_core.model.lazy_tensors import Rows, Stored
from dllm_core.model.transformer import Transformer
from dllm_core.model.weights import TensorRows, slots

WEIGHTS, SETTINGS, DENOISER = "adapter_model.safetensors", "adapter_config.json", "denoiser.json"
_PREFIX = "base_model.model."
_TOKEN = ".token_adapter.trainable_tokens_delta"

FirstRow = tuple[str, int]
"""A parameter of the model and the first of the rows that are adapted."""


@dataclass(frozen=True, slots=True)
class LowRank:
    """A low-rank change of some rows of a matrix: scale * b @ a.

    Attributes:
        a: (rank, in_features).
        b: (out_features, rank).
        scale: alpha over rank, or over its root for rsLoRA.
    """

    a: Tensor
    b: Tensor
    scale: float

    def added_to(self, base: Rows, rows: slice) -> Tensor:
        """The `rows` of a matrix (out_features, in_features) with the change added, in float32."""
        part = base[rows].float()
        delta = self.scale * (self.b[rows].float() @ self.a.float())
        return part + delta.to(part.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiserSettings:
    """Mask token and decode options of an adapted model (`denoiser.json`).

    Attributes:
        mask_id: token id of an open position.
        canvas_length: positions of the canvas that the adapter was trained for.
        steps: forward passes of a canvas.
        canvas_layers: see `DecodeOptions.canvas_layers`.
    """

    mask_id: int
    canvas_length: int = 32
    steps: int = 8
    canvas_layers: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """All changes to one base model.

    Attributes:
        parts: low-rank change by parameter and first row.
        rank: rank of the changes.
        alpha: LoRA's alpha.
        mask_row: (hidden_size,) embedding of the mask token; None where the base has one.
        denoiser: how the adapted model denoises; None for an adapter of a diffusion model.
        layers: indices of the adapted layers; None for all.
    """

    parts: Mapping[FirstRow, LowRank]
    rank: int
    alpha: float
    mask_row: Tensor | None = None
    denoiser: DenoiserSettings | None = None
    layers: tuple[int, ...] | None = None

    def merged(
        self, tensors: Iterable[tuple[str, Rows]], wanted: Mapping[str, TensorRows]
    ) -> Iterator[tuple[str, Rows]]:
        """The tensors of a checkpoint with the changes added when they are read.

        `wanted` has the model's rows by checkpoint tensor name (`weights.slots`).
        """
        for name, tensor in tensors:
            slot = wanted.get(name)
            part = None if slot is None else self.parts.get(first_row(slot))
            if part is not None:
                tensor = Stored(tuple(tensor.shape), partial(part.added_to, tensor))
            yield name, tensor


def first_row(slot: TensorRows) -> FirstRow:
    return slot.parameter, slot.rows.start or 0


class Adapted(nn.Module):
    """A linear layer of any kind plus low-rank changes of its rows, added at every pass.

    The changes keep their own dtype and are multiplied in the dtype of the input; the frozen
    layer may have any dtype, int8 included.
    """

    def __init__(self, base: nn.Module, parts: Mapping[int, LowRank], out_features: int) -> None:
        super().__init__()
        self.base = base
        self.starts = sorted(parts)
        self.out_features = out_features
        self.scales = [parts[start].scale for start in self.starts]
        self.a = nn.ParameterList(parts[start].a for start in self.starts)
        self.b = nn.ParameterList(parts[start].b for start in self.starts)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, in_features) -> (rows, out_features)"""
        y: Tensor = self.base(x)
        narrow = F.linear(x, torch.cat(list(self.a)).to(x.dtype))
        pieces, at = [], 0
        ranks = [len(a) for a in self.a]
        narrow_parts = torch.split(narrow, ranks, -1)
        for start, part, b, scale in zip(
            self.starts, narrow_parts, self.b, self.scales, strict=True
        ):
            if start > at:
                pieces.append(y.new_zeros(len(x), start - at))
            pieces.append(F.linear(part * scale, b.to(x.dtype)))
            at = start + len(b)
        if at < self.out_features:
            pieces.append(y.new_zeros(len(x), self.out_features - at))
        return y + torch.cat(pieces, -1)

    def low_rank(self) -> dict[int, LowRank]:
        """The changes, by their first row."""
        parts = zip(self.starts, self.a, self.b, self.scales, strict=True)
        return {start: LowRank(a, b, scale) for start, a, b, scale in parts}


def attach(model: Transformer, adapter: Adapter) -> None:
    """Wrap the adapted layers so that the changes are added at every pass; weights stay."""
    by_layer: dict[str, dict[int, LowRank]] = {}
    for (parameter, start), part in adapter.parts.items():
        by_layer.setdefault(parameter.removesuffix(".weight"), {})[start] = part
    device = model.embedding.device
    for name, parts in by_layer.items():
        base = model.get_submodule(name)
        wrapped = Adapted(base, parts, _out_features(model.config, name)).to(device)
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, wrapped.requires_grad_(False))
    set_mask_row(model, adapter)


def set_mask_row(model: Transformer, adapter: Adapter) -> None:
    """Write the embedding of the mask token into the model, where the adapter has one."""
    if adapter.mask_row is not None:
        assert model.config.mask_id is not None
        with torch.no_grad():
            row = adapter.mask_row.to(model.embedding.device, model.embedding.dtype)
            model.embedding[model.config.mask_id] = row


def _out_features(config: ModelConfig, name: str) -> int:
    heads = config.num_heads + 2 * config.num_kv_heads
    sizes = {
        "qkv": heads * config.head_dim,
        "gate_up": 2 * config.intermediate_size,
        "head": config.vocab_size,
    }
    return sizes.get(name.rpartition(".")[2], config.hidden_size)


def fresh(
    config: ModelConfig,
    *,
    rank: int,
    alpha: float,
    layers: tuple[int, ...] | None,
    generator: torch.Generator,
) -> Adapter:
    """A new adapter of all linear layers of the blocks, with zero change.

    `a` is drawn as PEFT does (Kaiming uniform with a = sqrt 5, that is within 1 / sqrt in), `b`
    is zero.
    """
    shapes = module_shapes(config)
    parts = {}
    for name, slot in slots(config, names_of(config)).items():
        if name not in shapes or not _in_layers(slot.parameter, layers):
            continue
        rows, columns = shapes[name]
        bound = 1 / math.sqrt(columns)
        a = (torch.rand(rank, columns, generator=generator) * 2 - 1) * bound
        parts[first_row(slot)] = LowRank(a, torch.zeros(rows, rank), alpha / rank)
    return Adapter(parts=parts, rank=rank, alpha=alpha, layers=layers)


def module_shapes(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """(out_features, in_features) of every linear layer of the blocks, by checkpoint name."""
    query, key = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    hidden, inner = config.hidden_size, config.intermediate_size
    by_target = {
        "blocks.{}.attention.qkv.weight:q": (query, hidden),
        "blocks.{}.attention.qkv.weight:k": (key, hidden),
        "blocks.{}.attention.qkv.weight:v": (key, hidden),
        "blocks.{}.attention.out.weight": (hidden, query),
        "blocks.{}.mlp.gate_up.weight:gate": (inner, hidden),
        "blocks.{}.mlp.gate_up.weight:up": (inner, hidden),
        "blocks.{}.mlp.down.weight": (hidden, inner),
    }
    return {
        source.format(i): by_target[target]
        for source, target in names_of(config).items()
        if target in by_target
        for i in range(config.num_layers)
    }


def _in_layers(parameter: str, layers: tuple[int, ...] | None) -> bool:
    return layers is None or int(parameter.split(".")[1]) in layers


def save(
    adapter: Adapter,
    config: ModelConfig,
    directory: Path,
    base: str = "",
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write the adapter as PEFT does, and `denoiser.json` beside it. `base` names the model."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    modules: set[str] = set()
    for name, slot in slots(config, names_of(config)).items():
        part = adapter.parts.get(first_row(slot))
        if part is None:
            continue
        module = name.removesuffix(".weight")
        modules.add(module.rpartition(".")[2])
        tensors[f"{_PREFIX}{module}.lora_A.weight"] = part.a.detach().to("cpu", dtype).contiguous()
        tensors[f"{_PREFIX}{module}.lora_B.weight"] = part.b.detach().to("cpu", dtype).contiguous()
    embedding = _embedding_name(config)
    if adapter.mask_row is not None:
        row = adapter.mask_row.detach().to("cpu", dtype).reshape(1, -1).contiguous()
        tensors[f"{_PREFIX}{embedding}{_TOKEN}"] = row
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
    settings: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
        "layers_to_transform": None if adapter.layers is None else list(adapter.layers),
        "target_modules": sorted(modules),
    }
    if adapter.mask_row is not None:
        settings["trainable_token_indices"] = {embedding.rpartition(".")[2]: [config.mask_id]}
    _write(directory / SETTINGS, settings)
    if adapter.denoiser is not None:
        _write(directory / DENOISER, asdict(adapter.denoiser))


def _embedding_name(config: ModelConfig) -> str:
    names = names_of(config)
    return next(n for n, target in names.items() if target == "embedding").removesuffix(".weight")


def _write(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AdapterError(f"{path.parent} is no adapter: it holds no {path.name}.") from error
    except (OSError, ValueError) as error:
        raise AdapterError(f"{path} cannot be read: {error}.") from error
    return values


def read_denoiser(directory: Path) -> DenoiserSettings | None:
    """Read `denoiser.json`; None without the file (an adapter of a diffusion model).

    Raises:
        AdapterError: the file is damaged.
    """
    if not (directory / DENOISER).exists():
        return None
    values = _read(directory / DENOISER)
    layers = values.get("canvas_layers")
    try:
        return DenoiserSettings(
            **{**values, "canvas_layers": None if layers is None else tuple(layers)}
        )
    except TypeError as error:
        raise AdapterError(f"{directory / DENOISER} is damaged: {error}.") from error


_UNSUPPORTED = {"use_dora": "DoRA", "lora_bias": "a bias", "fan_in_fan_out": "transposed weights"}


def load(directory: Path, config: ModelConfig) -> Adapter:
    """Read an adapter that was written by PEFT or by `save`, for a model of this shape.

    Raises:
        AdapterError: the adapter is damaged, not plain LoRA, or belongs to another base.
    """
    settings = _read(directory / SETTINGS)
    if settings.get("peft_type") != "LORA":
        raise AdapterError(f"{directory} holds no LoRA but {settings.get('peft_type')!r}.")
    unsupported = [name for key, name in _UNSUPPORTED.items() if settings.get(key)]
    unsupported += [k for k in ("alpha_pattern", "modules_to_save") if settings.get(k)]
    if unsupported or settings.get("bias", "none") != "none":
        raise AdapterError(
            f"{directory}: adapters with {', '.join(unsupported) or 'biases'} "
            "are not supported; merge it with PEFT and load the result."
        )
    try:
        tensors = load_file(directory / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{directory / WEIGHTS} is missing or damaged: {error}.") from error
    rank, alpha = int(settings["r"]), float(settings["lora_alpha"])
    row = tensors.pop(f"{_PREFIX}{_embedding_name(config)}{_TOKEN}", None)
    layers = settings.get("layers_to_transform")
    return Adapter(
        parts=_parts(directory, config, tensors, alpha, bool(settings.get("use_rslora"))),
        rank=rank,
        alpha=alpha,
        mask_row=None if row is None else row[0],
        denoiser=read_denoiser(directory),
        layers=tuple(layers) if isinstance(layers, list) else None,
    )


def _parts(
    directory: Path, config: ModelConfig, tensors: dict[str, Tensor], alpha: float, rs: bool
) -> dict[FirstRow, LowRank]:
    parts = {}
    for name, slot in slots(config, names_of(config)).items():
        module = _PREFIX + name.removesuffix(".weight")
        a = tensors.pop(f"{module}.lora_A.weight", None)
        b = tensors.pop(f"{module}.lora_B.weight", None)
        if a is None or b is None:
            continue
        wanted = module_shapes(config).get(name)
        if wanted is not None and wanted != (len(b), a.shape[1]):
            raise AdapterError(
                f"{directory}: {module} changes a matrix of {(len(b), a.shape[1])}, but the "
                f"model's is {wanted}: the adapter belongs to another base."
            )
        scale = alpha / (math.sqrt(len(a)) if rs else len(a))
        parts[first_row(slot)] = LowRank(a, b, scale)
    if tensors or not parts:
        some = ", ".join(sorted(tensors)[:5]) or "nothing"
        raise AdapterError(
            f"{directory}: {some} has no place in a model of the family {config.family} with "
            f"{config.num_layers} layers: the adapter belongs to another base."
        )
    return parts
