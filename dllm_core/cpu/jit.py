"""From LLVM IR to machine code for the processor at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from dllm_core.cpu.emit import Emitter

_FUSED = "+fast-dpwssd"
"""Without it LLVM takes the multiply-add of pairs apart again, to shorten chains of them."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """Machine code of a function `void kernel(int64 *arguments)`."""

    address: int
    _owner: Any
    """The code lives as long as this does."""


@cache
def _host() -> tuple[Any, bool]:
    """A target machine for this processor, and whether it has VNNI."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    found = llvm.get_host_cpu_features()
    features = found.flatten()
    vnni = bool(found.get("avx512vnni"))
    if vnni:
        features += f",{_FUSED}"
    target = llvm.Target.from_default_triple()
    name = llvm.get_host_cpu_name()
    return target.create_target_machine(cpu=name, features=features, opt=3), vnni


def compiled(name: str, emit: Callable[[Emitter], None], *, portable: bool = False) -> Kernel:
    """Compile what `emit` writes.

    portable: without instructions that only some processors have, as on those.
    """
    machine, vnni = _host()
    module = ir.Module(name)
    emitter = Emitter(module, name, vnni=vnni and not portable)
    emit(emitter)
    emitter.builder.ret_void()
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(parsed, passes)
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    return Kernel(engine.get_function_address(name), engine)
