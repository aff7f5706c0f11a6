"""benchmarks/gpu at a tiny size: every piece runs, and what is done is not done again."""

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from agent.responders.base import Message, ReplyDone, ReplyText

FOLDER = Path(__file__).parents[1] / "benchmarks" / "gpu"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("gate", "geometry", "ours", "peers", "timing"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    spec = importlib.util.spec_from_file_location("gpu_run", FOLDER / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.transformers
@pytest.mark.slow
def test_every_piece_runs_once(
    bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gpu-cpu.jsonl"
    assert bench.main(["--tiny", "--out", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["piece"] for row in rows if row["what"] == "done"] == list(bench.PIECES)
    replies = [row for row in rows if row["what"] == "reply"]
    assert {row["arm"] for row in replies} == {
        "onebreath", "autoregressive", "Fast-dLLM dual cache", "transformers eager",
    }  # fmt: skip
    wanted = {"device", "dtype", "batch", "canvas", "cached", "steps", "step_ms", "reply_ms"}
    for row in replies:
        assert {*wanted, "tokens_per_s", "joules_per_token"} <= set(row)
        assert row["step_ms"] > 0
        assert row["tokens_per_s"] == pytest.approx(
            row["batch"] * row["canvas"] / row["reply_ms"] * 1e3
        )
    (logits,) = (row for row in rows if row["what"] == "fp8 logits")
    assert 0 < logits["error"] < 0.1
    assert "| onebreath | fp8 | 3 | 4 |" in capsys.readouterr().out
    assert bench.main(["--tiny", "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) == len(rows)


def test_it_stops_in_time_and_says_so(bench: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    assert bench.main(["--tiny", "--out", str(out), "--seconds", "-1"]) == 3
    assert not out.exists()


def test_without_a_gpu_or_a_file_it_says_what_to_do(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="There is no CUDA device"):
        bench.main([])
    with pytest.raises(SystemExit):
        bench.main(["--tiny"])


def test_a_device_that_computes_something_else_is_not_timed(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from dllm_core.gpu import device_round

    right = device_round.top1.reference

    def wrong(*arguments: object, **options: object) -> tuple[torch.Tensor, torch.Tensor]:
        ids, probability = right(*arguments, **options)  # type: ignore[arg-type]
        return (ids + 1) % 100, probability

    monkeypatch.setattr(device_round.top1, "reference", wrong)
    with pytest.raises(AssertionError, match="instead of"):
        bench.main(["--tiny", "--out", str(tmp_path / "rows.jsonl")])


def test_a_responder_of_the_true_geometry_keeps_its_prompt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("GEOMETRY_STEPS", "4")
    responder = importlib.import_module("geometry_responder").GeometryResponder()
    responder.warm_up()
    call, question = responder.open(), [Message("user", "What is the capital of France?")]
    assert call.prepare(question).new_tokens == 0  # a bidirectional prompt is read at once
    first, text, done = call.reply(question)
    assert first.new_tokens > 0
    assert isinstance(text, ReplyText)
    assert isinstance(done, ReplyDone)
    assert 0 < done.steps <= 4
    call.close()


def test_turns_are_told_beyond_the_wait_of_the_endpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    turns = importlib.import_module("turns")
    rows = [
        {"what": "turn", "speculation": s, "voice_to_voice_ms": v, "spans": {"endpoint_wait": 300}}
        for s, v in [(True, 310.0), (True, 320.0), (False, 390.0), (False, None)]
    ]
    plain, speculated = turns.beyond_the_wait(rows, "fp8", 16)
    assert (plain["turns"], plain["p50_ms"]) == (1, 90.0)
    assert (speculated["turns"], speculated["p50_ms"], speculated["p95_ms"]) == (2, 15.0, 19.5)
