"""DFlash drafters (arXiv 2602.06036) in the published format, for Qwen3 bases.

Differences from this project's own: row j of a block predicts the token at its own place, so that
row 0 predicts nothing; masks are a token of the base; keys and queries are normalised; the head
is the base's, over its whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dllm_core.config import ModelConfig
from dllm_core.cpu.product import Norm
from dllm_core.draft.calibration import Calibration
from dllm_core.draft.parts import CPU, ContextLayer, Parts, kind_of, linear_of, store
from dllm_core.errors import DrafterError, ModelFileError, WeightsError
from dllm_core.model.checkpoint import read_shards
from dllm_core.model.json_files import read_json
from dllm_core.model.transformer import Block, Transformer
from dllm_core.model.weights import build

_BLOCK = 16
_LAYER = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "self_attn.q_norm", "self_attn.k_norm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
    "input_layernorm", "post_attention_layernorm",
)  # fmt: skip


def is_dflash(values: Mapping[str, Any]) -> bool:
    """Whether a config.json describes such a drafter."""
    named = any(str(name).startswith("DFlash") for name in values.get("architectures") or ())
    return named or "dflash_config" in values


def _value(values: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """A field of `dflash_config`, or of the configuration itself."""
    return values.get("dflash_config", {}).get(name, values.get(name, default))


def parts_of(directory: Path, base: Transformer, context: int) -> Parts:
    """Read a checkpoint.

    Raises:
        DrafterError: it is of a variant that is not supported, incomplete, or of another base.
    """
    try:
        values = read_json(directory / "config.json")
        tensors = {name: rows[:].float() for name, rows in read_shards(directory)}
        config = _shape(values, base)
        return _assembled(values, config, tensors, base, context)
    except (ModelFileError, WeightsError) as error:
        raise DrafterError(f"{directory} holds no complete DFlash drafter: {error}") from error
    except KeyError as error:
        raise DrafterError(f"The DFlash drafter in {directory} lacks {error}.") from error
    except RuntimeError as error:
        raise DrafterError(
            f"The tensors of the DFlash drafter in {directory} are not of the shapes that its "
            f"config.json states: {error}"
        ) from error


def _shape(values: Mapping[str, Any], base: Transformer) -> ModelConfig:
    """The layers of a block as a model of the engine."""
    _refuse_variants(values)
    layers = int(values.get("num_target_layers", base.config.num_layers))
    found = (layers, values["hidden_size"], values["vocab_size"])
    wanted = (base.config.num_layers, base.config.hidden_size, base.config.vocab_size)
    if found != wanted:
        raise DrafterError(
            f"This DFlash drafter is for a base whose layers, width and vocabulary are {found}; "
            f"the model that is loaded has {wanted}. Give it its own drafter, or none."
        )
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    return ModelConfig(
        family="drafter", vocab_size=values["vocab_size"], hidden_size=values["hidden_size"],
        intermediate_size=values["intermediate_size"], num_layers=values["num_hidden_layers"],
        num_heads=values["num_attention_heads"], num_kv_heads=values["num_key_value_heads"],
        head_dim=values["head_dim"], context_length=_block(values),
        rope_theta=float(values.get("rope_theta") or rope.get("rope_theta", 10_000.0)),
        norm_eps=float(values.get("rms_norm_eps", 1e-6)), eos_ids=(), attention="bidirectional",
        qk_norm=True, tied_head=False,
    )  # fmt: skip


def _block(values: Mapping[str, Any]) -> int:
    return int(_value(values, "block_size", _BLOCK))


def _refuse_variants(values: Mapping[str, Any]) -> None:
    """Raises DrafterError where the configuration asks for what is not done here."""
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    unusual = {
        "DFlash 2 (convolutions and a candidate selector)": _value(values, "conv_kernel_size"),
        "causal or sliding attention within a block": values.get("is_causal")
        or "sliding_attention" in (values.get("layer_types") or ()),
        "biases in attention": values.get("attention_bias"),
        "a scaled rotary embedding": rope.get("rope_type", rope.get("type", "default"))
        != "default",
        "a cap on its scores": _value(values, "final_logit_softcapping"),
    }
    for what, present in unusual.items():
        if present:
            raise DrafterError(f"This DFlash drafter needs {what}, which is not supported here.")
    if _value(values, "target_layer_ids") is None or _value(values, "mask_token_id") is None:
        raise DrafterError(
            "The DFlash drafter's config.json names no target_layer_ids or no mask_token_id."
        )


def _assembled(
    values: Mapping[str, Any],
    config: ModelConfig,
    tensors: Mapping[str, Tensor],
    base: Transformer,
    context: int,
) -> Parts:
    features = tuple(int(i) for i in _value(values, "target_layer_ids"))
    wrong = [i for i in features if not 0 <= i < base.config.num_layers]
    if wrong:
        raise DrafterError(f"The DFlash drafter reads layers {wrong}, which the base lacks.")
    model = build(config, kind_of(base), context, torch.float32, CPU)
    kept = []
    for i, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        parts = {name: tensors[f"layers.{i}.{name}.weight"] for name in _LAYER}
        _fill(block, parts)
        both = torch.cat([parts["self_attn.k_proj"], parts["self_attn.v_proj"]])
        kept.append(
            ContextLayer(keys_values=linear_of(both, base), key_norm=parts["self_attn.k_norm"])
        )
    model.norm.copy_(tensors["norm.weight"])
    model.head = base.head
    model.use_embedding(base.embedding)
    block_rows = _block(values)
    return Parts(
        features=features,
        block=block_rows,
        first=1,
        model=model,
        whitening=None,
        fuse=linear_of(tensors["fc.weight"], base),
        fused_norm=Norm(tensors["hidden_norm.weight"], config.norm_eps),
        context=tuple(kept),
        mask=base.embedding[int(_value(values, "mask_token_id"))].detach().float(),
        scale=float(_value(values, "input_embedding_scale", 1.0)),
        vocabulary=None,
        calibration=Calibration.none(block_rows - 1),
    )


def _fill(block: Block, parts: Mapping[str, Tensor]) -> None:
    attention, mlp = block.attention, block.mlp
    block.attention_norm.copy_(parts["input_layernorm"])
    block.mlp_norm.copy_(parts["post_attention_layernorm"])
    attention.q_norm.copy_(parts["self_attn.q_norm"])
    attention.k_norm.copy_(parts["self_attn.k_norm"])
    store(attention.qkv, torch.cat([parts[f"self_attn.{n}_proj"] for n in "qkv"]))
    store(attention.out, parts["self_attn.o_proj"])
    store(mlp.gate_up, torch.cat([parts["mlp.gate_proj"], parts["mlp.up_proj"]]))
    store(mlp.down, parts["mlp.down_proj"])
