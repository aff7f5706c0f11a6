from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import files

import pytest

from agent.errors import ConfigError
from agent.runtime import threads
from agent.runtime.threads import CALM, ThreadPlan, calm, parse_quota, plan


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        (1, ThreadPlan(asr=1, responder=1, tts=1)),
        (2, ThreadPlan(asr=1, responder=2, tts=1)),
        (4, ThreadPlan(asr=2, responder=4, tts=1)),
        (64, ThreadPlan(asr=4, responder=4, tts=1)),
    ],
)
def test_heavy_stages_share_the_cores_up_to_what_a_small_model_can_use(cores, expected):
    assert plan(cores) == expected


def test_a_given_number_is_kept():
    assert plan(2, responder=8, tts=2) == ThreadPlan(asr=1, responder=8, tts=2)


def test_peak_counts_the_synthesiser_beside_one_heavy_stage():
    assert ThreadPlan(asr=2, responder=3, tts=1).peak == 4


@pytest.mark.parametrize("engine", ["asr", "responder", "tts"])
@pytest.mark.parametrize("number", [0, -1])
def test_an_engine_without_threads_is_refused(engine, number):
    with pytest.raises(ConfigError, match=f"{engine} threads must be at least 1, not {number}"):
        plan(2, **{engine: number})


def test_calm_keeps_what_the_user_has_set():
    env = {"KMP_BLOCKTIME": "200"}
    calm(env)
    assert env == {**CALM, "KMP_BLOCKTIME": "200"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000\n", None), ("200000 100000\n", 2), ("150000 100000\n", 2), ("5000 100000\n", 1)],
)
def test_quota_is_rounded_up_to_whole_cores(text, expected):
    assert parse_quota(text) == expected


def test_cores_obey_a_container_quota(monkeypatch, tmp_path):
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(threads, "_CGROUP_QUOTA", quota)
    unlimited = threads.cores()
    assert unlimited >= 1
    quota.write_text("100000 100000\n")
    assert threads.cores() == 1


def _bundled_openmp() -> str:
    """CTranslate2's own OpenMP runtime, which can be loaded without the engine."""
    for file in files("ctranslate2") or ():
        if file.name.startswith("libgomp"):
            return str(file.locate())
    pytest.skip("this build of CTranslate2 brings no GNU OpenMP runtime")


def test_calm_is_in_force_when_an_openmp_runtime_loads():
    script = """
import ctypes, sys
from agent.runtime.threads import calm
calm()
ctypes.CDLL(sys.argv[1])
"""
    unset = {name: value for name, value in os.environ.items() if name not in CALM}
    done = subprocess.run(
        [sys.executable, "-c", script, _bundled_openmp()],
        env={**unset, "OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
    assert "GOMP_SPINCOUNT = '20000'" in done.stderr
