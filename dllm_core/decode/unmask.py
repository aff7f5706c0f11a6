"""Decode rules: which positions of a canvas become final after a forward pass.

Pure functions over tensors; they neither run the model nor change their arguments. A rule
takes a confidence per position and which positions are open, and returns which of those are
committed; at least one, if any is open.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dllm_core.config import Confidence
from dllm_core.cpu import prediction

_NEVER = -torch.inf


def predict(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Greedy prediction: logits (rows, vocab) -> ids (rows,) and their probabilities (rows,).

    The probabilities are float64, computed from the weight of all other tokens: two that are
    both 1 in float32 still differ, down to 1e-16.
    """
    ids, others = _best_token(logits)
    return ids, 1 / (1 + others.double())


def _best_token(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Ids (rows,), and the sum of e**(logit - best) over all others."""
    if prediction.serves(logits):
        return prediction.best_token(logits)
    highest, ids = logits.max(dim=-1, keepdim=True)
    weights = (logits - highest).exp_().scatter_(-1, ids, 0.0)
    return ids.squeeze(-1), weights.sum(-1, dtype=torch.float64)


def sample(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> Tensor:
    """Draw ids (rows,) from logits (rows, vocab); temperature 0 takes the best.

    Adding Gumbel noise to the tempered logits and taking the maximum draws from their softmax.
    """
    if temperature == 0.0:
        return logits.argmax(dim=-1)
    tempered = logits.double() / temperature
    if top_p < 1.0:
        tempered = _nucleus(tempered, top_p)
    uniform = torch.rand(tempered.shape, generator=generator, dtype=torch.float64)
    gumbel = -torch.log(-torch.log(uniform.clamp_min(1e-300)))
    return (tempered + gumbel.to(tempered.device)).argmax(dim=-1)


def best(logits: Tensor, count: int) -> Tensor:
    """Set the logits (rows, vocab) of all but the `count` best tokens of each row to -inf."""
    floor = logits.topk(min(count, logits.shape[-1]), dim=-1).values[:, -1:]
    return logits.masked_fill(logits < floor, _NEVER)


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Keep the smallest set of best tokens whose probability reaches `top_p`."""
    ordered, places = logits.sort(dim=-1, descending=True)
    probabilities = ordered.softmax(dim=-1)
    beyond = probabilities.cumsum(dim=-1) - probabilities >= top_p
    return logits.masked_fill(beyond.gather(-1, places.argsort(dim=-1)), _NEVER)


def confidences(
    logits: Tensor, ids: Tensor, kind: Confidence, generator: torch.Generator
) -> Tensor:
    """Confidence (rows,) of the model in `ids` (rows,), from logits (rows, vocab); larger is surer.

    `probability` is LLaDA's low-confidence measure and MaskGIT's; `margin` (of the two best)
    and `entropy` (negative) are Dream's; `random` is LLaDA's random remasking.
    """
    if kind == "random":
        return torch.rand(ids.shape, generator=generator).to(logits.device)
    if kind == "entropy":
        return -entropies(logits.double().softmax(dim=-1))
    best, sure = predict(logits)
    highest = logits.gather(-1, best[:, None])
    if kind == "margin":
        second = logits.scatter(-1, best[:, None], _NEVER).amax(dim=-1, keepdim=True)
        return sure * -torch.expm1((second - highest).double()).squeeze(-1)
    return sure * (logits.gather(-1, ids[:, None]) - highest).double().exp().squeeze(-1)


def entropies(probabilities: Tensor) -> Tensor:
    """Shannon entropy in nats of each row: (rows, vocab) -> (rows,)."""
    return -(probabilities * torch.log(probabilities + 1e-10)).sum(dim=-1)


def guided(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance as LLaDA's generate applies it."""
    return unconditional + (scale + 1) * (conditional - unconditional)


def quota(open_positions: int, steps_left: int) -> int:
    """Positions to commit now so that the steps left share the rest evenly, early ones more.

    Equals LLaDA's schedule (get_num_transfer_tokens), which fixes all quotas beforehand.
    """
    return -(-open_positions // max(1, steps_left))


def timestep_quota(open_positions: int, step: int, steps: int, last: float = 1e-3) -> int:
    """Dream's quota of step `step` (from 0): timesteps fall linearly from 1 to `last`."""
    if step == steps - 1:
        return open_positions
    now, then = (1 + (last - 1) * i / steps for i in (step, step + 1))
    return int(open_positions * (1 - then / now))


def top(confidence: Tensor, masked: Tensor, count: int) -> Tensor:
    """The `count` surest open positions (LLaDA, Dream, SDAR static)."""
    count = min(count, int(masked.sum()))
    chosen = torch.zeros_like(masked)
    chosen[confidence.masked_fill(~masked, _NEVER).topk(count).indices] = True
    return chosen


def leftmost(masked: Tensor, count: int) -> Tensor:
    """The first `count` open positions (SDAR's sequential rule)."""
    return masked & (masked.cumsum(0) <= count)


def above(confidence: Tensor, masked: Tensor, threshold: float) -> Tensor:
    """Every position at or above the threshold (Fast-dLLM, arXiv 2505.22618)."""
    return _at_least_one(confidence >= threshold, confidence, masked)


def factor(confidence: Tensor, masked: Tensor, scale: float) -> Tensor:
    """The longest run of the surest positions with c_(r) >= 1 - scale / (r + 1) (Fast-dLLM).

    Fast-dLLM's own loop commits the last open position even when only that one fails; here,
    as in the dllm library, the run ends before it.
    """
    ordered, places = confidence.masked_fill(~masked, _NEVER).sort(descending=True)
    ranks = torch.arange(1, len(ordered) + 1, device=ordered.device)
    accepted = (ordered >= 1 - scale / (ranks + 1)).long().cumprod(0).bool()
    return _at_least_one(accepted[places.argsort()], confidence, masked)


def entropy_bounded(entropy: Tensor, masked: Tensor, bound: float) -> Tensor:
    """The k lowest-entropy positions with (sum of their entropies) - (largest) <= bound.

    The EB-sampler (arXiv 2505.24857), as DiffusionGemma uses it.
    """
    ordered, places = entropy.masked_fill(~masked, torch.inf).sort()
    accepted = (ordered.cumsum(0) - ordered <= bound)[places.argsort()]
    return _at_least_one(accepted, -entropy, masked)


def dynamic(confidence: Tensor, masked: Tensor, threshold: float, count: int) -> Tensor:
    """All above the threshold if they fill the quota, else the quota (SDAR, LLaDA 2.0)."""
    high = (confidence > threshold) & masked
    return high if int(high.sum()) >= count else top(confidence, masked, count)


def doubtful(confidence: Tensor, committed: Tensor, below: float, limit: int) -> Tensor:
    """Committed positions that later context has made improbable, at most `limit` of them.

    They are opened again, as in WINO (arXiv 2507.18578). `confidence` is that of the committed
    ids in the present forward pass.
    """
    low = committed & (confidence < below)
    if int(low.sum()) <= limit:
        return low
    worst = torch.zeros_like(low)
    worst[confidence.masked_fill(~low, torch.inf).topk(limit, largest=False).indices] = True
    return worst & low


def fixed_prefix(drafts: Tensor, predicted: Tensor) -> Tensor:
    """Number of leading predictions that can no longer change under causal attention.

    `predicted[i]` (n,) was computed from the first i of `drafts` (n - 1,). The first one is
    therefore final, and each next one as long as the draft before it was predicted again.
    This is Jacobi iteration of greedy decoding (arXiv 2305.10427): its fixed point is the
    greedy autoregressive sequence. Returns a scalar count between 1 and n.
    """
    return (drafts == predicted[:-1]).long().cumprod(0).sum() + 1


def accepted_prefix(draft: Tensor, logits: Tensor, relative: float = 1.0) -> int:
    """Length of the draft's prefix that an autoregressive model accepts (FlashDLM, arXiv
    2505.21467).

    `logits[i]` (n, vocab) predict `draft[i]` (n,) from all tokens before it. A
    token is accepted if it is the best one, or, with `relative` below 1, the second best with
    at least that share of the best one's probability.
    """
    two = logits.topk(2, dim=-1)
    first = draft == two.indices[:, 0]
    near = two.values[:, 1] - two.values[:, 0] >= math.log(max(relative, 1e-30))
    second = (draft == two.indices[:, 1]) & near & (relative < 1.0)
    return int((first | second).long().cumprod(0).sum())


def _at_least_one(chosen: Tensor, confidence: Tensor, masked: Tensor) -> Tensor:
    chosen = chosen & masked
    return chosen if bool(chosen.any()) else top(confidence, masked, 1)
