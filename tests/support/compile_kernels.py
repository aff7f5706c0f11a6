"""Compile every kernel for an H100 without having one; print what became of each as JSON.

Run as a program of its own: Triton's driver is replaced, and kernels are compiled but not started.
The operands have shapes and no contents.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from dllm_core.ops.cases import CASES, Operands
from dllm_core.ops.commit import commit
from dllm_core.ops.geometry import GEOMETRIES


class Hopper:
    """As much of a driver as compiling asks for."""

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device=None):
        return 0


def main(names: list[str]) -> None:
    driver.set_active(Hopper())
    compiled = []
    start = JITFunction.run

    def compile_only(self, *args, warmup, **kwargs):
        kernel = start(self, *args, warmup=True, **kwargs)
        compiled.append((self.__name__, kernel))
        return kernel

    JITFunction.run = compile_only
    report = []
    for geometry in [GEOMETRIES[name] for name in names]:
        for case in CASES:
            compiled.clear()
            arguments, options = case.arguments(Operands(geometry, torch.device("meta")))
            case.operation.kernel(*arguments, **options)
            report += [{"case": case.name, **facts(*kernel)} for kernel in compiled]
    # Sizes of 1 are constants to Triton, and without `live` there is nothing to ask first.
    for case in CASES:
        operands = Operands(replace(GEOMETRIES[names[0]], rows=1), torch.device("meta"))
        if case.operation is not commit:
            operands.live = lambda: None
        arguments, options = case.arguments(operands)
        case.operation.kernel(*arguments, **options)
    json.dump(report, sys.stdout)


def facts(function: str, kernel) -> dict:
    ptx = kernel.asm["ptx"]
    return {
        "function": function,
        "shared_bytes": kernel.metadata.shared,
        "wide_tensor_cores": len(re.findall(r"wgmma\.mma_async", ptx)),
        "async_copies": len(re.findall(r"cp\.async\.cg[^;]*, 0x10,", ptx)),
        "loads_16_bytes": len(re.findall(r"ld\.global\S*\.v4", ptx)),
        "stack_bytes": stack_bytes(kernel.asm["cubin"]),
    }


def stack_bytes(cubin: bytes) -> int:
    """Bytes per thread that did not fit the registers."""
    tool = Path(triton.__path__[0]) / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run(
            [tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True
        )
    usage = re.search(r"STACK:(\d+) .*LOCAL:(\d+)", done.stdout)
    assert usage is not None, done.stdout
    return sum(map(int, usage.groups()))


if __name__ == "__main__":
    main(sys.argv[1:])
