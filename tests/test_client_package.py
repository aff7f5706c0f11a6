"""The npm package ``onebreath-client``: what is in it, and its example on an origin of its own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect
from support.browsers import scripted, served
from support.node import lacking
from test_page import FRANCE, PARIS, browser, playwright

from agent.bench.browser_page import Visit
from agent.server.keys import new_key

__all__ = ["browser", "playwright"]  # fixtures

SOURCE = Path(__file__).parents[1] / "web_client"
PATIENT_MS = 30_000
"""A busy machine may take so long to connect and to answer."""
EXAMPLE = SOURCE / "example" / "index.html"


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """The unpacked package, as npm makes it."""
    npm = shutil.which("npm")
    if npm is None:
        lacking("there is no npm (Debian: apt-get install npm)")
    folder = tmp_path_factory.mktemp("package")
    command = [npm, "pack", "--offline", "--pack-destination", str(folder)]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / "package"


def reached(start: Path) -> set[Path]:
    """The module and all that it imports or loads by name."""
    found, waiting = set(), [start]
    while waiting:
        path = waiting.pop().resolve()
        if path in found:
            continue
        found.add(path)
        named = re.findall(r'^(?:import|export)[^"]*"(\.[^"]+\.js)"', path.read_text(), re.M)
        waiting += [path.parent / name for name in named]
    return found


@pytest.mark.slow
def test_the_package_has_what_it_needs_and_nothing_of_the_page(package):
    files = {str(p.relative_to(package)) for p in package.rglob("*") if p.is_file()}
    modules = {str(p.relative_to(package)) for p in reached(package / "static/src/index.js")}
    worklets = {f"static/src/sound/{n}.worklet.js" for n in ("capture", "playback", "loudness")}
    inside = {path for path in files if path.endswith(".js")}
    for name in worklets:  # which import modules of their own
        modules |= {str(p.relative_to(package)) for p in reached(package / name)}
    assert inside == modules
    rest = {"LICENSE", "README.md", "example/index.html", "index.d.ts", "package.json"}
    assert files - inside == rest


def test_the_manifest_names_files_that_exist(package):
    manifest = json.loads((package / "package.json").read_text())
    entry = manifest["exports"]["."]
    for name in (entry["types"], entry["default"], manifest["types"]):
        assert (package / name).is_file()
    assert "scripts" not in manifest  # nothing runs at installation
    assert "dependencies" not in manifest
    assert (package / "LICENSE").read_text() == (SOURCE.parent / "LICENSE").read_text()


def test_the_example_is_twenty_lines():
    assert len(EXAMPLE.read_text().splitlines()) <= 20


@contextmanager
def plainly_served(folder: Path) -> Iterator[str]:
    """A static server that knows nothing of onebreath; yields its origin."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def secret_of(url: str, key: str) -> str:
    answer = httpx.post(
        f"{url}/v1/realtime/client_secrets", json={}, headers={"Authorization": f"Bearer {key}"}
    )
    return str(answer.raise_for_status().json()["value"])


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("keyed", [False, True], ids=["without a key", "with a client secret"])
def test_the_example_calls_from_another_origin(browser: Browser, package, keyed):
    key, digest = new_key()
    keys = {"api_keys": {"page": {"hash": digest}}} if keyed else {}
    with plainly_served(package) as origin:
        settings = {"allowed_origins": [origin], **keys}
        with served(scripted([FRANCE], {FRANCE: PARIS}), server=settings) as server:
            visit = Visit(browser.new_page(), origin)
            secret = f"#{secret_of(server.url, key)}" if keyed else ""
            page = visit.open(f"example/index.html?server={server.url}{secret}").page
            page.get_by_role("button", name="Call").click()
            state, said = page.locator("#state"), page.locator("#said li")
            expect(state).to_contain_text("listening", timeout=PATIENT_MS)
            visit.say("capital_of_france")
            expect(said).to_have_text([FRANCE, PARIS], timeout=PATIENT_MS)
            expect(state).to_contain_text(re.compile(r"\d+ ms"), timeout=PATIENT_MS)
            page.get_by_role("button", name="Hang up").click()
            expect(state).to_contain_text("idle")
            assert [text for text in visit.complaints if "404" not in text] == []
            page.close()


@pytest.mark.browser
@pytest.mark.slow
def test_a_wrong_secret_is_told_and_no_key_is_asked_for(browser: Browser, package):
    _, digest = new_key()
    with plainly_served(package) as origin:
        keys = {"page": {"hash": digest}}
        settings = {"allowed_origins": [origin], "api_keys": keys}
        with served(scripted([], {}), server=settings) as server:
            page = browser.new_page()
            asked: list[str] = []
            page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
            page.add_init_script(path=Path(__file__).parents[1] / "agent/bench/instruments.js")
            page.goto(f"{origin}/example/index.html?server={server.url}#ek_wrong")
            page.get_by_role("button", name="Call").click()
            said = page.locator("#state")
            expect(said).to_contain_text("did not admit this call", timeout=PATIENT_MS)
            assert asked == []
            page.close()
