"""``onebreath serve --workers 2`` as a real program, with scripted engines."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys

import httpx
import psutil
import pytest
from support.webrtc_calls import call
from test_resumption import RESUMABLE, back, cut, refused, token_of
from test_server import close_code, dial, until
from test_shared_servers import answered, is_let_in

from agent.close_codes import INTERNAL_ERROR
from agent.server.resumption import worker_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="no unix sockets"),
]

TOML = """
[server]
port = 0
health_port = 0
workers = 2
max_calls = 3
drain_seconds = 60
[asr]
engine = "scripted"
[responder]
engine = "scripted"
[tts]
engine = "tone"
[webrtc]
ice_hosts = ["127.0.0.1"]
[telephony]
public_url = "https://phone.example.com"
twilio = { auth_token = "0123456789abcdef" }
[log]
format = "json"
"""


@contextlib.asynccontextmanager
async def program(tmp_path, toml=TOML, within=120):
    """The running parent, its address for calls, and a client of its health."""
    file = tmp_path / "x.toml"
    file.write_text(toml)
    command = [sys.executable, "-m", "agent", "serve", "--config", str(file)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    running = subprocess.Popen(  # noqa: ASYNC220  # its output is read in a thread
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    workers = []
    try:
        found = []
        while len(found) < 2:
            printed = await asyncio.to_thread(running.stdout.readline)
            assert printed, running.stderr.read()
            if "listening on" in printed or "health is at" in printed:
                found.append(
                    printed.split("http://")[1].strip().removesuffix("/readyz").rstrip("/")
                )
        address, health = found
        async with asyncio.timeout(within), httpx.AsyncClient(base_url=f"http://{health}") as web:
            await become(web, workers=2)
            workers += psutil.Process(running.pid).children()
            yield running, address, web
    finally:
        for process in (running, *workers):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        running.communicate()


async def states(web):
    return (await web.get("/readyz")).json()


async def become(web, **wanted):
    """Wait until the merged state is so."""
    while True:
        state = await states(web)
        state["workers"] = len(state["workers"])
        if wanted.items() <= state.items():
            return
        await asyncio.sleep(0.02)


async def test_calls_are_shared_out_and_found_wherever_they_are(tmp_path):
    async with program(tmp_path) as (running, address, web):
        async with call(f"http://{address}") as caller:
            await become(web, calls=1)
            # The next connections go to the other worker, which has no call.
            async with dial(address, f"?call_id={caller.call_id}") as line:
                await until(line, "session.created")
            running.send_signal(signal.SIGHUP)
            async with dial(address) as two, dial(address) as three:
                await until(two, "session.created")
                await until(three, "session.created")
                async with dial(address) as four:
                    refused = (await until(four, "error"))[-1]["error"]
                assert refused["code"] == "server_full"  # all lines of all workers
                await become(web, status="full")
            async with httpx.AsyncClient(base_url=f"http://{address}") as page:
                path = f"/v1/realtime/calls/{caller.call_id}/hangup"
                assert (await page.post(path)).status_code == 200
                # Health at the port of the calls is that of all processes, too.
                assert len((await page.get("/readyz")).json()["workers"]) == 2
                await become(web, calls=0)
                figures = (await page.get("/metrics")).text
        assert 'onebreath_calls_total{kind="webrtc",outcome="ended"} 1.0' in figures
        assert "onebreath_calls_running 0.0" in figures
        assert "onebreath_workers 2.0" in figures


async def test_a_token_is_spent_once_over_all_workers(tmp_path):
    async with program(tmp_path) as (_, address, _):
        _, token = await answered(f"http://{address}")
        url = f"ws://{address}/telephony/twilio"
        let_in = await asyncio.gather(*(is_let_in(url, token) for _ in range(4)))
        assert sorted(let_in) == [False, False, False, True]


async def test_a_worker_that_is_killed_takes_its_calls_alone_with_it(tmp_path):
    async with program(tmp_path) as (running, address, web), dial(address) as one:
        await until(one, "session.created")
        await become(web, calls=1)
        async with dial(address) as two:
            await until(two, "session.created")
            await become(web, calls=2)
            assert [row["calls"] for row in (await states(web))["workers"]] == [1, 1]
            psutil.Process(running.pid).children()[0].kill()
            lost, kept = await _lost_and_kept(one, two)
            assert lost.close_code == 1006
            await kept.send(json.dumps({"type": "onebreath.ping", "client_time_ms": 1}))
            await until(kept, "onebreath.pong")
            await become(web, calls=1)
            await become(web, workers=2)


async def test_a_session_is_resumed_by_way_of_a_worker_that_does_not_hold_it(tmp_path):
    async with program(tmp_path) as (running, address, web):
        async with dial(address, RESUMABLE) as line:
            token = await token_of(line)
            await become(web, calls=1)
            (holder,) = [row["worker"] for row in (await states(web))["workers"] if row["calls"]]
            cut(line)
        assert worker_of(token) == holder == 0  # the next connection goes to the other one
        async with back(address, token) as line:
            assert (await until(line, "session.created"))[-1]["resumed"] is True
            token = await token_of(line)
            await become(web, calls=1)
            psutil.Process(running.pid).children()[0].kill()
            assert await close_code(line) == INTERNAL_ERROR
        status, error = await refused(address, token)
        assert (status, error["code"]) == (404, "session_not_found")
        await become(web, workers=2)
        assert await refused(address, token) == (status, error)  # its successor knows no more


async def _lost_and_kept(one, two):
    waiting = {asyncio.create_task(line.wait_closed()): line for line in (one, two)}
    done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    return waiting[done.pop()], waiting[rest.pop()]


async def test_sigterm_lets_the_calls_of_all_workers_finish(tmp_path):
    async with program(tmp_path) as (running, address, web):
        async with dial(address) as one, dial(address) as two:
            await until(one, "session.created")
            await until(two, "session.created")
            running.send_signal(signal.SIGTERM)
            await become(web, status="draining")
            async with dial(address) as late:
                refused = (await until(late, "error"))[-1]["error"]
            assert refused["code"] == "server_stopping"
            for line in (one, two):
                await line.send(json.dumps({"type": "onebreath.ping", "client_time_ms": 1}))
                await until(line, "onebreath.pong")
        assert await asyncio.to_thread(running.wait, 60) == 0


async def test_workers_end_when_their_parent_is_gone(tmp_path):
    async with program(tmp_path) as (running, _, _):
        workers = psutil.Process(running.pid).children()
        assert len(workers) == 2
        running.kill()
        await asyncio.to_thread(psutil.wait_procs, workers)
        assert not any(worker.is_running() for worker in workers)


async def test_a_mistake_is_told_once_with_exit_code_2(tmp_path):
    file = tmp_path / "x.toml"
    file.write_text(TOML.replace('engine = "tone"', 'engine = "piper"\nvoice = "nobody"'))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent", "serve", "--config", str(file)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    printed, told = await ended.communicate()
    assert ended.returncode == 2, told
    assert not printed
    assert told.decode().count("nobody") == 1
    assert "Traceback" not in told.decode()
