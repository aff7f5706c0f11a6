"""The two parts of a warm-up, and what a start leaves out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from test_call import engines

from agent.compute import Compute, Urgency
from agent.config.settings import Settings
from agent.runtime.recorded_voice import RecordedVoice, fixed_sentences, segments
from agent.runtime.warming import Staged, warm_up_of, warm_up_rest
from tts.engine import TtsError
from tts.tone import ToneSynthesizer

ROOT = Path(__file__).parents[1]


class InTwoParts:
    def __init__(self) -> None:
        self.done: list[str] = []

    def warm_up(self) -> None:
        self.done.append("whole")

    def warm_up_first(self) -> None:
        self.done.append("first")

    def warm_up_rest(self) -> Iterator[None]:
        for part in ("second", "third"):
            self.done.append(part)
            yield


class InOnePart:
    def warm_up(self) -> None:
        pass


def test_only_what_a_first_call_needs_is_done_before_a_server_listens() -> None:
    engine, plain = InTwoParts(), InOnePart()
    warm_up_of(engine, whole=False)()
    warm_up_of(engine, whole=True)()
    assert engine.done == ["first", "whole"]
    assert warm_up_of(plain, whole=False) == plain.warm_up
    assert not isinstance(plain, Staged)


def test_the_rest_runs_on_the_compute_thread_and_on_one_for_the_voice() -> None:
    voice = RecordedVoice(ToneSynthesizer(), fixed_sentences(Settings().call))
    responder, compute = InTwoParts(), Compute()
    warm_up_rest(replace(engines({}, None, voice), responder=responder, compute=compute))
    for thread in threading.enumerate():
        if thread.name == "recording":
            thread.join()
    for _ in range(3):  # each behind one piece
        compute._submit(Urgency.IDLE, lambda: None).result()
    compute.close()
    assert responder.done == ["second", "third"]
    assert voice._recorded.keys() == {
        part for sentence in fixed_sentences(Settings().call) for part in segments(sentence)
    }


class Gone(ToneSynthesizer):
    def speak(self, text: str) -> Iterator[object]:  # type: ignore[override]
        raise TtsError("the worker is gone")


def test_a_voice_that_is_closed_meanwhile_is_no_failure() -> None:
    voice = RecordedVoice(Gone(), ["Goodbye."])
    with pytest.raises(TtsError):
        next(voice.warm_up_rest())
    voice.close()
    assert list(voice.warm_up_rest()) == []


class Broken(ToneSynthesizer):
    def speak(self, text: str) -> Iterator[object]:  # type: ignore[override]
        raise KeyError("a bug of a plug-in")


def test_a_voice_with_a_bug_is_logged_and_the_server_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loaded = engines({}, None, RecordedVoice(Broken(), ["Goodbye."]))
    warm_up_rest(loaded)
    for thread in threading.enumerate():
        if thread.name == "recording":
            thread.join()
    assert "a bug of a plug-in" in caplog.text


# ---- imports -----------------------------------------------------------------------------------

STARTED = """
import json, sys
import onebreath
sys.meta_path.insert(0, onebreath.OwnPackages)
import agent.cli.main, agent.cli.serve, agent.runtime.engines, agent.server.app, asr.whisper
import agent.responders.diffusion
print(json.dumps(sorted(sys.modules)))
"""
NOT_NEEDED = (
    "accelerate", "agent.bench.speech", "agent.latency.plots", "dllm_core.adapt", "httpx", "jiwer",
    "matplotlib", "mcp", "onnx", "openai", "opentelemetry", "pandas", "peft", "piper", "playwright",
    "ray", "scipy", "sympy", "torch._dynamo", "torch._inductor", "transformers", "triton",
)  # fmt: skip
"""What `serve` does not use with its default engines; each would take a tenth of a second or more,
or belongs to an extra."""


@pytest.mark.slow
def test_a_server_starts_without_what_it_does_not_use() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTED],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    modules = set(json.loads(done.stdout.splitlines()[-1]))
    assert "torch" in modules
    assert "agent.server.app" in modules
    imported = [name for name in NOT_NEEDED if name in modules]
    assert imported == []
