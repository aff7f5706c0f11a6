"""Responders at the same work: order, figures, checks, prices, energy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.chat_server import Answer, chat_server
from support.tiny import tiny_config, tiny_engine
from typer.testing import CliRunner

from agent.bench.candidates import choice_of, load_candidates
from agent.bench.energy import NvmlMeter, RaplMeter
from agent.bench.prices import Price, read_prices
from agent.bench.prompts import Prompt, read_prompts
from agent.bench.responders import Candidate, ReplyScore, ResponderBenchmark, summarise
from agent.cli.main import app
from agent.compute import Compute
from agent.config.settings import Settings
from agent.errors import ConfigError
from agent.latency.question import Check, Rule
from agent.reply import Message, Prefilled, ReplyDone, ReplyPiece, ReplyText
from agent.responders.base import ResponderError
from agent.responders.diffusion import DiffusionResponder
from agent.responders.scripted import ScriptedResponder
from dllm_core.config import DecodeOptions


class Clock:
    """Time that passes only where a responder says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(
            "agent.bench.responders.time", SimpleNamespace(perf_counter=lambda: self.now)
        )


class Timed(ScriptedResponder):
    """Says two sentences, the first after ``first`` seconds, the second after as much again."""

    def __init__(self, clock: Clock, first: float, log: list[str]) -> None:
        super().__init__()
        self.clock, self.first, self.log = clock, first, log

    def open(self) -> Timed:  # type: ignore[override]
        return self

    def prepare(self, messages: Sequence[Message]) -> Prefilled:
        return Prefilled(0, 10, 0.0)

    def reply(
        self, messages: Sequence[Message], deadline: float | None = None
    ) -> Iterator[ReplyPiece]:
        words = messages[-1].content
        self.log.append(f"{self.first:g} {words}")
        if words == "fail":
            raise ResponderError("the model is tired; restart it")
        yield Prefilled(10, 20, 0.0)
        self.clock.now += self.first
        yield ReplyText(f"You said {words}. And")
        self.clock.now += self.first
        yield ReplyText(" so on.")
        stats = {"tokens": 8.0}
        yield ReplyDone(f"You said {words}. And so on.", 4, 4, 0.0, 0.0, stats)


class Meter:
    """Ten watts."""

    name = "test"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def joules(self) -> float:
        return 10 * self.clock.now


def hold(contest: ResponderBenchmark, prompts: list[Prompt], rounds: int) -> list[ReplyScore]:
    async def run() -> list[ReplyScore]:
        return [score async for score in contest.run(prompts, rounds)]

    return asyncio.run(run())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def compute() -> Iterator[Compute]:
    with closing(Compute()) as made:
        yield made


def test_the_figures_of_a_reply_are_those_of_its_pieces(clock: Clock, compute: Compute) -> None:
    price = Price(input_per_million=1.0, output_per_million=2.0, per_hour=3600)
    slow = Candidate("slow", Timed(clock, 0.5, []), price)
    away = Candidate("away", Timed(clock, 0.1, []), local=False)
    contest = ResponderBenchmark([slow, away], "be short", compute, Meter(clock))
    scores = hold(contest, [Prompt("hello", Check(Rule.CONTAINS, "HELLO"))], 1)
    first, second = scores
    assert (first.first_clause_ms, first.whole_ms) == (500.0, 1000.0)
    assert (first.tokens, first.forwards, first.right) == (8.0, 4, True)
    assert first.joules == pytest.approx(10.0)
    assert first.cost == pytest.approx((30 * 1 + 8 * 2) / 1e6 + 1.0)
    assert (second.joules, second.cost) == (None, None)
    summary, other = summarise(scores)
    assert summary["tokens_per_second"] == 8.0
    assert summary["tokens_per_forward"] == 2.0
    assert summary["joules_per_token"] == pytest.approx(1.25)
    assert summary["cost_per_1000"] == pytest.approx(1000.046)
    assert (summary["right"], summary["checked"]) == (1, 1)
    assert (other["joules_per_token"], other["cost_per_1000"]) == (None, None)


def test_all_meet_every_prompt_and_take_turns_to_go_first(clock: Clock, compute: Compute) -> None:
    log: list[str] = []
    both = [Candidate(name, Timed(clock, seconds, log)) for name, seconds in (("a", 1), ("b", 2))]
    hold(ResponderBenchmark(both, "be short", compute), [Prompt("x"), Prompt("y"), Prompt("z")], 2)
    warm, asked = log[:2], log[2:]
    assert warm == ["1 x", "2 x"]
    assert asked == [
        *("1 x", "2 x", "2 y", "1 y", "1 z", "2 z"),
        *("2 x", "1 x", "1 y", "2 y", "2 z", "1 z"),
    ]


def test_a_failed_reply_is_a_row_and_no_figure(clock: Clock, compute: Compute) -> None:
    contest = ResponderBenchmark([Candidate("a", Timed(clock, 1, []))], "be short", compute)
    scores = hold(contest, [Prompt("x"), Prompt("fail")], 1)
    assert [score.error for score in scores] == [None, "the model is tired; restart it"]
    (summary,) = summarise(scores)
    assert (summary["replies"], summary["errors"]) == (1, 1)
    assert summary["whole_ms_p50"] == summary["whole_ms_p95"] == 2000.0


def test_percentiles_are_values_that_occurred() -> None:
    scores = [ReplyScore("a", 1, "x", whole_ms=float(ms), tokens=1.0) for ms in range(1, 101)]
    (summary,) = summarise(scores)
    assert (summary["whole_ms_p50"], summary["whole_ms_p95"]) == (50.0, 95.0)
    assert summary["first_clause_ms_p50"] is None


def test_prompts_are_lines_or_rows_with_a_check(tmp_path: Path) -> None:
    plain = tmp_path / "prompts.txt"
    plain.write_text("Hello.\n\n  What is it? \n")
    assert read_prompts(plain) == [Prompt("Hello."), Prompt("What is it?")]
    rows = tmp_path / "prompts.jsonl"
    rows.write_text('{"prompt": "Capital?", "regex": "par.s"}\n{"prompt": "Hello."}\n')
    assert read_prompts(rows) == [Prompt("Capital?", Check(Rule.REGEX, "par.s")), Prompt("Hello.")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "0 prompts"),
        ("hello", "prompts.jsonl:1: no JSON"),
        ('["x"]', "an object a line"),
        ('{"prompt": " "}', "a text of 1 to"),
        ('{"prompt": "x", "contain": "y"}', "'contain'. mean nothing"),
        ('{"prompt": "x", "contains": "y", "exact": "z"}', "write one rule"),
        ('{"prompt": "x", "regex": "("}', "no regular expression"),
    ],
)
def test_prompts_that_are_wrong_are_named(tmp_path: Path, line: str, words: str) -> None:
    rows = tmp_path / "prompts.jsonl"
    rows.write_text(line)
    with pytest.raises(ConfigError, match=words):
        read_prompts(rows)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_prompts(tmp_path / "none.txt")


def test_prices_are_read_and_mistakes_named(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text('["hosted:http://x/v1#m"]\noutput_per_million = 0.75\n')
    assert read_prices(path) == {"hosted:http://x/v1#m": Price(output_per_million=0.75)}
    path.write_text("[diffusion]\nper_hours = 1\n")
    with pytest.raises(ConfigError, match=r"diffusion\.per_hours"):
        read_prices(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_prices(tmp_path / "none.toml")


def test_rapl_adds_packages_and_survives_the_end_of_the_counter(tmp_path: Path) -> None:
    for name, energy in (("intel-rapl:0", 900), ("intel-rapl:1", 100), ("intel-rapl:0:0", 7)):
        zone = tmp_path / name
        zone.mkdir()
        (zone / "energy_uj").write_text(f"{energy}\n")
        (zone / "max_energy_range_uj").write_text("1000\n")
    meter = RaplMeter(tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("50\n")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("130\n")
    assert meter.joules() == pytest.approx((150 + 30) / 1e6)
    with pytest.raises(OSError, match="no RAPL counters"):
        RaplMeter(tmp_path / "none")


def test_nvml_counts_in_millijoules() -> None:
    assert NvmlMeter(lambda: 2500).joules() == 2.5


def test_a_spec_says_engine_address_and_model() -> None:
    settings = Settings(responder={"max_tokens": 9, "api_key": "k"})  # type: ignore[arg-type]
    hosted = choice_of("hosted:http://127.0.0.1:8000/v1#tiny", settings)
    assert (hosted.engine, hosted.base_url) == ("hosted", "http://127.0.0.1:8000/v1")
    assert (hosted.model, hosted.max_tokens, hosted.api_key) == (
        "tiny",
        9,
        settings.responder.api_key,
    )
    assert choice_of("autoregressive#a/b", settings).model == "a/b"
    assert choice_of("diffusion", settings).model == settings.responder.model
    with pytest.raises(ConfigError, match="name its arms"):
        choice_of("ab", settings)


def test_a_diffusion_responder_takes_part_at_each_number_of_steps(
    compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tiny_engine(tiny_config(mask_id=60, context_length=320))
    monkeypatch.setattr("agent.responders.diffusion.Engine.load", lambda *a, **k: engine)
    made = DiffusionResponder("tiny", max_tokens=8)
    assert made.options.rule == "quota"
    monkeypatch.setattr("agent.bench.candidates.make_responder", lambda *arguments: made)

    def names(*steps: int) -> dict[str, DecodeOptions]:
        found = load_candidates(["diffusion"], steps, Settings(), {}, compute, lambda line: None)
        return {each.name: each.responder.options for each in found}  # type: ignore[attr-defined]

    assert names() == {"diffusion": made.options}
    stepped = names(4, 8)
    assert stepped["diffusion K=4"] == replace(made.options, steps=4)
    assert stepped["diffusion K=8"] == replace(made.options, steps=8)


def test_steps_are_refused_where_there_are_none(
    compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*specs: str) -> object:
        return load_candidates(specs, [4], Settings(), {}, compute, lambda line: None)

    with pytest.raises(ConfigError, match="--steps is for diffusion"):
        load("scripted")
    with pytest.raises(ConfigError, match="named twice"):
        load("scripted", "scripted")
    engine = tiny_engine(tiny_config(context_length=320))
    monkeypatch.setattr("agent.responders.diffusion.Engine.load", lambda *a, **k: engine)
    with pytest.raises(ResponderError, match="fixed_point has no number of steps"):
        DiffusionResponder("tiny").with_steps(4)


@pytest.mark.slow
def test_the_command_prints_rows_then_a_summary_each(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(
        '{"prompt": "hello", "contains": "hello"}\n{"prompt": "bye", "exact": "no"}\n'
    )
    prices = tmp_path / "prices.toml"
    with chat_server(*[Answer(["You said", " hello."])] * 6) as server:
        spec = f"hosted:{server.url}#tiny"
        prices.write_text(f'["{spec}"]\noutput_per_million = 1000\n')
        arguments = ["bench", "responders", str(prompts), "--rounds", "2", "--json"]
        arguments += ["--responder", "scripted", "--responder", spec, "--prices", str(prices)]
        done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    rows: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["kind"] for row in rows] == ["reply"] * 8 + ["summary"] * 2
    scripted, hosted = rows[-2:]
    assert (scripted["responder"], scripted["replies"], scripted["right"]) == ("scripted", 4, 2)
    assert (hosted["responder"], hosted["right"], hosted["checked"]) == (spec, 2, 4)
    assert hosted["cost_per_1000"] == pytest.approx(4.0)
    assert hosted["first_clause_ms_p50"] <= hosted["whole_ms_p50"]
