"""The attention kernel against the same in torch's operations."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dllm_core.cpu.attention import Heads, attend
from dllm_core.cpu.key_blocks import into_blocks, into_rows, whole_blocks

# Kernels share their work among threads: one alone would show no race.
pytestmark = [pytest.mark.kernels, pytest.mark.threads(2)]

SHAPES = [Heads(9, 3, 64, 1e-6), Heads(6, 3, 32, 1e-5), Heads(4, 1, 128, 1e-6), Heads(5, 5, 64, 1)]
PLACES = [(1, 200), (2, 31), (3, 0), (6, 194), (7, 9), (32, 200), (40, 0)]
"""Rows, and the position of the first."""


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tables(rows: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    angles = drawn(rows, 1, size // 2, seed=7)
    sin = angles.sin()
    return torch.cat([angles.cos()] * 2, -1), torch.cat([-sin, sin], -1)


def plain(
    qkv: torch.Tensor,
    shape: Heads,
    turn: tuple[torch.Tensor, torch.Tensor],
    cache: tuple[torch.Tensor, torch.Tensor],
    start: int,
    visible: int,
    mask: torch.Tensor | None = None,
    norms: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    rows, size, group = len(qkv), shape.head_dim, shape.heads // shape.kv_heads
    parts = qkv.reshape(rows, -1, size).split([shape.heads, shape.kv_heads, shape.kv_heads], 1)
    q, k, v = parts
    if norms is not None:
        q, k = (F.rms_norm(x, (size,), w, shape.eps) for x, w in zip((q, k), norms, strict=True))
    q, k = (x * turn[0] + x.roll(size // 2, -1) * turn[1] for x in (q, k))
    keys, values = cache
    keys[:, start : start + rows] = k.transpose(0, 1)
    values[:, start : start + rows] = v.transpose(0, 1)
    seen = (part[:, :visible].repeat_interleave(group, 0) for part in cache)
    y = F.scaled_dot_product_attention(q.transpose(0, 1), *seen, attn_mask=mask)
    return y.transpose(0, 1).reshape(rows, -1)


def laid_out(cache: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys in blocks and values of a cache (2, kv_heads, positions, head_dim)."""
    length = cache.shape[2]
    padded = F.pad(cache, (0, 0, 0, whole_blocks(length) - length), value=float("nan"))
    into_blocks(padded[0])
    return padded[0], padded[1]


def in_rows(pair: tuple[torch.Tensor, torch.Tensor], length: int) -> torch.Tensor:
    """The cache that `laid_out` was given."""
    keys = pair[0].clone()
    into_rows(keys)
    return torch.stack([keys, pair[1]])[:, :, :length]


def both(shape: Heads, rows: int, start: int, visible: int, **options: Any) -> None:
    """Run the kernel and the plain version, and compare results and caches."""
    portable = options.pop("portable", False)
    width = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    qkv = drawn(rows, width + 32, seed=1)[:, :width]
    first = drawn(2, shape.kv_heads, visible + 5, shape.head_dim, seed=2)
    mine, own = laid_out(first), (first[0].clone(), first[1].clone())
    turn = tables(rows, shape.head_dim)
    expected = plain(qkv, shape, turn, own, start, visible, **options)
    out = torch.empty(rows, shape.heads * shape.head_dim)
    attend(qkv, out, shape, turn, mine, start, visible, portable=portable, **options)
    torch.testing.assert_close(out, expected, atol=2e-5, rtol=1e-4)
    kept = in_rows(mine, visible + 5)
    torch.testing.assert_close(kept, torch.stack(own), atol=1e-5, rtol=1e-5)
    others = torch.ones(visible + 5, dtype=torch.bool)
    others[start : start + rows] = False
    assert torch.equal(kept[:, :, others], first[:, :, others])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("rows", "start"), PLACES)
def test_attention(shape: Heads, rows: int, start: int) -> None:
    both(shape, rows, start, start + rows)
    both(shape, rows, start, start + rows + 9)


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize(("rows", "start"), PLACES)
def test_masks_hide_what_they_hide(rows: int, start: int, portable: bool) -> None:
    visible = start + rows
    mask = drawn(rows, visible, seed=3) > 0.2
    mask[:, 0] = True
    both(SHAPES[0], rows, start, visible, mask=mask, portable=portable)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_queries_and_keys_may_be_normalised(shape: Heads) -> None:
    norms = (drawn(shape.head_dim, seed=4), drawn(shape.head_dim, seed=5))
    both(shape, 5, 20, 25, norms=norms)


def hidden_makes_no_difference(change: Callable[[torch.Tensor], None]) -> None:
    shape, rows, visible = SHAPES[0], 3, 21
    width = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    mask = torch.ones(rows, visible, dtype=torch.bool)
    mask[:, 4] = False
    found = []
    for changed in (False, True):
        cache = drawn(2, shape.kv_heads, 40, shape.head_dim, seed=2)
        if changed:
            change(cache)
        out, turn = torch.empty(rows, shape.heads * shape.head_dim), tables(rows, shape.head_dim)
        pair = laid_out(cache)
        attend(drawn(rows, width, seed=1), out, shape, turn, pair, 18, visible, mask=mask)
        found.append(out)
    assert torch.equal(*found)


def test_what_is_hidden_or_beyond_changes_no_bit() -> None:
    def change(cache: torch.Tensor) -> None:
        cache[:, :, 4] = 1e4
        cache[:, :, 21:] = float("nan")

    hidden_makes_no_difference(change)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_row_does_not_depend_on_how_many_it_has_beside_it(shape: Heads) -> None:
    """Not in a single bit: a sequence may be read at once or word by word."""
    start, rows = 20, 9
    width = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    qkv, turn = drawn(rows, width, seed=1), tables(rows, shape.head_dim)
    first = drawn(2, shape.kv_heads, start + rows, shape.head_dim, seed=2)
    mask = torch.ones(rows, start + rows, dtype=torch.bool).tril(start)

    def attended(pieces: list[int]) -> torch.Tensor:
        pair, out = laid_out(first), torch.empty(rows, shape.heads * shape.head_dim)
        begin = 0
        for size in pieces:
            part, visible = slice(begin, begin + size), start + begin + size
            own = (turn[0][part], turn[1][part])
            seen = mask[part, :visible]
            given = (qkv[part].clone(), out[part], shape, own, pair, start + begin, visible)
            attend(*given, mask=seen)
            begin += size
        return out

    together = attended([rows])
    for pieces in ([1] * rows, [2, 3, 4], [8, 1]):
        assert torch.equal(attended(pieces), together)


@pytest.mark.parametrize("start", [0, 14, 15, 16, 17, 31, 33])
def test_neither_rows_nor_threads_change_a_bit(start: int) -> None:
    """Tiles of queries and their order follow both, and blocks of keys begin where they may."""
    shape, most = SHAPES[0], 40
    width = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    qkv, turn = drawn(most, width, seed=1), tables(most, shape.head_dim)
    first = drawn(2, shape.kv_heads, start + most, shape.head_dim, seed=2)
    mask = torch.ones(most, start + most, dtype=torch.bool).tril(start)

    def attended(rows: int, threads: int) -> tuple[torch.Tensor, torch.Tensor]:
        torch.set_num_threads(threads)
        out, pair = torch.empty(rows, shape.heads * shape.head_dim), laid_out(first)
        own, visible = (turn[0][:rows], turn[1][:rows]), start + rows
        seen = mask[:rows, :visible]
        attend(qkv[:rows].clone(), out, shape, own, pair, start, visible, mask=seen)
        return out, in_rows(pair, start + most)

    expected, written = attended(most, 2)
    try:
        for rows in range(1, most + 1):
            for threads in (1, 2, 3):
                found, cache = attended(rows, threads)
                assert torch.equal(found, expected[:rows])
                stop = start + rows
                assert torch.equal(cache[:, :, :stop], written[:, :, :stop])
                assert torch.equal(cache[:, :, stop:], first[:, :, stop:])
    finally:
        torch.set_num_threads(2)


def test_a_large_score_takes_it_all() -> None:
    shape, visible = Heads(1, 1, 32, 1e-6), 40
    still = (torch.ones(1, 1, 32), torch.zeros(1, 1, 32))
    keys, values = torch.zeros(1, 64, 32), drawn(1, 64, 32)
    keys[0, 17] = 1e3
    pair, out = laid_out(torch.stack([keys, values])), torch.empty(1, 32)
    attend(torch.ones(1, 96), out, shape, still, pair, 39, visible)
    torch.testing.assert_close(out[0], values[0, 17])
