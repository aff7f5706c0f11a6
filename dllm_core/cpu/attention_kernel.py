"""Attention of one sequence over its keys and values, as machine code.

Keys lie in blocks of 16 positions, transposed (key_blocks.py), so that 16 of them are multiplied at
once and sums stay within lanes. The work has two phases, each shared among the threads. First the
queries and keys of every row are normalised, if weights are given (QK-norm, arXiv 2302.05442), and
rotated (RoFormer, arXiv 2104.09864); keys and values are stored. Then every thread takes tiles of
queries of one key head, and computes scores, softmax and the weighted sum of the values.
"""

from __future__ import annotations

from enum import IntEnum, auto
from functools import reduce
from typing import NamedTuple

from llvmlite import ir

from dllm_core.cpu.emit import (
    F32,
    FIRST_ARGUMENT,
    FLOAT,
    FLOATS,
    LANES,
    VECTOR,
    Counter,
    Emitter,
    Value,
)

_CHAINS = 2
"""Partial sums of a score, the same number for all tiles, so that a row's result does not depend on
the number of rows in the pass."""
_HIDDEN = -1e30
"""Score of a masked key; scores up to this one have weight 0."""
_TOGETHER = 2
"""Vectors of values that are summed in one pass over the keys."""


class AttentionSlot(IntEnum):
    """Arguments of the attention kernel, after the counters."""

    QKV = FIRST_ARGUMENT
    """float32 (rows, heads + 2 * kv_heads, head_dim); the queries are rotated in place."""
    QKV_STRIDE = auto()
    ROWS = auto()
    HEADS = auto()
    KV_HEADS = auto()
    COS = auto()
    """float32 (rows, head_dim)"""
    SIN = auto()
    Q_NORM = auto()
    """float32 (head_dim,), or null."""
    K_NORM = auto()
    EPS = auto()
    """Bits of a float32."""
    KEYS = auto()
    """float32 (kv_heads, blocks, head_dim, 16)"""
    VALUES = auto()
    """float32 (kv_heads, blocks * 16, head_dim)"""
    HEAD_STRIDE = auto()
    """Bytes from head to head, of keys and of values."""
    START = auto()
    """Position of the first row."""
    VISIBLE = auto()
    MASK = auto()
    """Bytes (rows, visible), or null if all positions are seen."""
    OUT = auto()
    """float32 (rows, heads, head_dim)"""
    OUT_STRIDE = auto()
    SCALE = auto()
    """Factor of the scores, bits of a float32."""
    SCRATCH = auto()
    SCRATCH_STRIDE = auto()
    """Bytes of scratch memory per thread."""


def scratch_bytes(visible: int, head_dim: int, tile: int) -> int:
    """Bytes of scratch memory per thread: a tile's queries and scores."""
    positions = -(-visible // LANES) * LANES
    return FLOAT * tile * (positions + head_dim)


class _Work(NamedTuple):
    """Scratch memory of a thread and sizes.

    Attributes:
        queries: float32 (tile, head_dim).
        scores: float32 (tile, blocks * 16).
        blocks: number of blocks of 16 visible positions.
        group: number of query heads that share a key head.
    """

    queries: Value
    scores: Value
    blocks: Value
    group: Value


class AttentionKernel:
    """Writes the kernel for one head size and number of queries per tile."""

    def __init__(self, head_dim: int, tile: int) -> None:
        self._dim, self._tile = head_dim, tile
        self._vectors = head_dim // LANES
        self._bytes = head_dim * FLOAT

    def __call__(self, e: Emitter) -> None:
        b = e.builder
        rows, kv_heads = e.argument(AttentionSlot.ROWS), e.argument(AttentionSlot.KV_HEADS)
        group = b.sdiv(e.argument(AttentionSlot.HEADS), kv_heads)
        start = e.argument(AttentionSlot.START)
        begin = b.sdiv(start, e.whole(LANES))
        written = b.sub(e.ceil_div(e.add(start, rows), LANES), begin)
        rotated = e.scratch(LANES * self._bytes)

        def store(i: Value) -> None:
            block = e.add(begin, b.sdiv(i, kv_heads))
            self._rotate_and_store(e, block, b.srem(i, kv_heads), group, rotated)

        e.share(Counter.NEXT_ROW, Counter.ROWS_DONE, e.mul(written, kv_heads), store)
        per_head = e.ceil_div(e.mul(rows, group), self._tile)
        items = e.mul(kv_heads, per_head)
        work = self._workspace(e, group)

        def item(i: Value) -> None:
            tile = self._from_both_ends(e, i, items)
            self._attend(e, work, b.sdiv(tile, per_head), b.srem(tile, per_head))

        e.share(Counter.NEXT_ITEM, Counter.ITEMS_DONE, items, item)

    def _from_both_ends(self, e: Emitter, i: Value, count: Value) -> Value:
        """The number of piece `i`: every second one comes from the end.

        Two threads that take turns thus read the keys and values of few heads in common.
        """
        b, half = e.builder, e.builder.ashr(i, e.whole(1))
        odd = b.icmp_signed("!=", b.and_(i, e.whole(1)), e.whole(0))
        return b.select(odd, b.sub(e.add(count, -1), half), half)

    def _workspace(self, e: Emitter, group: Value) -> _Work:
        thread = e.mul(e.take(Counter.NEXT_THREAD), e.argument(AttentionSlot.SCRATCH_STRIDE))
        queries = e.at(e.pointer(AttentionSlot.SCRATCH), thread)
        blocks = e.ceil_div(e.argument(AttentionSlot.VISIBLE), LANES)
        scores = e.at(queries, self._tile * self._bytes)
        return _Work(queries, scores, blocks, group)

    # Rotary positions, keys and values

    def _rotate_and_store(
        self, e: Emitter, block: Value, head: Value, group: Value, rotated: Value
    ) -> None:
        """Do so for the rows in a block of positions and for one key head with its queries.

        `rotated` is memory of the thread, float32 (16, head_dim).
        """
        b = e.builder
        start, heads = e.argument(AttentionSlot.START), e.argument(AttentionSlot.HEADS)
        kv_heads = e.argument(AttentionSlot.KV_HEADS)
        position = e.mul(block, LANES)
        first = e.most(e.whole(0), b.sub(start, position))
        stop = e.add(start, e.argument(AttentionSlot.ROWS))
        last = e.least(e.whole(LANES), b.sub(stop, position))
        values = self._of_head(e, AttentionSlot.VALUES, head)

        def one(i: Value) -> None:
            lane = e.add(first, i)
            at = e.add(position, lane)
            row = b.sub(at, start)
            x = e.at(e.pointer(AttentionSlot.QKV), e.mul(row, e.argument(AttentionSlot.QKV_STRIDE)))

            def query(j: Value) -> None:
                own = e.at(x, e.mul(e.add(e.mul(head, group), j), self._bytes))
                self._rotate(e, row, own, own, AttentionSlot.Q_NORM)

            e.loop(group, query)
            key = e.at(x, e.mul(e.add(heads, head), self._bytes))
            target = e.at(rotated, e.mul(lane, self._bytes))
            self._rotate(e, row, key, target, AttentionSlot.K_NORM)
            value = e.at(x, e.mul(e.add(heads, kv_heads, head), self._bytes))
            to = e.at(values, e.mul(at, self._bytes))
            for v in range(self._vectors):
                e.store(e.load(e.at(value, v * VECTOR), FLOATS), e.at(to, v * VECTOR))

        e.loop(b.sub(last, first), one)
        self._store_keys(e, rotated, self._block_at(e, head, block), (first, last))

    def _of_head(self, e: Emitter, slot: AttentionSlot, head: Value) -> Value:
        return e.at(e.pointer(slot), e.mul(head, e.argument(AttentionSlot.HEAD_STRIDE)))

    def _block_at(self, e: Emitter, head: Value, block: Value) -> Value:
        """Address of a block of keys, float32 (head_dim, 16)."""
        keys = self._of_head(e, AttentionSlot.KEYS, head)
        return e.at(keys, e.mul(block, LANES * self._bytes))

    def _store_keys(
        self, e: Emitter, rotated: Value, block: Value, lanes: tuple[Value, Value]
    ) -> None:
        """Store the keys from the first of `lanes` up to the last; others stay what they are."""
        b, (first, last) = e.builder, lanes
        changed = b.and_(e.before(last), b.not_(e.before(first)))
        for v in range(self._vectors):
            rows = [
                e.load(e.at(rotated, n * self._bytes + v * VECTOR), FLOATS) for n in range(LANES)
            ]
            for d, found in enumerate(e.transpose(rows), v * LANES):
                place = e.at(block, d * VECTOR)
                e.store(b.select(changed, found, e.load(place, FLOATS)), place)

    def _rotate(
        self, e: Emitter, row: Value, source: Value, target: Value, norm: AttentionSlot
    ) -> None:
        b = e.builder
        x = [e.load(e.at(source, i * VECTOR), FLOATS) for i in range(self._vectors)]
        normed = b.icmp_signed("!=", e.argument(norm), e.whole(0))
        with b.if_else(normed) as (yes, no):
            with yes:
                self._store_rotated(e, row, self._normalised(e, x, e.pointer(norm)), target)
            with no:
                self._store_rotated(e, row, x, target)

    def _normalised(self, e: Emitter, x: list[Value], weight: Value) -> list[Value]:
        b = e.builder
        total = e.constant(0.0)
        for part in x:
            total = e.fma(part, part, total)
        count = ir.Constant(F32, float(self._dim))
        inverse = e.inverse_root_mean(total, count, e.float_argument(AttentionSlot.EPS))
        weights = [e.load(e.at(weight, i * VECTOR), FLOATS) for i in range(self._vectors)]
        return [b.fmul(b.fmul(part, inverse), w) for part, w in zip(x, weights, strict=True)]

    def _store_rotated(self, e: Emitter, row: Value, x: list[Value], target: Value) -> None:
        """Rotate the halves of a head as parts of complex numbers; the sine table has the sign."""
        offset = e.mul(row, self._bytes)
        cos, sin = (
            e.at(e.pointer(slot), offset) for slot in (AttentionSlot.COS, AttentionSlot.SIN)
        )
        half = self._vectors // 2
        for i, part in enumerate(x):
            other = x[(i + half) % self._vectors]
            c, s = (e.load(e.at(table, i * VECTOR), FLOATS) for table in (cos, sin))
            turned = e.fma(part, c, e.builder.fmul(other, s))
            e.store(turned, e.at(target, i * VECTOR))

    # Attention

    def _attend(self, e: Emitter, work: _Work, head: Value, tile: Value) -> None:
        b = e.builder
        last = e.add(e.mul(e.argument(AttentionSlot.ROWS), work.group), -1)
        rows, offsets = [], []
        for j in range(self._tile):
            # A tile that is not full repeats its last query.
            query = e.least(e.add(e.mul(tile, self._tile), j), last)
            rows.append(b.sdiv(query, work.group))
            own = e.add(e.mul(head, work.group), b.srem(query, work.group))
            offsets.append(e.mul(own, self._bytes))
        self._gather(e, work, rows, offsets)
        most = self._score(e, work, head, rows)
        self._exponentiate(e, work, most)
        self._sum_values(e, work, head, rows, offsets)

    def _gather(self, e: Emitter, work: _Work, rows: list[Value], offsets: list[Value]) -> None:
        """Copy the queries of a tile, scaled, to scratch memory."""
        scale = e.splat(e.float_argument(AttentionSlot.SCALE))
        stride = e.argument(AttentionSlot.QKV_STRIDE)
        for j, (row, offset) in enumerate(zip(rows, offsets, strict=True)):
            source = e.at(e.pointer(AttentionSlot.QKV), e.mul(row, stride), offset)
            for i in range(self._vectors):
                part = e.builder.fmul(e.load(e.at(source, i * VECTOR), FLOATS), scale)
                e.store(part, e.at(work.queries, j * self._bytes + i * VECTOR))

    def _score(self, e: Emitter, work: _Work, head: Value, rows: list[Value]) -> list[Value]:
        """Write the scores of all visible keys; returns the largest score of every lane.

        Lanes behind the last visible key hold whatever was there, and are masked.
        """
        visible = e.argument(AttentionSlot.VISIBLE)
        masked = e.builder.icmp_signed("!=", e.argument(AttentionSlot.MASK), e.whole(0))

        def block(i: Value, most: list[Value]) -> list[Value]:
            lanes = e.before(e.builder.sub(visible, e.mul(i, LANES)))
            found = []
            for j, score in enumerate(self._products(e, work, self._block_at(e, head, i))):
                score = e.builder.select(lanes, score, e.constant(_HIDDEN))
                place = self._score_at(e, work, j, i)
                e.store(score, place)
                e.when(masked, lambda j=j, p=place: self._hide(e, rows[j], i, lanes, p))  # type: ignore[misc]
                found.append(e.largest(most[j], e.load(place, FLOATS)))
            return found

        start = [e.constant(_HIDDEN)] * self._tile
        return e.fold(work.blocks, start, block)

    def _products(self, e: Emitter, work: _Work, keys: Value) -> list[Value]:
        """Products of all queries of the tile with a block of keys."""
        sums = [[e.constant(0.0)] * _CHAINS for _ in range(self._tile)]
        for d in range(self._dim):
            lanes = e.load(e.at(keys, d * VECTOR), FLOATS)
            for j in range(self._tile):
                query = e.load_splat(e.at(work.queries, j * self._bytes + d * FLOAT))
                sums[j][d % _CHAINS] = e.fma(query, lanes, sums[j][d % _CHAINS])
        return [reduce(e.builder.fadd, chain) for chain in sums]

    def _hide(self, e: Emitter, row: Value, block: Value, lanes: Value, place: Value) -> None:
        offset = e.add(e.mul(row, e.argument(AttentionSlot.VISIBLE)), e.mul(block, LANES))
        seen = e.load_some(e.at(e.pointer(AttentionSlot.MASK), offset), lanes)
        seen = e.builder.icmp_unsigned("!=", seen, ir.Constant(seen.type, [0] * LANES))
        score = e.load(place, FLOATS)
        e.store(e.builder.select(seen, score, e.constant(_HIDDEN)), place)

    def _score_at(self, e: Emitter, work: _Work, query: int, block: Value) -> Value:
        row = e.mul(work.blocks, query * VECTOR)
        return e.at(work.scores, row, e.mul(block, VECTOR))

    def _exponentiate(self, e: Emitter, work: _Work, most: list[Value]) -> None:
        """Replace scores by e**(score - largest), those of hidden keys by zero."""
        b = e.builder
        peaks = [e.splat(e.reduce(e.largest, lanes)) for lanes in most]

        def block(i: Value) -> None:
            for j, peak in enumerate(peaks):
                place = self._score_at(e, work, j, i)
                score = e.load(place, FLOATS)
                seen = b.fcmp_ordered(">", score, e.constant(_HIDDEN))
                weight = b.select(seen, e.exp(b.fsub(score, peak)), e.constant(0.0))
                e.store(weight, place)

        e.loop(work.blocks, block)

    def _sum_values(
        self, e: Emitter, work: _Work, head: Value, rows: list[Value], offsets: list[Value]
    ) -> None:
        """Write the mean of the values by their weights.

        The sums of values and of weights go from key to key. Hidden keys add zeros, so that the
        result of a row does not depend on how many hidden keys lie between those it attends to,
        such as other branches of a tree of drafts.
        """
        values = self._of_head(e, AttentionSlot.VALUES, head)
        scores = [self._score_at(e, work, j, e.whole(0)) for j in range(self._tile)]
        out, stride = e.pointer(AttentionSlot.OUT), e.argument(AttentionSlot.OUT_STRIDE)
        factors: list[Value] = []
        for first in range(0, self._vectors, _TOGETHER):
            parts = range(first, first + _TOGETHER)
            sums = self._summed(e, values, scores, parts, totals=not factors)
            if not factors:
                totals = sums[_TOGETHER * self._tile :]
                factors = [e.builder.fdiv(e.constant(1.0), total) for total in totals]
            for j, (row, offset) in enumerate(zip(rows, offsets, strict=True)):
                target = e.at(out, e.mul(row, stride), offset)
                for n, part in enumerate(parts):
                    y = e.builder.fmul(sums[j * _TOGETHER + n], factors[j])
                    e.store(y, e.at(target, part * VECTOR))

    def _summed(
        self, e: Emitter, values: Value, scores: list[Value], parts: range, *, totals: bool
    ) -> list[Value]:
        """Sums of weighted values for every query, then of the weights if `totals`."""

        def add(i: Value, sums: list[Value]) -> list[Value]:
            row = e.at(values, e.mul(i, self._bytes))
            value = [e.load(e.at(row, part * VECTOR), FLOATS) for part in parts]
            weights = [e.load_splat(e.at(score, e.mul(i, FLOAT))) for score in scores]
            found = [
                e.fma(weight, part, sums[j * _TOGETHER + n])
                for j, weight in enumerate(weights)
                for n, part in enumerate(value)
            ]
            so_far = sums[len(found) :]
            return found + [e.builder.fadd(t, w) for t, w in zip(so_far, weights, strict=False)]

        count = (_TOGETHER + totals) * self._tile
        return e.fold(e.argument(AttentionSlot.VISIBLE), [e.constant(0.0)] * count, add)
