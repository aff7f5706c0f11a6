"""Attention of one sequence over its keys and values, as machine code.

The work has two phases, each shared among the threads. First the queries and keys of every row are
normalised, if weights are given (QK-norm, arXiv 2302.05442), and rotated (RoFormer, arXiv
2104.09864); keys and values are stored. Then every thread takes blocks of queries of one key head:
it transposes the keys of the head, so that 16 of them are multiplied at once and sums stay within
lanes, and computes scores, softmax and the weighted sum of the values for tiles of queries.
"""

from __future__ import annotations

from enum import IntEnum, auto
from functools import reduce
from typing import NamedTuple

from llvmlite import ir

from dllm_core.cpu.emit import F32, FLOAT, FLOATS, LANES, VECTOR, Counter, Emitter, Value

TILES = 4
"""Tiles of queries that share one transposed copy of the keys."""
_CHAINS = 2
"""Partial sums of a score, the same number for all tiles, so that a row's result does not depend on
the number of rows in the pass."""
_HIDDEN = -1e30
"""Score of a masked key; scores up to this one have weight 0."""
_TOGETHER = 2
"""Vectors of values that are summed in one pass over the keys."""


class AttentionSlot(IntEnum):
    """Arguments of the attention kernel, after the counters."""

    QKV = len(Counter)
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
    """float32 (kv_heads, positions, head_dim)"""
    VALUES = auto()
    HEAD_STRIDE = auto()
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
    """Bytes of scratch memory per thread: the keys of a head, a tile's queries and scores."""
    positions = -(-visible // LANES) * LANES
    return FLOAT * (positions * (head_dim + tile) + tile * head_dim)


class _Work(NamedTuple):
    """Scratch memory of a thread and sizes.

    Attributes:
        keys: float32 (blocks, head_dim, 16), the transposed keys of a head.
        queries: float32 (tile, head_dim).
        scores: float32 (tile, blocks * 16).
        blocks: number of blocks of 16 visible positions.
        group: number of query heads that share a key head.
    """

    keys: Value
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
        rows = e.argument(AttentionSlot.ROWS)
        counters = (Counter.NEXT_ROW, Counter.ROWS_DONE)
        e.share(*counters, rows, lambda row: self._rotate_and_store(e, row))
        b = e.builder
        group = b.sdiv(e.argument(AttentionSlot.HEADS), e.argument(AttentionSlot.KV_HEADS))
        queries = e.mul(rows, group)
        per_head = e.ceil_div(queries, TILES * self._tile)
        work = self._workspace(e, group)

        def item(i: Value) -> None:
            head = b.sdiv(i, per_head)
            self._lay_out_keys(e, work, head)
            first = e.mul(b.srem(i, per_head), TILES)
            last = e.least(e.add(first, TILES), e.ceil_div(queries, self._tile))
            e.loop(b.sub(last, first), lambda t: self._attend(e, work, head, e.add(first, t)))

        items = e.mul(e.argument(AttentionSlot.KV_HEADS), per_head)
        e.share(Counter.NEXT_ITEM, Counter.ITEMS_DONE, items, item)

    def _workspace(self, e: Emitter, group: Value) -> _Work:
        thread = e.mul(e.take(Counter.NEXT_THREAD), e.argument(AttentionSlot.SCRATCH_STRIDE))
        keys = e.at(e.pointer(AttentionSlot.SCRATCH), thread)
        blocks = e.ceil_div(e.argument(AttentionSlot.VISIBLE), LANES)
        queries = e.at(keys, e.mul(blocks, LANES * self._bytes))
        scores = e.at(queries, self._tile * self._bytes)
        return _Work(keys, queries, scores, blocks, group)

    # Rotary positions, keys and values

    def _rotate_and_store(self, e: Emitter, row: Value) -> None:
        x = e.at(e.pointer(AttentionSlot.QKV), e.mul(row, e.argument(AttentionSlot.QKV_STRIDE)))
        position = e.mul(e.add(e.argument(AttentionSlot.START), row), self._bytes)
        heads, kv_heads = e.argument(AttentionSlot.HEADS), e.argument(AttentionSlot.KV_HEADS)

        def source(head: Value) -> Value:
            return e.at(x, e.mul(head, self._bytes))

        def cached(slot: AttentionSlot, head: Value) -> Value:
            return e.at(
                e.pointer(slot), e.mul(head, e.argument(AttentionSlot.HEAD_STRIDE)), position
            )

        def query(head: Value) -> None:
            self._rotate(e, row, source(head), source(head), AttentionSlot.Q_NORM)

        def key(head: Value) -> None:
            at = source(e.add(heads, head))
            self._rotate(e, row, at, cached(AttentionSlot.KEYS, head), AttentionSlot.K_NORM)

        def value(head: Value) -> None:
            at, to = source(e.add(heads, kv_heads, head)), cached(AttentionSlot.VALUES, head)
            for i in range(self._vectors):
                e.store(e.load(e.at(at, i * VECTOR), FLOATS), e.at(to, i * VECTOR))

        e.loop(heads, query)
        e.loop(kv_heads, key)
        e.loop(kv_heads, value)

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

    def _lay_out_keys(self, e: Emitter, work: _Work, head: Value) -> None:
        keys = e.at(
            e.pointer(AttentionSlot.KEYS), e.mul(head, e.argument(AttentionSlot.HEAD_STRIDE))
        )
        last = e.add(e.argument(AttentionSlot.VISIBLE), -1)

        def block(i: Value) -> None:
            # Lanes behind the last key repeat it; their scores are masked.
            positions = [e.least(e.add(e.mul(i, LANES), n), last) for n in range(LANES)]
            rows = [e.at(keys, e.mul(position, self._bytes)) for position in positions]
            for v in range(self._vectors):
                part = [e.load(e.at(row, v * VECTOR), FLOATS) for row in rows]
                for d, lanes in enumerate(e.transpose(part), v * LANES):
                    place = e.add(e.mul(i, LANES * self._bytes), d * VECTOR)
                    e.store(lanes, e.at(work.keys, place))

        e.loop(work.blocks, block)

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
        most = self._score(e, work, rows)
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

    def _score(self, e: Emitter, work: _Work, rows: list[Value]) -> list[Value]:
        """Write the scores of all visible keys; returns the largest score of every lane."""
        visible = e.argument(AttentionSlot.VISIBLE)
        masked = e.builder.icmp_signed("!=", e.argument(AttentionSlot.MASK), e.whole(0))

        def block(i: Value, most: list[Value]) -> list[Value]:
            lanes = e.before(e.builder.sub(visible, e.mul(i, LANES)))
            found = []
            for j, score in enumerate(self._products(e, work, i)):
                score = e.builder.select(lanes, score, e.constant(_HIDDEN))
                place = self._score_at(e, work, j, i)
                e.store(score, place)
                e.when(masked, lambda j=j, p=place: self._hide(e, rows[j], i, lanes, p))  # type: ignore[misc]
                found.append(e.largest(most[j], e.load(place, FLOATS)))
            return found

        start = [e.constant(_HIDDEN)] * self._tile
        return e.fold(work.blocks, start, block)

    def _products(self, e: Emitter, work: _Work, block: Value) -> list[Value]:
        """Products of all queries of the tile with 16 keys."""
        keys = e.at(work.keys, e.mul(block, LANES * self._bytes))
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
        values = e.at(
            e.pointer(AttentionSlot.VALUES), e.mul(head, e.argument(AttentionSlot.HEAD_STRIDE))
        )
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
