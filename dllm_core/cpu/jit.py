"""Compilation of LLVM IR to machine code for the processor at hand."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from dllm_core.cpu import kernel_files
from dllm_core.cpu.emit import Abilities, Emitter
from dllm_core.errors import OptionError

FORBIDDEN = (
    "This system does not let a program run code that it has made (SELinux and hardened kernels "
    "may forbid it), which int4 and int8 need: allow it, or use dtype float32."
)

_FUSED = "+fast-dpwssd"
"""Feature without which LLVM splits the multiply-add of pairs, to shorten chains of them."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """Machine code of a function `void kernel(int64 *arguments)`, freed with this object.

    Attributes:
        address: address of the function.
    """

    address: int
    _owner: Any


def _is_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")


@cache
def allowed() -> bool:
    """Whether the system lets a program run code that it has generated; hardened ones do not."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    try:
        llvm.check_jit_execution()
    except OSError:
        return False
    return True


@cache
def _abilities(portable: bool) -> Abilities:
    if portable:
        return Abilities(pairs=False, fma=not _is_x86(), halves=not _is_x86(), pause=_is_x86())
    found = llvm.get_host_cpu_features()
    vnni, fma, f16c = (bool(found.get(name)) for name in ("avx512vnni", "fma", "f16c"))
    return Abilities(vnni, fma or not _is_x86(), f16c or not _is_x86(), _is_x86())


_REQUEST_PERMISSION, _TILE_DATA = 0x1023, 18
"""Linux's ARCH_REQ_XCOMP_PERM, and the number of the state that tiles are."""
_ARCH_PRCTL = 158


@cache
def tiles() -> bool:
    """Whether the processor multiplies tiles of bytes and the system lets this process do so.

    Linux asks to be asked, for their 8 KiB have to fit the stacks of signals.
    """
    found = llvm.get_host_cpu_features()
    if not all(found.get(name) for name in ("amx-tile", "amx-int8", "avx512vnni")):
        return False
    if not sys.platform.startswith("linux") or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    call = ctypes.CDLL(None).syscall
    call.argtypes = [ctypes.c_long] * 3
    return int(call(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA)) == 0


def _machine(portable: bool) -> Any:
    """LLVM target machine for this processor or, if portable, its baseline; one per kernel."""
    target = llvm.Target.from_default_triple()
    if portable:
        return target.create_target_machine(opt=3)
    features = llvm.get_host_cpu_features().flatten()
    if _abilities(portable).pairs:
        features += f",{_FUSED}"
    name = llvm.get_host_cpu_name()
    return target.create_target_machine(cpu=name, features=features, opt=3)


def compiled(
    name: str, emit: Callable[[Emitter], None], *, portable: bool = False, keep: bool = False
) -> Kernel:
    """Compile the kernel that `emit` writes.

    Args:
        name: name of the function, for debuggers and profilers.
        emit: writes the body.
        portable: use only instructions that all processors of this kind have.
        keep: keep the machine code for later runs; the name must then tell the kernel from all
            others that are kept.

    Raises:
        OptionError: the system does not allow generated code.
    """
    if not allowed():
        raise OptionError(FORBIDDEN)
    machine = _machine(portable)
    file = f"{name}{'_portable' if portable else ''}"
    code = kernel_files.read(file) if keep else None
    if code is None:
        code = _machine_code(name, emit, machine, portable)
        if keep:
            kernel_files.write(file, code)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return Kernel(engine.get_function_address(name), engine)


def _machine_code(
    name: str, emit: Callable[[Emitter], None], machine: Any, portable: bool
) -> bytes:
    module = ir.Module(name)
    emitter = Emitter(module, name, _abilities(portable))
    emit(emitter)
    emitter.builder.ret_void()
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(parsed, passes)
    code: bytes = machine.emit_object(parsed)
    return code
