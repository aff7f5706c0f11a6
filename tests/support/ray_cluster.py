"""Ray on this machine with the application of `agent.runtime.ray_app`.

    python -m support.ray_cluster PORT '{"engine": "scripted", "replicas": 2}'

prints ``ready`` when the replicas answer, and ends with its input.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

TESTS = Path(__file__).resolve().parent.parent
QUIETLY = {
    "RAY_AUTH_MODE": "disabled",  # else a token is written into the home directory
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # kills replicas when other programs fill the memory
    # A busy machine takes longer than the 5 and 10 s that Ray Serve allows.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "120",
    "RAY_SERVE_QUEUE_LENGTH_RESPONSE_DEADLINE_S": "5",
}


@contextmanager
def cluster(folder: Path, **arguments: Any) -> Iterator[tuple[str, psutil.Process]]:
    """(address, process) of a cluster with the application; ``folder`` for its files."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    process = subprocess.Popen(
        [sys.executable, "-m", "support.ray_cluster", str(port), json.dumps(arguments)],
        env={**os.environ, **QUIETLY, "PYTHONPATH": path, "RAY_TMPDIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    started = [psutil.Process(process.pid)]
    try:
        assert "ready\n" in process.stdout, "the application did not start"
        yield f"http://127.0.0.1:{port}", started[0]
    finally:
        if process.poll() is None:
            started += started[0].children(recursive=True)
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(60)
        finally:
            for each in started:  # Ray leaves some of its processes behind
                if each.is_running():
                    each.kill()


def replicas(process: psutil.Process) -> list[psutil.Process]:
    """The processes of the replicas."""
    return [
        child for child in process.children(recursive=True) if "ServeReplica" in child.cmdline()[0]
    ]


def main() -> None:
    import ray
    from ray import serve

    from agent.runtime.ray_app import app
    from agent.runtime.ray_arguments import Arguments

    port, arguments = int(sys.argv[1]), Arguments(**json.loads(sys.argv[2]))
    ray.init(
        num_cpus=8, include_dashboard=False, object_store_memory=100_000_000, log_to_driver=False
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(app(arguments), name="onebreath", route_prefix="/")
    print("ready", flush=True)
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
