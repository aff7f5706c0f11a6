"""Replies of a model in batches, for training data.

They are made token by token, greedy or drawn, or denoised with a record of the order in which
positions were committed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dllm_core.adapt.examples import Example
from dllm_core.adapt.network import BatchCache, Network
from dllm_core.decode import unmask
from dllm_core.errors import OptionError


class _Prompts:
    """Prompts without their last tokens, read into a cache and right-padded to one width."""

    def __init__(self, network: Network, prompts: Sequence[Sequence[int]], room: int) -> None:
        config, device = network.model.config, network.model.embedding.device
        if not config.shift or config.attention != "block_causal" or config.block_length > 1:
            raise OptionError("Replies are made in batches only with causal, shifted models.")
        if not prompts or not all(prompts):
            raise OptionError("A prompt is empty: give each prompt one token at least.")
        count = len(prompts)
        self.width = max(len(p) for p in prompts) - 1
        self.lengths = torch.tensor([len(p) - 1 for p in prompts], device=device)
        self.last = torch.tensor([p[-1] for p in prompts], device=device)
        self.cache = BatchCache(network.model, count, self.width + room)
        columns = torch.arange(self.width + room, device=device)
        # Rows attend to their own prompt and to later tokens, not to the padding between.
        self.readable = (columns < self.lengths[:, None]) | (columns >= self.width)
        if self.width == 0:
            return
        ids = torch.full((count, self.width), config.eos_ids[0])
        for i, prompt in enumerate(prompts):
            ids[i, : len(prompt) - 1] = torch.tensor(prompt[:-1])
        rows = columns[: self.width]
        causal = (columns <= rows[:, None]).expand(count, -1, -1)
        network(ids.to(device), rows.expand(count, -1), causal, None, self.cache, 0)


@torch.inference_mode()
def replies(
    network: Network,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[tuple[list[int], float]]:
    """Token-by-token replies, with the mean log-probability of their tokens in nats.

    A reply ends before its end-of-reply token, or has `max_tokens` tokens. Temperature 0 is
    greedy.

    Raises:
        OptionError: a prompt is empty, or the model is not causal with shifted logits.
    """
    config = network.model.config
    state = _Prompts(network, prompts, max_tokens)
    generator = torch.Generator().manual_seed(seed)
    ends = torch.tensor(config.eos_ids, device=state.last.device)
    token, made = state.last, []
    sure = torch.zeros(len(prompts), device=state.last.device)
    alive = torch.ones(len(prompts), dtype=torch.bool, device=state.last.device)
    counts = torch.zeros_like(sure)
    for step in range(max_tokens):
        column = state.width + step
        visible = state.readable.clone()
        visible[:, column + 1 :] = False
        position = (state.lengths + step)[:, None]
        hidden = network(token[:, None], position, visible[:, None], None, state.cache, column)
        logits = network.logits(hidden[:, 0]).float()
        token = unmask.sample(logits, temperature, 1.0, generator)
        chance = logits.log_softmax(-1).gather(-1, token[:, None])[:, 0]
        sure += torch.where(alive, chance, 0.0)
        counts += alive
        alive &= ~torch.isin(token, ends)
        made.append(token)
        # Wait for the device every few tokens only.
        if step % 8 == 7 and not bool(alive.any()):
            break
    table = torch.stack(made, 1).tolist()
    scores = (sure / counts.clamp_min(1)).tolist()
    return [(_cut(row, config.eos_ids), s) for row, s in zip(table, scores, strict=True)]


def _cut(row: list[int], ends: Sequence[int]) -> list[int]:
    return row[: next((i for i, token in enumerate(row) if token in ends), len(row))]


@torch.inference_mode()
def trajectories(
    network: Network, prompts: Sequence[Sequence[int]], *, canvas: int, per_step: int = 1
) -> list[Example]:
    """Denoise a canvas for each prompt and record the order in which positions are committed.

    Each step commits the `per_step` most probable positions, end-of-reply tokens last, as the
    engine's `eos_last` does.

    Raises:
        OptionError: the model has no mask token, is not causal, or a prompt is empty.
    """
    config = network.model.config
    if config.mask_id is None:
        raise OptionError("Trajectories need a model that was taught to denoise: train an adapter.")
    state = _Prompts(network, prompts, canvas + 1)
    device, count = state.last.device, len(prompts)
    ids = torch.full((count, canvas), config.mask_id, device=device)
    order = torch.full((count, canvas), -1, device=device)
    rows = torch.arange(canvas + 1, device=device)
    positions = state.lengths[:, None] + rows
    visible = state.readable[:, None].repeat(1, canvas + 1, 1)
    visible[:, 0, state.width + 1 :] = False  # the prompt's last token is causal as the others
    everything = torch.ones(count, canvas + 1, dtype=torch.bool, device=device)
    ends = torch.tensor(config.eos_ids, device=device)
    generator = torch.Generator()
    for done in range(0, canvas, per_step):
        x = torch.cat([state.last[:, None], ids], 1)
        hidden = network(x, positions, visible, everything, state.cache, state.width)
        logits = network.logits(hidden[:, :-1].flatten(0, 1)).float()
        logits[:, config.mask_id] = -torch.inf
        guess = logits.argmax(-1)
        sure = unmask.confidences(logits, guess, "probability", generator).view(count, canvas)
        guess = guess.view(count, canvas)
        chosen = _surest(sure, guess, order < 0, ends, min(per_step, canvas - done))
        ids.scatter_(1, chosen, guess.gather(1, chosen))
        places = torch.arange(done, done + chosen.shape[1], device=device)
        order.scatter_(1, chosen, places.expand(count, -1))
    return [
        Example(tuple(prompt), tuple(reply), tuple(when))
        for prompt, reply, when in zip(prompts, ids.tolist(), order.tolist(), strict=True)
    ]


def _surest(sure: Tensor, guess: Tensor, masked: Tensor, ends: Tensor, count: int) -> Tensor:
    """Indices (B, count) of the most probable open positions; end-of-reply tokens come after all
    others, the leftmost first."""
    behind = -1 - torch.arange(sure.shape[1], device=sure.device, dtype=sure.dtype)
    value = torch.where(torch.isin(guess, ends), behind, sure)
    return value.masked_fill(~masked, -torch.inf).topk(count, dim=1).indices
