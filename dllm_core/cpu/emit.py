"""Emission of vector code: a thin layer over LLVM's instruction builder.

A kernel is a Python function that calls an `Emitter`. Loops of Python are unrolled, loops of the
emitter become loops of the kernel. LLVM splits vectors of 16 lanes over the processor's registers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import reduce
from typing import Any, NamedTuple

from llvmlite import ir

LANES = 16
"""Floats of a vector: one AVX-512 register, or two to four smaller ones."""

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
F16, F32 = ir.HalfType(), ir.FloatType()
POINTER = ir.PointerType()
FLOATS = ir.VectorType(F32, LANES)
HALVES = ir.VectorType(F16, LANES)
INTS = ir.VectorType(I32, LANES)
PAIRS = ir.VectorType(I16, 2 * LANES)
"""Vector with two 16-bit numbers per lane."""
BYTES = ir.VectorType(I8, LANES)

FLOAT, VECTOR = 4, 4 * LANES
"""Bytes of one float and of a vector of floats."""


class Counter(IntEnum):
    """Slots before a kernel's arguments: counters that its threads share, zero at the start.

    Those that threads take from, those that they wait for, and the arguments lie in cache lines of
    their own: a line that one thread writes costs the others a hundred nanoseconds to read.
    """

    NEXT_ROW = 0
    NEXT_ITEM = 1
    NEXT_THREAD = 2
    ROWS_DONE = 8
    ITEMS_DONE = 9


FIRST_ARGUMENT = 16
"""Slot of the first argument, behind the counters."""
SLOTS_OF_LINE = 8
"""Slots of 8 bytes in a cache line."""


Value = Any
"""LLVM value; llvmlite has no type annotations."""

_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_MOST_EXPONENT = 87.0
_NO_FRACTION = 1.5 * 2**23
"""Adding this number rounds to an integer: float32 has no fraction bits at this size."""
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 0.16666665459, 0.5)
"""Minimax coefficients of exp on +-ln(2)/2, from expf of the Cephes library."""


class Abilities(NamedTuple):
    """Operations that the processor has as instructions; LLVM would call functions instead.

    Attributes:
        pairs: multiply-add of pairs of 16-bit integers (x86, AVX512-VNNI).
        fma: fused multiply-add of float32.
        halves: conversion of float16 to float32.
        pause: hint to the other thread of a core (x86).
    """

    pairs: bool
    fma: bool
    halves: bool
    pause: bool


class Emitter:
    """Builds one function `void name(int64 *arguments)`; all offsets are in bytes."""

    def __init__(self, module: ir.Module, name: str, able: Abilities) -> None:
        self.module = module
        self._able = able
        self.function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER]), name)
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))

    # Arguments and addresses

    def argument(self, slot: int) -> Value:
        """Load the 64-bit integer in a slot of the arguments."""
        return self.load(self.argument_at(slot), I64, 8)

    def float_argument(self, slot: int) -> Value:
        """Load the float32 whose bits are in a slot."""
        return self.builder.bitcast(self.builder.trunc(self.argument(slot), I32), F32)

    def pointer(self, slot: int) -> Value:
        """Load the address in a slot."""
        return self.builder.inttoptr(self.argument(slot), POINTER)

    def argument_at(self, slot: int) -> Value:
        """Address of a slot."""
        return self.at(self.function.args[0], 8 * slot)

    def at(self, base: Value, *offsets: Value | int) -> Value:
        """Address of `base` plus all offsets."""
        for offset in offsets:
            if not (isinstance(offset, int) and offset == 0):
                base = self.builder.gep(base, [self.whole(offset)], source_etype=I8)
        return base

    def whole(self, value: Value | int) -> Value:
        """A 64-bit integer, from a Python number if necessary."""
        return ir.Constant(I64, value) if isinstance(value, int) else value

    def add(self, first: Value | int, *more: Value | int) -> Value:
        """Sum of 64-bit integers."""
        total = self.whole(first)
        for value in more:
            total = self.builder.add(total, self.whole(value))
        return total

    def mul(self, first: Value | int, *more: Value | int) -> Value:
        """Product of 64-bit integers."""
        product = self.whole(first)
        for value in more:
            product = self.builder.mul(product, self.whole(value))
        return product

    def ceil_div(self, value: Value, by: int) -> Value:
        """Quotient of 64-bit integers, rounded up."""
        return self.builder.sdiv(self.add(value, by - 1), self.whole(by))

    def least(self, a: Value, b: Value) -> Value:
        """The smaller of two signed integers, or of those in every lane."""
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def most(self, a: Value, b: Value) -> Value:
        """The larger of two signed integers, or of those in every lane."""
        return self.builder.select(self.builder.icmp_signed(">", a, b), a, b)

    def load(self, address: Value, kind: ir.Type, align: int = 1) -> Value:
        """Load a value of some type; `align` is the known alignment of the address in bytes."""
        loaded = self.builder.load(address, typ=kind)
        loaded.align = align
        return loaded

    def store(self, value: Value, address: Value, align: int = 1) -> None:
        """Store a value; `align` is the known alignment of the address in bytes."""
        self.builder.store(value, address).align = align

    def prefetch(self, address: Value, *, write: bool = False) -> None:
        """Fetch the cache line at an address into the second-level cache, or to be written soon.

        Another core may have the line; it is then taken from it before the store waits for it.
        """
        kind, near, data = (ir.Constant(I32, value) for value in (int(write), 3 if write else 2, 1))
        self._call("llvm.prefetch.p0", ir.VoidType(), [address, kind, near, data])

    def scratch(self, bytes_: int) -> Value:
        """Allocate memory of the calling thread, which lasts until the kernel returns."""
        with self.builder.goto_entry_block():
            space = self.builder.alloca(I8, size=self.whole(bytes_))
        space.align = VECTOR
        space.type = POINTER  # llvmlite would take it for one to bytes only
        return space

    # Control

    def loop(self, count: Value | int, body: Callable[[Value], None]) -> None:
        """Run `body` for 0 .. count - 1."""

        def without_values(i: Value, _: list[Value]) -> list[Value]:
            body(i)
            return []

        self.fold(count, [], without_values)

    def fold(
        self,
        count: Value | int,
        start: list[Value],
        body: Callable[[Value, list[Value]], list[Value]],
    ) -> list[Value]:
        """Run `body` for 0 .. count - 1; each run gets the values that the one before returned.

        Returns:
            The values of the last run, or `start` if there is none.
        """
        before = self.builder.block
        head, inside, after = self._blocks(3)
        self.builder.branch(head)
        self.builder.position_at_end(head)
        i = self.builder.phi(I64)
        i.add_incoming(self.whole(0), before)
        carried = [self.builder.phi(value.type) for value in start]
        for phi, value in zip(carried, start, strict=True):
            phi.add_incoming(value, before)
        more = self.builder.icmp_signed("<", i, self.whole(count))
        self.builder.cbranch(more, inside, after)
        self.builder.position_at_end(inside)
        found = body(i, list(carried))
        i.add_incoming(self.add(i, 1), self.builder.block)
        for phi, value in zip(carried, found, strict=True):
            phi.add_incoming(value, self.builder.block)
        self.builder.branch(head)
        self.builder.position_at_end(after)
        return carried

    def _blocks(self, count: int) -> list[Value]:
        return [self.function.append_basic_block() for _ in range(count)]

    def share(
        self, next_: Counter, done: Counter, count: Value, body: Callable[[Value], None]
    ) -> None:
        """Run `body` for 0 .. count - 1, each on the next free thread, and wait until all are done.

        The counters count pieces of work, not threads: a piece that is taken but not counted as
        done is in progress on another thread, so waiting ends however few threads take part.
        """
        head, inside, over, waiting, after = self._blocks(5)
        before = self.builder.block
        self.builder.branch(head)
        self.builder.position_at_end(head)
        own = self.builder.phi(I64)
        own.add_incoming(self.whole(0), before)
        i = self.take(next_)
        self.builder.cbranch(self.builder.icmp_signed("<", i, count), inside, over)
        self.builder.position_at_end(inside)
        body(i)
        own.add_incoming(self.add(own, 1), self.builder.block)
        self.builder.branch(head)
        self.builder.position_at_end(over)
        self.take(done, own)
        self.builder.branch(waiting)
        self.builder.position_at_end(waiting)
        self._pause()
        finished = self.builder.load_atomic(self.argument_at(done), "acquire", 8, typ=I64)
        self.builder.cbranch(self.builder.icmp_signed("<", finished, count), waiting, after)
        self.builder.position_at_end(after)

    def _pause(self) -> None:
        """Yield the core to its other thread for a moment, if the processor has such a hint."""
        if self._able.pause:
            self._call("llvm.x86.sse2.pause", ir.VoidType(), [])

    def take(self, slot: int, count: Value | int = 1) -> Value:
        """Add to the number in a slot atomically; returns its value before."""
        more = self.whole(count)
        return self.builder.atomic_rmw("add", self.argument_at(slot), more, "acq_rel")

    def call(self, function: Value, arguments: Value) -> None:
        """Launch another kernel, both given as 64-bit addresses."""
        kind = ir.FunctionType(ir.VoidType(), [POINTER])
        self.builder.call(
            self.builder.inttoptr(function, ir.PointerType(kind)),
            [self.builder.inttoptr(arguments, POINTER)],
        )

    def when(self, condition: Value, body: Callable[[], None]) -> None:
        """Run `body` if a condition holds."""
        with self.builder.if_then(condition):
            body()

    # Vectors

    def constant(self, value: float, kind: ir.VectorType = FLOATS) -> Value:
        """Vector with a number in every lane."""
        return ir.Constant(kind, [value] * kind.count)

    def splat(self, value: Value, lanes: int = LANES) -> Value:
        """Vector with a scalar in every lane."""
        empty = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
        first = self.builder.insert_element(empty, value, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(first, empty, _indices([0] * lanes))

    def load_splat(self, address: Value, kind: ir.Type = F32) -> Value:
        """Load a scalar into every lane."""
        return self.splat(self.load(address, kind))

    def load_some(self, address: Value, lanes: Value) -> Value:
        """Load 16 bytes; lanes whose mask is false are zero, and their memory is not read."""
        zero = self.constant(0, BYTES)
        arguments = [address, lanes, zero]
        return self._call("llvm.masked.load.v16i8.p0", BYTES, arguments)

    def before(self, count: Value) -> Value:
        """Mask of the lanes whose index is less than a 64-bit count, which may be negative."""
        narrow = self.builder.trunc(count, I32)
        indices = ir.Constant(INTS, list(range(LANES)))
        return self.builder.icmp_signed("<", indices, self.splat(narrow))

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a * b + c"""
        if not self._able.fma:
            return self.builder.fadd(self.builder.fmul(a, b), c)
        return self._call("llvm.fma.v16f32", FLOATS, [a, b, c])

    def largest(self, a: Value, b: Value) -> Value:
        """The larger of two floats, or of those in every lane."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def largest_magnitude(self, *vectors: Value) -> Value:
        """Largest magnitude of all lanes as one scalar; NaN if any lane is NaN.

        The bits of magnitudes, compared as integers, have the order of the magnitudes, with NaN
        above all others.
        """
        b, bits = self.builder, self.constant(0x7FFFFFFF, INTS)
        found = [b.and_(b.bitcast(vector, INTS), bits) for vector in vectors]
        most = self.reduce(self.most, reduce(self.most, found))
        return b.bitcast(most, F32)

    def nearest(self, a: Value) -> Value:
        """Round to integers, halves to even; magnitudes must be less than 2**22."""
        big = self.constant(_NO_FRACTION)
        return self.builder.fsub(self.builder.fadd(a, big), big)

    def halves_to_floats(self, a: Value) -> Value:
        """Convert float16, given as integers and finite, to float32."""
        b = self.builder
        if self._able.halves:
            return b.fpext(b.bitcast(a, HALVES), FLOATS)
        wide = b.zext(a, INTS)
        magnitude = b.shl(b.and_(wide, self.constant(0x7FFF, INTS)), self.constant(13, INTS))
        # The exponents count from 15 and from 127.
        scaled = b.fmul(b.bitcast(magnitude, FLOATS), self.constant(2.0**112))
        sign = b.shl(b.and_(wide, self.constant(0x8000, INTS)), self.constant(16, INTS))
        return b.bitcast(b.or_(b.bitcast(scaled, INTS), sign), FLOATS)

    def inverse_root_mean(self, squares: Value, count: Value, eps: Value) -> Value:
        """1 / sqrt(sum of all lanes of `squares` / count + eps) in every lane; float32 scalars."""
        b = self.builder
        mean = b.fdiv(self.reduce(b.fadd, squares), count)
        root = self._call("llvm.sqrt.f32", F32, [b.fadd(mean, eps)])
        return self.splat(b.fdiv(ir.Constant(F32, 1.0), root))

    def dot(self, sums: Value, a: Value, b: Value) -> Value:
        """Add the products of two pairs of 16-bit integers to the 32-bit sum of every lane."""
        if self._able.pairs:
            return self._call("llvm.x86.avx512.vpdpwssd.512", INTS, [sums, a, b])
        wide = ir.VectorType(I32, 2 * LANES)
        products = self.builder.mul(self.builder.sext(a, wide), self.builder.sext(b, wide))
        even, odd = (self._every_second(products, start) for start in (0, 1))
        return self.builder.add(sums, self.builder.add(even, odd))

    # Tiles: eight registers of up to 16 rows of 64 bytes

    def configure_tiles(self, config: Value) -> None:
        """Give the tile registers the shapes at an address (64 bytes; Intel's LDTILECFG)."""
        self._call("llvm.x86.ldtilecfg", ir.VoidType(), [config])

    def release_tiles(self) -> None:
        """Forget the contents of all tiles, which a switch of threads would have to save."""
        self._call("llvm.x86.tilerelease", ir.VoidType(), [])

    def load_tile(self, tile: int, address: Value, stride: int) -> None:
        """Load the rows of a tile, which lie `stride` bytes apart."""
        arguments = [_byte(tile), address, self.whole(stride)]
        self._call("llvm.x86.tileloadd64", ir.VoidType(), arguments)

    def store_tile(self, tile: int, address: Value, stride: int) -> None:
        """Store the rows of a tile `stride` bytes apart."""
        arguments = [_byte(tile), address, self.whole(stride)]
        self._call("llvm.x86.tilestored64", ir.VoidType(), arguments)

    def dot_tiles(self, sums: int, a: int, b: int, *, signed: bool) -> None:
        """Set a tile to the products of rows of signed bytes with columns of four bytes a lane.

        The sums are 32-bit integers; `signed` says whether the bytes of `b` are.
        """
        self._call("llvm.x86.tilezero", ir.VoidType(), [_byte(sums)])
        arguments = [_byte(tile) for tile in (sums, a, b)]
        self._call(f"llvm.x86.tdpbs{'s' if signed else 'u'}d", ir.VoidType(), arguments)

    def _every_second(self, values: Value, start: int) -> Value:
        chosen = _indices(range(start, 2 * LANES, 2))
        return self.builder.shuffle_vector(values, values, chosen)

    def reduce(self, combine: Callable[[Value, Value], Value], values: Value) -> Value:
        """Combine all lanes to one scalar, always in the same order."""
        lanes = LANES
        while lanes > 1:
            lanes //= 2
            low, high = (_indices(range(start, start + lanes)) for start in (0, lanes))
            halves = [self.builder.shuffle_vector(values, values, part) for part in (low, high)]
            values = combine(*halves)
        return self.builder.extract_element(values, ir.Constant(I32, 0))

    def transpose(self, rows: Sequence[Value]) -> list[Value]:
        """Transpose 16 vectors of 16 lanes by four perfect shuffles."""
        half = LANES // 2
        low = [i // 2 + (i % 2) * LANES for i in range(LANES)]
        order = (_indices(low), _indices([i + half for i in low]))
        found = list(rows)
        for _ in range(4):
            pairs = [(found[i], found[i + half]) for i in range(half)]
            found = [self.builder.shuffle_vector(a, b, o) for a, b in pairs for o in order]
        return found

    def exp(self, x: Value) -> Value:
        """e**x to about one unit in the last place; x is clamped to -87 .. 87."""
        b = self.builder
        most, least = self.constant(_MOST_EXPONENT), self.constant(-_MOST_EXPONENT)
        x = self.largest(x, least)
        x = b.select(b.fcmp_ordered("<", x, most), x, most)
        n = self.nearest(b.fmul(x, self.constant(_LOG2_E)))
        r = self.fma(n, self.constant(-_LN2_HIGH), x)
        r = self.fma(n, self.constant(-_LN2_LOW), r)
        y = self.constant(_EXP[0])
        for coefficient in _EXP[1:]:
            y = self.fma(y, r, self.constant(coefficient))
        y = b.fadd(self.fma(b.fmul(r, r), y, r), self.constant(1.0))
        exponent = b.add(b.fptosi(n, INTS), self.constant(127, INTS))
        return b.fmul(y, b.bitcast(b.shl(exponent, self.constant(23, INTS)), FLOATS))

    def _call(self, name: str, result: ir.Type, arguments: list[Value]) -> Value:
        function = self.module.globals.get(name)
        if function is None:
            kinds = [value.type for value in arguments]
            function = ir.Function(self.module, ir.FunctionType(result, kinds), name)
        return self.builder.call(function, arguments)


def _byte(value: int) -> ir.Constant:
    return ir.Constant(I8, value)


def _indices(values: Sequence[int] | range) -> ir.Constant:
    return ir.Constant(ir.VectorType(I32, len(values)), list(values))
