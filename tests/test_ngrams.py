"""What a model usually says after its last tokens: the table, its making, and drafts from it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.drafters import SHAPE, base_config, engine_of, save_drafter, table_of
from test_packed_transformer import packed_model

from dllm_core.adapt.drafter.counting import counted, ngrams
from dllm_core.adapt.drafter.shards import Corpus, Recording, write_shard
from dllm_core.config import DecodeOptions
from dllm_core.decode.draft_economy import DraftCosts
from dllm_core.draft import files
from dllm_core.draft.ngrams import (
    LONGEST,
    Ngrams,
    Opening,
    Remembered,
    asked_after,
    keys,
    opening_keys,
)
from dllm_core.engine import Engine
from dllm_core.errors import DrafterError
from dllm_core.model.quantize import Int4Linear, Int8Linear

PLAIN = DecodeOptions(rule="fixed_point", max_tokens=24)
DRAFT = DecodeOptions(rule="draft", max_tokens=24, draft_echo=False)
PROMPTS = [[5, 9, 2], [44, 17, 3, 8, 21, 30, 31], [11], list(range(1, 40))]
DEAR_DRAFTS = DraftCosts((1.0,) * 8, 100.0)
"""The drafter is never worth its time."""


def test_the_longest_known_context_answers() -> None:
    table = Ngrams(table_of({(3,): [(7, 0.5)], (2, 3): [(8, 0.9), (9, 0.1)], (1, 1, 2, 3): []}))
    assert [c.token for c in table.likely(keys([6, 3]))] == [7]
    assert [c.token for c in table.likely(keys([5, 5, 5, 2, 3]))] == [8, 9]
    assert table.likely(keys([5, 5, 5, 2, 3]), 1)[0].chance == pytest.approx(0.9, abs=0.002)
    assert table.likely(keys([1, 1, 2, 3])) == []
    assert table.likely(keys([4])) == []
    assert table.likely(keys([])) == []
    assert Ngrams(table_of({})).likely(keys([3])) == []


def test_keys_tell_order_and_length() -> None:
    assert keys([1, 2, 3, 4, 5, 6]) == keys([3, 4, 5, 6])
    assert len(keys(range(100))) == LONGEST
    assert len({keys([1, 2])[-1], keys([2, 1])[-1], keys([2])[-1], keys([0, 2])[-1]}) == 4
    many = {key for a in range(200) for b in range(200) for key in keys([a, b])}
    assert len(many) > 200 * 201 - 5
    assert all(0 <= key < 1 << 32 for key in many)


def test_candidates_follow_the_tokens_before_the_draft() -> None:
    table = Ngrams(table_of({(1, 2, 3, 4): [(5, 0.8)], (4,): [(6, 0.8)], (2, 3, 4, 5): [(9, 0.7)]}))
    after = Remembered(table, [0, 0, 1, 2, 3])
    assert [c.token for c in after.after([4], 3)] == [5]
    assert [c.token for c in after.after([4, 5], 3)] == [9]
    assert [c.token for c in Remembered(table, []).after([4], 3)] == [6]


def corpus(
    directory: Path, replies: Sequence[Sequence[int]], prompts: Sequence[Sequence[int]] = ()
) -> Corpus:
    """Conversations with one reply each, after the prompt 1 2 where none is given."""
    directory.mkdir(exist_ok=True)
    recordings = []
    for prompt, reply in zip(prompts or [[1, 2]] * len(replies), replies, strict=True):
        ids, start = [*prompt, *reply], len(prompt)
        features = np.zeros((len(ids), 4), np.float16)
        span = np.array([[start, len(ids)]], np.int32)
        recordings.append(Recording(np.array(ids, np.int32), features, span))
    write_shard(directory / "shard-00000.safetensors", recordings)
    return Corpus(directory)


def test_replies_are_counted_and_held_out_ones_are_not(tmp_path: Path) -> None:
    talks = corpus(tmp_path, [[7, 8, 9]] * 30 + [[7, 8, 5]] * 10 + [[40, 41, 42]] * 4)
    counts = counted(talks, range(40))
    assert counts.said[keys([8])[-1]] == {9: 30, 5: 10}
    assert counts.said[keys([1, 2])[-1]] == {7: 40}
    assert counts.shorter[keys([1, 2])[-1]] == keys([2])[-1]
    assert keys([40])[-1] not in counts.said
    table = Ngrams(ngrams(talks, [*range(20, 35), *range(40, 44)]))
    assert table.likely(keys([40])) == []
    assert [c.token for c in table.likely(keys([1, 2, 7, 8]))] == [9, 5]
    first, second = table.likely(keys([1, 2, 7, 8]))
    assert first.chance > 0.6 > 0.4 > second.chance
    assert table.likely(keys([1, 2]))[0].token == 7


def test_a_question_is_found_behind_its_marker() -> None:
    assert asked_after([8, 9], [8, 9, 1, 8, 9, 2, 3, 4, 5]) == [2, 3, 4]
    assert asked_after([8, 9], [8, 9, 1]) == [1]
    assert asked_after([8, 9], [8, 9]) == []
    assert asked_after([8, 9], [1, 2, 3]) == []
    assert asked_after([], [1, 2, 3]) == []
    lengths = [opening_keys([4, 5, 6], said) for said in ([], [1], [1, 2])]
    assert [len(found) for found in lengths] == [3, 3, 3]
    assert len({key for found in lengths for key in found}) == 9


def test_replies_begin_as_they_do_to_such_questions(tmp_path: Path) -> None:
    whom, what = [8, 9, 20, 21], [8, 9, 22, 23]
    talks = corpus(tmp_path, [[30, 31, 32]] * 12 + [[40, 31, 41]] * 12,
                   prompts=[whom] * 12 + [what] * 12)  # fmt: skip
    table = Ngrams(ngrams(talks, [0, 23], [8, 9]))
    assert table.asked([1, *what]) == [22, 23]
    for question, said in (([20, 21], [30, 31, 32]), ([22, 23, 5], [40, 31, 41])):
        opening = Opening(table, question, [])
        assert opening.after([99], 1)[0].token == said[0]
        assert opening.after([99, said[0]], 1)[0].token == 31
        assert opening.after([99, *said[:2]], 1)[0].token == said[2]
        assert opening.after([99, *said], 1) == []
        assert Opening(table, question, said[:1]).after([said[0]], 1)[0].token == 31
        assert Opening(table, [50], []).after([99], 1) == []
    assert Ngrams(ngrams(talks, [0, 23])).asked([1, *what]) == []


def test_contexts_that_say_what_shorter_ones_say_are_left_out(tmp_path: Path) -> None:
    talks = corpus(tmp_path, [[7, 8, 9, 8, 9, 8, 9]] * 12)
    table = ngrams(talks, [0, 1])
    assert keys([8])[-1] in table.keys
    assert keys([7, 8])[-1] not in table.keys
    assert len(set(table.keys.tolist())) == len(table.keys)
    assert (np.diff(table.keys.astype(np.int64)) > 0).all()


@pytest.mark.parametrize("vocabulary", [64, 70_016])
def test_a_table_comes_back_from_a_file(tmp_path: Path, vocabulary: int) -> None:
    config = base_config(vocab_size=vocabulary)
    base = packed_model(config, Int8Linear, SHAPE["context_length"])
    table = table_of({(1,): [(vocabulary - 1, 0.5)], (2, 3): [(0, 0.9), (1, 0.05)]})
    found = files.read(save_drafter(base, tmp_path, table)).ngrams
    assert found is not None
    for mine, theirs in zip(found.arrays, table, strict=True):
        assert np.array_equal(mine, theirs)
    assert files.read(save_drafter(base, tmp_path / "without")).ngrams is None
    save_drafter(base, tmp_path, table_of({(1,): [(vocabulary, 0.5)]}))
    with pytest.raises(DrafterError, match="tokens that its base does not have"):
        files.read(tmp_path)


def test_a_table_whose_parts_differ_is_refused(tmp_path: Path) -> None:
    base = packed_model(base_config(), Int8Linear, SHAPE["context_length"])
    table = table_of({(1,): [(2, 0.5)], (2,): [(3, 0.5)]})
    save_drafter(base, tmp_path, table._replace(keys=table.keys[:1]))
    with pytest.raises(DrafterError, match="do not belong together"):
        files.read(tmp_path)


def remembering(tmp_path: Path, kind: Any, right: float) -> Engine:
    """An engine whose table has learnt its own replies, and other tokens beside them."""
    model = packed_model(base_config(eos_ids=()), kind, SHAPE["context_length"])
    plain = engine_of(model)
    said: dict[tuple[int, ...], list[tuple[int, float]]] = {}
    for prompt in PROMPTS:
        ids = [*prompt, *plain.reply(prompt, options=PLAIN).ids]
        for place in range(len(prompt), len(ids)):
            wrong = ((ids[place] + 1) % 60, 1 - right)
            pair = sorted([(ids[place], right), wrong], key=lambda each: -each[1])
            said[tuple(ids[max(0, place - LONGEST) : place])] = pair
    plain.use_drafter(save_drafter(model, tmp_path / "drafter", table_of(said)))
    plain.host.draft_costs = DEAR_DRAFTS
    return plain


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Int8Linear, Int4Linear])
@pytest.mark.parametrize("right", [0.9, 0.2])
def test_drafts_from_the_table_spare_passes_without_the_drafter(
    tmp_path: Path, kind: Any, right: float
) -> None:
    engine = remembering(tmp_path, kind, right)
    passes = alone = 0
    for prompt in PROMPTS:
        plain = engine.reply(prompt, options=PLAIN)
        mine = engine.reply(prompt, options=DRAFT)
        without = engine.reply(prompt, options=replace(DRAFT, draft_ngrams=False))
        assert mine.ids == without.ids == plain.ids
        assert mine.stats.drafts is not None
        assert mine.stats.drafts.asked == 0
        passes += mine.stats.forwards
        alone += without.stats.forwards
    assert alone == 24 * len(PROMPTS)
    # Eight rows are seven tokens and the model's own: no context was looked up in vain.
    assert passes == 12 if right > 0.5 else passes < alone / 2


@pytest.mark.slow
def test_a_context_of_drafts_is_kept_only_where_the_drafter_may_pay(tmp_path: Path) -> None:
    engine = remembering(tmp_path, Int8Linear, 0.9)
    cache = engine.contiguous_cache()
    plain = engine.reply(PROMPTS[1], options=PLAIN)
    assert engine.reply(PROMPTS[1], cache, options=DRAFT).ids == plain.ids
    assert cache.drafts is None
    engine.host.draft_costs = DraftCosts((1.0,) * 8, 0.01)
    alone = replace(DRAFT, draft_ngrams=False)
    found = engine.reply(PROMPTS[1], cache, options=alone)
    assert found.ids == plain.ids
    assert cache.drafts is not None
    assert found.stats.drafts is not None
    assert found.stats.drafts.asked > 0
    engine.host.draft_costs = DEAR_DRAFTS
    found = engine.reply([*PROMPTS[1], *plain.ids, 5], cache, options=alone)
    assert found.stats.drafts is not None
    assert found.stats.drafts.asked == 0


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"temperature": 0.8}, {"temperature": 0.5, "top_k": 5}])
@pytest.mark.parametrize("echo", [True, False])
def test_drawn_replies_are_the_same_with_and_without_the_table(
    tmp_path: Path, changes: dict[str, Any], echo: bool
) -> None:
    engine = remembering(tmp_path, Int8Linear, 0.9)
    options = replace(DRAFT, draft_echo=echo, seed=3, **changes)
    for prompt in PROMPTS:
        mine = engine.reply(prompt, options=options)
        assert mine.ids == engine.reply(prompt, options=replace(options, draft_rows=1)).ids


def test_a_reply_that_is_cut_by_rounds_takes_what_the_table_is_sure_of(tmp_path: Path) -> None:
    engine = remembering(tmp_path, Int8Linear, 0.95)
    options = replace(DRAFT, rounds=1)
    plain = engine.reply(PROMPTS[0], options=PLAIN)
    mine = engine.reply(PROMPTS[0], options=options)
    assert mine.stats.drafts is not None
    assert mine.ids == plain.ids[: len(mine.ids)]
    assert len(mine.ids) > 1


def test_banned_tokens_are_not_added_without_a_check(tmp_path: Path) -> None:
    engine = remembering(tmp_path, Int8Linear, 0.95)
    free = engine.reply(PROMPTS[0], options=replace(DRAFT, rounds=1))
    banned = free.ids[-1]
    found = engine.reply(PROMPTS[0], options=replace(DRAFT, rounds=1, banned=(banned,)))
    assert banned not in found.ids
