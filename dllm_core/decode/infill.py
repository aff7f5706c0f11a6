"""Open positions anywhere in a sequence: filled (`fill`), or scored for given ids (`score`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dllm_core.config import DecodeOptions, Rule
from dllm_core.decode.canvas import Canvas
from dllm_core.decode.denoise import Forward, run
from dllm_core.decode.diffusion import Diffusion
from dllm_core.errors import OptionError
from dllm_core.model.cache import PromptCache
from dllm_core.model.transformer import Span, Transformer, visibility


def fill(
    model: Transformer,
    cache: PromptCache,
    template: Sequence[int | None],
    options: DecodeOptions | None,
    allowed: Tensor | None,
) -> tuple[int, ...]:
    """See `Engine.fill`; `cache` is empty."""
    config = model.config
    if not template:
        raise OptionError("The template is empty: there is nothing to fill.")
    if config.shift and template[0] is None:
        raise OptionError("This model predicts the next token: begin with a known one.")
    if options is None:
        rule: Rule = "sequential" if config.mask_id is None else "quota"
        options = DecodeOptions(rule=rule, eos_last=False)
    canvas = Canvas(config, template, cache.store.device)
    if allowed is not None:
        _check_allowed(canvas, allowed, config.mask_id)
    denoiser = Diffusion(config, canvas, cache, options, allowed=allowed, stop_at_eos=False)
    while not denoiser.done:
        denoiser.absorb(run(model, denoiser.plan()))
    return tuple(canvas.ids.tolist())


def _check_allowed(canvas: Canvas, allowed: Tensor, mask_id: int | None) -> None:
    possible = allowed.clone()
    if mask_id is not None:
        possible[:, mask_id] = False
    stuck = (canvas.masked & ~possible.any(-1)).nonzero().flatten().tolist()
    if stuck:
        raise OptionError(f"No token is allowed at open position {stuck[0]} of the template.")


def score(
    model: Transformer, cache: PromptCache, before: Sequence[int], ids: Sequence[int]
) -> float:
    """See `Engine.score`; `cache` is empty."""
    config, device = model.config, cache.store.device
    hidden = [None] * len(ids) if config.mask_id is not None else list(ids)
    canvas = Canvas(config, [*before, *hidden], device)
    n = len(canvas)
    cache.reserve(n)
    mask = visibility(config, 0, n, n, canvas.begin)
    span = Span(cache.store, 0, n, n, None if mask is None else mask.to(device))
    places = torch.arange(len(before), n, device=device) - int(config.shift)
    logits = run(model, Forward(canvas.ids, (span,), places.clamp_min_(0))).log_softmax(-1)
    wanted = torch.tensor(ids, device=device)[:, None]
    return float(logits.gather(-1, wanted).mean())
