"""What the interpreter cannot show: for an H100, the kernels become the right kind of code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.kernels import needs_triton

ROOT = Path(__file__).resolve().parent.parent
SHARED_BYTES = 227 * 1024
"""Of one program on a Hopper GPU."""

pytestmark = [needs_triton, pytest.mark.slow]


@pytest.fixture(
    scope="module", params=["llada-8b", pytest.param("dream-7b", marks=pytest.mark.long)]
)
def report(request, tmp_path_factory):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.compile_kernels", request.param],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_operation_compiles(report):
    from dllm_core.ops.cases import CASES

    assert {kernel["case"] for kernel in report} == {case.name for case in CASES}


def test_shared_memory_suffices(report):
    assert max(kernel["shared_bytes"] for kernel in report) <= SHARED_BYTES


def test_registers_suffice(report):
    assert [kernel for kernel in report if kernel["stack_bytes"] > 0] == []


def test_products_stream_into_the_wide_tensor_cores(report):
    products = [k for k in report if k["function"] in ("_linear", "_best_of_tile", "_attend")]
    assert len(products) == 4 + 4 + 2 + 1 + 1
    for kernel in products:
        assert kernel["wide_tensor_cores"] > 0, kernel
        assert kernel["async_copies"] > 0, kernel


def test_rows_are_loaded_sixteen_bytes_at_a_time(report):
    rows = {"_rms_norm", "_quantize_rows", "_swiglu", "_rotate_and_store", "_combine", "_sum_parts"}
    found = [kernel for kernel in report if kernel["function"] in rows]
    assert {kernel["function"] for kernel in found} == rows
    assert [kernel for kernel in found if kernel["loads_16_bytes"] == 0] == []
