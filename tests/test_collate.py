"""What is hidden, what is asked, what it weighs; and that the loss is what the papers say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.tiny import tiny_config, tiny_tokenizer

from dllm_core.adapt.collate import CollateOptions, Collator
from dllm_core.adapt.examples import Example, read_examples
from dllm_core.adapt.loss import loss_of
from dllm_core.errors import DataError, OptionError

SHIFTED = tiny_config(mask_id=60)
IN_PLACE = tiny_config(attention="bidirectional", shift=False, mask_id=60)
BLOCKS = tiny_config(block_length=4, shift=False, mask_id=60)
PROMPT, REPLY = (5, 9, 2, 44, 17), (11, 12, 13, 14, 0)


def collate(config, examples, seed=0, **options):
    chosen = CollateOptions(**({"canvas_lengths": (8,)} | options))
    return Collator(config, chosen, end=0)(examples, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("config", [SHIFTED, IN_PLACE])
@pytest.mark.parametrize("seed", range(20))
def test_a_canvas_and_its_complement_ask_every_position_once(config, seed: int) -> None:
    batch = collate(config, [Example(PROMPT, REPLY)], seed, padding_weight=0.5)
    width = batch.ids.shape[1]
    asked = sorted((batch.rows % width + int(config.shift) - len(PROMPT)).tolist())
    assert asked == list(range(8))
    for row in batch.ids:
        assert tuple(row[:5].tolist()) == PROMPT
        known = row[5:13] != 60
        assert torch.equal(row[5:13][known], torch.tensor([*REPLY, 0, 0, 0])[known])
    assert batch.words.sum() == len(REPLY)


def test_questions_stand_at_hidden_places_and_before_them_where_logits_are_shifted() -> None:
    batch = collate(SHIFTED, [Example(PROMPT, REPLY)] * 3)
    flat = batch.ids.flatten()
    assert bool((flat[batch.rows + 1] == 60).all())
    batch = collate(IN_PLACE, [Example(PROMPT, REPLY)] * 3)
    assert bool((batch.ids.flatten()[batch.rows] == 60).all())


@pytest.mark.slow
def test_the_loss_is_lladas_where_nothing_is_bounded() -> None:
    """Sum over hidden places of cross-entropy / t / length, mean over the batch (arXiv 2502.09992).

    The expectation over masks is the plain mean cross-entropy, because each place is hidden with
    probability t: so the weights must average to 1 / length.
    """
    options = {"complementary": False, "padding_weight": 1.0, "max_weight": 1e9}
    total = torch.zeros(8)
    for seed in range(3000):
        batch = collate(IN_PLACE, [Example(PROMPT, REPLY)], seed, least=0.2, **options)
        total.index_add_(0, batch.rows - len(PROMPT), batch.weights)
    torch.testing.assert_close(total / 3000, torch.full((8,), 1 / 8), atol=0.01, rtol=0.08)


def test_padding_weighs_less_and_weights_are_bounded() -> None:
    batch = collate(IN_PLACE, [Example(PROMPT, REPLY)], 3, padding_weight=0.05, max_weight=4)
    words, padding = batch.weights[batch.words], batch.weights[~batch.words]
    assert float(padding.max()) < 0.3 * float(words.min())
    assert float(batch.weights.max()) <= 4 / (5 + 3 * 0.05)


@pytest.mark.slow
def test_the_loss_is_weighted_cross_entropy_without_the_mask_token() -> None:
    batch = collate(IN_PLACE, [Example(PROMPT, REPLY)], 1)
    logits = torch.randn(len(batch.rows), 61, generator=torch.Generator().manual_seed(0))
    logits[:, 60] = 50.0
    entropies = F.cross_entropy(logits[:, :60], batch.targets, reduction="none")
    loss = loss_of(logits, batch, mask_id=60)
    torch.testing.assert_close(loss.total, (entropies * batch.weights).sum())
    torch.testing.assert_close(loss.entropy, entropies[batch.words].mean())
    right = F.one_hot(batch.targets, 61).float()
    assert float(loss_of(right, batch, mask_id=60).accuracy) == 1.0


def test_padding_of_the_batch_is_never_seen() -> None:
    batch = collate(IN_PLACE, [Example(PROMPT, REPLY), Example(PROMPT * 3, REPLY)])
    assert batch.ids.shape[1] == 15 + 8
    for visible in batch.visible[:2]:
        assert not visible[: 5 + 8, 13:].any()
        assert visible[: 5 + 8, :13].all()
        assert torch.equal(visible[13:, 13:], torch.eye(10, dtype=torch.bool))


def test_prompts_are_causal_and_the_canvas_sees_itself() -> None:
    batch = collate(SHIFTED, [Example(PROMPT, REPLY)])
    visible = batch.visible[0]
    assert torch.equal(visible[:5], torch.ones(5, 13, dtype=torch.bool).tril())
    assert visible[5:].all()
    assert batch.canvas[0].tolist() == [False] * 4 + [True] * 9


@pytest.mark.parametrize("seed", range(10))
def test_a_long_reply_gives_one_canvas_after_its_beginning(seed: int) -> None:
    reply = (*range(20, 40), 0)
    batch = collate(SHIFTED, [Example(PROMPT, reply)], seed, complementary=False)
    start = batch.ids.shape[1] - 8 - len(PROMPT)
    assert start in (0, 8, 16)
    assert tuple(batch.ids[0, 5 : 5 + start].tolist()) == reply[:start]


@pytest.mark.parametrize("seed", range(10))
def test_a_model_of_blocks_learns_one_block_at_its_own_edges(seed: int) -> None:
    reply = (*range(20, 30), 0)
    batch = collate(BLOCKS, [Example(PROMPT, reply)], seed, complementary=False)
    begin, stop = int(batch.canvas[0].nonzero()[0]), batch.ids.shape[1]
    assert stop % 4 == 0
    assert begin == 5 or begin % 4 == 0
    assert stop - begin <= 4


def test_recorded_orders_ask_for_the_next_positions_only() -> None:
    order = (0, 2, 1, 3, 4, 5, 6, 7)
    example = Example(PROMPT, (*REPLY, 0, 0, 0), order)
    seen = set()
    for seed in range(30):
        batch = collate(IN_PLACE, [example], seed, commit=2)
        hidden = (batch.ids[0, 5:] == 60).nonzero()[:, 0].tolist()
        done = 8 - len(hidden)
        asked = (batch.rows - 5).tolist()
        assert {order[i] for i in hidden} == set(range(done, 8))
        assert sorted(order[i] for i in asked) == [done, done + 1]
        assert float(batch.weights.sum()) == pytest.approx(1)
        seen.add(done)
    assert seen == {0, 2, 4, 6}


def test_an_order_of_another_length_is_refused() -> None:
    with pytest.raises(OptionError, match="same canvas length"):
        collate(IN_PLACE, [Example(PROMPT, REPLY, (0, 1, 2, 3, 4))], commit=2)


def test_a_model_without_a_mask_is_refused() -> None:
    with pytest.raises(OptionError, match="without a mask token"):
        Collator(tiny_config(), CollateOptions(), end=0)


def write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    return path


def read(path: Path, longest: int = 60) -> list[Example]:
    return read_examples(path, tiny_tokenizer(), SHIFTED, system=None, longest=longest)


def test_pairs_and_conversations_become_examples(tmp_path: Path) -> None:
    chat = [
        {"role": "user", "content": "AB"}, {"role": "assistant", "content": "CD"},
        {"role": "user", "content": "EF"}, {"role": "assistant", "content": "G"},
    ]  # fmt: skip
    path = write(tmp_path / "a.jsonl", {"prompt": "AB", "reply": "CD"}, {"messages": chat})
    encode = tiny_tokenizer().encode
    assert read(path) == [
        Example(tuple(encode("AB")), (*encode("CD"), 0)),
        Example(tuple(encode("AB")), (*encode("CD"), 0)),
        Example(tuple(encode("ABCDEF")), (*encode("G"), 0)),
    ]
    assert len(read(path, longest=6)) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{]", "line 1 is no JSON"),
        ("[1]", "line 1 is no JSON object"),
        ('{"prompt": "A"}', "line 1 is neither a prompt with a reply"),
        ('{"prompt": "A", "reply": " "}', "is no text"),
        ('{"messages": [{"role": "user", "content": "A"}]}', "no message of the assistant"),
        ('{"prompt_ids": [1]}', "line 1 holds no recorded reply"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=message):
        read(path)


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no example of at most 2 tokens"):
        read(write(tmp_path / "a.jsonl", {"prompt": "AB", "reply": "CD"}), longest=2)
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "missing.jsonl")
