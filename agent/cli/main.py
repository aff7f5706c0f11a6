"""The command line ``onebreath``. Heavy modules are imported only by the commands that use them."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import re
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import latency, maintenance
from agent.cli.adapt import adapt
from agent.cli.bench import bench
from agent.cli.bench_capacity import capacity
from agent.cli.bench_echo import echo
from agent.cli.bench_network import network
from agent.cli.bench_panel import panel
from agent.cli.bench_soak import soak
from agent.cli.console import (
    ConfigOption,
    JsonOption,
    ModelOption,
    ResponderOption,
    err,
    ignore_hangups,
    load,
    out,
    settings_from,
)
from agent.cli.decode_flags import DecodeFlags, takes_decoding
from agent.cli.engine_options import EngineChoice, takes_engines
from agent.cli.groups import Commands
from agent.cli.places import check_file
from agent.cli.proxies import reach_this_machine_directly
from agent.cli.say import say
from agent.cli.serve import serve_settings, serve_worker
from agent.errors import ConfigError, OnebreathError
from agent.runtime.threads import calm

if TYPE_CHECKING:
    from rich.console import Console

    from agent.cli.place_call import CallPlan
    from agent.config.settings import Settings
    from agent.latency.question import SpokenQuestion
    from agent.latency.results import TurnResult
    from agent.reply import ReplyDone

OWN = ("agent", "asr", "dllm_core", "onebreath", "tts", "web_client")

app = typer.Typer(
    cls=Commands,
    name="onebreath",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        version()
        raise typer.Exit()


@app.callback()
def onebreath(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Run and measure a voice agent that answers half a second after its caller stops speaking."""


@app.command()
@takes_engines
def serve(
    *,
    engines: EngineChoice,
    config: ConfigOption = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. Default: as in the settings.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port to listen on; 0 takes a free one. Default: as in the settings."),
    ] = None,
    self_signed: Annotated[
        bool,
        typer.Option(
            "--self-signed",
            help="Serve https with a certificate of this machine's own, for a phone in the same "
            "network. Without keys in the settings, the link that is printed carries a new key.",
        ),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            help="Processes that serve calls behind the one port, each with its own models. "
            "Default: as in the settings.",
        ),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure", help="Let other machines call although the settings have no API key."
        ),
    ] = False,
    tools: Annotated[
        list[str] | None,
        typer.Option(
            "--tools",
            metavar="MODULE:FUNCTION",
            help="Python function that replies may call, as package.module:function. Repeat it for "
            "more; without it, those of the settings are offered.",
        ),
    ] = None,
) -> None:
    """Serve calls over websockets, WebRTC and telephony until Ctrl-C.

    The web client is at http://HOST:PORT. Without API keys in the settings, only programs and
    browsers of this machine may call.
    """
    server = {"host": host, "port": port, "workers": workers}
    flags = {**engines.settings(), "server": server}
    flags["tools"] = {"functions": tools or None}
    chosen = settings_from(config, flags)
    ignore_hangups()
    if self_signed and host is None and chosen.server.host == "127.0.0.1":
        chosen = settings_from(config, {**flags, "server": {**server, "host": "0.0.0.0"}})
    raise typer.Exit(serve_settings(chosen, config, self_signed=self_signed, insecure=insecure))


@app.command()
def key(
    name: Annotated[str, typer.Argument(help="Name of the key in the settings.")],
) -> None:
    """Make an API key: print it once, and the settings that admit it."""
    from agent.server.keys import new_key

    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise ConfigError("the name of a key has letters, digits, _ and - only, at most 64")
    made, digest = new_key()
    out.print("the key, which is shown only now:", highlight=False)
    print(made)
    out.print("\nthe settings that admit it, for onebreath.toml:", highlight=False)
    print(f'[server.api_keys.{name}]\nhash = "{digest}"')


@app.command()
@takes_engines
def call(
    *,
    engines: EngineChoice,
    questions: Annotated[
        list[Path], typer.Argument(help="Recordings to play into the call, in order.")
    ],
    url: Annotated[
        str | None,
        typer.Option(help="Address of the server. Default: start one on this machine."),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option("--out", help="WAV file for a stereo recording (caller left, agent right)."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Longest wait for a reply in seconds.")
    ] = 20.0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Call a server, play recordings in real time, and measure the latency of the replies.

    Example: onebreath call question.wav --url ws://127.0.0.1:8080/v1/realtime --out call.wav
    """
    from agent.cli.place_call import CallPlan

    settings = settings_from(config, engines.settings())
    check_file(save)
    plan = CallPlan(_read_questions(questions), save, timeout)
    _place_call(settings, plan, url, as_json)


@app.command()
@takes_engines
def demo(
    *, engines: EngineChoice, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Ask the agent a bundled spoken question, without a browser or microphone.

    The call is recorded to call.wav.
    """
    from agent.cli.place_call import CallPlan
    from agent.questions import bundled_questions

    questions = _read_questions(bundled_questions()[:1])
    save = None if as_json else Path("call.wav")
    check_file(save)
    settings = settings_from(config, engines.settings())
    _place_call(settings, CallPlan(questions, save), None, as_json)


def _read_questions(paths: Sequence[Path]) -> list[SpokenQuestion]:
    from agent.latency.question import read_questions

    return read_questions(
        paths,
        lambda note: err.print(f"note: {note}", style="yellow", soft_wrap=True, markup=False),
    )


def _place_call(settings: Settings, plan: CallPlan, url: str | None, as_json: bool) -> None:
    """Call ``url``, or a server started for the call; exit with 1 when a turn failed."""
    from agent.cli.place_call import call_own_server, call_server
    from agent.cli.tables import turn_lines

    results: list[TurnResult] = []

    def show(result: TurnResult) -> None:
        results.append(result)
        if as_json:
            print(result.to_json(), flush=True)
        else:
            for line in turn_lines(result):
                out.print(line, soft_wrap=True)

    if url is not None:
        asyncio.run(call_server(url, plan, show))
    else:
        if settings.log_level == "info":  # what is logged of each turn is printed here, too
            logging.getLogger("onebreath.calls").setLevel(logging.WARNING)
        engines, _ = load(settings)
        asyncio.run(call_own_server(settings, engines, plan, show))
    if plan.save is not None:
        err.print(f"recorded {plan.save} (caller left, agent right)", highlight=False)
    raise typer.Exit(1 if any(result.error for result in results) else 0)


@app.command()
@takes_decoding
def reply(
    text: Annotated[str, typer.Argument(help="Words of the caller.")],
    *,
    decoding: DecodeFlags,
    config: ConfigOption = None,
    responder: ResponderOption = None,
    model: ModelOption = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=4, help="Longest reply in tokens. Default: as in the settings."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a text and show the canvas as it is denoised, step by step."""
    if not text.strip():
        raise OnebreathError("there is nothing to answer; give a text")
    flags = EngineChoice(responder=responder, model=model).settings()
    flags["responder"] |= {"max_tokens": max_tokens, **decoding.settings()}
    settings = settings_from(config, flags)
    done = _answer(settings, text, None if as_json else out)
    ms = done.prefill_ms + done.denoise_ms
    if not as_json:
        out.print(f"\n{done.steps} steps, {done.forwards} forwards, {ms:.0f} ms", style="dim")
        return
    row = {"text": done.text, "steps": done.steps, "forwards": done.forwards, "ms": round(ms, 3)}
    row |= {"prefill_ms": round(done.prefill_ms, 3), "denoise_ms": round(done.denoise_ms, 3)}
    print(json.dumps({**row, "stats": done.stats}, ensure_ascii=False))


def _answer(settings: Settings, text: str, shown: Console | None) -> ReplyDone:
    """Load the responder and make one reply."""
    from agent.cli.text_reply import answer
    from agent.compute import Compute
    from agent.responders.computed import awaited
    from agent.runtime.engines import load_responder, thread_plan

    with closing(Compute()) as compute, err.status("loading") as status:
        threads = thread_plan(settings).responder
        engine = compute.do(lambda: load_responder(settings, threads, status.update, compute))
        with closing(engine):
            compute.do(engine.warm_up)
            status.stop()
            call = awaited(engine.open(), compute)
            return asyncio.run(answer(call, settings.responder.instructions, text, shown))


app.command("serve-worker", hidden=True)(serve_worker)  # started by serve --workers
app.command()(say)
app.command()(latency.latency)
app.command()(latency.report)
app.command()(maintenance.doctor)
app.command()(maintenance.models)
app.command("telephony-check")(maintenance.telephony_check)
app.command("phone-check", hidden=True)(maintenance.telephony_check)  # its former name
bench.command()(capacity)
bench.command()(panel)
bench.command()(network)
bench.command()(echo)
bench.command()(soak)
app.add_typer(bench, name="bench")
app.add_typer(adapt, name="adapt")


@app.command()
def version() -> None:
    """Print the version of onebreath."""
    from agent.doctor.readings import own_version

    installed = own_version()
    if installed is None:
        raise OnebreathError(
            "onebreath is not installed, so it has no version; run: pip install -e ."
        )
    print(installed)


def main() -> None:
    """Run the command line; expected errors print one sentence and exit with 2."""
    calm()
    reach_this_machine_directly()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] in OWN:
            raise  # a bug of ours
        from agent.cli.tables import print_error
        from agent.extras import pip_install

        package = error.name.partition(".")[0]
        print_error(err, f"this needs the package {package}; install it: {pip_install(package)}")
        sys.exit(2)
    except Exception as error:
        lacking = NO_MEMORY if _lacks_memory(error) else NO_ROOM if _lacks_room(error) else None
        if not (lacking or _is_expected(error)):
            raise
        from agent.cli.tables import print_error

        print_error(err, lacking or str(error))
        _give_up_output()
        sys.exit(2)


NO_ROOM = "nothing more can be written, for the disk is full: free some room, or write elsewhere"


def _lacks_room(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _give_up_output() -> None:
    """Drop output that cannot be written: Python would try again at its end, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


NO_MEMORY = (
    "there is not enough memory: raise the limit (ulimit -v, the container's), or choose smaller "
    "models; `onebreath doctor` says what is there"
)


def _lacks_memory(error: Exception) -> bool:
    """Whether an error came of too little memory; libraries say so in many ways."""
    words = (
        "cannot allocate memory",
        "failed to map segment",
        "can't start new thread",
        "bad_alloc",
    )
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or any(word in str(cause).lower() for word in words):
            return True
        cause = cause.__cause__
    return False


def _is_expected(error: Exception) -> bool:
    """Whether the message of the error suffices, as for the errors of the agent and its engines."""
    from agent.audio.vad import VadError
    from agent.responders.base import ResponderError
    from asr.engine import AsrError
    from dllm_core.errors import DllmError
    from tts.engine import TtsError

    return isinstance(
        error, (OnebreathError, AsrError, DllmError, TtsError, ResponderError, VadError)
    )
