"""Checks of this machine for fluent conversations, with advice for each problem.

Each check is a pure function of its readings; ``examine`` takes the readings
(``agent.doctor.readings``) and makes all checks.
"""

from __future__ import annotations

import errno
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from packaging.requirements import Requirement
from rich.markup import escape
from rich.table import Table

from agent.doctor import readings
from agent.extras import pip_install
from agent.models import store
from agent.runtime.threads import CALM, ThreadPlan, cores, plan

GIB = 1 << 30
MEMORY_NEEDED = 3 * GIB
"""Available memory for the default models, in bytes."""
DISK_NEEDED = GIB // 2
"""Free space for the models in the cache directory, in bytes."""
DESCRIPTORS_NEEDED = 1024
"""Open files of a server; a call holds about five (socket, pipes of its workers, event loop)."""

ENGINES = ("torch", "ctranslate2", "faster_whisper", "onnxruntime", "piper", "av", "llvmlite")
"""Packages whose import is tested."""
DISTRIBUTIONS = {"faster_whisper": "faster-whisper", "piper": "piper-tts"}
"""Names by which these are installed, where that is another one."""
SET_UP = "run in the source tree: make setup"
FAST_INT8 = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8", "asimddp", "i8mm")
"""CPU features, by their Linux names, that make the recogniser and the responder fast."""


class Level(StrEnum):
    """Severity of a finding, from good to bad."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        level: severity.
        what: subject of the check.
        detail: state that was found.
        advice: remedy; empty when there is nothing to do.
    """

    level: Level
    what: str
    detail: str
    advice: str = ""


def examine(
    host: str = "127.0.0.1", port: int = 8080, threads: ThreadPlan | None = None
) -> list[Finding]:
    """Take all readings and make all checks, which takes a few seconds.

    Args:
        host: address of the server.
        port: port of the server.
        threads: threads of the engines; None: the default plan.
    """
    count = cores()
    cache = readings.nearest_directory(store.cache_dir())
    probe = readings.import_engines(ENGINES)
    return [
        check_python(sys.version_info[:3]),
        check_cpu(count, readings.cpu_features(), platform.machine()),
        check_memory(*readings.memory()),
        check_disk(cache, shutil.disk_usage(cache).free),
        check_packages(*readings.packages()),
        check_imports(probe.errors),
        *check_kernels(probe.compiles),
        *check_models({name: store.problems(name) for name in store.MODELS}),
        *check_threads(threads or plan(count), count, os.environ),
        check_load(readings.load_average(), count),
        check_gpu(readings.nvidia_gpus(), probe.gpus),
        check_port(host, port, readings.bind_error(host, port)),
        *check_descriptors(readings.descriptor_limit()),
    ]


def worst(findings: Iterable[Finding]) -> Level:
    """Level of the worst finding; OK without any."""
    return max((finding.level for finding in findings), key=list(Level).index, default=Level.OK)


def render(findings: Iterable[Finding]) -> Table:
    """Table of the findings for the terminal."""
    colours = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}
    table = Table("", "check", show_edge=False)
    for name in ("found", "advice"):  # commands in full: they are copied
        table.add_column(name, overflow="fold")
    for finding in findings:
        level = f"[{colours[finding.level]}]{finding.level}[/]"
        table.add_row(level, *map(escape, (finding.what, finding.detail, finding.advice)))
    return table


def check_python(version: Sequence[int]) -> Finding:
    """Check the version of Python, given as (major, minor, micro)."""
    text = ".".join(map(str, version))
    if tuple(version) < (3, 11):
        advice = "install 3.11 or newer, and onebreath with that in a new environment"
        return Finding(Level.PROBLEM, "Python", text, advice)
    return Finding(Level.OK, "Python", text)


def check_cpu(count: int, features: frozenset[str], architecture: str) -> Finding:
    """Check the number of usable cores and the CPU features for fast int8 layers."""
    fast = [name for name in FAST_INT8 if name in features]
    detail = f"{count} cores, {architecture}" + (f", {' '.join(fast)}" if fast else "")
    if count < 2:
        return Finding(
            Level.WARNING,
            "CPU",
            detail,
            "replies will be slow: give the machine or the container two cores or more",
        )
    if features and not fast:
        return Finding(
            Level.WARNING,
            "CPU",
            detail,
            "no AVX2 or dot-product instructions: recogniser and responder take several times "
            "longer; "
            "in a virtual machine, pass the host's CPU model through",
        )
    return Finding(Level.OK, "CPU", detail)


def check_memory(total: int, available: int) -> Finding:
    """Check the memory, in bytes; swapping would ruin every latency."""
    detail = f"{available / GIB:.1f} of {total / GIB:.1f} GiB available"
    if available < MEMORY_NEEDED:
        need = f"{MEMORY_NEEDED / GIB:.0f} GiB"
        return Finding(
            Level.WARNING, "memory", detail, f"close other programs: about {need} are needed"
        )
    return Finding(Level.OK, "memory", detail)


def check_disk(path: Path, free: int) -> Finding:
    """Check the free space, in bytes, in the models' cache directory."""
    detail = f"{free / GIB:.1f} GiB free at {path}"
    if free < DISK_NEEDED:
        return Finding(
            Level.PROBLEM,
            "disk",
            detail,
            f"free {DISK_NEEDED >> 20} MiB, or set ONEBREATH_MODELS to a directory with room",
        )
    return Finding(Level.OK, "disk", detail)


def check_packages(required: Sequence[str], installed: Mapping[str, str | None]) -> Finding:
    """Check requirements against installed versions by name (None: not installed)."""
    wrong: dict[str, str] = {}
    for requirement in map(Requirement, required):
        version = installed.get(requirement.name)
        if version is None:
            wrong[str(requirement)] = f"{requirement.name} is missing"
        elif not requirement.specifier.contains(version, prereleases=True):
            specifier = requirement.specifier
            wrong[str(requirement)] = f"{requirement.name} {version} is not {specifier}"
    if not required:
        return Finding(Level.PROBLEM, "packages", "onebreath itself is not installed", SET_UP)
    if wrong:
        advice = f"run: {pip_install(*wrong)}"
        return Finding(Level.PROBLEM, "packages", "; ".join(wrong.values()), advice)
    return Finding(Level.OK, "packages", f"{len(required)} requirements met")


def check_imports(errors: Mapping[str, str]) -> Finding:
    """Check that the installed engines can be imported; ``errors`` is by module."""
    if not errors:
        return Finding(Level.OK, "engines", f"{', '.join(ENGINES)} can be imported")
    detail = "; ".join(f"{name}: {error}" for name, error in errors.items())
    names = [DISTRIBUTIONS.get(name, name) for name in errors]
    return Finding(
        Level.PROBLEM, "engines", detail, f"run: {pip_install('--force-reinstall', *names)}"
    )


def check_kernels(compiles: bool | None) -> list[Finding]:
    """Check that the responder may compile its kernels for this processor (docs/adr/0017)."""
    if compiles is None:  # the reason is a finding of its own
        return []
    if compiles:
        return [Finding(Level.OK, "kernels", "can be compiled for this processor")]
    detail = "this system does not let a program run code that it has made"
    advice = (
        "SELinux: setsebool -P deny_execmem off; systemd: MemoryDenyWriteExecute=no; until then "
        "replies are computed in float32, several times slower"
    )
    return [Finding(Level.WARNING, "kernels", detail, advice)]


def check_models(problems: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Check the default models by their problems, as ``agent.models.store.problems`` lists them."""
    findings = []
    for name, found in problems.items():
        what = f"model {name}"
        if found:
            advice = f"run: {store.fetch_command(name)}"
            findings.append(Finding(Level.PROBLEM, what, "\n".join(found), advice))
        else:
            size = f"{store.get(name).size / 1e6:.0f} MB, sha256 as pinned"
            findings.append(Finding(Level.OK, what, size))
    return findings


def check_threads(threads: ThreadPlan, count: int, env: Mapping[str, str]) -> list[Finding]:
    """Check the threads of the engines against the cores, and the environment of thread pools."""
    detail = f"asr {threads.asr}, responder {threads.responder}, tts {threads.tts}"
    findings = [Finding(Level.OK, "threads", f"{detail} on {count} cores")]
    if max(threads.asr, threads.responder, threads.tts) > count:
        advice = f"give each engine at most {count}: threads without a core wait for each other"
        findings = [Finding(Level.WARNING, "threads", f"{detail} on {count} cores", advice)]
    number = env.get("OMP_NUM_THREADS", "")
    if number.isdecimal() and int(number) > count:
        advice = f"unset it, or set it to {count} at most"
        findings.append(Finding(Level.WARNING, "OMP_NUM_THREADS", number, advice))
    for name, calm in CALM.items():
        value = env.get(name, calm)
        if value.lower() != calm.lower():
            advice = f"unset it: with {calm}, idle threads leave the cores to busy ones"
            findings.append(Finding(Level.WARNING, name, value, advice))
    return findings


def check_load(average: float, count: int) -> Finding:
    """Check the load, the mean number of runnable processes over the last minute."""
    detail = f"{average:.2f} on {count} cores"
    if average > count / 2:
        advice = "other programs are busy; latencies measured now will be too high"
        return Finding(Level.WARNING, "load", detail, advice)
    return Finding(Level.OK, "load", detail)


def check_gpu(present: Sequence[str], usable: Sequence[str]) -> Finding:
    """Check the GPUs that the driver reports against those that torch can use."""
    if usable:
        return Finding(Level.OK, "GPU", ", ".join(usable))
    if present:
        return Finding(
            Level.WARNING,
            "GPU",
            f"{', '.join(present)}, but torch cannot use it",
            "install a CUDA build of torch that fits the driver",
        )
    return Finding(Level.OK, "GPU", "none; replies are computed on the CPU")


def check_port(host: str, port: int, bind_error: int) -> Finding:
    """Check the server's port; ``bind_error`` is the errno of a trial bind, 0 for success."""
    what, other = f"{host}:{port}", f"choose another with --port, for example {port + 1}"
    if bind_error == 0:
        return Finding(Level.OK, what, "free")
    if bind_error == errno.EADDRINUSE:
        advice = f"if it is not a running onebreath, stop that program or {other}"
        return Finding(Level.WARNING, what, "in use", advice)
    if bind_error == errno.EACCES:
        return Finding(Level.PROBLEM, what, "only root may listen on ports below 1024", other)
    advice = "choose an address of this machine with --host"
    return Finding(Level.PROBLEM, what, os.strerror(bind_error), advice)


def check_descriptors(limit: int | None) -> list[Finding]:
    """Check the soft limit of open files; None: the system has no limit."""
    if limit is None:
        return []
    if limit < DESCRIPTORS_NEEDED:
        advice = f"for many calls at once: ulimit -n {4 * DESCRIPTORS_NEEDED}"
        return [Finding(Level.WARNING, "open files", f"{limit} at most", advice)]
    return [Finding(Level.OK, "open files", f"{limit} at most")]
