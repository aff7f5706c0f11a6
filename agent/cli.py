"""The command line: parse, load, hand over. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler

from agent.errors import AudioError, OnebreathError
from agent.threads import calm

app = typer.Typer(
    name="onebreath",
    help="A low-latency voice agent: Whisper hears, a diffusion model denoises, Piper speaks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console()
err = Console(stderr=True)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="TOML file; default onebreath.toml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document per line.")]
AsrOption = Annotated[str | None, typer.Option(help="Recogniser: whisper, scripted, pkg.mod:Class.")]
AsrModelOption = Annotated[
    str | None, typer.Option(help="Whisper model: a name of `onebreath models`, any faster-whisper name, a directory.")
]
ResponderOption = Annotated[
    str | None, typer.Option(help="Responder: diffusion, scripted, pkg.mod:Class.")
]
ModelOption = Annotated[
    str | None, typer.Option(help="Model of the responder: a name, a GGUF file, a directory.")
]
TtsOption = Annotated[str | None, typer.Option(help="Voice engine: piper, tone, pkg.mod:Class.")]
VoiceOption = Annotated[str | None, typer.Option(help="Piper voice: a name or an .onnx file.")]
HostOption = Annotated[str | None, typer.Option(help="Address to listen on.")]
PortOption = Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")]


def _settings(config: Path | None, **flags: Any) -> Any:
    from agent.config import load_settings

    settings = load_settings(
        {
            "server": {"host": flags.get("host"), "port": flags.get("port")},
            "asr": {"engine": flags.get("asr"), "model": flags.get("asr_model")},
            "responder": {
                "engine": flags.get("responder"),
                "model": flags.get("model"),
                "max_tokens": flags.get("max_tokens"),
            },
            "tts": {"engine": flags.get("tts"), "voice": flags.get("voice")},
        },
        config,
    )
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(message)s",
        datefmt="%H:%M:%S",
        handlers=[RichHandler(console=err, show_path=False)],
    )
    logging.getLogger("uvicorn.error").setLevel("WARNING")
    return settings


def _load(settings: Any) -> tuple[Any, Any]:
    """Load the engines; the terminal shows what is being done."""
    from agent.engines import load_engines

    with err.status("loading") as status:
        return load_engines(settings, progress=lambda line: status.update(line))


@app.command()
def serve(
    config: ConfigOption = None,
    host: HostOption = None,
    port: PortOption = None,
    asr: AsrOption = None,
    asr_model: AsrModelOption = None,
    responder: ResponderOption = None,
    model: ModelOption = None,
    tts: TtsOption = None,
    voice: VoiceOption = None,
) -> None:
    """Serve calls until Ctrl-C."""
    settings = _settings(
        config, host=host, port=port, asr=asr, asr_model=asr_model,
        responder=responder, model=model, tts=tts, voice=voice,
    )  # fmt: skip
    from agent.engines import close_engines
    from agent.server import listen
    from agent.server import serve as serve_calls
    from agent.view import loaded_table

    sock = listen(settings.server.host, settings.server.port)
    engines, table = _load(settings)
    bound_host, bound_port = sock.getsockname()[:2]
    shown = f"[{bound_host}]" if ":" in bound_host else bound_host

    def started() -> None:
        out.print(loaded_table(table))
        out.print(f"\nlistening on [bold]http://{shown}:{bound_port}[/]", highlight=False)
        out.print(f"  calls: ws://{shown}:{bound_port}/v1/realtime", highlight=False)

    try:
        asyncio.run(serve_calls(settings, engines, sock, started))
    finally:
        close_engines(engines)


@app.command()
def call(
    questions: Annotated[list[Path], typer.Argument(help="Recordings to play into the call.")],
    url: Annotated[str | None, typer.Option(help="Server; without it one is started here.")] = None,
    save: Annotated[
        Path | None, typer.Option("--out", help="Stereo recording: caller left, agent right.")
    ] = None,
    config: ConfigOption = None,
    asr: AsrOption = None,
    asr_model: AsrModelOption = None,
    responder: ResponderOption = None,
    model: ModelOption = None,
    tts: TtsOption = None,
    voice: VoiceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Play recordings into a server in real time, as a caller would, and time the replies."""
    from agent.audio import read_recording
    from agent.latency.caller import Question
    from agent.protocol import WIRE_RATE

    asked = []
    for path in questions:
        recording = read_recording(path, WIRE_RATE)
        for note in recording.notes:
            err.print(f"note: {note}", style="yellow", soft_wrap=True)
        asked.append(Question(str(path), recording.samples))
    if save is not None and not save.absolute().parent.is_dir():
        raise AudioError(f"{save}: there is no such directory")
    settings = _settings(
        config, asr=asr, asr_model=asr_model, responder=responder, model=model, tts=tts, voice=voice
    )
    failed = _place_call(settings, asked, url, save, as_json)
    raise typer.Exit(1 if failed else 0)


@app.command()
def demo(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Answer a bundled spoken question, without browser or microphone."""
    from agent.audio import read_recording
    from agent.latency.caller import Question
    from agent.protocol import WIRE_RATE
    from agent.questions import bundled_questions

    path = bundled_questions()[0]
    recording = read_recording(path, WIRE_RATE)
    question = Question(path.name, recording.samples)
    save = None if as_json else Path("call.wav")
    failed = _place_call(_settings(config), [question], None, save, as_json)
    raise typer.Exit(1 if failed else 0)


def _place_call(
    settings: Any, questions: list[Any], url: str | None, save: Path | None, as_json: bool
) -> bool:
    """Call ``url``, or a server that is started for this; says whether a turn failed."""
    from agent.dialling import call_here, call_there
    from agent.view import turn_text

    failed = False

    def show(result: Any) -> None:
        nonlocal failed
        failed = failed or result.error is not None
        if as_json:
            print(result.to_json(), flush=True)
        else:
            out.print(turn_text(result), soft_wrap=True)

    if url is not None:
        asyncio.run(call_there(url, questions, show, save))
    else:
        engines, _ = _load(settings)
        asyncio.run(call_here(settings, engines, questions, show, save))
    if save is not None:
        err.print(f"recorded {save} (caller left, agent right)", highlight=False)
    return failed


@app.command()
def reply(
    text: Annotated[str, typer.Argument(help="What the caller says.")],
    config: ConfigOption = None,
    responder: ResponderOption = None,
    model: ModelOption = None,
    max_tokens: Annotated[int | None, typer.Option(min=4, help="Longest reply in tokens.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Answer in text and show the canvas being denoised, step by step."""
    settings = _settings(config, responder=responder, model=model, max_tokens=max_tokens)
    from agent.engines import load_responder, thread_plan
    from agent.text_reply import answer

    if not text.strip():
        raise OnebreathError("there is nothing to answer; give a text")
    with err.status("loading") as status:
        engine = load_responder(settings, thread_plan(settings).responder, status.update)
        engine.warm_up()
    try:
        done = answer(engine, settings.responder.instructions, text, None if as_json else out)
    finally:
        engine.close()
    ms = done.prefill_ms + done.denoise_ms
    if as_json:
        row = {"text": done.text, "steps": done.steps, "forwards": done.forwards, "ms": round(ms, 3)}
        row |= {"prefill_ms": round(done.prefill_ms, 3), "denoise_ms": round(done.denoise_ms, 3)}
        print(json.dumps(row | {"stats": done.stats}, ensure_ascii=False))
    else:
        out.print(f"{done.steps} steps, {done.forwards} forwards, {ms:.0f} ms", style="dim")


@app.command()
def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check this machine and say what to do."""
    settings = _settings(config)
    from dataclasses import asdict

    from agent import doctor as surgery
    from agent.engines import thread_plan

    with err.status("looking at this machine"):
        findings = surgery.examine(
            settings.server.host, settings.server.port, thread_plan(settings)
        )
    if as_json:
        for finding in findings:
            print(json.dumps(asdict(finding)))
    else:
        out.print(surgery.render(findings))
    raise typer.Exit(1 if surgery.worst(findings) is surgery.Level.PROBLEM else 0)


@app.command()
def models(
    names: Annotated[list[str] | None, typer.Argument(help="Default: all.")] = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Install what is missing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the default models, verify their files, fetch what is missing."""
    from agent import models as registry
    from agent.view import models_table

    chosen = [registry.get(name) for name in names or registry.MODELS]
    if fetch:
        registry.fetch([model.name for model in chosen], progress=lambda line: err.print(line, style="dim"))
    with err.status("verifying"):
        found = {model.name: registry.problems(model.name) for model in chosen}
    if as_json:
        for model in chosen:
            row = {"name": model.name, "role": model.role, "bytes": model.size}
            row |= {"licence": model.licence, "problems": found[model.name]}
            print(json.dumps(row, ensure_ascii=False))
    else:
        out.print(models_table(chosen, found))
        for problem in (line for lines in found.values() for line in lines):
            err.print(problem, style="red", soft_wrap=True)
    raise typer.Exit(1 if any(found.values()) else 0)


@app.command()
def bench(
    turns: Annotated[int, typer.Option(min=1, max=1000, help="Spoken turns.")] = 20,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the latency figures of this machine, default path, warm."""
    settings = _settings(config)
    from agent.latency.bench import run_bench
    from agent.view import bench_table

    with err.status("loading") as status:
        figures = run_bench(settings, turns, status.update)
    if as_json:
        for figure in figures:
            print(json.dumps(figure.to_row(), ensure_ascii=False))
    else:
        out.print(bench_table(figures))


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    print(installed("onebreath"))


def main() -> None:
    """Entry point; a user's mistake is answered with one sentence, not a traceback."""
    calm()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not _is_expected(error):
            raise
        from agent.view import complain

        complain(err, str(error))
        sys.exit(2)


def _is_expected(error: Exception) -> bool:
    """Whether the error's message says all: ours and the engines'."""
    from agent.responders.base import ResponderError
    from agent.vad import VadError
    from asr.engine import AsrError
    from tts.engine import TtsError

    return isinstance(error, (OnebreathError, AsrError, TtsError, ResponderError, VadError))
