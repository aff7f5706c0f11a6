"""The run of ``onebreath serve``: one process, or a parent with its workers."""

from __future__ import annotations

import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.console import ignore_hangups, load, out, run_loop, start_logging
from agent.cli.serving import Listening, listening
from agent.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from agent.config.settings import Settings
    from agent.server.workers.plan import WorkerPlan

NOT_SECURE = (
    "note: browsers give the microphone only to pages by https and to http://localhost. On other "
    "machines this page can be typed to; to talk there, serve with --self-signed or put an https "
    "proxy before the server (docs/web_client.md)."
)


HINT = (
    "Ctrl-C stops the server; --model FILE.gguf answers with another model (docs/models.md); "
    "`onebreath models` says where the files are"
)


@dataclass(frozen=True, slots=True)
class OpenPorts:
    """The listening sockets of a server, and what is printed of them.

    Attributes:
        where: the settings, and the link to the page.
        reached: address by which others reach the server.
    """

    where: Listening
    calls: socket.socket
    health: socket.socket | None
    reached: str
    insecure: bool

    def announce(self, table: Table | None = None) -> None:
        """Print the addresses, below the table of engines if there is one."""
        from agent.server.access import is_loopback

        own, port = self.where.settings.server, self.calls.getsockname()[1]
        if table is not None:
            out.print(table)
        page = self.where.page(self.reached, port)
        out.print(f"\nlistening on [bold]{page}[/]", highlight=False, soft_wrap=True)
        address = self.where.calls(self.reached, port)
        out.print(f"calls go to {address}", highlight=False, soft_wrap=True)
        if not own.api_keys:
            said = "anybody who reaches it may call" if self.insecure else "this machine only"
            out.print(f"no API keys are set: {said}", highlight=False)
        out.print(HINT, style="dim", highlight=False, markup=False, soft_wrap=True)
        if not is_loopback(own.host) and own.certificate is None:
            out.print(f"\n{NOT_SECURE}", style="yellow", highlight=False, markup=False)
        if self.health is not None:
            address = "{}:{}".format(*self.health.getsockname()[:2])
            out.print(f"health is at http://{address}/readyz", highlight=False)
        out.file.flush()  # flushed so that a pipe gets it now and not at the end


def serve_settings(
    chosen: Settings, config: Path | None, *, self_signed: bool, insecure: bool
) -> int:
    """Serve until a signal; the exit code.

    Args:
        config: the settings file, which is read again on SIGHUP.
        self_signed: whether to sign a certificate for this machine's addresses.
        insecure: whether anybody who reaches the port may call.

    Raises:
        ConfigError: the settings are not safe, or a port cannot be had.
    """
    from agent.runtime.traces import check

    check(chosen)
    where = listening(chosen, self_signed=self_signed, insecure=insecure)
    with _open_ports(where, self_signed=self_signed, insecure=insecure) as ports:
        if where.settings.server.workers > 1:
            return _serve_with_workers(ports, config)
        return _serve_alone(ports, config)


@contextmanager
def _open_ports(where: Listening, *, self_signed: bool, insecure: bool) -> Iterator[OpenPorts]:
    from agent.server.ports import listen
    from agent.server.tls import own_addresses

    own = where.settings.server
    with ExitStack() as opened:
        health = None
        if own.health_port is not None:
            health = opened.enter_context(listen(own.host, own.health_port))
        calls = opened.enter_context(listen(own.host, own.port))
        bound = calls.getsockname()[0]
        reached = own_addresses()[-1] if self_signed and bound == "0.0.0.0" else bound
        yield OpenPorts(where, calls, health, reached, insecure)


def _serve_alone(ports: OpenPorts, config: Path | None) -> int:
    from agent.runtime.engines import close_engines, keep_loaded
    from agent.runtime.reload import reloaded, reweigh
    from agent.runtime.warming import warm_up_rest

    loaded, table = load(ports.where.settings, whole=False)
    from agent.server.app import serve  # `load` has imported it

    def started() -> None:
        from agent.cli.tables import loaded_table

        keep_loaded()
        ports.announce(loaded_table(table))
        warm_up_rest(loaded)

    def reload(old: Settings) -> Settings:
        reweigh(loaded.responder, config)
        return reloaded(old, config)

    try:
        serving = serve(
            ports.where.settings, loaded, ports.calls, started, health=ports.health, reload=reload
        )
        return run_loop(serving)
    finally:
        close_engines(loaded)


# ---- several processes -----------------------------------------------------------------------


def _serve_with_workers(ports: OpenPorts, config: Path | None) -> int:
    if sys.platform == "win32":
        raise ConfigError("server.workers: several processes need Linux or macOS; use 1")
    from agent.server.ports import listen
    from agent.server.workers.merged_health import MergedHealth
    from agent.server.workers.plan import AUDIOSOCKET, HTTP
    from agent.server.workers.supervisor import Ports, Supervisor, Waits

    settings = ports.where.settings
    with ExitStack() as opened:
        sockets = {HTTP: ports.calls}
        telephony = settings.telephony
        if telephony.audiosocket_port is not None:
            audiosocket = listen(telephony.audiosocket_host, telephony.audiosocket_port)
            sockets[AUDIOSOCKET] = opened.enter_context(audiosocket)
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="onebreath-")))
        plans = _plans(settings, folder, config)
        metrics = folder / "metrics"
        metrics.mkdir()

        async def run() -> int:
            supervisor: Supervisor
            health = MergedHealth(len(plans), lambda: supervisor.serving(), metrics)
            supervisor = Supervisor(
                plans,
                worker_command,
                Ports(sockets, ports.health),
                Waits(settings.server.drain_seconds),
                {"PROMETHEUS_MULTIPROC_DIR": str(metrics)},
                health,
                ports.announce,
            )
            return await supervisor.run()

        return run_loop(run())


def _plans(settings: Settings, folder: Path, config: Path | None) -> list[WorkerPlan]:
    from agent.server.identity import Identity
    from agent.server.workers.plan import WorkerPlan

    key = Identity.of(settings.server).key or secrets.token_bytes(32)
    count = settings.server.workers
    return [WorkerPlan(settings, index, folder, key, config) for index in range(count)]


def worker_command(channel: int) -> Sequence[str]:
    """The command line of a worker whose channel has this descriptor.

    The file is named, not the module: a folder of the current directory that has a name of ours
    is then not looked at.
    """
    import agent

    program = Path(agent.__file__).resolve().parents[1] / "onebreath.py"
    return [sys.executable, str(program), "serve-worker", str(channel)]


def serve_worker(
    channel: Annotated[int, typer.Argument(help="Descriptor of the channel to the parent.")],
) -> None:
    """Serve connections that the parent of several processes hands over."""
    ignore_hangups()
    from agent.server.workers.plan import read_plan

    try:
        connection = socket.socket(fileno=channel)
    except OSError:
        connection = socket.socket()
    with connection:
        plan = read_plan(connection)
        start_logging(plan.settings)
        raise typer.Exit(_serve_plan(plan, connection))


def _serve_plan(plan: WorkerPlan, channel: socket.socket) -> int:
    _count_as(plan.index)  # before any module makes a metric
    from agent.runtime.engines import close_engines, keep_loaded, load_engines
    from agent.runtime.reload import reloaded, reweigh
    from agent.runtime.warming import warm_up_rest
    from agent.server.workers.worker import serve_as_worker

    # The progress of one is enough for a terminal; the others load while it serves.
    how = load if plan.index == 0 else load_engines
    loaded, _ = how(plan.settings, whole=False)
    keep_loaded()
    warm_up_rest(loaded)

    def reload(old: Settings) -> Settings:
        reweigh(loaded.responder, plan.config)
        return reloaded(old, plan.config)

    try:
        return run_loop(serve_as_worker(plan, loaded, channel, reload))
    finally:
        close_engines(loaded)


def _count_as(index: int) -> None:
    """Write metrics to files of this worker's number: a successor goes on counting in them."""
    from prometheus_client import values

    made = values.MultiProcessValue(process_identifier=lambda: index)  # type: ignore[no-untyped-call]
    values.ValueClass = made
