"""Decode options in the settings, on the command line, and checked against the model."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
from support.checkpoints import write_checkpoint
from support.tiny import tiny_config, tiny_engine
from typer.testing import CliRunner

from agent.cli.main import app
from agent.config import decoding
from agent.config.decoding import DecodingSettings
from agent.config.settings import ResponderChoice
from agent.config.sources import load_settings
from agent.errors import ConfigError
from agent.responders.base import ResponderError
from agent.responders.diffusion import DiffusionResponder
from agent.runtime.engines import make_responder
from dllm_core import config as engine_config
from dllm_core.config import DecodeOptions
from dllm_core.errors import OptionError


def chosen(model: Path, **values: Any) -> ResponderChoice:
    return ResponderChoice(model=str(model), dtype="float32", **values)


def made(model: Path, **values: Any) -> DiffusionResponder:
    found = make_responder(chosen(model, **values), 1, lambda line: None)
    assert isinstance(found, DiffusionResponder)
    return found


@pytest.fixture(scope="module")
def llada(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("llada"), "llada")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("llama"), "llama")


def test_the_settings_have_the_words_of_the_engine() -> None:
    for ours, theirs in (
        (decoding.Confidence, engine_config.Confidence),
        (decoding.CachePolicy, engine_config.CachePolicy),
    ):
        assert get_args(ours) == get_args(theirs)
    assert set(get_args(engine_config.Rule)) <= set(get_args(decoding.Rule))
    names = {field.name for field in fields(DecodeOptions)}
    of_loading = {"context", "config", "packed_weights", "packed_limit"}
    assert set(DecodingSettings.model_fields) - of_loading <= names


def test_options_reach_the_engine(llada: Path) -> None:
    responder = made(
        llada, rule="threshold", canvas_length=8, threshold=0.4, cache="dual", confidence="margin",
        top_k=9, temperature=0.3, block_length=4, context=100, max_tokens=20,
    )  # fmt: skip
    options = responder.options
    assert (options.rule, options.canvas_length, options.threshold) == ("threshold", 8, 0.4)
    assert (options.cache, options.confidence, options.top_k) == ("dual", "margin", 9)
    assert (options.temperature, options.block_length, options.max_tokens) == (0.3, 4, 20)
    assert responder.engine.context == 100


def test_without_settings_the_model_decides(llada: Path, llama: Path) -> None:
    assert made(llada).options.rule == "quota"
    assert made(llama).options.rule == "fixed_point"
    assert made(llama, rule="sequential").options.canvas_length == 32


def test_fields_of_the_model_may_be_set(llada: Path) -> None:
    config = {"attention": "block_causal", "block_length": 8}
    assert made(llada, config=config).engine.config.block_length == 8


@pytest.mark.parametrize(
    ("family", "values", "words"),
    [
        ("llama", {"rule": "quota"}, "needs a model that was taught to denoise.*Use fixed_point"),
        ("llada", {"rule": "fixed_point"}, "use quota or threshold"),
        ("llada", {"cache": "exact"}, "use none, prompt_frozen, prefix or dual"),
        ("llama", {"cache": "dual"}, "block-causal model has an exact cache"),
        ("llada", {"threshold": 0.5}, "says nothing to the rule quota"),
        ("llama", {"steps": 4}, "says nothing to the rule fixed_point"),
        ("llama", {"temperature": 0.5}, "says nothing to the rule fixed_point"),
        ("llada", {"first_canvas": 64}, "between 1 and the canvas_length of 32"),
        ("llada", {"context": 40}, "leaves no room for a prompt"),
        (
            "llada",
            {"config": {"attention": "block_causal", "block_length": 8}, "block_length": 5},
            "trained on blocks of 8",
        ),
        ("llada", {"config": {"attention": "causal"}}, "did you mean 'block_causal'"),
        ("llada", {"config": {"atention": "bidirectional"}}, "atention"),
    ],
)
def test_what_does_not_suit_the_model_is_refused_at_start_up(
    family: str, values: dict[str, Any], words: str, llada: Path, llama: Path
) -> None:
    with pytest.raises(ResponderError, match=words):
        made(llada if family == "llada" else llama, **values)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["hosted", "autoregressive", "scripted", "diffusion-gemma"])
def test_other_engines_do_not_denoise(engine: str) -> None:
    choice = ResponderChoice(engine=engine, steps=4, base_url="http://127.0.0.1:1", context=100)
    with pytest.raises(ConfigError, match=r"responder\.steps, responder\.context"):
        make_responder(choice, 1, lambda line: None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rule = 'quotta'", "responder.rule"),
        ("threshold = 1.5", "responder.threshold"),
        ("stepps = 3", "responder.stepps: no such setting"),
        ("cache = 'duall'", "responder.cache"),
    ],
)
def test_mistakes_in_the_file_are_named(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(f"[responder]\n{text}\n")
    with pytest.raises(ConfigError, match=words):
        load_settings(file=file)


@pytest.mark.parametrize(
    ("name", "value", "near"),
    [
        ("rule", "quotta", "quota"), ("confidence", "entropie", "entropy"),
        ("cache", "duall", "dual"), ("rule", "fixed-point", "fixed_point"),
        ("cache", "prompt-frozen", "prompt_frozen"), ("rule", "Threshold", "threshold"),
    ],
)  # fmt: skip
def test_a_misspelled_value_is_refused_with_the_nearest(name: str, value: str, near: str) -> None:
    with pytest.raises(OptionError, match=f"did you mean '{near}'"):
        DecodeOptions(**{name: value})  # type: ignore[arg-type]


def test_an_unknown_option_is_refused_with_the_nearest() -> None:
    engine = tiny_engine(tiny_config(mask_id=60, attention="bidirectional", shift=False))
    with pytest.raises(OptionError, match="did you mean 'canvas_length'"):
        engine.options(canvas_lenght=4)


@pytest.mark.slow
def test_reply_takes_the_options_as_flags(llada: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEBREATH_RESPONDER__DTYPE", "float32")
    common = ["reply", "Hello?", "--model", str(llada), "--json", "--max-tokens", "8"]
    flags = ["--rule", "quota", "--steps", "3", "--canvas-length", "8", "--top-k", "5"]
    done = CliRunner().invoke(app, [*common, *flags])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["forwards"] == 3
    blocks = ["--model-config", '{"attention": "block_causal", "block_length": 4}']
    assert CliRunner().invoke(app, [*common, *blocks]).exit_code == 0
    shown = CliRunner().invoke(app, ["reply", "--help"]).stdout
    assert re.search(r"--canvas-length", re.sub(r"\x1b\[[0-9;]*m", "", shown))
