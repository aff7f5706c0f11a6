"""The client in a real Chromium: real speech through a microphone, over both transports."""

from __future__ import annotations

import json
import re
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import (
    Browser,
    Page,
    Playwright,
    WebSocketRoute,
    expect,
    sync_playwright,
)
from support.browsers import (
    FAKE_MICROPHONE,
    QUESTIONS,
    Served,
    chromium,
    scripted,
    served,
)
from support.node import node_modules
from support.recorded_session import REPLY, whole_session

from agent.audio.samples import read_sound_file
from agent.bench.browser_page import Visit
from agent.config.settings import Settings
from agent.runtime.engines import load_engines

pytestmark = pytest.mark.browser

TRANSPORTS = ["webrtc", pytest.param("websocket", marks=pytest.mark.long)]
FRANCE = "What is the capital of France?"
SPIDER = "How many legs does a spider have?"
ANSWERS = {FRANCE: "The capital of France is Paris.", SPIDER: "It has eight of them."}
LONG = {FRANCE: " ".join(["word"] * 60) + "."}


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    running = chromium(playwright)
    yield running
    running.close()


@pytest.fixture(scope="module")
def modules() -> Path:
    return node_modules()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1280, "height": 820}) as context:
        yield context.new_page()


@pytest.fixture
def recording_page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(bypass_csp=True) as context:
        yield context.new_page()


@contextmanager
def visiting(
    page: Page,
    heard: list[str],
    answers: dict[str, str],
    *,
    recording: bool = False,
    **settings: Any,
) -> Iterator[Visit]:
    with served(scripted(heard, answers), **settings) as server:
        yield Visit(page, server.url, recording=recording)
        page.close()


def calls_of(visit: Visit) -> int:
    return Served(visit.url).calls()


def calls_left(visit: Visit, seconds: float = 5.0) -> int:
    """The calls that are still there after a while: one that is being made ends when it is."""
    for _ in range(round(seconds / 0.05)):
        if calls_of(visit) == 0:
            break
        visit.page.wait_for_timeout(50)
    return calls_of(visit)


# ---- a call ------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["webrtc", "websocket"])
def test_two_spoken_turns_are_answered_and_timed(recording_page, transport):
    page = recording_page
    with visiting(page, [FRANCE, SPIDER], ANSWERS, recording=True) as visit:
        visit.open(f"?transport={transport}").start()
        for number, question in enumerate(["capital_of_france", "spider_legs"], 1):
            visit.say(question)
            visit.wait_for("response.done", number)
        said = page.get_by_role("list", name="What was said").get_by_role("listitem")
        expect(said).to_contain_text([FRANCE, ANSWERS[FRANCE], SPIDER, ANSWERS[SPIDER]])
        page.get_by_role("tab", name="Latency").click()
        shown = page.locator(".row-head .total").last.text_content()
        measured = visit.recorded().voice_to_voice_ms()
        connected = visit.entries("page.connected")[0]["event"]
        figures = {
            "transport": connected["transport"],
            "connect_ms": connected["ms"],
            "voice_to_voice_shown_ms": float(re.sub(r"\D", "", shown)),
            "voice_to_voice_recorded_ms": round(measured, 1),
        }
        print(json.dumps(figures))
        assert connected["transport"] == transport
        assert abs(figures["voice_to_voice_shown_ms"] - measured) < 30, figures
        assert page.locator(".waterfall > li").count() == 2
        assert visit.complaints == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_speech_silences_the_agent_and_cuts_what_it_said(page, transport):
    with visiting(page, [FRANCE, SPIDER], {**ANSWERS, **LONG}) as visit:
        visit.open(f"?transport={transport}").start()
        visit.say("capital_of_france")
        visit.wait_for("page.sound.first")
        page.wait_for_timeout(700)
        visit.say("spider_legs")
        stop = visit.wait_for("onebreath.playback.stop")
        visit.wait_for("response.done", 2)
        expect(page.locator(".said.cut")).to_have_count(1)
        cut = page.locator(".said.cut .words").text_content()
        assert 2 <= len(cut.split()) < 40
        (truncate,) = visit.entries("conversation.item.truncate")
        played = truncate["event"]["audio_end_ms"]
        ends = [e["event"]["audio_end_ms"] for e in visit.entries("conversation.item.truncated")]
        assert ends[-1] == played  # over WebRTC the server makes a guess of its own before
        heard_for = stop["t"] - visit.entries("page.sound.first")[0]["event"]["at"]
        assert 300 < played < heard_for + 150
        assert visit.complaints == []


@pytest.mark.alone
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_escape_is_silence_at_once(recording_page, transport):
    page = recording_page
    with visiting(page, [FRANCE], LONG, recording=True) as visit:
        visit.open(f"?transport={transport}").start()
        visit.say("capital_of_france")
        visit.wait_for("page.sound.first")
        page.wait_for_timeout(500)  # a while into the reply
        pressed = visit.press_escape()
        visit.wait_for("response.done")
        page.wait_for_timeout(400)
        recorded = visit.recorded()
        assert recorded.sound_after(pressed - 0.3) > 100  # it was speaking until then
        tail = recorded.sound_after(pressed)
        print(json.dumps({"transport": transport, "interrupt_to_silence_ms": round(tail, 1)}))
        assert tail <= 60
        assert visit.complaints == []


def test_the_agent_is_ducked_and_comes_back(recording_page):
    page, sockets = recording_page, []

    def listen_in(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        sockets.append(socket)

    page.route_web_socket("**/v1/realtime?*", listen_in)
    with visiting(page, [FRANCE], LONG, recording=True) as visit:
        visit.open("?transport=websocket").start()
        visit.say("capital_of_france")
        reply = visit.wait_for("page.sound.first")["event"]["response_id"]
        ends = []
        for kind, body in [("duck", {"gain_db": -20}), ("resume", {})]:
            event = {"type": f"onebreath.playback.{kind}", "response_id": reply, **body}
            sockets[0].send(json.dumps(event))
            visit.wait_for(event["type"])
            page.wait_for_timeout(200)
            ends.append(page.evaluate("instruments.now()"))
        page.wait_for_timeout(200)
        recorded = visit.recorded()
        for end, loudness in zip(ends, [0.03, 0.3], strict=True):
            assert recorded.peak(end - 0.1, end) == pytest.approx(loudness, rel=0.05)


def test_typed_words_are_answered_without_a_microphone(page):
    with visiting(page, [], {"Hello": "Hello yourself."}) as visit:
        visit.open()
        visit.type("Hello")
        visit.wait_for("response.done")
        expect(page.locator(".said.assistant .words")).to_have_text("Hello yourself.")
        assert visit.entries("page.sound.first")


def test_holding_a_key_or_the_button_ends_the_turn_when_it_is_let_go(page):
    silence = ""  # between the two, which the second press drops
    with visiting(page, [FRANCE, silence, SPIDER], ANSWERS) as visit:
        visit.open("?transport=websocket").start()
        hold = page.get_by_role("button", name="Hold to talk")
        page.locator("h1").click()
        page.keyboard.down("Space")
        page.get_by_role("status").get_by_text("let go").wait_for()
        visit.say("capital_of_france")
        page.keyboard.up("Space")
        visit.wait_for("response.done")
        hold.hover()
        page.mouse.down()
        visit.say("spider_legs")
        page.mouse.up()
        visit.wait_for("response.done", 2)
        expect(page.locator(".said.user .words")).to_have_text([FRANCE, SPIDER])
        expect(hold).to_have_attribute("aria-pressed", "true")
        assert visit.entries("input_audio_buffer.speech_started") == []
        hold.click()
        expect(hold).to_have_attribute("aria-pressed", "false")
        visit.wait_for("session.updated", 2)
        assert visit.entries("error") == []


def test_keys_and_controls(page):
    with visiting(page, [FRANCE], ANSWERS) as visit:
        visit.open("?transport=websocket").start()
        page.locator("h1").click()
        mute = page.get_by_role("button", name="Mute")
        page.keyboard.press("m")
        expect(mute).to_have_attribute("aria-pressed", "true")
        visit.say("capital_of_france")  # into a muted microphone
        assert visit.entries("input_audio_buffer.speech_started") == []
        mute.click()
        expect(mute).to_have_attribute("aria-pressed", "false")
        page.keyboard.press("/")
        expect(page.get_by_role("textbox", name="Message")).to_be_focused()
        page.keyboard.type("m")
        expect(mute).to_have_attribute("aria-pressed", "false")
        page.get_by_role("button", name="Settings").click()
        expect(page.get_by_role("combobox", name="Microphone")).to_be_visible()
        page.get_by_role("button", name="Done").click()
        page.get_by_role("tab", name="Denoising").focus()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name="Latency")).to_be_focused()
        expect(page.get_by_role("tabpanel", name="Latency")).to_be_visible()


# ---- a microphone that the browser opens -------------------------------------------


@pytest.fixture(scope="module")
def spoken_file(tmp_path_factory) -> Path:
    """Silence while the call is set up, then a question."""
    question = read_sound_file(QUESTIONS / "capital_of_france.wav", 48_000).samples
    sound = np.concatenate([np.zeros(48_000 * 2), question, np.zeros(48_000 * 30)])
    path = tmp_path_factory.mktemp("microphone") / "question.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes((sound * 32_767).astype("<i2").tobytes())
    return path


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_browsers_own_microphone_is_heard(playwright, spoken_file, transport):
    capture = f"--use-file-for-fake-audio-capture={spoken_file}%noloop"
    with served(scripted([FRANCE], ANSWERS)) as server:
        running = chromium(playwright, *FAKE_MICROPHONE, capture)
        visit = Visit(running.new_page(), server.url, real_microphone=True)
        visit.open(f"?transport={transport}").start()
        visit.wait_for("response.done")
        expect(visit.page.locator(".said.user .words")).to_have_text(FRANCE)
        assert visit.complaints == []
        running.close()


@pytest.mark.model
@pytest.mark.slow
def test_the_default_models_answer_in_the_browser(page):
    engines, _ = load_engines(Settings())
    with served(engines) as server:
        visit = Visit(page, server.url)
        visit.open().start()
        visit.say("capital_of_france")
        page.locator(".said.assistant:not(.pending)").wait_for(timeout=60_000)
        expect(page.locator(".said.user .words")).to_have_text(FRANCE)
        expect(page.locator(".said.assistant .words")).to_contain_text("Paris")
        assert visit.complaints == []
        page.close()


# ---- what can go wrong -------------------------------------------------------------


def test_media_that_cannot_pass_falls_back_to_the_websocket(page):
    with visiting(page, [FRANCE], ANSWERS) as visit:
        page.add_init_script(
            """const set = RTCPeerConnection.prototype.setRemoteDescription;
            RTCPeerConnection.prototype.setRemoteDescription = function ({type, sdp}) {
              return set.call(this, {type, sdp: sdp.replace(/a=candidate.*\\r\\n/g, '')});
            };"""
        )
        visit.open()
        page.get_by_role("button", name="Start talking").click()
        connected = visit.wait_for("page.connected")["event"]
        assert connected["transport"] == "websocket"
        assert connected["ms"] < 5500
        assert len(visit.entries("page.fell_back")) == 1
        expect(page.get_by_text("Websocket ·")).to_be_visible()
        assert calls_of(visit) == 1  # nothing is left of the first attempt


@pytest.mark.parametrize(
    ("reason", "words"),
    [("NotAllowedError", "does not let this page"), ("NotFoundError", "No microphone was found")],
)
def test_a_missing_microphone_is_explained_and_typing_goes_on(page, reason, words):
    with visiting(page, [], {"Hi": "Hi."}) as visit:
        page.add_init_script(
            f"navigator.mediaDevices.getUserMedia = async () =>"
            f" {{ throw new DOMException('', '{reason}'); }};"
        )
        visit.open()
        page.get_by_role("button", name="Start talking").click()
        expect(page.get_by_role("alert")).to_contain_text(words)
        page.get_by_role("button", name="Go on by typing").click()
        page.get_by_role("status").get_by_text("Type a message").wait_for()
        expect(page.get_by_role("alert")).to_be_hidden()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_full_server_is_explained(page, browser, transport):
    with visiting(page, [], {}, server={"max_calls": 1}) as visit:
        visit.open("?transport=websocket").start()
        with browser.new_context() as second:
            other = Visit(second.new_page(), visit.url)
            other.open(f"?transport={transport}")
            other.page.get_by_role("button", name="Start talking").click()
            expect(other.page.get_by_role("alert")).to_contain_text("All lines are busy")
            expect(other.page.get_by_role("status")).to_have_text("Start talking")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_server_that_goes_is_explained(page, transport):
    with served(scripted([], {}), server={"resume_seconds": 1}) as server:
        visit = Visit(page, server.url)
        visit.open(f"?transport={transport}").start()
    expect(page.get_by_role("alert")).to_contain_text(re.compile("lost|does not answer|ended"))
    expect(page.get_by_role("status")).to_have_text("Start talking")
    page.get_by_role("button", name="Start talking").click()
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    page.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_call_that_is_ended_while_it_connects_is_over(page, transport):
    with visiting(page, [], {}) as visit:
        visit.open(f"?transport={transport}")
        page.get_by_role("button", name="Start talking").click()
        page.get_by_role("button", name="End the call").click()
        page.get_by_role("button", name="Start talking").wait_for()
        page.wait_for_timeout(1500)
        assert calls_left(visit) == 0
        assert visit.entries("page.connected") == []
        assert visit.entries("page.problem") == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_reload_leaves_no_call_behind(page, transport):
    with visiting(page, [], {}) as visit:
        visit.open(f"?transport={transport}").start()
        assert calls_of(visit) == 1
        page.reload()
        expect(page.get_by_role("button", name="Start talking")).to_be_visible()
        assert calls_left(visit) == 0


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_nothing_stands_in_the_way_of_assistive_technology(browser, modules, scheme):
    with browser.new_context(bypass_csp=True, color_scheme=scheme) as context:
        page = context.new_page()
        with visiting(page, [], {}) as visit:
            page.route("**/session.jsonl", lambda route: route.fulfill(body=whole_session()))
            found = []
            for query in ("", "?replay=session.jsonl"):
                visit.open(query)
                if query:
                    visit.finish_replay()
                page.add_script_tag(path=modules / "axe-core" / "axe.min.js")
                for tab in ("Denoising", "Latency", "Events"):
                    page.get_by_role("tab", name=tab).click()
                    result = page.evaluate("axe.run(document)")
                    found += [
                        (tab, broken["id"], node["html"][:120])
                        for broken in result["violations"]
                        for node in broken["nodes"]
                    ]
            assert found == []


@pytest.mark.parametrize("width", [360, pytest.param(900, marks=pytest.mark.long)])
def test_nothing_is_cut_off_on_small_screens(browser, width):
    with browser.new_context(viewport={"width": width, "height": 740}) as context:
        page = context.new_page()
        with visiting(page, [], {}) as visit:
            page.route("**/session.jsonl", lambda route: route.fulfill(body=whole_session()))
            visit.open("?replay=session.jsonl")
            visit.wait_for("response.done")
            for tab in ("Denoising", "Latency", "Events"):
                page.get_by_role("tab", name=tab).click()
                assert page.evaluate("document.documentElement.scrollWidth") <= width


# ---- recorded sessions -------------------------------------------------------------


@pytest.fixture
def replay(page: Page) -> Iterator[Visit]:
    with visiting(page, [], {}) as visit:
        page.route(
            "**/session.jsonl", lambda route: route.fulfill(body=whole_session(), status=200)
        )
        visit.open("?replay=session.jsonl")
        yield visit


def test_a_recorded_session_shows_the_canvas_and_can_be_scrubbed(replay):
    page = replay.page
    canvas = page.locator(".denoise .canvas")
    blanks = page.locator(".denoise .canvas .blank")
    expect(page.locator(".denoise .chip.now")).to_be_attached()
    expect(canvas).to_have_text(REPLY)
    slider = page.get_by_role("slider", name="Step")
    expect(slider).to_be_enabled(timeout=15_000)
    slider.fill("1")
    expect(blanks.nth(3)).to_be_attached()
    slider.fill(slider.get_attribute("max"))
    expect(canvas).to_have_text(REPLY)
    assert replay.complaints == []


def test_a_downloaded_session_can_be_opened_again(replay, tmp_path):
    page = replay.page
    replay.finish_replay()
    page.get_by_role("tab", name="Events").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    path = tmp_path / "session.jsonl"
    download.value.save_as(path)
    assert path.read_text().count("\n") == whole_session().count("\n")
    page.get_by_role("searchbox", name="Filter events").fill("onebreath -denoise")
    expect(page.locator(".events-bar + .note")).not_to_contain_text("59 of 59")
    types = page.locator(".events .type").all_text_contents()
    assert types
    assert all("onebreath" in kind and "denoise" not in kind for kind in types)
    page.goto(replay.url)
    page.get_by_role("tab", name="Events").click()
    page.locator("input[type=file]").set_input_files(path)
    expect(page.get_by_text("Replay", exact=True)).to_be_visible()
    replay.finish_replay()
    expect(page.locator(".said.assistant .words").first).to_have_text(REPLY)


def test_a_file_that_is_no_session_is_explained(page, tmp_path):
    path = tmp_path / "wrong.jsonl"
    path.write_text('{"hello": 1}\n')
    with visiting(page, [], {}) as visit:
        visit.open()
        page.get_by_role("tab", name="Events").click()
        page.locator("input[type=file]").set_input_files(path)
        expect(page.get_by_role("alert")).to_contain_text("no recorded session")
        expect(page.get_by_role("alert")).to_contain_text("line 1")
