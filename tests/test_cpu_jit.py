"""Code that is made where it runs: what it does, and where it is forbidden."""

import ctypes

import llvmlite.binding as llvm
import pytest
import torch

from dllm_core import OptionError
from dllm_core.cpu import jit, prediction
from dllm_core.cpu.emit import FIRST_ARGUMENT, FLOATS, VECTOR, Emitter, Value
from dllm_core.cpu.jit import compiled
from dllm_core.model.place import choose_kind
from dllm_core.model.transformer import Linear

pytestmark = pytest.mark.kernels

CPU = torch.device("cpu")
X, Y = FIRST_ARGUMENT, FIRST_ARGUMENT + 1


def apply(operation: str, x: torch.Tensor, portable: bool) -> torch.Tensor:
    """One of the emitter's operations on 16 floats."""

    def emit(e: Emitter) -> None:
        vector: Value = e.load(e.pointer(X), FLOATS)
        e.store(getattr(e, operation)(vector), e.pointer(Y))

    y = torch.empty(16)
    kernel = compiled(operation, emit, portable=portable)
    given = (ctypes.c_int64 * (FIRST_ARGUMENT + 2))(
        *(0,) * FIRST_ARGUMENT, x.data_ptr(), y.data_ptr()
    )
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(kernel.address)(ctypes.addressof(given))
    return y


@pytest.mark.parametrize("portable", [False, True])
def test_the_exponential_is_right_to_a_unit_or_two_in_the_last_place(portable: bool) -> None:
    for start in range(-86, 86, 4):
        x = torch.linspace(start, start + 4, 16)
        torch.testing.assert_close(apply("exp", x, portable), x.exp(), rtol=3e-7, atol=0)
    low = apply("exp", torch.full((16,), -1e30), portable)
    assert ((low > 0) & (low < 2e-38)).all()
    high = apply("exp", torch.full((16,), 1e30), portable)
    assert ((high > 6e37) & high.isfinite()).all()


@pytest.mark.parametrize("portable", [False, True])
def test_halves_are_rounded_to_even(portable: bool) -> None:
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, 0.49, -0.51, 32766.5] * 2)
    assert torch.equal(apply("nearest", x, portable), x.round())


@pytest.mark.parametrize("portable", [False, True])
def test_sixteen_bit_floats_are_read_with_and_without_an_instruction(portable: bool) -> None:
    halves = torch.tensor([0.0, -0.0, 1.0, -2.5, 65504.0, 6e-8, -1e-5, 0.1] * 2).half()

    def emit(e: Emitter) -> None:
        from llvmlite import ir

        words = e.load(e.pointer(X), ir.VectorType(ir.IntType(16), 16))
        e.store(e.halves_to_floats(words), e.pointer(Y))

    y = torch.empty(VECTOR // 4)
    given = (ctypes.c_int64 * (FIRST_ARGUMENT + 2))(
        *(0,) * FIRST_ARGUMENT, halves.data_ptr(), y.data_ptr()
    )
    kernel = compiled("halves", emit, portable=portable)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(kernel.address)(ctypes.addressof(given))
    assert torch.equal(y, halves.float())


def test_where_made_code_is_forbidden_the_default_is_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jit, "allowed", lambda: False)
    assert choose_kind("auto", CPU) == (Linear, torch.float32)
    for dtype in ("int4", "int8"):
        with pytest.raises(OptionError, match="use dtype float32"):
            choose_kind(dtype, CPU)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="use dtype float32"):
        compiled("nothing", lambda e: None)
    assert not prediction.serves(torch.zeros(1, 16))


def test_the_system_is_asked_whether_made_code_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden() -> None:
        raise OSError("cannot allocate executable memory")

    monkeypatch.setattr(llvm, "check_jit_execution", forbidden)
    assert not jit.allowed.__wrapped__()
