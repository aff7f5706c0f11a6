"""The whole path on tiny checkpoints: plan, train, load, reply, evaluate, by the command line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from support.checkpoints import MASK, write_checkpoint
from typer.testing import CliRunner

from agent.cli.main import app
from agent.config.sources import load_settings
from agent.errors import ConfigError
from agent.reply import Message, ReplyDone
from agent.runtime.engines import make_responder
from dllm_core import DecodeOptions, Engine
from dllm_core.adapt.distill import DistillOptions
from dllm_core.adapt.tasks import finished_adapter, make_data
from dllm_core.errors import DataError, OptionError
from dllm_core.model import lora

FAMILIES = ("llama", "llada")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model") / request.param, request.param)


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model") / "llama", "llama")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Say {word}", "reply": f"{word}."} for word in ("yes", "no", "so") * 8]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout


def train(model: Path, pairs: Path, run: Path, *more: object, code: int = 0) -> str:
    return call(
        "adapt", "train", pairs, "--out", run, "--model", model, "--steps", 6, "--batch", 4,
        "--rank", 4, "--canvas", 16, "--mask-token", MASK, *more, code=code,
    )  # fmt: skip


@pytest.mark.slow
def test_train_load_reply_and_evaluate(model: Path, pairs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert "GiB in all: weights" in train(model, pairs, run, "--plan")
    assert not run.exists()
    printed = train(model, pairs, run)
    place = finished_adapter(run)
    assert place.name in printed.replace("\n", "")
    replies = []
    for merge in (True, False):
        engine = Engine.load(model, dtype="float32", adapter=place, merge=merge)
        assert engine.config.mask_id is not None
        ids = engine.encode_chat([("user", "Say yes")])
        options = DecodeOptions(rule="quota", canvas_length=16, steps=8, max_tokens=16)
        replies.append(engine.reply(ids, options=options).ids)
    assert replies[0] == replies[1]
    if model.name == "llama":
        default = engine.default_options
        assert (default.rule, default.canvas_length, default.steps) == ("quota", 16, 8)


@pytest.mark.slow
def test_the_agent_loads_the_adapter_of_its_settings(
    llama: Path, pairs: Path, tmp_path: Path
) -> None:
    train(llama, pairs, tmp_path / "run")
    chosen = {"model": str(llama), "adapter": str(finished_adapter(tmp_path / "run"))}
    settings = load_settings({"responder": {**chosen, "dtype": "float32", "max_tokens": 16}}, None)
    responder = make_responder(settings.responder, 1, lambda text: None)
    pieces = list(responder.open().reply([Message("user", "Say yes")]))
    done = pieces[-1]
    assert isinstance(done, ReplyDone)
    assert 0 < done.steps <= 8
    other = load_settings({"responder": {**chosen, "engine": "scripted"}}, None)
    with pytest.raises(ConfigError, match="adapter says nothing to scripted"):
        make_responder(other.responder, 1, lambda text: None)


@pytest.mark.slow
@pytest.mark.slow
def test_time_that_is_up_is_told_and_the_same_command_goes_on(
    llama: Path, pairs: Path, tmp_path: Path, monkeypatch
) -> None:
    run = tmp_path / "run"
    ticks = iter(range(0, 10_000, 2))
    monkeypatch.setattr("dllm_core.adapt.train.monotonic", lambda: float(next(ticks)))
    train(llama, pairs, run, "--seconds", 9, code=3)
    first = finished_adapter(run).name
    monkeypatch.undo()
    train(llama, pairs, run)
    assert first < finished_adapter(run).name == "step-0000006"
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]
    picture = tmp_path / "loss.png"
    call("adapt", "plot", run, "--out", picture)
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_rows_of_an_evaluation(llama: Path, pairs: Path, tmp_path: Path) -> None:
    train(llama, pairs, tmp_path / "run")
    printed = call(
        "adapt", "evaluate", tmp_path / "run", "--model", llama, "--steps", 4, "--steps",
        "one_per_step", "--limit", 2, "--max-tokens", 16, "--dtype", "float32", "--json",
        "--replies", tmp_path / "replies.jsonl",
    )  # fmt: skip
    rows = [json.loads(line) for line in printed.splitlines()]
    assert [row["k"] for row in rows] == ["ar", 4, "one_per_step"]
    for row in rows:
        assert row["replies"] == 8
        assert row["fact_questions"] == 2
        assert all(0 <= row[key] <= 1 for key in ("facts", "degenerate", "ends_properly"))
        assert row["perplexity"] > 1
        assert row["ms"] > 0
    assert rows[0]["perplexity_ratio"] == 1.0
    assert len((tmp_path / "replies.jsonl").read_text().splitlines()) == 8


def test_data_are_resumed_and_need_no_network(llama: Path, pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "replies.jsonl"
    options = DistillOptions(system="S", batch=2, max_tokens=8, seconds=0.0)
    said: list[str] = []
    done = [
        make_data(str(llama), [pairs], out, options, tell=said.append, device="cpu")
        for _ in range(4)
    ]
    assert done[-1]
    assert said[-1].startswith("6 of 6 prompts")


@pytest.mark.slow
def test_an_exported_adapter_is_half_as_large_and_says_the_same(
    llama: Path, pairs: Path, tmp_path: Path
) -> None:
    train(llama, pairs, tmp_path / "run")
    digest = call("adapt", "export", tmp_path / "run", "--out", tmp_path / "out", "--model", llama)
    weights = tmp_path / "out" / lora.WEIGHTS
    assert digest.strip() == hashlib.sha256(weights.read_bytes()).hexdigest()
    whole, half = (
        lora.load(place, Engine.load(llama, adapter=place).config)
        for place in (finished_adapter(tmp_path / "run"), tmp_path / "out")
    )
    assert half.denoiser == whole.denoiser
    for place, part in whole.parts.items():
        assert half.parts[place].a.dtype == torch.bfloat16
        torch.testing.assert_close(half.parts[place].a.float(), part.a, atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--mask-token", "<start>x"], "no token that can serve"),
        (["--mask-token", "<end>"], "no token that can serve"),
        (["--mask-token", MASK, "--dtype", "int8"], "int8 layers cannot be trained"),
        (["--mask-token", MASK, "--layers", "9"], "the model's 2 layers, 0 to 1"),
        (["--mask-token", MASK, "--layers", "-1"], "the model's 2 layers, 0 to 1"),
        (["--mask-token", MASK, "--layers", "1", "--layers", "1"], "each once"),
        (["--mask-token", MASK, "--rank", "4000"], "The rank lies between 1"),
    ],
)
def test_bad_options_are_refused(llama: Path, pairs: Path, tmp_path: Path, more, message) -> None:
    arguments = ["adapt", "train", pairs, "--out", tmp_path / "run", "--model", llama, "--plan"]
    result = CliRunner().invoke(app, [str(a) for a in [*arguments, *more]])
    assert isinstance(result.exception, OptionError)
    assert message in str(result.exception)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"prompt": "caf\xe9", "reply": "yes"}\n', "is not UTF-8"),
        (b"\xff\xfe{\x00", "is not UTF-8"),
        (b'{"prompt": "\\ud800", "reply": "yes"}\n', "line 1 is neither"),
        (b'{"prompt": 3, "reply": "yes"}\n', "line 1 is neither"),
        (b"", "holds no example"),
    ],
)
def test_data_that_are_no_text_are_named(
    llama: Path, tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    arguments = ["adapt", "train", path, "--model", llama, "--mask-token", MASK, "--plan"]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert isinstance(result.exception, DataError)
    assert words in str(result.exception)


@pytest.mark.slow
def test_another_rank_is_refused_in_a_sentence(llama: Path, pairs: Path, tmp_path: Path) -> None:
    train(llama, pairs, tmp_path / "run", "--seconds", 1000)
    arguments = [
        "adapt", "train", pairs, "--out", tmp_path / "run", "--model", llama, "--steps", 6,
        "--batch", 4, "--rank", 8, "--canvas", 16, "--mask-token", MASK,
    ]  # fmt: skip
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert isinstance(result.exception, OptionError)
    assert "other alpha, rank" in str(result.exception)


def test_a_base_without_a_mask_asks_for_one(llama: Path, pairs: Path) -> None:
    result = CliRunner().invoke(app, ["adapt", "train", str(pairs), "--model", str(llama)])
    assert isinstance(result.exception, OptionError)
    assert "no mask token" in str(result.exception)


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="neither an adapter nor a run"):
        finished_adapter(tmp_path)
