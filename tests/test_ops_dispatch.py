"""Where an operation runs, and what it says when it cannot."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from support.kernels import DEVICE, needs_triton

from dllm_core import ops
from dllm_core.errors import OptionError
from dllm_core.ops import dispatch, norm
from dllm_core.ops.launch import require_contiguous, rows_per_sequence


@pytest.fixture
def operation(monkeypatch):
    """An operation that says which of its implementations ran."""
    made = ops.Operation(lambda x: "reference", "unused:unused")
    made.__dict__["kernel"] = lambda x: "kernel"
    return made


def test_tensors_of_the_cpu_take_the_reference(operation):
    assert operation(torch.ones(1)) == "reference"


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE.type != "cuda", reason="no CUDA device")
def test_tensors_of_the_gpu_take_the_kernel(operation):
    assert operation(torch.ones(1, device=DEVICE)) == "kernel"


def test_a_block_of_code_chooses_and_the_choice_ends_with_it(operation):
    x = torch.ones(1)
    with ops.kernels():
        assert operation(x) == "kernel"
        with ops.references():
            assert operation(x) == "reference"
        assert operation(x) == "kernel"
    assert operation(x) == "reference"


def test_a_choice_ends_with_an_error_too(operation):
    with pytest.raises(ZeroDivisionError), ops.kernels():
        _ = 1 / 0
    assert operation(torch.ones(1)) == "reference"


def test_without_triton_the_kernel_says_what_to_do(monkeypatch):
    monkeypatch.setattr(dispatch, "available", lambda: False)
    with pytest.raises(OptionError, match=r"pip install 'triton"):
        _ = ops.Operation(lambda x: x, "dllm_core.ops.norm_kernel:rms_norm").kernel


@pytest.mark.slow
def test_the_operations_are_importable_without_triton():
    modules = "attention, commit, fp8, head, linear, norm, rotary, swiglu, interpret"
    script = f"import sys; from dllm_core.ops import {modules}; print('triton' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


@needs_triton
def test_a_kernel_has_the_parameters_of_its_reference():
    assert norm.rms_norm.kernel.__name__ == "rms_norm"


@needs_triton
def test_a_transposed_tensor_is_refused():
    with pytest.raises(OptionError, match=r"weight of shape \(3, 2\)"):
        require_contiguous(weight=torch.ones(2, 3).T, bias=None)


@needs_triton
def test_rows_have_to_share_out_evenly():
    assert rows_per_sequence(12, torch.ones(3)) == 4
    assert rows_per_sequence(12, None) == 12
    with pytest.raises(OptionError, match="12 rows cannot belong to 5 sequences"):
        rows_per_sequence(12, torch.ones(5))
