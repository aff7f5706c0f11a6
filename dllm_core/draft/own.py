"""Drafters of this project, as `onebreath adapt drafter` makes them."""

from __future__ import annotations

import torch

from dllm_core.config import ModelConfig
from dllm_core.cpu.product import Norm
from dllm_core.draft import files
from dllm_core.draft.config import DrafterConfig
from dllm_core.draft.network import DraftLayer, DraftNetwork
from dllm_core.draft.parts import CPU, ContextLayer, Parts, kind_of, linear_of, store
from dllm_core.draft.proposal import Markov
from dllm_core.model.transformer import Block, Transformer
from dllm_core.model.weights import build


def parts_of(found: files.DrafterFile, base: Transformer, context: int) -> Parts:
    """Its parts.

    Raises:
        DrafterError: the base is not the one that it was trained for.
    """
    found.config.check(base)
    return parts_of_network(found.network(base.embedding), found, base, context)


def parts_of_network(
    network: DraftNetwork, found: files.DrafterFile, base: Transformer, context: int
) -> Parts:
    config = network.config
    layers = [layer for layer in network.layers if isinstance(layer, DraftLayer)]
    return Parts(
        features=config.features,
        block=config.block,
        first=0,
        model=_model(network, layers, base, context),
        whitening=(network.mean, 1 / network.deviation),
        fuse=linear_of(network.fuse.weight, base),
        fused_norm=Norm(network.fused_norm.detach(), config.norm_eps),
        context=tuple(
            ContextLayer(
                keys_values=linear_of(layer.qkv.weight[layer.queries :], base),
                norm=Norm(layer.context_norm.detach(), config.norm_eps),
            )
            for layer in layers
        ),
        mask=network.mask.detach(),
        scale=float(network.scale),
        position=network.position.detach(),
        last=linear_of(network.last.weight, base),
        vocabulary=network.vocabulary.numpy(),
        markov=_markov(network),
        ngrams=found.ngrams,
        calibration=found.calibration,
    )


def _model(
    network: DraftNetwork, layers: list[DraftLayer], base: Transformer, context: int
) -> Transformer:
    """The layers of a block and the head, as the engine's own transformer."""
    model = build(shape_of(network.config), kind_of(base), context, torch.float32, CPU)
    for block, layer in zip(model.blocks, layers, strict=True):
        assert isinstance(block, Block)
        block.attention_norm.copy_(layer.attention_norm)
        block.mlp_norm.copy_(layer.mlp_norm)
        store(block.attention.qkv, layer.qkv.weight)
        store(block.attention.out, layer.out.weight)
        store(block.mlp.gate_up, layer.gate_up.weight)
        store(block.mlp.down, layer.down.weight)
    model.norm.copy_(network.norm)
    store(model.head, network.head)
    model.use_embedding(base.embedding)
    return model


def shape_of(config: DrafterConfig) -> ModelConfig:
    """The layers of a block as a model of the engine."""
    return ModelConfig(
        family="drafter", vocab_size=config.words, hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size, num_layers=config.layers,
        num_heads=config.heads, num_kv_heads=config.kv_heads, head_dim=config.head_dim,
        context_length=config.block, rope_theta=config.rope_theta, norm_eps=config.norm_eps,
        eos_ids=(), attention="bidirectional", tied_head=False,
    )  # fmt: skip


def _markov(network: DraftNetwork) -> Markov:
    parts = (network.before.weight, network.after.weight, network.places)
    before, after, places = (part.detach().numpy() for part in parts)
    return Markov(before, after, places)
