"""Realtime clients of other projects, unchanged: `make clients` builds their environments."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "clients"))

import run as clients

SOON = ("openai-py", "@openai/agents-realtime", "aiortc")
"""One in Python, one in JavaScript, one over WebRTC: `make test-all` runs the others."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        name if name in SOON else pytest.param(name, marks=pytest.mark.long)
        for name in clients.CLIENTS
    ],
)
async def test_a_client_runs_unchanged(name):
    client = clients.CLIENTS[name]
    if not client.installed:
        pytest.skip("its environment is not built: make clients")
    results = await clients.run(client)
    told = "\n".join(results.output[-40:])
    assert results.problems, told
    assert not {f: p for f, p in results.problems.items() if p}, told
    assert results.code == 0, told


def test_every_client_has_a_pinned_version_and_a_script():
    known = clients.versions()
    for client in clients.CLIENTS.values():
        assert not client.package or known[client.package]
        assert not client.page or (clients.HERE / client.page).is_file()
        assert (clients.HERE / client.script).is_file()


def test_the_table_tells_what_works_and_what_does_not():
    result = clients.Results({"tools": None, "typed text": "KeyError: no\nmore"})
    told = clients.Results({"tools": None}, version="7.1")
    page = clients.table({"openai-py": result, "Chromium's RTCPeerConnection": told})
    assert "| client | version | tools | typed text |" in page
    assert "| openai-py | 3.57.0 | yes | **no** |" in page
    assert "| Chromium's RTCPeerConnection | 7.1 | yes |  |" in page
    assert "- openai-py, typed text: KeyError: no" in page
