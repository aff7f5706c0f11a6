"""Whole rounds through the Triton kernels, in the interpreter, against the references."""

import pytest
import torch
from support.tiny import tiny_config, tiny_model

from dllm_core import ops
from dllm_core.config import DecodeOptions
from dllm_core.gpu.device_job import CanvasJob
from dllm_core.gpu.device_round import DeviceRound, RoundShape
from dllm_core.gpu.paged_model import PROJECTIONS, PagedModel
from dllm_core.model.fp8_linear import Fp8Linear
from dllm_core.model.paged_cache import PagedCache, PagePool
from dllm_core.model.transformer import Transformer
from dllm_core.model.weights import build
from dllm_core.ops.interpret import interpret_without_gpu

pytestmark = [
    pytest.mark.kernels,
    pytest.mark.skipif(not ops.available(), reason="Triton is not installed"),
    pytest.mark.slow,
    # Rows of empty places hold whatever was in memory, which the interpreter multiplies too.
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]
interpret_without_gpu()

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "head_dim": 16,
    "num_heads": 2,
    "num_kv_heads": 1,
    "num_layers": 1,
    "mask_id": 60,
    "eos_ids": (0, 7),
}
FAMILIES = {
    "llada": {"attention": "bidirectional", "shift": False, "num_kv_heads": 2},
    "dream": {"attention": "bidirectional", "qkv_bias": True},
    "sdar": {"block_length": 4, "shift": False, "qk_norm": True},
    "adapted": {},
}
PROMPTS = [[*range(1, 60), 3, 1, 4], [5, 9, 2]]
"""The canvas of the first one begins on one page and ends on the next."""


def eight_bits(exact: Transformer) -> Transformer:
    model = build(exact.config, Fp8Linear, 128, torch.bfloat16, torch.device("cpu"))
    for name, parameter in model.named_parameters():
        parameter.copy_(exact.get_parameter(name))
    for block, source in zip(model.blocks, exact.blocks, strict=True):
        for path in PROJECTIONS:
            layer, whole = block.get_submodule(path), source.get_submodule(path)
            layer.store_rows(0, whole.weight)
            if whole.bias is not None:
                layer.bias.copy_(whole.bias)
    return model


def denoise(model: Transformer) -> list[tuple[list[int], tuple[float, ...]]]:
    bidirectional = model.config.attention == "bidirectional"
    options = DecodeOptions(
        rule="quota", steps=2, cache="prompt_frozen" if bidirectional else "auto"
    )
    pool = PagePool(model.config, 8, model.embedding.dtype, torch.device("cpu"))
    pool.layers[0][1].fill_(torch.nan)
    paged = PagedModel(model, pool)
    for rows in (3 * 4, 3 * 5, 3 * 6):
        for block in model.blocks:
            for path in PROJECTIONS:
                layer = block.get_submodule(path)
                paged.choices[rows, layer.in_features, layer.out_features] = "triton"
    jobs = [CanvasJob(paged, PagedCache(pool, 128), prompt, 5, options) for prompt in PROMPTS]
    shape = RoundShape(3, max(job.columns for job in jobs), 2, 2)
    work = DeviceRound(paged, shape, jobs[0].round_options)
    for job in jobs:
        job.prepare()
    entries = [job.entry() for job in jobs]
    work.write(entries)
    work.run()
    for job, outcome in zip(jobs, work.read(entries), strict=True):
        job.absorb(outcome)
    return [(list(job.view().ids), job.view().confidence) for job in jobs]


@torch.inference_mode()
@pytest.mark.parametrize(("name", "fp8"), [*((name, False) for name in FAMILIES), ("dream", True)])
def test_rounds_of_kernels_are_those_of_the_references(name: str, fp8: bool) -> None:
    model = tiny_model(tiny_config(**(SIZES | FAMILIES[name])))
    if fp8:
        model = eight_bits(model)
    with ops.references():
        expected = denoise(model)
    with ops.kernels():
        found = denoise(model)
    for (ids, sure), (expected_ids, expected_sure) in zip(found, expected, strict=True):
        assert ids == expected_ids
        assert sure == pytest.approx(expected_sure, abs=0.1 if fp8 else 1e-4)
