"""The best token of every row of logits and its probability, as machine code.

A row is read twice: for its largest logit and that one's place, then for the sum of e**(logit -
largest), whose inverse is the probability. Rows are shared among the threads.
"""

from __future__ import annotations

from enum import IntEnum, auto

from llvmlite import ir

from dllm_core.cpu.emit import (
    F32,
    FLOAT,
    FLOATS,
    I32,
    I64,
    INTS,
    LANES,
    VECTOR,
    Counter,
    Emitter,
    Value,
)

_NONE = 2**31 - 1


class Slot(IntEnum):
    """Where the kernel finds its arguments, after the counters."""

    ROWS = len(Counter)
    LOGITS = auto()
    """float32 (rows, vocab)"""
    STRIDE = auto()
    """Bytes from row to row."""
    VECTORS = auto()
    """Vocabulary / 16."""
    IDS = auto()
    """int64 (rows,)"""
    PROBABILITIES = auto()
    """float32 (rows,)"""


def emit_prediction(e: Emitter) -> None:
    """Write the kernel."""
    rows = e.argument(Slot.ROWS)
    e.share(Counter.NEXT_ROW, Counter.ROWS_DONE, rows, lambda row: _row(e, row))


def _row(e: Emitter, row: Value) -> None:
    logits = e.at(e.pointer(Slot.LOGITS), e.mul(row, e.argument(Slot.STRIDE)))
    highest, place = _highest(e, logits)
    total = _total(e, logits, e.splat(highest))
    e.store(e.builder.zext(place, I64), e.at(e.pointer(Slot.IDS), e.mul(row, 2 * FLOAT)))
    probability = e.builder.fdiv(ir.Constant(F32, 1.0), total)
    e.store(probability, e.at(e.pointer(Slot.PROBABILITIES), e.mul(row, FLOAT)))


def _highest(e: Emitter, logits: Value) -> tuple[Value, Value]:
    """The largest logit and the first place that has it."""
    b = e.builder
    lanes = ir.Constant(INTS, list(range(LANES)))

    def step(i: Value, found: list[Value]) -> list[Value]:
        best, places = found
        x = e.load(e.at(logits, e.mul(i, VECTOR)), FLOATS)
        higher = b.fcmp_ordered(">", x, best)
        here = b.add(e.splat(b.trunc(e.mul(i, LANES), I32)), lanes)
        return [b.select(higher, x, best), b.select(higher, here, places)]

    start = [e.constant(float("-inf")), lanes]
    best, places = e.fold(e.argument(Slot.VECTORS), start, step)
    highest = e.reduce(e.largest, best)
    has_it = b.fcmp_ordered("==", best, e.splat(highest))
    candidates = b.select(has_it, places, e.constant(_NONE, INTS))
    return highest, e.reduce(e.least, candidates)


def _total(e: Emitter, logits: Value, highest: Value) -> Value:
    b = e.builder

    def step(i: Value, sums: list[Value]) -> list[Value]:
        x = e.load(e.at(logits, e.mul(i, VECTOR)), FLOATS)
        return [b.fadd(sums[0], e.exp(b.fsub(x, highest)))]

    (total,) = e.fold(e.argument(Slot.VECTORS), [e.constant(0.0)], step)
    return e.reduce(b.fadd, total)
