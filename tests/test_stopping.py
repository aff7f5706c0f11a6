"""The end of a server: drained, hurried, and settings that are read again without one."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support.fakes import ScriptedTransport, in_virtual_time
from test_call import engines
from test_server import dial, until

from agent.config.settings import Settings
from agent.runtime.call import CallRunner
from agent.runtime.calls import CallRefused, CallRegistry
from agent.runtime.reload import reloaded
from agent.server.stopping import Stopping
from agent.session import notices

GOODBYE = "Goodbye."


def drained(seconds, hang_up_at):
    """A call while its server is drained; the transport, and when the drain was over."""
    transport = ScriptedTransport([], hang_up_at)

    async def run():
        calls = CallRegistry(1)
        call = calls.admit("websocket")
        runner = CallRunner(engines({}), Settings(), transport, calls=calls)
        running = asyncio.create_task(call.run(transport, runner.run))
        await asyncio.sleep(1.0)
        draining = asyncio.create_task(calls.drain(seconds))
        await asyncio.sleep(0.1)
        with pytest.raises(CallRefused, match="being stopped"):
            calls.admit("websocket")
        await draining
        over = asyncio.get_running_loop().time()
        assert len(calls) == 0
        await running
        return over

    return transport, in_virtual_time(run())


def test_a_drain_waits_for_the_calls_that_are_up():
    transport, over = drained(seconds=600, hang_up_at=50.0)
    assert over == pytest.approx(50.0, abs=0.5)
    assert not transport.all(notices.ReplyStarted)


def test_a_call_that_goes_on_hears_a_goodbye_and_is_closed_cleanly():
    transport, over = drained(seconds=30, hang_up_at=500.0)
    assert 31 < over < 45
    said = "".join(n.delta for _, n in transport.all(notices.ReplyTextDelta))
    assert said == GOODBYE
    assert transport.closed == (1000, "the server is being stopped")


async def test_the_second_signal_ends_at_once():
    stopped = []
    never = asyncio.Event()
    stopping = Stopping(never.wait, lambda: stopped.append(1), lambda: None)
    stopping.terminate()
    await asyncio.sleep(0)
    assert not stopped
    stopping.terminate()
    assert (stopped, stopping.exit_code) == ([1], 143)


async def test_ctrl_c_ends_at_once():
    stopped = []
    stopping = Stopping(asyncio.Event().wait, lambda: stopped.append(1), lambda: None)
    stopping.interrupt()
    assert (stopped, stopping.exit_code) == ([1], 130)


# ---- a real process ----------------------------------------------------------------------

TOML = """
[server]
port = 0
health_port = 0
drain_seconds = {drain}
[asr]
engine = "scripted"
[responder]
engine = "scripted"
[tts]
engine = "tone"
[log]
format = "json"
"""


@contextlib.contextmanager
def process(tmp_path: Path, drain: float):
    """A server as a process; its addresses for calls and for health."""
    file = tmp_path / "x.toml"
    file.write_text(TOML.format(drain=drain))
    command = [sys.executable, "-m", "agent", "serve", "--config", str(file)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        found = []
        while len(found) < 2:
            printed = running.stdout.readline()
            assert printed, running.stderr.read()
            if "listening on" in printed or "health is at" in printed:
                found.append(
                    printed.split("http://")[1].strip().removesuffix("/readyz").rstrip("/")
                )
        yield running, *found
    finally:
        running.kill()
        running.communicate()


async def ready(web, status):
    async with asyncio.timeout(10):
        while True:
            answer = (await web.get("/readyz")).json()
            if answer["status"] == status:
                return answer
            await asyncio.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
async def test_signals_of_a_real_process(tmp_path):
    """SIGHUP reads settings, SIGTERM lets the call end, with a log line for each step."""
    with process(tmp_path, drain=60) as (running, address, health):
        async with (
            httpx.AsyncClient(base_url=f"http://{health}") as web,
            dial(address) as line,
        ):
            await until(line, "session.created")
            (tmp_path / "x.toml").write_text(TOML.format(drain=60) + "[call]\nfiller = 'Hm.'\n")
            running.send_signal(signal.SIGHUP)
            running.send_signal(signal.SIGTERM)
            await ready(web, "draining")
            async with dial(address) as late:
                refused = (await until(late, "error"))[-1]["error"]
            assert refused["code"] == "server_stopping"
            await line.send(json.dumps({"type": "onebreath.ping", "client_time_ms": 1}))
            await until(line, "onebreath.pong")
        rest = await asyncio.to_thread(running.communicate, timeout=20)
        assert running.returncode == 0, rest
    rows = [json.loads(row) for row in rest[1].splitlines() if row.startswith("{")]
    events = [row["event"] for row in rows]
    assert any("read again" in event for event in events)
    (ended,) = [row for row in rows if row["event"] == "call ended"]
    assert (ended["kind"], ended["outcome"]) == ("websocket", "completed")
    assert ended["call"].startswith("ws_")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
async def test_a_second_sigterm_ends_the_calls_of_a_real_process(tmp_path):
    with process(tmp_path, drain=60) as (running, address, health):
        async with httpx.AsyncClient(base_url=f"http://{health}") as web, dial(address) as line:
            await until(line, "session.created")
            running.send_signal(signal.SIGTERM)
            await ready(web, "draining")
            running.send_signal(signal.SIGTERM)
            await line.wait_closed()
            assert line.close_code == 1012
        await asyncio.to_thread(running.communicate, timeout=20)
        assert running.returncode == 143


# ---- settings that are read again ---------------------------------------------------------


def test_settings_are_read_again_but_those_of_engines_and_ports_stay(tmp_path):
    file = tmp_path / "x.toml"
    file.write_text(
        "[server]\nport = 9\nmax_calls = 7\n[asr]\nmodel = 'x'\n[call]\ngreeting = 'Hi.'"
    )
    new = reloaded(old := Settings(), file)
    assert (new.server.port, new.asr) == (old.server.port, old.asr)
    assert (new.server.max_calls, new.call.greeting) == (7, "Hi.")


@pytest.mark.parametrize("text", ["[server", "[server]\nmax_calls = 0", "[tea]"])
def test_settings_that_are_wrong_change_nothing(tmp_path, text, caplog):
    file = tmp_path / "x.toml"
    file.write_text(text)
    assert reloaded(old := Settings(), file) is old
    assert "stay as they are" in caplog.text


def test_new_bounds_hold_from_the_next_call_on():
    calls = CallRegistry(2)
    calls.admit("websocket")
    calls.bound(1, None)
    with pytest.raises(CallRefused, match="all 1 lines"):
        calls.admit("websocket")
