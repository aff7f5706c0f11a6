"""The blocks of a canvas, which are finished one after another."""

from __future__ import annotations

from itertools import pairwise

from dllm_core.config import ModelConfig


def blocks_between(
    config: ModelConfig, begin: int, end: int, length: int | None, padding: int = 0
) -> list[tuple[int, int]]:
    """(start, stop) of the blocks of a canvas, which are finished one after another.

    The canvas reaches from position `begin` to before `end`; `length` is that of a block, None
    for a single one. The blocks of a model trained on blocks begin at multiples of its block
    length, counted from the start of the sequence, so the end of a prompt shares the first one;
    `length` divides them, by default as the model was trained. The first one of the sequence is
    shorter by `padding`.
    """
    size, aligned = length or end - begin, config.by_blocks
    if aligned:
        size = length or config.sub_block_length or config.block_length
    edges = [begin]
    while edges[-1] < end:
        step = size - (edges[-1] + padding) % size if aligned else size
        edges.append(min(edges[-1] + step, end))
    return list(pairwise(edges))
