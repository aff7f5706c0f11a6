"""The client without a browser: how it is served, its JavaScript in Node, its types."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from support.node import JAVASCRIPT, node, node_modules
from support.recorded_session import whole_session

import web_client
from agent.server.pages import ClientPages, content_policy

STATIC = web_client.static_files()
MODULES = sorted(path.relative_to(STATIC) for path in STATIC.rglob("*.js"))
MAX_LINES = 300


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(Starlette(routes=[Mount("/", ClientPages())]), "http://agent.test:8080")


def test_the_page_is_served_with_its_locks(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert "<title>onebreath: talk with a voice agent</title>" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "connect-src 'self' ws://agent.test:8080 wss://agent.test:8080;" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "microphone=(self)" in answer.headers["permissions-policy"]


@pytest.mark.parametrize("host", ["", "a b", "x; script-src *", "é"])
def test_a_bent_host_name_gets_nowhere_near_the_policy(host):
    assert "ws://" not in content_policy(host)


def test_files_are_asked_for_again_and_not_sent_again(client):
    first = client.get("/src/app.js")
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["content-type"].startswith("text/javascript")
    again = client.get("/src/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/../__init__.py", "/..%2f__init__.py", "/package.json", "/nope"])
def test_nothing_else_is_served(client, path):
    assert client.get(path).status_code == 404


def test_every_file_that_is_named_exists():
    for path in [*STATIC.rglob("*.js"), STATIC / "index.html"]:
        text = path.read_text()
        named = re.findall(r'(?:from|import) "(\.[^"]+)"', text)
        named += re.findall(r'(?:src|href)="([^"#?:]+)"', text) if path.suffix == ".html" else []
        assert [name for name in named if not (path.parent / name).is_file()] == [], path


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_is_checked_and_short(path: Path):
    lines = (STATIC / path).read_text().splitlines()
    assert lines[0] == "// @ts-check"
    assert len(lines) <= MAX_LINES
    assert not [line for line in lines if "innerHTML" in line]


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(JAVASCRIPT.glob("*.test.mjs")), ids=lambda p: p.name)
def test_the_javascript_tests_pass_in_node(path, tmp_path):
    session = tmp_path / "session.jsonl"
    session.write_text(whole_session())
    done = subprocess.run(
        [node(), "--test", str(path)],
        env={**os.environ, "RECORDED_SESSION": str(session)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_types_hold():
    compiler = node_modules() / "typescript" / "bin" / "tsc"
    done = subprocess.run(
        [node(), str(compiler), "-p", str(JAVASCRIPT)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout
