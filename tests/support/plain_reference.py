"""The published decoding loops once more, from papers and public code, on a plain transformer.

Nothing here is imported from the project: no cache class, no canvas, no rule. LLaDA's generate
(arXiv 2502.09992), Fast-dLLM's three loops (arXiv 2505.22618), Dream's diffusion_generate
(arXiv 2508.15487) and SDAR's block loop (arXiv 2510.06303), all at temperature 0, one sequence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Past = list[tuple[Tensor, Tensor]]


@dataclass
class Plain:
    """A Llama-like transformer by its weights' Hugging Face names; float32, no batch."""

    weights: dict[str, Tensor]
    heads: int
    kv_heads: int
    layers: int
    theta: float
    eps: float

    def __call__(
        self, ids: Tensor, start: int = 0, past: Past | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Past]:
        """Logits of `ids`, which stand from `start` on; `past` is replaced there, or empty."""
        w, x = self.weights, self.weights["model.embed_tokens.weight"][ids]
        new: Past = []
        for i in range(self.layers):
            p = f"model.layers.{i}."
            n = self._norm(x, w[p + "input_layernorm.weight"])
            q, k, v = (self._heads(n, p + f"self_attn.{c}_proj") for c in "qkv")
            for name, side in (("q_norm", q), ("k_norm", k)):
                if p + f"self_attn.{name}.weight" in w:
                    side.copy_(self._norm(side, w[p + f"self_attn.{name}.weight"]))
            q, k = self._turn(q, start), self._turn(k, start)
            if past is not None:
                k, v = (torch.cat([o[:, :start], t, o[:, start + len(ids) :]], 1)
                        for o, t in zip(past[i], (k, v), strict=True))  # fmt: skip
            new.append((k, v))
            shape = (self.heads // self.kv_heads, dim_of(k))
            scores = q @ k.repeat_interleave(shape[0], 0).transpose(1, 2) / math.sqrt(shape[1])
            if mask is not None:
                scores = scores.masked_fill(~mask, -math.inf)
            y = scores.softmax(-1) @ v.repeat_interleave(shape[0], 0)
            x = x + y.transpose(0, 1).flatten(1) @ w[p + "self_attn.o_proj.weight"].T
            m = self._norm(x, w[p + "post_attention_layernorm.weight"])
            gate, up = (m @ w[p + f"mlp.{c}_proj.weight"].T for c in ("gate", "up"))
            x = x + (gate * gate.sigmoid() * up) @ w[p + "mlp.down_proj.weight"].T
        head = w.get("lm_head.weight", w["model.embed_tokens.weight"])
        return self._norm(x, w["model.norm.weight"]) @ head.T, new

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + self.eps).sqrt() * weight

    def _heads(self, x: Tensor, name: str) -> Tensor:
        y = x @ self.weights[name + ".weight"].T + self.weights.get(name + ".bias", 0)
        count = self.heads if name.endswith("q_proj") else self.kv_heads
        return y.view(len(x), count, -1).transpose(0, 1).clone()

    def _turn(self, x: Tensor, start: int) -> Tensor:
        size = dim_of(x)
        place = torch.arange(start, start + x.shape[1], dtype=torch.float64)[:, None]
        angle = place / self.theta ** (torch.arange(0, size, 2, dtype=torch.float64) / size)
        cos, sin = angle.cos().float(), angle.sin().float()
        a, b = x[..., : size // 2], x[..., size // 2 :]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def dim_of(x: Tensor) -> int:
    return int(x.shape[-1])


def _surest(confidence: Tensor, count: int) -> list[int]:
    return sorted(range(len(confidence)), key=lambda i: (-float(confidence[i]), i))[:count]


def _best(logits: Tensor, mask_id: int) -> tuple[Tensor, Tensor]:
    logits = logits.double().clone()
    logits[:, mask_id] = -1e9
    return logits.argmax(-1), logits.softmax(-1).max(-1).values


def llada(
    model: Plain,
    prompt: list[int],
    mask_id: int,
    *,
    length: int,
    block: int,
    steps: int,
    cfg: float,
) -> list[int]:
    x = torch.tensor(prompt + [mask_id] * length)
    per_block = steps // (length // block)
    for first in range(len(prompt), len(x), block):
        base, extra = divmod(block, per_block)
        for i in range(per_block):
            logits = model(x)[0]
            if cfg:
                bare = x.clone()
                bare[: len(prompt)] = mask_id
                without = model(bare)[0]
                logits = without + (cfg + 1) * (logits - without)
            ids, sure = _best(logits, mask_id)
            sure = torch.where(x == mask_id, sure, -torch.inf)
            sure[first + block :] = -torch.inf
            for place in _surest(sure, base + (i < extra)):
                x[place] = ids[place]
    return x[len(prompt) :].tolist()


def fast_dllm(
    model: Plain, prompt: list[int], mask_id: int, *, length: int, block: int, cache: str,
    threshold: float | None = None, factor: float | None = None,
) -> tuple[list[int], int]:  # fmt: skip
    """The reply, and the forward passes that it took."""
    x = torch.tensor(prompt + [mask_id] * length)
    passes = 0
    for first in range(len(prompt), len(x), block):
        last, past = first + block, None
        while (x[first:last] == mask_id).any():
            passes += 1
            if cache == "none" or past is None:
                logits, past = model(x)
                logits = logits[first:last]
            elif cache == "prefix":
                logits, _ = model(x[first:], first, [(k[:, :first], v[:, :first]) for k, v in past])
                logits = logits[:block]
            else:
                logits, past = model(x[first:last], first, past)
            ids, sure = _best(logits, mask_id)
            open_places = [i for i in range(block) if x[first + i] == mask_id]
            order = [i for i in _surest(sure, block) if i in open_places]
            if threshold is not None:
                chosen = [i for i in order if sure[i] >= threshold]
            else:
                assert factor is not None
                chosen = []
                for rank, i in enumerate(order, 1):
                    if sure[i] < 1 - factor / (rank + 1):
                        break
                    chosen.append(i)
            for i in chosen or order[:1]:
                x[first + i] = ids[i]
    return x[len(prompt) :].tolist(), passes


def dream(
    model: Plain, prompt: list[int], mask_id: int, *, length: int, steps: int, alg: str, top_k: int
) -> list[int]:
    x = torch.tensor(prompt + [mask_id] * length)
    times = torch.linspace(1, 1e-3, steps + 1, dtype=torch.float64)
    for i in range(steps):
        logits = model(x)[0]
        logits = torch.cat([logits[:1], logits[:-1]]).double()
        logits[:, mask_id] = -1e9
        kept = logits.topk(min(top_k, logits.shape[-1]), -1)
        p = torch.full_like(logits, -torch.inf).scatter(-1, kept.indices, kept.values).softmax(-1)
        two = p.topk(2, -1).values
        entropy = (p * (p + 1e-10).log()).sum(-1)
        sure = {"maskgit_plus": two[:, 0], "topk_margin": two[:, 0] - two[:, 1], "entropy": entropy}
        open_count = int((x == mask_id).sum())
        count = open_count if i == steps - 1 else int(open_count * (1 - times[i + 1] / times[i]))
        confidence = torch.where(x == mask_id, sure[alg], -torch.inf)
        for place in _surest(confidence, count):
            x[place] = p[place].argmax()
    return x[len(prompt) :].tolist()


def sdar(
    model: Plain,
    prompt: list[int],
    mask_id: int,
    *,
    length: int,
    block: int,
    steps: int,
    threshold: float,
) -> list[int]:
    """Low-confidence dynamic; the whole sequence is run anew under the block mask, uncached.

    Every block is denoised to its edge; of the last one the first `length` tokens are the reply.
    """
    edge = -(-(len(prompt) + length) // block) * block
    x = torch.tensor(prompt + [mask_id] * (edge - len(prompt)))
    places = torch.arange(len(x)) // block
    mask = places[None] <= places[:, None]
    for first in range(len(prompt) // block * block, len(x), block):
        last = first + block
        size = int((x[first:last] == mask_id).sum())
        for i in range(steps):
            if not (x[first:last] == mask_id).any():
                break
            logits = model(x[:last], mask=mask[:last, :last])[0]
            ids, sure = _best(logits, mask_id)
            sure = torch.where(x[:last] == mask_id, sure, -torch.inf)
            sure[:first] = -torch.inf
            quota = size // steps + (i < size % steps)
            high = [int(p) for p in (sure > threshold).nonzero()]
            for place in high if len(high) >= quota else _surest(sure, quota):
                x[place] = ids[place]
    return x[len(prompt) :][:length].tolist()


def fast_dllm_v2(
    model: Plain, prompt: list[int], mask_id: int, *, length: int, block: int, part: int,
    threshold: float,
) -> tuple[list[int], int]:  # fmt: skip
    """Fast-dLLM v2 (arXiv 2509.26328): the reply, and its forward passes over blocks.

    The first token of a block is the best one after the clean block before it. The parts of a
    block are finished from left to right; within the block logits are shifted by one.
    """

    def mask(n: int) -> Tensor:
        places = torch.arange(n) // block
        return places[None] <= places[:, None]

    x, passes = list(prompt), 0
    while len(x) < len(prompt) + length:
        if len(x) % block == 0:
            logits = model(torch.tensor(x), mask=mask(len(x)))[0][-1]
            logits[mask_id] = -1e9
            x.append(int(logits.argmax()))
            passes += 1
        first = len(x) // block * block
        t = torch.tensor(x + [mask_id] * (first + block - len(x)))
        for start in range(first, first + block, part):
            while (t[start : start + part] == mask_id).any():
                logits = model(t, mask=mask(len(t)))[0]
                logits = torch.cat([logits[:1], logits[:-1]])[start : start + part]
                ids, sure = _best(logits, mask_id)
                sure = torch.where(t[start : start + part] == mask_id, sure, -torch.inf)
                for i in (sure >= threshold).nonzero().flatten().tolist() or _surest(sure, 1):
                    t[start + i] = ids[i]
                passes += 1
        x = t.tolist()
    return x[len(prompt) :][:length], passes


def bd3lm(
    model: Plain, prompt: list[int], mask_id: int, *, length: int, block: int, steps: int
) -> list[int]:
    """Block diffusion as dllm samples it, without its left padding, which is not attended to.

    Padding puts the end of the prompt on the edge of a block and hides the difference between
    positions and edges: the edges are counted from the prompt's end.
    """
    pad = -len(prompt) % block
    x, stop = list(prompt), len(prompt) + length
    while len(x) < stop:
        size = min(block, stop - len(x))
        t = torch.tensor(x + [mask_id] * size)
        places = (torch.arange(len(t)) + pad) // block
        for i in range(steps):
            ids, sure = _best(model(t, mask=places[None] <= places[:, None])[0][-size:], mask_id)
            sure = torch.where(t[-size:] == mask_id, sure, -torch.inf)
            for place in _surest(sure, size // steps + (i < size % steps)):
                t[len(t) - size + place] = ids[place]
        x = t.tolist()
    return x[len(prompt) :]


def random_weights(shape: dict[str, Any], seed: int) -> dict[str, Tensor]:
    """Weights of a tiny model by Hugging Face names; large enough that places differ."""
    g, hidden, size = torch.Generator().manual_seed(seed), shape["hidden"], shape["head_dim"]
    rows = {
        "q": shape["heads"] * size,
        "k": shape["kv_heads"] * size,
        "v": shape["kv_heads"] * size,
    }
    w = {"model.embed_tokens.weight": torch.randn(shape["vocab"], hidden, generator=g)}
    if not shape["tied"]:
        w["lm_head.weight"] = torch.randn(shape["vocab"], hidden, generator=g)
    w["model.norm.weight"] = torch.rand(hidden, generator=g) + 0.2
    for i in range(shape["layers"]):
        p = f"model.layers.{i}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            w[p + name + ".weight"] = torch.rand(hidden, generator=g) + 0.5
        for c, count in rows.items():
            w[p + f"self_attn.{c}_proj.weight"] = torch.randn(count, hidden, generator=g) * 0.3
            if shape["bias"]:
                w[p + f"self_attn.{c}_proj.bias"] = torch.randn(count, generator=g) * 0.3
            if shape["qk_norm"] and c != "v":
                w[p + f"self_attn.{c}_norm.weight"] = torch.rand(size, generator=g) + 0.5
        w[p + "self_attn.o_proj.weight"] = torch.randn(hidden, rows["q"], generator=g) * 0.3
        for c in ("gate", "up"):
            w[p + f"mlp.{c}_proj.weight"] = torch.randn(shape["inner"], hidden, generator=g) * 0.3
        w[p + "mlp.down_proj.weight"] = torch.randn(hidden, shape["inner"], generator=g) * 0.3
    return w
