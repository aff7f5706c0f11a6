"""Devices that change while a call runs, in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright
from support.browsers import FAKE_MICROPHONE, chromium, scripted, served

from agent.bench.browser_page import CONTROLLER, Visit

pytestmark = pytest.mark.browser

AUDIO = f"{CONTROLLER}.call.audio"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as running:
        started = chromium(running, *FAKE_MICROPHONE)
        yield started
        started.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    with (
        served(scripted([], {"Hello": "Hello yourself."})) as server,
        browser.new_context(permissions=["microphone"]) as context,
    ):
        visit = Visit(context.new_page(), server.url, real_microphone=True)
        visit.open("?transport=webrtc").start()
        yield visit
        assert server.calls() == 1, "the call goes on"


def track_id(visit: Visit) -> str:
    return str(visit.page.evaluate(f"{AUDIO}.microphone.track?.id ?? ''"))


def test_a_microphone_that_ends_is_replaced(visit):
    before = track_id(visit)
    visit.page.evaluate(f"{AUDIO}.microphone.track.dispatchEvent(new Event('ended'))")
    visit.wait_for("page.device")
    assert track_id(visit) not in ("", before)
    sent = f"{CONTROLLER}.call.transport.peer.getSenders()[0].track.id"
    assert visit.page.evaluate(sent) == track_id(visit)


def test_a_microphone_that_is_gone_is_told_and_the_call_goes_on(visit):
    gone = "() => Promise.reject(new DOMException('', 'NotFoundError'))"
    visit.page.evaluate(f"void (navigator.mediaDevices.getUserMedia = {gone})")
    visit.page.evaluate(f"{AUDIO}.microphone.track.dispatchEvent(new Event('ended'))")
    expect(visit.page.get_by_role("alert")).to_contain_text("The microphone was unplugged.")
    visit.type("Hello")
    visit.wait_for("response.done")


def test_headphones_that_come_are_followed(visit):
    before = track_id(visit)
    other = "[{kind: 'audioinput', deviceId: 'default', label: 'Headphones'}]"
    visit.page.evaluate(f"void (navigator.mediaDevices.enumerateDevices = async () => {other})")
    visit.page.evaluate("navigator.mediaDevices.dispatchEvent(new Event('devicechange'))")
    visit.wait_for("page.device")
    assert track_id(visit) != before


def test_a_microphone_that_gives_nothing_is_told_once_and_taken_back(visit):
    visit.page.evaluate(
        "() => { const context = new AudioContext();"
        " window.taken = context.createMediaStreamDestination();"
        " navigator.mediaDevices.getUserMedia = async () => window.taken.stream;"
        f" return {CONTROLLER}.call.useMicrophone(''); }}"
    )
    alert = visit.page.get_by_role("alert")
    expect(alert).to_contain_text("Another app may use your microphone")
    visit.page.evaluate(
        "() => { const tone = new OscillatorNode(window.taken.context);"
        " tone.connect(window.taken); tone.start(); }"
    )
    expect(alert).to_have_count(0)
    problems = [each["event"]["code"] for each in visit.entries("page.problem")]
    assert problems == ["microphone_silent"]


def test_a_context_that_the_browser_stops_runs_again(visit):
    visit.page.evaluate(f"{AUDIO}.context.suspend()")
    visit.page.wait_for_timeout(500)
    assert visit.page.evaluate(f"{AUDIO}.context.state") == "running"
