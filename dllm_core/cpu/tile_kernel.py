"""The product kernel for processors that multiply tiles of bytes (AMX-INT8).

A 16-bit level of an input is 256 times a signed byte plus another one, so that a tile of the higher
and the lower bytes of all rows gives the sums of a group exactly, and the floats that follow are
those of the kernel whose place it takes, bit by bit. The unpacked weights of a group are two tiles
of 16 outputs, with 4 inputs a lane. While a group is multiplied, one behind it is unpacked and the
sums of one before it are scaled, since all that tiles load and store goes through the cache.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from llvmlite import ir

from dllm_core.cpu.emit import (
    FLOATS,
    I8,
    I64,
    INTS,
    LANES,
    PAIRS,
    VECTOR,
    Emitter,
    Value,
)
from dllm_core.cpu.formats import COLUMNS, GROUP, WORD
from dllm_core.cpu.product_kernel import AHEAD, Grid, ProductKernel, ProductSlot, Row

_PARTS = 2
"""Bytes of a level of an input, the higher one first."""
_LINES = GROUP // 4
"""Rows of a tile of weights."""
_UNPACKED = 2
"""Groups that are unpacked before they are multiplied."""
_PLACES = 4
"""Groups in progress; a power of two."""
_INPUTS, _WEIGHTS = 4, 6
"""First tiles of inputs and of weights; those before them are sums."""
_ALL_BYTES = ir.VectorType(I8, VECTOR)


class TileKernel(ProductKernel):
    """Writes the kernel for one format of weights and number of rows per panel, as its parent."""

    def __call__(self, e: Emitter) -> None:
        self._configure(e)
        super().__call__(e)
        e.release_tiles()

    def _configure(self, e: Emitter) -> None:
        """Shapes of the tiles: four for sums, two for inputs, two for weights."""
        halves, rows = self._form.halves, _PARTS * self._rows
        shapes = [(rows, VECTOR)] * _INPUTS
        shapes += [(rows, GROUP // halves)] * (_WEIGHTS - _INPUTS)
        shapes += [(_LINES // halves, VECTOR)] * COLUMNS
        widths = [byte for _, width in shapes for byte in (width, 0)]
        counts = [count for count, _ in shapes]
        numbers = [1, *[0] * 15, *widths, *[0] * 16, *counts, *[0] * 8]
        place = e.scratch(VECTOR)
        e.store(ir.Constant(_ALL_BYTES, numbers), place, VECTOR)
        e.configure_tiles(place)

    def _reserve(self, e: Emitter) -> None:
        self._weights = e.scratch(_PLACES * self._unpacked_bytes)
        self._results = e.scratch(_PLACES * self._result_bytes)

    @property
    def _unpacked_bytes(self) -> int:
        return COLUMNS * _LINES * VECTOR

    @property
    def _result_bytes(self) -> int:
        return self._form.halves * COLUMNS * _PARTS * self._rows * VECTOR

    # The rows: a cache line for each group and row, the higher bytes and then the lower ones

    def _store_levels(self, e: Emitter, row: Row, g: Value, levels: list[Value]) -> None:
        b, narrow = e.builder, ir.VectorType(I8, LANES)
        order = [k for line in range(_LINES) for k in self._inputs(line)]
        indices = ir.Constant(ir.VectorType(INTS.element, GROUP), order)
        place = e.at(row.levels, e.mul(g, row.padded, _PARTS * GROUP))
        half = e.constant(128, INTS)
        high = [b.ashr(b.add(level, half), e.constant(8, INTS)) for level in levels]
        for part, values in enumerate((high, levels)):
            found = b.shuffle_vector(*(b.trunc(value, narrow) for value in values), indices)
            e.store(found, e.at(place, part * GROUP))

    # The weights

    def _pairs(self, line: int) -> tuple[int, int]:
        """Pairs of inputs that a line of a tile has: those whose levels are bytes of one word."""
        per = WORD // self._form.low
        word, place = divmod(line, per // 2)
        first = word * per + place
        return first, first + per // 2

    def _inputs(self, line: int) -> Iterator[int]:
        """Inputs of the four bytes of a lane: words of even and of odd ones."""
        pairs = self._pairs(line)
        yield from (2 * pair + odd for odd in range(2) for pair in pairs)

    @property
    def _plain(self) -> bool:
        """Whether the packed levels are the bytes of tiles as they are."""
        return self._form.low == 8 and not self._form.high and not self._form.zero

    def _unpack(self, e: Emitter, at: Value, target: Value) -> None:
        """Write the levels of a group as lines of bytes."""
        if self._plain:
            return
        for c in range(COLUMNS):
            for line in range(_LINES):
                place = e.at(target, (c * _LINES + line) * VECTOR)
                e.store(self._line(e, at, c, line), place, VECTOR)

    def _line(self, e: Emitter, at: Value, c: int, line: int) -> Value:
        b, form = e.builder, self._form
        found = self._some_bits(e, e.at(at, c * form.low_bytes), line, form.low, 0)
        if form.high:
            high = e.at(at, COLUMNS * form.low_bytes + c * form.high_bytes)
            found = b.or_(found, self._some_bits(e, high, line, form.high, form.low))
        if not form.zero:
            return found
        zero = ir.Constant(_ALL_BYTES, [form.zero] * VECTOR)
        return b.sub(b.bitcast(found, _ALL_BYTES), zero)

    def _some_bits(self, e: Emitter, at: Value, line: int, bits: int, to: int) -> Value:
        """Some bits of the levels of a line, at their place in its bytes."""
        b, per = e.builder, WORD // bits
        masks: dict[tuple[int, int], int] = defaultdict(int)
        for byte, pair in enumerate(self._pairs(line)):
            target = to + 8 * byte
            masks[pair // per, pair % per * bits - target] |= 2**bits - 1 << target
        found = None
        for (word, shift), mask in masks.items():
            value = e.load(e.at(at, word * VECTOR), PAIRS, VECTOR)
            if shift:
                move = b.lshr if shift > 0 else b.shl
                value = move(value, e.constant(abs(shift), PAIRS))
            if mask != 2**WORD - 1:
                value = b.and_(value, e.constant(mask, PAIRS))
            found = value if found is None else b.or_(found, value)
        return found

    # The products

    def _sum(self, e: Emitter, start: Value, supers: Value, first: Value, panels: Value) -> None:
        if self._single:
            self._sum_one(e, start)
            return
        self._clear_sums(e, panels)
        last = e.add(panels, -1)

        def group(g: Value) -> None:
            packed, at = self._place(e, start, g)
            self._prefetch(e, at)
            self._unpack(e, at, self._weights)
            grids = self._grids(e, packed, at)
            weights = at if self._plain else self._weights

            def row(p: Value) -> Value:
                return e.mul(e.add(first, p), self._rows)

            def panel(p: Value) -> None:
                """Scale the sums of a panel while the next one is multiplied."""
                results = self._turn(e, self._results, p, self._result_bytes)
                self._store_results(e, results)
                self._multiply(e, g, row(e.least(e.add(p, 1), last)), weights)
                sums = e.at(self._sums, e.mul(p, self._rows * COLUMNS * VECTOR))
                before = [e.load(place, FLOATS, VECTOR) for place in self._vectors(e, sums)]
                self._keep(e, self._scaled(e, g, row(p), results, grids, before), sums)

            self._multiply(e, g, row(e.whole(0)), weights)
            e.loop(panels, panel)

        e.loop(e.argument(ProductSlot.GROUPS), group)

    def _sum_one(self, e: Emitter, start: Value) -> None:
        """Sum the products of one panel in registers, with several groups in progress.

        A tile waits for the stores of what it loads to leave the core, which they do in order, and
        one that is stored waits for its products.
        """
        groups, one = e.argument(ProductSlot.GROUPS), e.whole(1)
        last = e.add(groups, -1)

        def unpack(g: Value) -> None:
            _, at = self._place(e, start, e.least(g, last))
            self._prefetch(e, at)
            self._unpack(e, at, self._turn(e, self._weights, g, self._unpacked_bytes))

        def begin(g: Value) -> None:
            _, at = self._place(e, start, g)
            weights = at if self._plain else self._turn(e, self._weights, g, self._unpacked_bytes)
            self._multiply(e, g, e.whole(0), weights)
            unpack(e.add(g, _UNPACKED))

        def end(g: Value, sums: list[Value]) -> list[Value]:
            packed, at = self._place(e, start, g)
            results = self._turn(e, self._results, g, self._result_bytes)
            return self._scaled(e, g, e.whole(0), results, self._grids(e, packed, at), sums)

        def store(g: Value) -> None:
            self._store_results(e, self._turn(e, self._results, g, self._result_bytes))

        def step(i: Value, sums: list[Value]) -> list[Value]:
            """Group i is scaled, i + 1 stored, i + 2 multiplied."""
            store(e.add(i, 1))
            begin(e.add(i, 2))
            return end(i, sums)

        e.loop(_UNPACKED, unpack)
        begin(e.whole(0))
        several = e.builder.icmp_signed(">", groups, one)
        before = e.builder.zext(several, I64)

        def second() -> None:
            store(e.whole(0))
            begin(one)

        e.when(several, second)
        clear = [e.constant(0.0)] * (self._rows * COLUMNS)
        sums = e.fold(e.builder.sub(last, before), clear, step)
        store(last)
        rest = e.builder.sub(last, before)
        sums = e.fold(e.add(before, 1), sums, lambda i, found: end(e.add(rest, i), found))
        self._keep(e, sums, self._sums)

    def _turn(self, e: Emitter, memory: Value, i: Value, size: int) -> Value:
        """The place of a group, or of a panel, among those in progress."""
        return e.at(memory, e.mul(e.builder.and_(i, e.whole(_PLACES - 1)), size))

    def _place(self, e: Emitter, start: Value, g: Value) -> tuple[Value, Value]:
        """Addresses of a group's super-block and of the group."""
        b, form = e.builder, self._form
        if form.span == 1:
            packed = e.at(start, e.mul(g, form.super_bytes))
            return packed, packed
        span = e.whole(form.span)
        packed = e.at(start, e.mul(b.sdiv(g, span), form.super_bytes))
        return packed, e.at(packed, form.head_bytes, e.mul(b.srem(g, span), form.group_bytes))

    def _prefetch(self, e: Emitter, at: Value) -> None:
        for line in range(0, self._form.group_bytes, VECTOR):
            e.prefetch(e.at(at, AHEAD + line))

    def _grids(self, e: Emitter, packed: Value, at: Value) -> list[Grid]:
        return [self._grid(e, at, c, self._supers(e, packed, c)) for c in range(COLUMNS)]

    def _multiply(self, e: Emitter, g: Value, row: Value, weights: Value) -> None:
        """Set the tiles of sums to the products of a group with the rows of a panel."""
        padded = e.mul(e.argument(ProductSlot.PANELS), self._rows)
        offset = e.mul(e.add(e.mul(g, padded), row), _PARTS * GROUP)
        levels = e.at(e.pointer(ProductSlot.LEVELS), offset)
        signed, halves = bool(self._form.zero), self._form.halves
        for h in range(halves):
            e.load_tile(_INPUTS + h, e.at(levels, h * GROUP // halves), GROUP)
            for c in range(COLUMNS):
                line = c * _LINES + h * _LINES // halves
                e.load_tile(_WEIGHTS + c, e.at(weights, line * VECTOR), VECTOR)
                e.dot_tiles(h * COLUMNS + c, _INPUTS + h, _WEIGHTS + c, signed=signed)

    def _store_results(self, e: Emitter, results: Value) -> None:
        for tile in range(self._form.halves * COLUMNS):
            place = e.at(results, tile * _PARTS * self._rows * VECTOR)
            e.store_tile(tile, place, VECTOR)

    def _result(self, h: int, c: int, part: int, r: int) -> int:
        """Offset of the sums of a row."""
        return (((h * COLUMNS + c) * self._rows + r) * _PARTS + part) * VECTOR

    def _vectors(self, e: Emitter, sums: Value) -> list[Value]:
        return [e.at(sums, i * VECTOR) for i in range(self._rows * COLUMNS)]

    def _keep(self, e: Emitter, found: list[Value], sums: Value) -> None:
        for value, place in zip(found, self._vectors(e, sums), strict=True):
            e.store(value, place, VECTOR)

    def _scaled(
        self, e: Emitter, g: Value, row: Value, results: Value, grid: list[Grid], sums: list[Value]
    ) -> list[Value]:
        """Sums (rows, columns) with the products of a group, as floats."""
        b, found = e.builder, []
        for r, (scale, total) in enumerate(self._scales_and_sums(e, g, row)):
            for c, (steps, least) in enumerate(grid):
                y = sums[r * COLUMNS + c]
                for h, step in enumerate(steps):
                    high, low = (
                        e.load(e.at(results, self._result(h, c, part, r)), INTS, VECTOR)
                        for part in range(_PARTS)
                    )
                    whole = b.add(b.shl(high, e.constant(8, INTS)), low)
                    y = e.fma(b.fmul(b.sitofp(whole, FLOATS), scale), step, y)
                found.append(y if least is None else e.fma(total, least, y))
        return found
