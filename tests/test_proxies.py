"""Commands reach a server on this machine, whatever proxies the environment names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.request import proxy_bypass_environment

import pytest

from agent.cli.proxies import reach_this_machine_directly

ROOT = Path(__file__).parents[1]
NOBODY = "http://127.0.0.1:9"


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "all_proxy"])
@pytest.mark.parametrize("known", [{}, {"NO_PROXY": "example.org, localhost"}])
def test_this_machine_is_left_out_of_a_proxy(name: str, known: dict[str, str]) -> None:
    env = {name: NOBODY, **known}
    reach_this_machine_directly(env)
    reach_this_machine_directly(env)
    rules = {"no": env["no_proxy"]}
    for host in ("localhost:80", "127.0.0.1:8080"):
        assert proxy_bypass_environment(host, rules)
    assert "::1" in env["no_proxy"].split(",")
    assert not proxy_bypass_environment("api.example.com", rules)
    assert bool(proxy_bypass_environment("example.org", rules)) is bool(known)
    assert env["NO_PROXY"] == env["no_proxy"]
    assert env["no_proxy"].count("localhost") == 1


@pytest.mark.parametrize("env", [{}, {"http_proxy": ""}, {"http_proxy": "x", "no_proxy": "*"}])
def test_an_environment_without_a_proxy_stays(env: dict[str, str]) -> None:
    before = dict(env)
    reach_this_machine_directly(env)
    assert env == before


@pytest.mark.slow
def test_a_demo_runs_where_a_proxy_is_set(tmp_path: Path) -> None:
    engines = ["--asr", "scripted", "--responder", "scripted", "--tts", "tone"]
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), NOBODY)
    kept = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "onebreath", "demo", "--json", *engines],
        cwd=tmp_path,
        env={**kept, **proxies, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "nobody answers" not in done.stderr + done.stdout
    assert '"turn"' in done.stdout or '"question"' in done.stdout, done.stdout + done.stderr
