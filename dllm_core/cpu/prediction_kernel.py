"""Best token of every row of logits and the weight of all others, as machine code.

A row is read twice: for its largest logit and its index, then for the sum of e**(logit - largest)
over all others. The probability of the best token is 1 / (1 + sum), so rows can be ordered even if
their probabilities are equal in float32. Rows are shared among the threads.
"""

from __future__ import annotations

from enum import IntEnum, auto

from llvmlite import ir

from dllm_core.cpu.emit import (
    FIRST_ARGUMENT,
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


class PredictionSlot(IntEnum):
    """Arguments of the prediction kernel, after the counters."""

    ROWS = FIRST_ARGUMENT
    LOGITS = auto()
    """float32 (rows, vocab)"""
    STRIDE = auto()
    """Bytes from row to row."""
    VECTORS = auto()
    """Vocabulary / 16."""
    IDS = auto()
    """int64 (rows,)"""
    OTHERS = auto()
    """float32 (rows,)"""


def emit_prediction(e: Emitter) -> None:
    """Write the kernel."""
    rows = e.argument(PredictionSlot.ROWS)
    e.share(Counter.NEXT_ROW, Counter.ROWS_DONE, rows, lambda row: _row(e, row))


def _row(e: Emitter, row: Value) -> None:
    logits = e.at(e.pointer(PredictionSlot.LOGITS), e.mul(row, e.argument(PredictionSlot.STRIDE)))
    highest, place = _highest(e, logits)
    others = _others(e, logits, e.splat(highest), e.splat(place))
    # NaN if no logit is the highest or the highest is not finite.
    others = e.builder.fadd(others, e.builder.fsub(highest, highest))
    e.store(e.builder.zext(place, I64), e.at(e.pointer(PredictionSlot.IDS), e.mul(row, 2 * FLOAT)))
    e.store(others, e.at(e.pointer(PredictionSlot.OTHERS), e.mul(row, FLOAT)))


def _highest(e: Emitter, logits: Value) -> tuple[Value, Value]:
    """Largest logit and its first index."""
    b = e.builder

    def step(i: Value, found: list[Value]) -> list[Value]:
        best, places = found
        x = e.load(e.at(logits, e.mul(i, VECTOR)), FLOATS)
        higher = b.fcmp_ordered(">", x, best)
        return [b.select(higher, x, best), b.select(higher, _places(e, i), places)]

    start = [e.constant(float("-inf")), ir.Constant(INTS, list(range(LANES)))]
    best, places = e.fold(e.argument(PredictionSlot.VECTORS), start, step)
    highest = e.reduce(e.largest, best)
    has_it = b.fcmp_ordered("==", best, e.splat(highest))
    candidates = b.select(has_it, places, e.constant(_NONE, INTS))
    return highest, e.reduce(e.least, candidates)


def _places(e: Emitter, vector: Value) -> Value:
    first = e.splat(e.builder.trunc(e.mul(vector, LANES), I32))
    return e.builder.add(first, ir.Constant(INTS, list(range(LANES))))


def _others(e: Emitter, logits: Value, highest: Value, place: Value) -> Value:
    b = e.builder

    def step(i: Value, sums: list[Value]) -> list[Value]:
        x = e.load(e.at(logits, e.mul(i, VECTOR)), FLOATS)
        best = b.icmp_signed("==", _places(e, i), place)
        weight = b.select(best, e.constant(0.0), e.exp(b.fsub(x, highest)))
        return [b.fadd(sums[0], weight)]

    (total,) = e.fold(e.argument(PredictionSlot.VECTORS), [e.constant(0.0)], step)
    return e.reduce(b.fadd, total)
