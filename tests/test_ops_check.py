"""The gate itself: it passes right kernels and stops wrong ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.kernels import DEVICE, needs_triton

from dllm_core.errors import OptionError
from dllm_core.ops import Operation, cases, check
from dllm_core.ops.fp8 import quantize_rows_reference
from dllm_core.ops.geometry import Geometry

TINY = Geometry(
    name="tiny",
    hidden=48,
    heads=4,
    kv_heads=2,
    head_dim=16,
    inner=64,
    vocabulary=300,
    sequences=3,
    rows=5,
    cached=80,
)


@pytest.mark.kernels
@needs_triton
@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_every_kernel_is_right_at_a_small_geometry(case):
    assert check.check(case, TINY, DEVICE).right


def spoiled(case_name, spoil):
    """A case whose kernel is the reference with its result spoiled."""
    (case,) = (case for case in cases.CASES if case.name == case_name)
    operation = Operation(case.operation.reference, "unused:unused")
    operation.__dict__["kernel"] = lambda *a, **k: spoil(case.operation.reference(*a, **k))
    return replace(case, operation=operation)


def one_wrong(result):
    result[0, 0] += 1.0
    return result


def one_missing(result):
    result[-1, -1] = torch.nan
    return result


@pytest.mark.parametrize("spoil", [one_wrong, one_missing])
def test_one_wrong_number_is_found(spoil):
    assert not check.check(spoiled("rms_norm", spoil), TINY, DEVICE).right


def test_rows_of_dead_calls_do_not_count():
    def spoil(result):
        result[5:10] = torch.nan
        return result

    assert check.check(spoiled("rms_norm", spoil), TINY, DEVICE).right


def test_a_wrong_token_is_found():
    verdict = check.check(spoiled("top1", lambda r: (r[0] + 1, r[1])), TINY, DEVICE)
    assert str(verdict).startswith("WRONG  tiny")


def test_wrong_scales_are_found():
    case = spoiled("quantize_rows", lambda r: (r[0], r[1] * 1.1))
    assert case.operation.reference is quantize_rows_reference
    assert not check.check(case, TINY, DEVICE).right


@pytest.mark.parametrize(("spoil", "status"), [(lambda r: r, 0), (one_wrong, 1)])
def test_the_exit_status_tells(monkeypatch, capsys, spoil, status):
    monkeypatch.setattr(check, "CASES", (spoiled("swiglu", spoil),))
    monkeypatch.setattr(check, "GEOMETRIES", {"tiny": TINY})
    assert check.main(["tiny"]) == status
    assert capsys.readouterr().out.splitlines()[-1] == f"{status} wrong"


def test_an_unknown_geometry_is_refused():
    with pytest.raises(OptionError, match="unknown geometry gpt: choose among llada-8b"):
        list(check.check_all(["gpt"], DEVICE))
