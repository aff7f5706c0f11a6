"""Packing of a checkpoint's rows into tiles, as machine code.

A vector has a lane for each of 16 rows, which become the 16 outputs of a column of a tile. Of each
group its levels are read as bytes, four to a lane, and shifted to their places in words; numbers of
its grid are copied. Float rows are quantised to 8 bits as `packed.eight_bits` does it, bit by bit.

Blocks of files: ``ggml-common.h`` of https://github.com/ggml-org/ggml
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum, auto
from typing import NamedTuple

from llvmlite import ir

from dllm_core.cpu import formats
from dllm_core.cpu.emit import (
    FIRST_ARGUMENT,
    FLOAT,
    FLOATS,
    I8,
    I16,
    I32,
    INTS,
    LANES,
    VECTOR,
    Counter,
    Emitter,
    Value,
)
from dllm_core.cpu.formats import COLUMNS, GROUP, HALF, WORD, Format, level_bytes

_WORDS = GROUP // 4
"""Vectors with the levels of a group, four bytes a lane."""
_NIBBLES = 0x0F0F0F0F
_TINY = 1e-12


class PackSlot(IntEnum):
    """Arguments of a packing kernel, after the counters."""

    ROWS = FIRST_ARGUMENT
    """Address of the rows as the checkpoint has them."""
    STRIDE = auto()
    """Bytes from row to row."""
    COUNT = auto()
    VECTORS = auto()
    """Sets of 16 rows, the last one perhaps with fewer."""
    FIRST = auto()
    """Number of the first set in the matrix."""
    TILES = auto()
    PAIRED = auto()
    """1 if the two columns of a tile are sets of the two halves of the matrix, else 0."""
    SUPERS = auto()
    DATA = auto()


class _Source(NamedTuple):
    """Where a super-block is read and written.

    Attributes:
        rows: address of the super-block in each of 16 rows.
        real: mask of the rows that there are; others repeat the last one.
        target: address of the super-block of the tile.
        column: number of the column, 0 or 1.
    """

    rows: list[Value]
    real: Value
    target: Value
    column: Value


class _Group(NamedTuple):
    """A group as it was read.

    Attributes:
        levels: eight vectors of four bytes a lane.
        grid: its numbers.
    """

    levels: list[Value]
    grid: list[Value]


class PackKernel:
    """Writes the kernel for one kind of rows; subclasses read a group.

    Attributes:
        form: format of the packed rows.
        block: bytes of a super-block of a row in the checkpoint.
        supers: places of the super-block's float16 numbers in it.
    """

    form: Format
    block: int
    supers: tuple[int, ...] = ()

    def read(self, e: Emitter, rows: list[Value], g: Value) -> _Group:
        """Read group number `g` of a super-block that begins at these addresses."""
        raise NotImplementedError

    def __call__(self, e: Emitter) -> None:
        vectors = e.argument(PackSlot.VECTORS)
        e.share(Counter.NEXT_ITEM, Counter.ITEMS_DONE, vectors, lambda i: self._vector(e, i))

    def _vector(self, e: Emitter, i: Value) -> None:
        b, form = e.builder, self.form
        first, last = e.mul(i, LANES), e.add(e.argument(PackSlot.COUNT), -1)
        real = e.before(b.sub(e.argument(PackSlot.COUNT), first))
        numbers = [e.least(e.add(first, lane), last) for lane in range(LANES)]
        stride, base = e.argument(PackSlot.STRIDE), e.pointer(PackSlot.ROWS)
        rows = [e.at(base, e.mul(number, stride)) for number in numbers]
        tile, column = self._place(e, e.add(e.argument(PackSlot.FIRST), i))
        supers = e.argument(PackSlot.SUPERS)
        start = e.mul(tile, supers, form.super_bytes)

        def one(s: Value) -> None:
            at = [e.at(row, e.mul(s, self.block)) for row in rows]
            target = e.at(e.pointer(PackSlot.DATA), start, e.mul(s, form.super_bytes))
            self._super(e, _Source(at, real, target, column))

        e.loop(supers, one)

    def _place(self, e: Emitter, vector: Value) -> tuple[Value, Value]:
        """Tile and column of a set of rows."""
        b = e.builder
        paired = b.icmp_signed("!=", e.argument(PackSlot.PAIRED), e.whole(0))
        tiles, columns = e.argument(PackSlot.TILES), e.whole(COLUMNS)
        tile = b.select(paired, b.srem(vector, tiles), b.sdiv(vector, columns))
        column = b.select(paired, b.sdiv(vector, tiles), b.srem(vector, columns))
        return tile, column

    def _super(self, e: Emitter, source: _Source) -> None:
        form = self.form
        for i, place in enumerate(self.supers):
            number = lanes(e, [e.at(row, place) for row in source.rows], I16)
            at = e.add(e.mul(source.column, form.supers), i)
            _store(e, source, number, e.at(source.target, e.mul(at, LANES * HALF)))

        def group(g: Value) -> None:
            found = self.read(e, source.rows, g)
            self._write(e, source, e.at(source.target, form.head_bytes, self._bytes(e, g)), found)

        e.loop(form.span, group)

    def _bytes(self, e: Emitter, g: Value) -> Value:
        return e.mul(g, self.form.group_bytes)

    def _write(self, e: Emitter, source: _Source, target: Value, group: _Group) -> None:
        form, at = self.form, target
        for bits, shift in ((form.low, 0), (form.high, form.low)):
            if bits:
                own = e.at(at, e.mul(source.column, level_bytes(bits)))
                for z, word in enumerate(_words(e, group.levels, bits, shift)):
                    _store(e, source, word, e.at(own, z * VECTOR))
                at = e.at(at, COLUMNS * level_bytes(bits))
        at = e.at(at, e.mul(source.column, form.grid_bytes))
        for i, number in enumerate(group.grid):
            _store(e, source, number, e.at(at, i * LANES * form.grid.itemsize))


def lanes(e: Emitter, places: list[Value], kind: ir.Type) -> Value:
    """Vector of numbers at 16 addresses."""
    found = ir.Constant(ir.VectorType(kind, len(places)), ir.Undefined)
    for i, place in enumerate(places):
        found = e.builder.insert_element(found, e.load(place, kind), ir.Constant(I32, i))
    return found


def _store(e: Emitter, source: _Source, value: Value, place: Value) -> None:
    zero = ir.Constant(value.type, None)
    e.store(e.builder.select(source.real, value, zero), place)


def _words(e: Emitter, levels: list[Value], bits: int, shift: int) -> Iterator[Value]:
    """Some bits of the levels as vectors of words: pairs beside each other, from the low end."""
    b, per = e.builder, WORD // bits
    for z in range(GROUP // 2 // per):
        word = None
        for j in range(0, per, 2):  # a vector of bytes has two pairs
            value = levels[(z * per + j) // 2]
            value = b.lshr(value, e.constant(shift, INTS)) if shift else value
            pairs = b.shl(_pairs(e, value, bits), e.constant(bits * j, INTS))
            word = pairs if word is None else b.or_(word, pairs)
        yield word


def _pairs(e: Emitter, value: Value, bits: int) -> Value:
    """Move bytes 0, 2 and 1, 3 of a lane to the low ends of its two words, beside each other."""
    b, most = e.builder, 2**bits - 1
    parts = [b.and_(value, e.constant(most << 8 * i, INTS)) for i in range(4)]
    parts[1] = b.shl(parts[1], e.constant(8, INTS))
    parts[2] = b.lshr(parts[2], e.constant(16 - bits, INTS))
    parts[3] = b.lshr(parts[3], e.constant(8 - bits, INTS))
    return b.or_(b.or_(parts[0], parts[1]), b.or_(parts[2], parts[3]))


def _four_bytes(e: Emitter, rows: list[Value], *offsets: Value | int) -> Value:
    return lanes(e, [e.at(row, *offsets) for row in rows], I32)


def _shifted(e: Emitter, value: Value, by: Value, mask: int) -> Value:
    """Bits of every byte, moved down by a 64-bit number."""
    amount = e.splat(e.builder.trunc(by, I32))
    return e.builder.and_(e.builder.lshr(value, amount), e.constant(mask, INTS))


class Q4Pack(PackKernel):
    """Rows of Q4_0 or Q4_1: nibbles, the second 16 in the high halves of the bytes."""

    def __init__(self, form: Format) -> None:
        self.form, self.block = form, form.grids * HALF + GROUP // 2

    def read(self, e: Emitter, rows: list[Value], g: Value) -> _Group:
        start = self.form.grids * HALF
        words = [_four_bytes(e, rows, start + 4 * i) for i in range(_WORDS // 2)]
        shifts = [e.whole(shift) for shift in (0, 4)]
        levels = [_shifted(e, word, shift, _NIBBLES) for shift in shifts for word in words]
        grid = [
            lanes(e, [e.at(row, HALF * i) for row in rows], I16) for i in range(self.form.grids)
        ]
        return _Group(levels, grid)


class Q8Pack(PackKernel):
    """Rows of Q8_0: signed bytes; with 128 more they are the same bits with the first flipped."""

    form, block = formats.Q8_0, HALF + GROUP

    def read(self, e: Emitter, rows: list[Value], g: Value) -> _Group:
        flip = e.constant(-0x7F7F7F80, INTS)  # 0x80808080
        words = [_four_bytes(e, rows, HALF, 4 * i) for i in range(_WORDS)]
        levels = [e.builder.xor(word, flip) for word in words]
        return _Group(levels, [lanes(e, rows, I16)])


class Q45KPack(PackKernel):
    """Rows of Q4_K or Q5_K: 6-bit scales and least values, nibbles and a plane of fifth bits."""

    supers = (0, 2)
    _SCALES, _LEVELS = 4, 16

    def __init__(self, form: Format) -> None:
        self.form = form
        self.block = self._LEVELS + form.span * GROUP * form.bits // 8

    def read(self, e: Emitter, rows: list[Value], g: Value) -> _Group:
        b, two = e.builder, e.whole(2)
        fifths = GROUP if self.form.high else 0
        start = e.add(e.mul(b.sdiv(g, two), GROUP), self._LEVELS + fifths)
        shift = e.mul(b.srem(g, two), 4)
        levels = []
        for i in range(_WORDS):
            level = _shifted(e, _four_bytes(e, rows, start, 4 * i), shift, _NIBBLES)
            if self.form.high:
                plane = _four_bytes(e, rows, self._LEVELS + 4 * i)
                bit = _shifted(e, plane, g, 0x01010101)
                level = b.or_(level, b.shl(bit, e.constant(4, INTS)))
            levels.append(level)
        return _Group(levels, self._grid(e, rows, g))

    def _grid(self, e: Emitter, rows: list[Value], g: Value) -> list[Value]:
        """Scale and least value: six bits each, of which those of groups 4 to 7 lie apart."""
        b, bytes_ = e.builder, ir.VectorType(I8, LANES)

        def byte(offset: int) -> Value:
            return lanes(e, [e.at(row, self._SCALES + offset, g) for row in rows], I8)

        def bits(value: Value, shift: int, mask: int) -> Value:
            return b.and_(b.lshr(value, e.constant(shift, bytes_)), e.constant(mask, bytes_))

        def joined(low: Value, high: Value) -> Value:
            return b.or_(low, b.shl(bits(high, 6, 3), e.constant(4, bytes_)))

        before, here, behind = byte(-4), byte(0), byte(4)
        first = b.icmp_signed("<", g, e.whole(4))
        scale = b.select(first, bits(here, 0, 63), joined(bits(behind, 0, 15), before))
        least = b.select(first, bits(behind, 0, 63), joined(bits(behind, 4, 15), here))
        return [scale, least]


class Q6KPack(PackKernel):
    """Rows of Q6_K: nibbles, pairs of high bits, and a signed scale for 16 weights."""

    form, block, supers = formats.Q6_K, 210, (208,)
    _HIGH, _SCALES = 128, 192

    def read(self, e: Emitter, rows: list[Value], g: Value) -> _Group:
        b = e.builder
        half, quarter = b.sdiv(g, e.whole(4)), b.srem(g, e.whole(4))
        start = e.add(e.mul(half, 64), e.mul(b.srem(quarter, e.whole(2)), GROUP))
        shift = e.mul(b.sdiv(quarter, e.whole(2)), 4)
        levels = []
        for i in range(_WORDS):
            low = _shifted(e, _four_bytes(e, rows, start, 4 * i), shift, _NIBBLES)
            plane = _four_bytes(e, rows, e.mul(half, GROUP), self._HIGH + 4 * i)
            high = _shifted(e, plane, e.mul(quarter, 2), 0x03030303)
            levels.append(b.or_(low, b.shl(high, e.constant(4, INTS))))
        scales = [
            lanes(e, [e.at(row, self._SCALES + i, e.mul(g, 2)) for row in rows], I8)
            for i in range(self.form.grids)
        ]
        return _Group(levels, scales)


class FloatPack(PackKernel):
    """Float32 rows, quantised to 8 bits on the nearer of two grids."""

    form, block = formats.EIGHT_BITS, GROUP * FLOAT

    def read(self, e: Emitter, rows: list[Value], g: Value) -> _Group:
        b, x = e.builder, list[Value]()
        for half in range(2):
            x += e.transpose([e.load(e.at(row, half * VECTOR), FLOATS) for row in rows])
        least = _fold(x, lambda p, q: b.select(b.fcmp_ordered("<", q, p), q, p))
        most = _fold(x, lambda p, q: b.select(b.fcmp_ordered(">", q, p), q, p))
        even = b.fdiv(e.largest(_magnitude(e, least), _magnitude(e, most)), e.constant(127.0))
        step = b.fdiv(b.fsub(most, least), e.constant(255.0))
        grids = [(step, least), (even, b.fmul(even, e.constant(-128.0)))]
        # Twice, with only one set of levels in registers: they are found again for the nearer one.
        wrong = [_fold([self._error(e, v, *grid) for v in x], e.largest) for grid in grids]
        nearer = b.fcmp_ordered("<=", *wrong)
        chosen = [b.select(nearer, p, q) for p, q in zip(*grids, strict=True)]
        levels = [b.fptosi(self._level(e, v, *chosen), INTS) for v in x]
        return _Group([_joined(e, levels[i : i + 4]) for i in range(0, GROUP, 4)], chosen)

    def _level(self, e: Emitter, x: Value, step: Value, least: Value) -> Value:
        b = e.builder
        divisor = e.largest(step, e.constant(_TINY))
        level = e.nearest(b.fdiv(b.fsub(x, least), divisor))
        level = e.largest(level, e.constant(0.0))
        most = e.constant(255.0)
        return b.select(b.fcmp_ordered("<", level, most), level, most)

    def _error(self, e: Emitter, x: Value, step: Value, least: Value) -> Value:
        b = e.builder
        found = b.fadd(b.fmul(self._level(e, x, step, least), step), least)
        return _magnitude(e, b.fsub(found, x))


def _fold(values: list[Value], combine: Callable[[Value, Value], Value]) -> Value:
    found = values[0]
    for value in values[1:]:
        found = combine(found, value)
    return found


def _magnitude(e: Emitter, x: Value) -> Value:
    b = e.builder
    return b.bitcast(b.and_(b.bitcast(x, INTS), e.constant(0x7FFFFFFF, INTS)), FLOATS)


def _joined(e: Emitter, levels: list[Value]) -> Value:
    """Four vectors of levels as the bytes of one."""
    b = e.builder
    shifted = [b.shl(level, e.constant(8 * i, INTS)) for i, level in enumerate(levels)]
    return _fold(shifted, b.or_)
