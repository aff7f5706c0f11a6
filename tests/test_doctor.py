from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest
from rich.console import Console

from agent.doctor import checks, readings
from agent.doctor.checks import GIB, Finding, Level
from agent.runtime.threads import CALM, ThreadPlan


def _healthy() -> list[Finding]:
    return [
        checks.check_python((3, 11, 2)),
        checks.check_cpu(2, frozenset({"avx2"}), "x86_64"),
        checks.check_cpu(8, frozenset(), "arm64"),  # features unknown: nothing to complain of
        checks.check_memory(24 * GIB, 20 * GIB),
        checks.check_disk(Path("/cache"), 80 * GIB),
        checks.check_packages(["torch>=2.6"], {"torch": "2.13.0+cpu"}),
        checks.check_imports({}),
        *checks.check_kernels(True),
        *checks.check_models({"joe": []}),
        *checks.check_threads(ThreadPlan(2, 2, 1), 2, CALM),
        *checks.check_threads(ThreadPlan(2, 2, 1), 2, {"OMP_WAIT_POLICY": "passive"}),
        checks.check_load(0.4, 2),
        checks.check_gpu([], []),
        checks.check_gpu(["NVIDIA L4"], ["NVIDIA L4"]),
        checks.check_port("127.0.0.1", 8080, 0),
        *checks.check_descriptors(20_000),
    ]


def _ill() -> list[tuple[Finding, Level, str, str]]:
    """Finding, its level, a part of the detail, a part of the advice."""
    threads = checks.check_threads(ThreadPlan(8, 2, 1), 2, {"OMP_NUM_THREADS": "16"})
    (descriptors,) = checks.check_descriptors(256)
    (spinning,) = checks.check_threads(ThreadPlan(2, 2, 1), 2, {"OMP_WAIT_POLICY": "ACTIVE"})[1:]
    (kernels,) = checks.check_kernels(False)
    (model,) = checks.check_models({"joe": ["joe: the package is not installed"]})
    taken, privileged, foreign = (
        checks.check_port("10.0.0.1", 80, code)
        for code in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL)
    )
    return [
        (checks.check_python((3, 10, 9)), Level.PROBLEM, "3.10.9", "3.11"),
        (checks.check_cpu(1, frozenset({"avx2"}), "x86_64"), Level.WARNING, "1 core", "two cores"),
        (checks.check_cpu(4, frozenset({"sse2"}), "x86_64"), Level.WARNING, "4 cores", "AVX2"),
        (checks.check_memory(4 * GIB, GIB), Level.WARNING, "1.0 of 4.0 GiB", "3 GiB"),
        (checks.check_disk(Path("/c"), GIB // 10), Level.PROBLEM, "at /c", "ONEBREATH_MODELS"),
        (
            checks.check_packages(["av>=14", "rich>=13"], {"av": "12.0", "rich": None}),
            Level.PROBLEM,
            "av 12.0 is not >=14; rich is missing",
            "pip install 'av>=14' 'rich>=13'",
        ),
        (checks.check_packages([], {}), Level.PROBLEM, "not installed", "make setup"),
        (
            checks.check_imports({"torch": "OSError: libgomp"}),
            Level.PROBLEM,
            "torch: OSError: libgomp",
            "pip install --force-reinstall torch",
        ),
        (kernels, Level.WARNING, "code that it has made", "float32"),
        (model, Level.PROBLEM, "not installed", "onebreath models --fetch joe"),
        (threads[0], Level.WARNING, "asr 8", "each engine at most 2"),
        (threads[1], Level.WARNING, "16", "set it to 2"),
        (spinning, Level.WARNING, "ACTIVE", "with PASSIVE"),
        (checks.check_load(1.5, 2), Level.WARNING, "1.50", "too high"),
        (checks.check_gpu(["NVIDIA L4"], []), Level.WARNING, "cannot use", "CUDA build"),
        (taken, Level.WARNING, "in use", "--port, for example 81"),
        (privileged, Level.PROBLEM, "only root", "--port"),
        (foreign, Level.PROBLEM, "assign requested address", "--host"),
        (descriptors, Level.WARNING, "256", "ulimit -n"),
    ]


def test_a_healthy_machine_needs_no_advice():
    findings = _healthy()
    assert [finding for finding in findings if finding.advice] == []
    assert checks.worst(findings) is Level.OK


@pytest.mark.parametrize("case", _ill(), ids=lambda case: f"{case[0].what}: {case[2]}")
def test_what_is_wrong_comes_with_what_to_do(case):
    finding, level, detail, advice = case
    assert finding.level is level
    assert detail in finding.detail
    assert advice in finding.advice


def test_a_limit_that_does_not_exist_is_no_finding():
    assert checks.check_descriptors(None) == []


def test_worst_is_the_highest_level():
    findings = [Finding(level, "", "") for level in (Level.WARNING, Level.PROBLEM, Level.OK)]
    assert checks.worst(findings) is Level.PROBLEM
    assert checks.worst([]) is Level.OK


def test_a_table_shows_brackets_as_they_are():
    out = io.StringIO()
    finding = Finding(Level.WARNING, "packages", "openai[realtime] is missing", "run [this]")
    Console(file=out, width=120).print(checks.render([finding]))
    assert "openai[realtime] is missing" in out.getvalue()
    assert "run [this]" in out.getvalue()


def test_examine_finds_a_taken_port_and_leaves_the_engines_out_of_this_process(monkeypatch):
    probed = []

    def import_engines(modules):
        probed.extend(modules)
        return readings.Probe({}, [], compiles=True)

    monkeypatch.setattr(readings, "import_engines", import_engines)
    monkeypatch.setattr(readings, "bind_error", lambda host, port: errno.EADDRINUSE)
    monkeypatch.setattr(checks.store, "problems", lambda name: [])
    findings = {finding.what: finding for finding in checks.examine("127.0.0.1", 4321)}
    assert findings["127.0.0.1:4321"].level is Level.WARNING
    wanted = {"Python", "CPU", "memory", "disk", "kernels", "threads", "load", "GPU"}
    assert wanted < findings.keys()
    assert set(probed) == set(checks.ENGINES)
