"""Attention over pages while a prompt is read: with and without a mask, heads shared or not."""

from __future__ import annotations

import math

import pytest
import torch

from dllm_core.gpu.paged_model import _attend_pages
from dllm_core.ops import PAGE


@pytest.mark.parametrize("kv_heads", [1, 2, 6])
@pytest.mark.parametrize("kind", ["causal", "blocks", "all"])
@pytest.mark.parametrize("count", [1, 5, PAGE, PAGE + 3])
def test_it_is_softmax_attention(kind: str, kv_heads: int, count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    pages, heads, size = -(-count // PAGE), 6, 16
    q = torch.randn(count, heads, size, generator=generator)
    keys, values = (torch.randn(pages, kv_heads, PAGE, size, generator=generator) for _ in range(2))
    places = torch.arange(count) // {"causal": 1, "blocks": 4, "all": count}[kind]
    seen = places[None] <= places[:, None]
    found = _attend_pages(
        q, keys, values, count, seen if kind == "blocks" else None, causal=kind == "causal"
    )
    k, v = (
        x.transpose(0, 1).flatten(1, 2)[:, :count].repeat_interleave(heads // kv_heads, 0)
        for x in (keys, values)
    )
    scores = torch.einsum("rhd,hnd->hrn", q, k) / math.sqrt(size)
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    expected = torch.einsum("hrn,hnd->rhd", weights, v).flatten(1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
