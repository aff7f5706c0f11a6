"""The ``onebreath bench`` commands that measure the engine alone, without a conversation."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.bench_output import show_rows
from agent.cli.console import ConfigOption, JsonOption, ModelOption, err, settings_from

if TYPE_CHECKING:
    from agent.config.settings import Settings

DtypesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--dtype",
        help="Type of the weights: int4, int8, float32 or bfloat16. May be repeated. "
        "Default: as above.",
    ),
]


@dataclass(frozen=True, slots=True)
class EngineBench:
    """A benchmark of the denoising engine alone.

    Attributes:
        name: name of the command.
        help: summary of the command.
        dtypes: default weight types.
        seconds: default time limit, if the bench has one.
    """

    name: str
    help: str
    dtypes: tuple[str, ...]
    seconds: float | None = None

    @property
    def full_help(self) -> str:
        """Help text of the command with its default weight types."""
        return f"{self.help}\n\nDefault types of the weights: {', '.join(self.dtypes)}."

    def command(self) -> Callable[..., None]:
        """The command, as a function of its options."""

        def measure_engine(
            model: ModelOption = None,
            dtype: DtypesOption = None,
            config: ConfigOption = None,
            as_json: JsonOption = False,
        ) -> None:
            settings = settings_from(config, {"responder": {"model": model}})
            _measure(self.name, settings, dtype or self.dtypes, as_json)

        def measure_for_a_time(
            model: ModelOption = None,
            dtype: DtypesOption = None,
            seconds: Annotated[
                float,
                typer.Option(min=1, help="Time in seconds after which no new question is put."),
            ] = self.seconds or 0.0,
            config: ConfigOption = None,
            as_json: JsonOption = False,
        ) -> None:
            settings = settings_from(config, {"responder": {"model": model}})
            _measure(self.name, settings, dtype or self.dtypes, as_json, seconds)

        return measure_engine if self.seconds is None else measure_for_a_time


ENGINE_BENCHES = (
    EngineBench(
        "step",
        "Measure one denoising step by canvas length, beside transformers, and one word's prefill.",
        ("int4", "int8", "float32"),
    ),
    EngineBench(
        "reply", "Measure whole replies with a cached prompt, by canvas length.", ("int4",)
    ),
    EngineBench(
        "cache",
        "Compare replies under each cache policy with replies without a cache.",
        ("float32",),
    ),
    EngineBench(
        "deadline",
        "Measure replies of 32 tokens under deadlines of 100, 200 and 400 ms, idle and under load.",
        ("int8",),
    ),
    EngineBench("batch", "Measure batched replies by number of concurrent calls.", ("int4",)),
    EngineBench(
        "agree",
        "Compare int4 and int8 replies with float32 replies, for as many of 100 questions as time "
        "allows.",
        ("int4", "int8"),
        seconds=300.0,
    ),
)


def _measure(
    name: str,
    settings: Settings,
    dtypes: Sequence[str],
    as_json: bool,
    seconds: float | None = None,
) -> None:
    from agent.runtime.engines import model_path, thread_plan

    # Imported by name, because the start of the program must not import torch.
    measure = importlib.import_module("dllm_core.bench.main").measure
    source = model_path(settings.responder.model, lambda line: None)
    with err.status("loading") as status:
        rows = measure(
            name,
            source,
            dtypes,
            device=settings.responder.device,
            threads=thread_plan(settings).responder,
            seconds=seconds,
            report=status.update,
        )
        show_rows(rows, as_json)


def draft(
    model: ModelOption = None,
    drafter: Annotated[
        Path | None, typer.Option(help="Directory of a drafter. Default: the model's own.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=50, help="Prompts of each domain.")] = 50,
    max_tokens: Annotated[
        int, typer.Option(min=4, max=256, help="Tokens of one reply, at most.")
    ] = 48,
    dtype: Annotated[
        str, typer.Option(help="Type of the weights: int4, int8, float32 or auto.")
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads of the engine. Default: as the server would use."),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Time limit in seconds. Default: no limit.")
    ] = None,
    wide: Annotated[
        bool,
        typer.Option("--wide", help="Also reply with drafts of all rows, whatever they cost."),
    ] = False,
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="Also reply in so many passes, the last tokens unverified."),
    ] = None,
    llama_python: Annotated[
        Path | None, typer.Option(help="Interpreter that has llama-cpp-python, to measure beside.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure replies with a drafter beside the same ones token by token: words, passes, time."""
    from agent.runtime.engines import model_path, thread_plan

    settings = settings_from(config, {"responder": {"model": model}})
    measure = importlib.import_module("dllm_core.adapt.drafter.bench").measure
    with err.status("loading") as status:
        rows = measure(
            str(model_path(settings.responder.model, lambda line: None)),
            drafter=drafter,
            system=settings.responder.instructions,
            limit=limit,
            max_tokens=max_tokens,
            dtype=dtype,
            seconds=seconds,
            threads=threads or thread_plan(settings).responder,
            wide=wide,
            rounds=rounds,
            llama_python=llama_python,
            report=status.update,
        )
        show_rows(rows, as_json)
