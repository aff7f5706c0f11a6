"""The figures of the page: what they are made of, and what is said where they cannot be taken."""

from __future__ import annotations

import sys

import pytest
from support.browsers import scripted, served
from support.node import lacking
from typer.testing import CliRunner

from agent.bench import browser
from agent.bench.browser import VisitTimings, visit_page
from agent.bench.browser_page import open_browser
from agent.cli.main import app
from agent.errors import CallError

FRANCE = "What is the capital of France?"
ANSWERS = {FRANCE: "The capital of France is Paris.", browser.STORY: " ".join(["word"] * 40) + "."}


def test_the_figures_are_those_of_the_rounds():
    rounds = [VisitTimings(200.0, 900.0, 905.0, 4.0), VisitTimings(300.0, 880.0, 879.0, 6.0)]
    connect, shown, recorded, apart, silence = browser.figures("webrtc", rounds)
    assert (connect.name, connect.value, connect.worst) == ("webrtc: connect", 250.0, 300.0)
    assert (shown.value, recorded.value) == (890.0, 892.0)
    assert (apart.value, apart.worst, apart.n) == (3.0, 5.0, 2)
    assert (silence.value, silence.met) == (5.0, True)


def test_without_playwright_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    done = CliRunner().invoke(app, ["bench", "browser"])
    assert isinstance(done.exception, CallError)
    assert "pip install 'playwright" in str(done.exception)


@pytest.mark.slow
def test_without_chromium_the_command_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr("agent.bench.browser_page.shutil.which", lambda name: None)
    with pytest.raises(CallError, match="apt-get install chromium"), open_browser():
        pass


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("transport", browser.TRANSPORTS)
def test_a_visit_is_measured_at_both_ends(transport):
    with served(scripted([FRANCE], ANSWERS)) as server:
        try:
            with open_browser() as running:
                found = visit_page(running, server.url, transport)
        except CallError as error:
            if "there is no chromium" in str(error):
                lacking(str(error))
            raise
    assert 0 < found.connect < 5000
    assert 0 < found.recorded < 5000
    assert abs(found.shown - found.recorded) < 30
    assert 0 <= found.silence <= 60
