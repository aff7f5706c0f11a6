"""Peers at the same geometry: transformers, Fast-dLLM's loop, autoregressive decoding."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from geometry import Sizes, prompts, random_model
from timing import device_ms, joules_per_token, wall_ms

from dllm_core.config import DecodeOptions
from dllm_core.decode.canvas import Canvas
from dllm_core.decode.denoise import run
from dllm_core.decode.diffusion import Diffusion
from dllm_core.decode.unmask import predict, quota, top
from dllm_core.gpu.graphs import CudaRecorder
from dllm_core.gpu.paged_model import PagedModel, Where
from dllm_core.gpu.tuning import tune
from dllm_core.model.cache import KeyValues, PromptCache
from dllm_core.model.paged_cache import PagePool
from dllm_core.model.pages import pages_for
from dllm_core.ops import PAGE
from dllm_core.ops.attention import canvas_attention
from dllm_core.ops.head import top1

Row = dict[str, Any]
FIRST_TOKENS = 8
"""Tokens of a clause, after which an autoregressive reply can be spoken."""


@torch.inference_mode()
def eager(sizes: Sizes, device: torch.device) -> Iterator[Row]:
    """transformers' Llama, run as LLaDA's own loop runs its model: all positions, every step."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = sizes.config
    shape = LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        max_position_embeddings=config.context_length,
        rms_norm_eps=config.norm_eps,
        tie_word_embeddings=False,
        attn_implementation="eager",
    )
    with device:
        model = LlamaForCausalLM(shape).to(torch.bfloat16).eval()
    (prompt,) = prompts(config, 1, sizes.cached)
    total = sizes.cached + sizes.canvas
    everywhere = torch.zeros(1, 1, total, total, dtype=torch.bfloat16, device=device)
    start = torch.tensor([*prompt, *[config.mask_id or 0] * sizes.canvas], device=device)

    def reply(steps: int) -> None:
        ids, masked = start.clone(), torch.zeros(total, dtype=torch.bool, device=device)
        masked[sizes.cached :] = True
        for step in range(steps):
            logits = model(ids[None], attention_mask=everywhere, use_cache=False).logits[0]
            best, sure = predict(logits.float())
            chosen = top(sure, masked, quota(int(masked.sum()), steps - step))
            ids[chosen], masked[chosen] = best[chosen], False
        ids.tolist()

    for steps in sizes.steps:
        yield _row("transformers eager", sizes, device, steps, partial(reply, steps))


def _row(arm: str, sizes: Sizes, device: torch.device, steps: int, reply: Any) -> Row:
    ms = wall_ms(reply, device, sizes.repeats)
    joules = joules_per_token(reply, sizes.canvas, device, sizes.energy_seconds)
    return {"what": "reply", "arm": arm, "dtype": "bfloat16", "batch": 1, "canvas": sizes.canvas,
            "cached": sizes.cached, "steps": steps, "step_ms": ms / steps, "reply_ms": ms,
            "tokens_per_s": sizes.canvas / ms * 1e3, "joules_per_token": joules}  # fmt: skip


@torch.inference_mode()
def fast_dllm(sizes: Sizes, device: torch.device) -> Iterator[Row]:
    """Fast-dLLM's dual cache (arXiv 2505.22618) in plain torch: two blocks, refreshed at each.

    The prompt is computed anew with the first step of every block, as its code does.
    """
    model = random_model(sizes.config, "bfloat16", sizes.context, device)
    (prompt,) = prompts(sizes.config, 1, sizes.cached)

    def reply(steps: int) -> None:
        options = DecodeOptions(
            rule="quota", cache="dual", block_length=sizes.canvas // 2, steps=steps
        )
        store = KeyValues(sizes.config, sizes.context, torch.bfloat16, device)
        canvas = Canvas.after(sizes.config, prompt, sizes.canvas, device)
        denoiser = Diffusion(sizes.config, canvas, PromptCache(store), options)
        while not denoiser.done:
            denoiser.absorb(run(model, denoiser.plan()))
        denoiser.final()

    for steps in sizes.steps:
        yield _row("Fast-dLLM dual cache", sizes, device, steps, partial(reply, steps))


@torch.inference_mode()
def autoregressive(sizes: Sizes, dtype: str, device: torch.device) -> Iterator[Row]:
    """Token by token with our own operations, one CUDA graph a token."""
    model = random_model(sizes.config, dtype, sizes.context, device)
    most = max(sizes.batches)
    pool = PagePool(sizes.config, most * pages_for(sizes.context, PAGE) + 1, torch.bfloat16, device)
    paged = PagedModel(model, pool)
    if device.type == "cuda":
        tune(paged, sizes.batches)
    for batch in (min(sizes.batches), most):
        decoder = _Decoder(paged, batch, sizes)
        times = {
            count: device_ms(partial(decoder.decode, count), device, sizes.repeats)
            for count in (FIRST_TOKENS, sizes.canvas)
        }
        tokens = batch * sizes.canvas
        yield {
            "what": "reply",
            "arm": "autoregressive",
            "dtype": dtype,
            "batch": batch,
            "canvas": sizes.canvas,
            "cached": sizes.cached,
            "steps": sizes.canvas,
            "step_ms": times[sizes.canvas] / sizes.canvas,
            "first_tokens_ms": times[FIRST_TOKENS],
            "reply_ms": times[sizes.canvas],
            "tokens_per_s": tokens / times[sizes.canvas] * 1e3,
            "joules_per_token": joules_per_token(
                partial(decoder.decode, sizes.canvas), tokens, device, sizes.energy_seconds
            ),
            "graph": decoder.captured,
        }


class _Decoder:
    """Greedy decoding of several sequences; the contents of their caches do not affect the time."""

    def __init__(self, model: PagedModel, batch: int, sizes: Sizes) -> None:
        device = model.pool.device
        each = pages_for(sizes.context, PAGE)
        self._model, self._cached = model, sizes.cached
        self._table = 1 + torch.arange(batch * each, device=device).view(batch, each).int()
        self._ids = torch.full((batch,), 11, device=device)
        self._positions = torch.zeros(batch, dtype=torch.int32, device=device)
        self._step = self._token
        self.captured = device.type == "cuda"
        if self.captured:
            self._positions.fill_(self._cached)
            self._step = CudaRecorder(device).record(self._token)

    def decode(self, tokens: int) -> None:
        self._positions.fill_(self._cached)
        for _ in range(tokens):
            self._step()

    def _token(self) -> None:
        at = self._positions.long()
        page = self._table.long().gather(1, at[:, None] // PAGE).squeeze(1)
        where = Where(self._positions, page * PAGE + at % PAGE)
        hidden = self._model.run(self._ids, where, self._attend)
        self._ids.copy_(top1(hidden, self._model.head)[0])
        self._positions.add_(1)

    def _attend(self, q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        seen = self._positions + 1
        return canvas_attention(q[:, None], keys, values, self._table, seen).view(len(q), -1)
