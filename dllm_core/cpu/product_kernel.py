"""Rows times packed weights, as machine code: `y = finish(norm(x) @ W.T + bias)`.

The work has two phases, each shared among the threads. First the rows are normalised, if a weight
is given (RMSNorm, arXiv 1910.07467), and written as 16-bit integers with a scale per group of 32.
Then every thread takes tiles of 32 outputs and multiplies all rows with one group of their weights
after another, in panels of as many rows as registers hold. A single panel takes the weights as they
are unpacked; for several they are unpacked once, into the first-level cache.

    y[m, n] = sum over groups g of  step[n, g] * (sum over k in g of level[n, k] * a[m, k])
                                  + least[n, g] * (sum over k in g of a[m, k])

Where a format has no least values, levels are made signed, and the second line is not there.

The inner sums are exact in integers, the outer ones have the same order for any number of rows: a
row's result does not depend on its neighbours in a single bit. Rounding inputs to 16 bits is an
error of up to 2**-16 of the largest input of the group, little more than float32 loses over such a
sum.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, auto
from functools import reduce
from typing import NamedTuple

from llvmlite import ir

from dllm_core.cpu.emit import (
    F32,
    FLOAT,
    FLOATS,
    I8,
    I16,
    I32,
    INTS,
    LANES,
    PAIRS,
    VECTOR,
    Counter,
    Emitter,
    Value,
)
from dllm_core.cpu.formats import COLUMNS, GROUP, HALF, WORD, Format

_LARGEST = 32639.0
"""Largest level of an input, 127 * 256 + 127: 256 times a signed byte plus another one."""
_TINY = 1e-30
"""Least value for the largest magnitude of a group, so that groups of zeros can be divided."""
_PANELS = 8
"""Panels whose sums stay in the cache beside one tile of weights."""
_BUSY = 10
"""Independent sums that keep both multipliers of a core busy, with a latency of five cycles."""
_PAIR = 4
"""Bytes of two 16-bit numbers."""
AHEAD = 16384
"""Bytes between the weights that are multiplied and those that are prefetched."""
_STEPS = GROUP // 2
"""Pairs of a group."""


class ProductSlot(IntEnum):
    """Arguments of the product kernel, after the counters."""

    X = len(Counter)
    X_STRIDE = auto()
    ROWS = auto()
    PANELS = auto()
    GROUPS = auto()
    NORM = auto()
    """Weight of the norm, or null."""
    EPS = auto()
    """Bits of a float32."""
    LEVELS = auto()
    """int16 (groups, panels * rows of one, 32)"""
    SCALES = auto()
    """float32 (groups, panels * rows of one)"""
    SUMS = auto()
    """Sums of the inputs of a group, in the shape of SCALES."""
    WEIGHTS = auto()
    TILES = auto()
    BIAS = auto()
    """float32 (tiles * 32,), or null."""
    OUT = auto()
    OUT_STRIDE = auto()
    FINISH = auto()


class Finish(IntEnum):
    """Operation on the products.

    Attributes:
        STORE: write them to the output.
        ADD: add them to the output.
        SWIGLU: gate the second half of a tile with the first (arXiv 2002.05202).
    """

    STORE = 0
    ADD = 1
    SWIGLU = 2


class Row(NamedTuple):
    """One row in the first phase.

    Attributes:
        index: number of the row.
        x: address of its inputs.
        levels: address of its 16-bit levels.
        padded: number of rows of all panels.
    """

    index: Value
    x: Value
    levels: Value
    padded: Value


_Levels = Callable[[int, int], Value]
"""The vector of pair `k` of a group for column `c`: 16-bit integers, two per lane."""


class Grid(NamedTuple):
    """Grids of a group for 16 outputs.

    Attributes:
        steps: one for each half of a group, or one for both.
        least: the least value; None where levels are signed.
    """

    steps: list[Value]
    least: Value | None


class ProductKernel:
    """Writes the kernel for one format of weights and number of rows per panel.

    Args:
        form: format of the weights.
        rows: rows of a panel.
        single: whether there is one panel only.
    """

    def __init__(self, form: Format, rows: int, single: bool) -> None:
        self._form, self._rows, self._single = form, rows, single

    def __call__(self, e: Emitter) -> None:
        rows = e.argument(ProductSlot.ROWS)
        e.share(Counter.NEXT_ROW, Counter.ROWS_DONE, rows, lambda row: self._prepare(e, row))
        self._reserve(e)
        self._sums = e.scratch(_PANELS * self._rows * COLUMNS * VECTOR)
        blocks = e.ceil_div(e.argument(ProductSlot.PANELS), _PANELS)
        items = e.mul(e.argument(ProductSlot.TILES), blocks)

        def item(i: Value) -> None:
            self._tile(e, e.builder.sdiv(i, blocks), e.builder.srem(i, blocks))

        e.share(Counter.NEXT_ITEM, Counter.ITEMS_DONE, items, item)

    def _reserve(self, e: Emitter) -> None:
        """Allocate scratch memory for unpacked weights."""
        if not self._single:
            self._weights = e.scratch(_STEPS * COLUMNS * VECTOR)

    # The rows

    def _prepare(self, e: Emitter, index: Value) -> None:
        row = Row(
            index,
            e.at(e.pointer(ProductSlot.X), e.mul(index, e.argument(ProductSlot.X_STRIDE))),
            self._row_levels(e, index),
            e.mul(e.argument(ProductSlot.PANELS), self._rows),
        )
        normed = e.builder.icmp_signed("!=", e.argument(ProductSlot.NORM), e.whole(0))
        with e.builder.if_else(normed) as (yes, no):
            with yes:
                inverse = self._inverse_root_mean_square(e, row)
                self._quantise(e, row, inverse, e.pointer(ProductSlot.NORM))
            with no:
                self._quantise(e, row, None, None)
        last = e.builder.icmp_signed("==", e.add(index, 1), e.argument(ProductSlot.ROWS))
        e.when(last, lambda: self._clear_rest(e, row))

    def _clear_rest(self, e: Emitter, last: Row) -> None:
        """Give the rows that fill up the last panel scales of zero.

        They are multiplied like the others. What else lies there may be denormal numbers, with
        which a product takes several times as long.
        """
        rest = e.builder.sub(last.padded, e.argument(ProductSlot.ROWS))

        def group(g: Value) -> None:
            place = e.mul(e.add(e.mul(g, last.padded), last.index, 1), FLOAT)

            def clear(i: Value) -> None:
                for slot in (ProductSlot.SCALES, ProductSlot.SUMS):
                    e.store(ir.Constant(F32, 0.0), e.at(e.pointer(slot), place, e.mul(i, FLOAT)))

            e.loop(rest, clear)

        e.loop(e.argument(ProductSlot.GROUPS), group)

    def _inverse_root_mean_square(self, e: Emitter, row: Row) -> Value:
        vectors = e.mul(e.argument(ProductSlot.GROUPS), GROUP // LANES)

        def square(i: Value, total: list[Value]) -> list[Value]:
            x = e.load(e.at(row.x, e.mul(i, VECTOR)), FLOATS)
            return [e.fma(x, x, total[0])]

        (total,) = e.fold(vectors, [e.constant(0.0)], square)
        count = e.builder.sitofp(e.mul(vectors, LANES), F32)
        return e.inverse_root_mean(total, count, e.float_argument(ProductSlot.EPS))

    def _quantise(self, e: Emitter, row: Row, inverse: Value, weight: Value) -> None:
        b = e.builder

        def number(g: Value, half: int) -> Value:
            offset = e.add(e.mul(g, GROUP * FLOAT), half * VECTOR)
            x = e.load(e.at(row.x, offset), FLOATS)
            if weight is None:
                return x
            return b.fmul(b.fmul(x, inverse), e.load(e.at(weight, offset), FLOATS))

        def group(g: Value) -> None:
            x = [number(g, half) for half in range(2)]
            peak = e.largest_magnitude(*x)
            tiny = ir.Constant(F32, _TINY)
            # NaN is not less than anything, so it passes through, and the row becomes NaN.
            most = b.select(b.fcmp_ordered("<", peak, tiny), tiny, peak)
            scale = b.fmul(most, ir.Constant(F32, 1 / _LARGEST))
            factor = e.splat(b.fdiv(ir.Constant(F32, _LARGEST), most))
            levels = [b.fptosi(e.nearest(b.fmul(part, factor)), INTS) for part in x]
            self._store_levels(e, row, g, levels)
            sum_ = b.sitofp(e.reduce(b.add, b.add(*levels)), F32)
            place = e.mul(e.add(e.mul(g, row.padded), row.index), FLOAT)
            e.store(scale, e.at(e.pointer(ProductSlot.SCALES), place))
            e.store(b.fmul(sum_, scale), e.at(e.pointer(ProductSlot.SUMS), place))

        e.loop(e.argument(ProductSlot.GROUPS), group)

    def _row_levels(self, e: Emitter, index: Value) -> Value:
        """Address of a row's levels of the first group."""
        return e.at(e.pointer(ProductSlot.LEVELS), e.mul(index, GROUP * 2))

    def _store_levels(self, e: Emitter, row: Row, g: Value, levels: list[Value]) -> None:
        """Store the levels of a group, two vectors of integers."""
        for half, level in enumerate(levels):
            narrow = e.builder.trunc(level, ir.VectorType(I16, LANES))
            place = e.mul(g, row.padded, GROUP * 2)
            e.store(narrow, e.at(row.levels, place, half * LANES * 2))

    # The products

    def _tile(self, e: Emitter, tile: Value, block: Value) -> None:
        first = e.mul(block, _PANELS)
        panels = e.least(e.whole(_PANELS), e.builder.sub(e.argument(ProductSlot.PANELS), first))
        supers = e.builder.sdiv(e.argument(ProductSlot.GROUPS), e.whole(self._form.span))
        offset = e.mul(tile, supers, self._form.super_bytes)
        start = e.at(e.pointer(ProductSlot.WEIGHTS), offset)
        self._sum(e, start, supers, first, panels)
        row = e.mul(first, self._rows)
        rows = e.least(
            e.whole(_PANELS * self._rows), e.builder.sub(e.argument(ProductSlot.ROWS), row)
        )
        e.loop(rows, lambda r: self._finish(e, tile, row, r))

    def _sum(self, e: Emitter, start: Value, supers: Value, first: Value, panels: Value) -> None:
        """Multiply the panels of a block with the weights of a tile; the sums stay in memory."""
        self._clear_sums(e, panels)
        form = self._form

        def one(s: Value) -> None:
            packed = e.at(start, e.mul(s, form.super_bytes))
            for line in range(0, form.head_bytes, VECTOR):
                e.prefetch(e.at(packed, AHEAD + line))
            heads = [self._supers(e, packed, c) for c in range(COLUMNS)]

            def group(i: Value) -> None:
                at = e.at(packed, form.head_bytes, e.mul(i, form.group_bytes))
                self._group(e, e.add(e.mul(s, form.span), i), first, panels, at, heads)

            e.loop(form.span, group) if form.span > 1 else group(e.whole(0))

        e.loop(supers, one)

    def _clear_sums(self, e: Emitter, panels: Value) -> None:
        sums = e.mul(panels, self._rows * COLUMNS)
        e.loop(sums, lambda i: e.store(e.constant(0.0), e.at(self._sums, e.mul(i, VECTOR)), VECTOR))

    def _group(
        self, e: Emitter, g: Value, first: Value, panels: Value, at: Value, heads: list[list[Value]]
    ) -> None:
        """Multiply all panels of a block with the group of weights at an address."""
        for line in range(0, self._form.group_bytes, VECTOR):
            e.prefetch(e.at(at, AHEAD + line))
        grid = [self._grid(e, at, c, heads[c]) for c in range(COLUMNS)]
        packed: dict[tuple[int, int, int], Value] = {}

        def level(k: int, c: int) -> Value:
            return self._level(e, at, c, k, packed)

        if self._single:
            self._panel(e, g, first, e.whole(0), grid, level)
            return
        for k in range(_STEPS):
            for c in range(COLUMNS):
                e.store(level(k, c), e.at(self._weights, (k * COLUMNS + c) * VECTOR), VECTOR)

        def unpacked(k: int, c: int) -> Value:
            return e.load(e.at(self._weights, (k * COLUMNS + c) * VECTOR), PAIRS, VECTOR)

        e.loop(panels, lambda p: self._panel(e, g, first, p, grid, unpacked))

    def _level(
        self, e: Emitter, at: Value, c: int, k: int, packed: dict[tuple[int, int, int], Value]
    ) -> Value:
        """Unpack pair `k` of a group, a level in each 16-bit half of a lane."""
        b, form = e.builder, self._form

        def part(start: int, bits: int, to: int) -> Value:
            per = WORD // bits
            key, own = (start, c, k // per), k % per * bits
            if key not in packed:
                size = GROUP // 2 // per * VECTOR
                place = e.at(at, start + c * size + k // per * VECTOR)
                packed[key] = e.load(place, PAIRS, VECTOR)
            word = packed[key]
            shift = b.lshr if own > to else b.shl
            moved = shift(word, e.constant(abs(own - to), PAIRS)) if own != to else word
            if own + bits == WORD and not to:  # nothing stands above
                return moved
            return b.and_(moved, e.constant((2**bits - 1) << to, PAIRS))

        level = part(0, form.low, 0)
        if form.high:
            level = b.or_(level, part(COLUMNS * form.low_bytes, form.high, form.low))
        return b.sub(level, e.constant(form.zero, PAIRS)) if form.zero else level

    def _supers(self, e: Emitter, packed: Value, c: int) -> list[Value]:
        """Numbers of a super-block for 16 outputs."""
        count, halves = self._form.supers, ir.VectorType(I16, LANES)
        places = [e.at(packed, (c * count + i) * LANES * HALF) for i in range(count)]
        return [e.halves_to_floats(e.load(place, halves)) for place in places]

    def _grid(self, e: Emitter, at: Value, c: int, heads: list[Value]) -> Grid:
        """Steps and least values of a group for 16 outputs."""
        b, form = e.builder, self._form
        start = COLUMNS * (form.low_bytes + form.high_bytes) + c * form.grid_bytes
        kinds = {HALF: ir.VectorType(I16, LANES), FLOAT: FLOATS, 1: ir.VectorType(I8, LANES)}
        size = form.grid.itemsize
        places = [e.at(at, start + i * LANES * size) for i in range(form.grids)]
        found = [e.load(place, kinds[size]) for place in places]
        if form.halves > 1:
            return Grid([b.fmul(b.sitofp(b.sext(x, INTS), FLOATS), heads[0]) for x in found], None)
        if form.supers:
            step, least = (
                b.fmul(b.uitofp(b.zext(x, INTS), FLOATS), head)
                for x, head in zip(found, heads, strict=True)
            )
            return Grid([step], b.fneg(least))
        found = [e.halves_to_floats(x) for x in found] if size == HALF else found
        return Grid(found[:1], found[1] if form.grids > 1 else None)

    def _panel(
        self, e: Emitter, g: Value, first: Value, p: Value, grid: list[Grid], level: _Levels
    ) -> None:
        b = e.builder
        padded = e.mul(e.argument(ProductSlot.PANELS), self._rows)
        row = e.add(e.mul(g, padded), e.mul(e.add(first, p), self._rows))
        start = e.at(e.pointer(ProductSlot.LEVELS), e.mul(row, GROUP * 2))
        products = self._dots(e, [e.at(start, r * GROUP * 2) for r in range(self._rows)], level)
        place = e.mul(row, FLOAT)
        scales, totals = (e.at(e.pointer(s), place) for s in (ProductSlot.SCALES, ProductSlot.SUMS))
        for r in range(self._rows):
            scale, total = (e.load_splat(e.at(base, r * FLOAT)) for base in (scales, totals))
            for c, (steps, least) in enumerate(grid):
                sums = e.at(self._sums, e.mul(p, self._rows * COLUMNS * VECTOR))
                sums = e.at(sums, (r * COLUMNS + c) * VECTOR)
                y = e.load(sums, FLOATS, VECTOR)
                for product, step in zip(products[r][c], steps, strict=True):
                    y = e.fma(b.fmul(b.sitofp(product, FLOATS), scale), step, y)
                e.store(y if least is None else e.fma(total, least, y), sums, VECTOR)

    def _dots(self, e: Emitter, rows: list[Value], level: _Levels) -> list[list[list[Value]]]:
        """Integer sums over each grid of one group, for each row and column."""
        chains = -(-_BUSY // (self._rows * COLUMNS))
        halves, columns = self._form.halves, range(COLUMNS)
        zero = e.constant(0, INTS)
        sums = [[[[zero] * chains for _ in range(halves)] for _ in columns] for _ in rows]
        for k in range(_STEPS):
            weights = [level(k, c) for c in columns]
            for r, row in enumerate(rows):
                pair = e.load_splat(e.at(row, k * _PAIR), I32)
                a = e.builder.bitcast(pair, PAIRS)
                for c in columns:
                    own = sums[r][c][k * halves // _STEPS]
                    own[k % chains] = e.dot(own[k % chains], a, weights[c])
        return [[[reduce(e.builder.add, chain) for chain in own] for own in row] for row in sums]

    def _finish(self, e: Emitter, tile: Value, first: Value, r: Value) -> None:
        b = e.builder
        sums = e.at(self._sums, e.mul(r, COLUMNS * VECTOR))
        has_bias = b.icmp_signed("!=", e.argument(ProductSlot.BIAS), e.whole(0))
        at = e.at(e.pointer(ProductSlot.BIAS), e.mul(tile, COLUMNS * VECTOR))
        e.when(has_bias, lambda: self._add_bias(e, sums, at))
        y = [e.load(e.at(sums, c * VECTOR), FLOATS, VECTOR) for c in range(COLUMNS)]
        out = e.at(
            e.pointer(ProductSlot.OUT), e.mul(e.add(first, r), e.argument(ProductSlot.OUT_STRIDE))
        )
        kind = e.argument(ProductSlot.FINISH)

        def store(adds: bool) -> None:
            for c in range(COLUMNS):
                place = e.at(out, e.mul(tile, COLUMNS * VECTOR), c * VECTOR)
                e.store(b.fadd(y[c], e.load(place, FLOATS)) if adds else y[c], place)

        def gate() -> None:
            divisor = b.fadd(e.constant(1.0), e.exp(b.fneg(y[0])))
            e.store(b.fmul(b.fdiv(y[0], divisor), y[1]), e.at(out, e.mul(tile, VECTOR)))

        def is_(finish: Finish) -> Value:
            return b.icmp_signed("==", kind, e.whole(finish))

        e.when(is_(Finish.STORE), lambda: store(False))
        e.when(is_(Finish.ADD), lambda: store(True))
        e.when(is_(Finish.SWIGLU), gate)

    def _add_bias(self, e: Emitter, sums: Value, bias: Value) -> None:
        for c in range(COLUMNS):
            place = e.at(sums, c * VECTOR)
            more = e.load(e.at(bias, c * VECTOR), FLOATS)
            e.store(e.builder.fadd(e.load(place, FLOATS, VECTOR), more), place, VECTOR)
