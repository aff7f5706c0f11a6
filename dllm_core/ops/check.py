"""Correctness gate before any timing: every kernel against plain torch at true geometry.

    python -m dllm_core.ops.check [GEOMETRY ...]

Prints one line per kernel; the exit status is 1 when a kernel is wrong. On a GPU all geometries
are checked unless some are named, elsewhere the smallest one, in Triton's interpreter.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dllm_core.errors import OptionError
from dllm_core.ops.cases import CASES, Case, Operands
from dllm_core.ops.geometry import GEOMETRIES, Geometry
from dllm_core.ops.interpret import interpret_without_gpu

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 2e-2, torch.float8_e4m3fn: 2e-2}
"""Bound on the relative error by dtype: the largest error over the largest value or, for fp8, whose
steps are coarse, the norm of the error over the norm of the expected tensor."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Result of checking one kernel at one geometry.

    Attributes:
        kernel: name of the case.
        geometry: name of the geometry.
        error: error of the worst tensor as a share of the tolerance; infinite where NaN or
            integers differ.
    """

    kernel: str
    geometry: str
    error: float

    @property
    def right(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error <= 1.0

    def __str__(self) -> str:
        word = "right" if self.right else "WRONG"
        return f"{word}  {self.geometry:13} {self.kernel:20} {self.error:8.3f} of the tolerance"


def check(case: Case, geometry: Geometry, device: torch.device) -> CheckResult:
    """Run kernel and reference on equal operands; compare results and written arguments.

    The rows of dead sequences are unspecified and left out.
    """
    written = []
    for run in (case.operation.kernel, case.operation.reference):
        arguments, options = case.arguments(Operands(geometry, device))
        results = run(*arguments, **options)
        written.append([*_tensors(results, geometry), *_tensors(arguments, geometry)])
    pairs = zip(*written, strict=True)
    worst = max(_error(actual, expected) for actual, expected in pairs)
    return CheckResult(case.name, geometry.name, worst)


def _tensors(values: Any, geometry: Geometry) -> Iterator[Tensor]:
    """All tensors among results or arguments, without the rows of the second sequence."""
    rows = geometry.sequences * geometry.rows
    for value in values if isinstance(values, tuple) else (values,):
        if not isinstance(value, Tensor):
            continue
        if geometry.sequences > 1 and len(value) in (geometry.sequences, rows):
            per_sequence = value.view(geometry.sequences, -1)
            yield from (
                per_sequence[sequence] for sequence in range(geometry.sequences) if sequence != 1
            )
        else:
            yield value


def _error(actual: Tensor, expected: Tensor) -> float:
    if not expected.dtype.is_floating_point:
        return 0.0 if torch.equal(actual, expected) else torch.inf
    got, wanted = actual.float(), expected.float()
    if not torch.equal(got.isnan(), wanted.isnan()):
        return torch.inf
    difference, wanted = (got - wanted).nan_to_num(), wanted.nan_to_num()
    if expected.dtype == torch.float8_e4m3fn:
        error = difference.norm() / wanted.norm()
    else:
        error = difference.abs().max() / wanted.abs().max().clamp_min(1e-30)
    return float(error) / TOLERANCE[expected.dtype]


def check_all(names: Iterable[str], device: torch.device) -> Iterator[CheckResult]:
    """Results of all kernels at the named geometries.

    Raises:
        OptionError: a name is not among GEOMETRIES.
    """
    for name in names:
        if name not in GEOMETRIES:
            raise OptionError(f"unknown geometry {name}: choose among {', '.join(GEOMETRIES)}.")
        for case in CASES:
            yield check(case, GEOMETRIES[name], device)


def main(names: Sequence[str]) -> int:
    """Print the results at the named geometries; returns the exit status."""
    interpret_without_gpu()
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    print(torch.cuda.get_device_name() if on_gpu else "Triton's interpreter on the CPU")
    wrong = 0
    for result in check_all(names or (GEOMETRIES if on_gpu else ["smollm2-135m"]), device):
        print(result, flush=True)
        wrong += not result.right
    print(f"{wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
