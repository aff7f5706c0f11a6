"""A worker: a server that is handed its connections, and shares calls' places with its siblings."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from agent.config.settings import Settings
from agent.runtime.engine_tasks import Engines
from agent.server.app import AgentServer, stopping_of
from agent.server.http_server import HttpServer
from agent.server.identity import Identity
from agent.server.workers.connections import HandedConnections
from agent.server.workers.plan import WorkerPlan


def identity_of(plan: WorkerPlan) -> Identity:
    """The worker's place among its siblings."""
    return Identity(plan.key, plan.settings.server.advertise or "", plan.index, plan.folder)


async def serve_as_worker(
    plan: WorkerPlan,
    engines: Engines,
    channel: socket.socket,
    reload: Callable[[Settings], Settings],
) -> int:
    """Serve the connections that come over ``channel`` until a signal; the exit code.

    Args:
        reload: makes new settings from the old ones at SIGHUP.
    """
    agent = AgentServer(plan.settings, engines, identity_of(plan))
    server = HttpServer(agent.app(), plan.settings.server)
    stopping = stopping_of(agent, server, reload)
    handed = HandedConnections(
        channel, server, agent.telephony.audiosocket, lambda: _state(agent), stopping.terminate
    )
    own_socket = plan.folder / f"worker-{plan.index}.sock"
    async with AsyncExitStack() as taking:

        async def started() -> None:
            await taking.enter_async_context(handed.taking(own_socket))

        with stopping.listening():
            await server.until_stopped([], started)
    return stopping.exit_code


def _state(agent: AgentServer) -> dict[str, Any]:
    """The worker's state as its parent wants it; brings the gauges up to date, too."""
    agent.health.set_gauges()
    status, reason = agent.health.trouble() or ("ready", "")
    calls = agent.calls
    return {
        "calls": len(calls),
        "max_calls": calls.max_calls,
        "status": status,
        "reason": reason,
    }
