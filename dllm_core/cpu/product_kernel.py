"""Rows times packed weights, as machine code: `y = finish(norm(x) @ W.T + bias)`.

The work has two phases, each shared among the threads. First the rows are normalised, if a weight
is given (RMSNorm, arXiv 1910.07467), and written as 16-bit integers with a scale per group of 32.
Then every thread takes tiles of 32 outputs: it unpacks one group of their weights into its
first-level cache and multiplies all rows with them, in panels of as many rows as registers hold.

    y[m, n] = sum over groups g of  step[n, g] * (sum over k in g of level[n, k] * a[m, k])
                                  + least[n, g] * (sum over k in g of a[m, k])

The inner sums are exact in integers, the outer ones have the same order for any number of rows: a
row's result does not depend on its neighbours in a single bit. Rounding inputs to 16 bits is an
error of up to 2**-16 of the largest input of the group, little more than float32 loses over such a
sum.
"""

from __future__ import annotations

from enum import IntEnum, auto
from functools import reduce
from typing import NamedTuple

from llvmlite import ir

from dllm_core.cpu.emit import (
    F32,
    FLOAT,
    FLOATS,
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
from dllm_core.cpu.packed import COLUMNS, GROUP, Format

_LARGEST = 32767.0
_TINY = 1e-30
"""Least value for the largest magnitude of a group, so that groups of zeros can be divided."""
_PANELS = 8
"""Panels whose sums stay in the cache beside one tile of weights."""
_BUSY = 10
"""Independent sums that keep both multipliers of a core busy, with a latency of five cycles."""
_PAIR = 4
"""Bytes of two 16-bit numbers."""
_AHEAD = 16384
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


class _Row(NamedTuple):
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


class ProductKernel:
    """Writes the kernel for one format of weights and number of rows per panel."""

    def __init__(self, form: Format, rows: int) -> None:
        self._form, self._rows = form, rows

    def __call__(self, e: Emitter) -> None:
        rows = e.argument(ProductSlot.ROWS)
        e.share(Counter.NEXT_ROW, Counter.ROWS_DONE, rows, lambda row: self._prepare(e, row))
        self._weights = e.scratch(_STEPS * COLUMNS * VECTOR)
        self._sums = e.scratch(_PANELS * self._rows * COLUMNS * VECTOR)
        blocks = e.ceil_div(e.argument(ProductSlot.PANELS), _PANELS)
        items = e.mul(e.argument(ProductSlot.TILES), blocks)

        def item(i: Value) -> None:
            self._tile(e, e.builder.sdiv(i, blocks), e.builder.srem(i, blocks))

        e.share(Counter.NEXT_ITEM, Counter.ITEMS_DONE, items, item)

    # The rows

    def _prepare(self, e: Emitter, index: Value) -> None:
        row = _Row(
            index,
            e.at(e.pointer(ProductSlot.X), e.mul(index, e.argument(ProductSlot.X_STRIDE))),
            e.at(e.pointer(ProductSlot.LEVELS), e.mul(index, GROUP * 2)),
            e.mul(e.argument(ProductSlot.PANELS), self._rows),
        )
        normed = e.builder.icmp_signed("!=", e.argument(ProductSlot.NORM), e.whole(0))
        with e.builder.if_else(normed) as (yes, no):
            with yes:
                inverse = self._inverse_root_mean_square(e, row)
                self._quantise(e, row, inverse, e.pointer(ProductSlot.NORM))
            with no:
                self._quantise(e, row, None, None)

    def _inverse_root_mean_square(self, e: Emitter, row: _Row) -> Value:
        vectors = e.mul(e.argument(ProductSlot.GROUPS), GROUP // LANES)

        def square(i: Value, total: list[Value]) -> list[Value]:
            x = e.load(e.at(row.x, e.mul(i, VECTOR)), FLOATS)
            return [e.fma(x, x, total[0])]

        (total,) = e.fold(vectors, [e.constant(0.0)], square)
        count = e.builder.sitofp(e.mul(vectors, LANES), F32)
        return e.inverse_root_mean(total, count, e.float_argument(ProductSlot.EPS))

    def _quantise(self, e: Emitter, row: _Row, inverse: Value, weight: Value) -> None:
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
            for half, level in enumerate(levels):
                narrow = b.trunc(level, ir.VectorType(I16, LANES))
                place = e.mul(g, row.padded, GROUP * 2)
                e.store(narrow, e.at(row.levels, place, half * LANES * 2))
            sum_ = b.sitofp(e.reduce(b.add, b.add(*levels)), F32)
            place = e.mul(e.add(e.mul(g, row.padded), row.index), FLOAT)
            e.store(scale, e.at(e.pointer(ProductSlot.SCALES), place))
            e.store(b.fmul(sum_, scale), e.at(e.pointer(ProductSlot.SUMS), place))

        e.loop(e.argument(ProductSlot.GROUPS), group)

    # The products

    def _tile(self, e: Emitter, tile: Value, block: Value) -> None:
        first = e.mul(block, _PANELS)
        panels = e.least(e.whole(_PANELS), e.builder.sub(e.argument(ProductSlot.PANELS), first))
        sums = e.mul(panels, self._rows * COLUMNS)
        e.loop(sums, lambda i: e.store(e.constant(0.0), e.at(self._sums, e.mul(i, VECTOR)), VECTOR))
        groups = e.argument(ProductSlot.GROUPS)
        size = COLUMNS * self._form.bytes

        def group(g: Value) -> None:
            packed = e.at(
                e.pointer(ProductSlot.WEIGHTS), e.mul(e.add(e.mul(tile, groups), g), size)
            )
            for line in range(0, size, VECTOR):
                e.prefetch(e.at(packed, _AHEAD + line))
            self._unpack(e, packed)
            grid = [self._grid(e, packed, c) for c in range(COLUMNS)]
            e.loop(panels, lambda p: self._panel(e, g, first, p, grid))

        e.loop(groups, group)
        row = e.mul(first, self._rows)
        rows = e.least(
            e.whole(_PANELS * self._rows), e.builder.sub(e.argument(ProductSlot.ROWS), row)
        )
        e.loop(rows, lambda r: self._finish(e, tile, row, r))

    def _unpack(self, e: Emitter, packed: Value) -> None:
        """Unpack a group of 32 levels of every column to 16-bit integers, two per lane."""
        bits, per = self._form.bits, self._form.per_word
        mask = e.constant(2**bits - 1, PAIRS)
        for c in range(COLUMNS):
            for z in range(_STEPS // per):
                word = e.load(e.at(packed, c * self._form.bytes + z * VECTOR), PAIRS)
                for j in range(per):
                    level = e.builder.lshr(word, e.constant(bits * j, PAIRS)) if j else word
                    if j < per - 1:
                        level = e.builder.and_(level, mask)
                    place = ((z * per + j) * COLUMNS + c) * VECTOR
                    e.store(level, e.at(self._weights, place), VECTOR)

    def _grid(self, e: Emitter, packed: Value, column: int) -> tuple[Value, Value]:
        """Steps and least values of a group for 16 outputs."""
        form = self._form
        size = LANES * form.grid_bytes
        start = column * form.bytes + form.level_bytes
        kind = FLOATS if form.grid_bytes == FLOAT else ir.VectorType(I16, LANES)
        found = [e.load(e.at(packed, start + i * size), kind) for i in range(2)]
        if form.grid_bytes != FLOAT:
            found = [e.halves_to_floats(value) for value in found]
        return found[0], found[1]

    def _panel(
        self, e: Emitter, g: Value, first: Value, p: Value, grid: list[tuple[Value, Value]]
    ) -> None:
        b = e.builder
        padded = e.mul(e.argument(ProductSlot.PANELS), self._rows)
        row = e.add(e.mul(g, padded), e.mul(e.add(first, p), self._rows))
        start = e.at(e.pointer(ProductSlot.LEVELS), e.mul(row, GROUP * 2))
        products = self._dots(e, [e.at(start, r * GROUP * 2) for r in range(self._rows)])
        place = e.mul(row, FLOAT)
        scales, totals = (e.at(e.pointer(s), place) for s in (ProductSlot.SCALES, ProductSlot.SUMS))
        for r in range(self._rows):
            scale, total = (e.load_splat(e.at(base, r * FLOAT)) for base in (scales, totals))
            for c, (step, least) in enumerate(grid):
                sums = e.at(self._sums, e.mul(p, self._rows * COLUMNS * VECTOR))
                sums = e.at(sums, (r * COLUMNS + c) * VECTOR)
                exact = b.fmul(b.sitofp(products[r][c], FLOATS), scale)
                y = e.fma(exact, step, e.load(sums, FLOATS, VECTOR))
                e.store(e.fma(total, least, y), sums, VECTOR)

    def _dots(self, e: Emitter, rows: list[Value]) -> list[list[Value]]:
        """Integer sums over one group for each row and column."""
        chains = -(-_BUSY // (self._rows * COLUMNS))
        zero = e.constant(0, INTS)
        sums = [[[zero] * chains for _ in range(COLUMNS)] for _ in rows]
        for k in range(_STEPS):
            columns = range(COLUMNS)
            places = [e.at(self._weights, (k * COLUMNS + c) * VECTOR) for c in columns]
            weights = [e.load(place, PAIRS, VECTOR) for place in places]
            for r, row in enumerate(rows):
                pair = e.load_splat(e.at(row, k * _PAIR), I32)
                a = e.builder.bitcast(pair, PAIRS)
                for c in columns:
                    sums[r][c][k % chains] = e.dot(sums[r][c][k % chains], a, weights[c])
        return [[reduce(e.builder.add, chain) for chain in row] for row in sums]

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
