"""The page for a first visitor: any size of window, plain http, calls that end and go on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright
from support.browsers import chromium, scripted, served

from agent.bench.browser_page import CONTROLLER, Visit

pytestmark = pytest.mark.browser

FRANCE = "What is the capital of France?"
PARIS = "The capital of France is Paris."
SENTENCE = (
    "Tell me, at some length, what one has to see in the old towns of the south and why. " * 2
)
WORD = "Donaudampfschifffahrtsgesellschaftskapitaensmuetzenabzeichenverordnungen" * 2
CONNECTED = {"transport": "webrtc"}
TRANSPORTS = ["webrtc", pytest.param("websocket", marks=pytest.mark.long)]
WINDOWS = {
    "small phone": (320, 640),
    "landscape phone": (640, 320),
    "zoom of 200 %": (640, 400),
    "tablet": (768, 1024),
    "desk": (1280, 800),
}
SIZES = [
    name if name in ("small phone", "desk") else pytest.param(name, marks=pytest.mark.long)
    for name in WINDOWS
]


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    running = chromium(playwright)
    yield running
    running.close()


@contextmanager
def visiting(browser: Browser, heard: list[str], query: str = "", **settings) -> Iterator[Visit]:
    viewport = settings.pop("viewport", (1280, 800))
    size = {"width": viewport[0], "height": viewport[1]}
    engines = scripted(heard, {FRANCE: PARIS})
    with served(engines, **settings) as server, browser.new_context(viewport=size) as context:
        visit = Visit(context.new_page(), server.url)
        yield visit.open(query)


def typed(visit: Visit, *texts: str) -> None:
    for text in texts:
        before = len(visit.entries("response.done"))
        visit.type(text)
        visit.wait_for("response.done", before + 1)


def wider_than_the_window(page: Page) -> list[str]:
    return page.evaluate(
        "[...document.querySelectorAll('body *')].filter(e => e.checkVisibility()"
        " && !e.closest('.unseen') && e.getBoundingClientRect().right > innerWidth + 1)"
        ".map(e => `${e.tagName}.${e.getAttribute('class')}`)"
    )


# ---- the latency view --------------------------------------------------------------


def latency_turns(count: int, text: str) -> str:
    """A session of typed turns that took 400 ms each, as a recording."""
    spans = {"endpoint_wait": 0, "asr": 0, "prefill": 50, "denoise": 200, "tts": 100}
    entries = [(0, "page", "page.connecting", {}), (1, "page", "page.connected", CONNECTED)]
    for n in range(count):
        t, item, reply = 10 + 1000 * n, f"item_{n}", {"response_id": f"resp_{n}"}
        message = {"id": item, "role": "user", "content": [{"type": "input_text", "text": text}]}
        response = {"id": f"resp_{n}", "status": "completed", "output": []}
        timings = {**reply, "spans_ms": spans, "budget_ms": 450}
        entries += [
            (t, "server", "conversation.item.added", {"item": message}),
            (t + 1, "client", "response.create", {}),
            (t + 2, "server", "response.created", {"response": response}),
            (t + 390, "server", "onebreath.turn.timings", timings),
            (t + 401, "page", "page.sound.first", {**reply, "at": t + 401}),
            (t + 900, "server", "response.done", {"response": response}),
        ]
    return "".join(
        json.dumps({"t": t, "from": who, "event": {"type": kind, **fields}}) + "\n"
        for t, who, kind, fields in entries
    )


@pytest.mark.parametrize("text", [SENTENCE, WORD], ids=["sentence", "word"])
@pytest.mark.parametrize("window", SIZES)
def test_long_questions_leave_the_latency_view_in_its_place(browser, window, text):
    with visiting(browser, [], viewport=WINDOWS[window]) as visit:
        page = visit.page
        page.route(
            "**/turns.jsonl",
            lambda route: route.fulfill(body=latency_turns(20, text.strip())),
        )
        page.goto(f"{visit.url}/?replay=turns.jsonl&view=latency")
        visit.finish_replay()
        rows = page.locator(".waterfall > li")
        expect(rows).to_have_count(12)
        assert wider_than_the_window(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        chart = page.locator(".chart").bounding_box()
        for row in (rows.first, rows.last):
            track = row.locator(".track").first.bounding_box()
            assert track["width"] == pytest.approx(chart["width"], abs=1)
            mark = row.locator(".first-sound").bounding_box()
            share = (mark["x"] + mark["width"] / 2 - track["x"]) / track["width"]
            assert share == pytest.approx(400 / 500, abs=0.01), "401 - 1 ms on an axis of 500 ms"
        last = page.locator(".tick").last.bounding_box()
        assert last["x"] + last["width"] == pytest.approx(chart["x"] + chart["width"], abs=2)


def test_every_turn_can_be_reached(browser):
    with visiting(browser, []) as visit:
        page = visit.page
        page.route(
            "**/turns.jsonl", lambda route: route.fulfill(body=latency_turns(20, "Why is that so?"))
        )
        page.goto(f"{visit.url}/?replay=turns.jsonl&view=latency")
        visit.finish_replay()
        pager = page.locator(".pager")
        expect(pager).to_contain_text("Turns 9 to 20 of 20")
        page.get_by_role("button", name="Older turns").click()
        expect(pager).to_contain_text("Turns 1 to 8 of 20")
        expect(page.locator(".row-head .asked").first).to_contain_text("1 · typed")
        expect(page.get_by_role("button", name="Older turns")).to_be_disabled()
        page.get_by_role("button", name="Newer turns").click()
        expect(pager).to_contain_text("Turns 9 to 20 of 20")


# ---- plain http from another host --------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_plain_http_from_another_host_is_explained_and_typing_works(playwright, transport):
    browser = chromium(playwright, "--host-resolver-rules=MAP agent.test 127.0.0.1")
    hosts = {"allowed_hosts": ("agent.test",)}
    with served(scripted([], {FRANCE: PARIS}), server=hosts) as server:
        page = browser.new_page()
        visit = Visit(page, server.url.replace("127.0.0.1", "agent.test"), real_microphone=True)
        visit.open(f"?transport={transport}")
        assert not page.evaluate("isSecureContext")
        card = page.get_by_role("alert")
        expect(card).to_have_count(1)
        for words in ("microphone", "https", "--self-signed", "proxy", "Type below"):
            expect(card).to_contain_text(words)
        typed(visit, FRANCE)
        expect(page.locator(".said.assistant .words")).to_have_text(PARIS)
        heard = visit.wait_for("page.sound.first")["event"]
        assert heard["at"] > 0
        expect(page.get_by_role("status").first).to_have_text("Type a message")
        page.get_by_role("tab", name="Latency").click()
        expect(page.locator(".waterfall > li")).to_have_count(1)
        page.get_by_role("button", name="End the call").click()
        page.get_by_role("button", name="Call again").click()
        expect(card).to_contain_text("microphone")
        expect(card).to_have_count(1)
        assert [
            text for text in visit.complaints if "404" not in text
        ] == []  # of a hang-up that came late
    browser.close()


def test_a_host_name_that_the_server_does_not_know_is_named(playwright):
    browser = chromium(playwright, "--host-resolver-rules=MAP agent.test 127.0.0.1")
    with served(scripted([], {})) as server:
        page = browser.new_page()
        visit = Visit(page, server.url.replace("127.0.0.1", "agent.test"), real_microphone=True)
        visit.open()
        visit.type("Hello")
        expect(page.get_by_role("alert")).to_contain_text("server.allowed_hosts")
    browser.close()


# ---- calls -------------------------------------------------------------------------


def test_a_first_visitor_is_told_what_answers_and_can_ask_at_once(browser):
    with visiting(browser, []) as visit:
        page = visit.page
        expect(page).to_have_title(re.compile("talk with a voice agent"))
        expect(page.locator(".hint")).to_contain_text("answered by smollm2-135m-instruct")
        page.get_by_role("button", name=FRANCE).click()
        visit.wait_for("response.done")
        expect(page.locator(".said.assistant .words")).to_have_text(PARIS)
        expect(page.get_by_role("button", name="Mute")).to_be_hidden()
        expect(page.get_by_role("button", name="Hold to talk")).to_be_hidden()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_call_that_was_ended_goes_on_with_its_conversation(browser, transport):
    with visiting(browser, [FRANCE], f"?transport={transport}") as visit:
        page = visit.page
        typed(visit, "First words", "Second words")
        page.get_by_role("button", name="End the call").click()
        page.get_by_role("button", name="Call again").click()
        page.get_by_role("status").get_by_text("Listening").wait_for()
        said = page.locator(".said .words")
        expect(said).to_have_count(4)
        sent = visit.entries("conversation.item.create")
        again = [
            e["event"]["item"] for e in sent if e["event"]["item"].get("id", "")[:5] == "kept_"
        ]
        assert [item["content"][0]["text"] for item in again][0::2] == [
            "First words",
            "Second words",
        ]
        typed(visit, FRANCE)
        expect(said.last).to_contain_text(re.compile("France"))
        expect(said).to_have_count(6)
        page.get_by_role("tab", name="Latency").click()
        expect(page.locator(".waterfall > li")).to_have_count(3)
        page.get_by_role("button", name="End the call").click()
        page.get_by_role("button", name="New conversation").click()
        expect(said).to_have_count(0)
        # A call may be over before its hang-up arrives, which then finds none.
        assert [text for text in visit.complaints if "404" not in text] == []


def test_the_button_that_ends_the_call_is_red_and_apart(browser):
    with visiting(browser, []) as visit:
        visit.start()
        page = visit.page
        end = page.get_by_role("button", name="End the call")
        red, green, blue = map(
            int, re.findall(r"\d+", end.evaluate("e => getComputedStyle(e).backgroundColor"))[:3]
        )
        assert red > 150 > max(green, blue)
        orb = page.locator(".orb").bounding_box()
        box = end.bounding_box()
        assert box["y"] > orb["y"] + orb["height"] + 20
        tops = {round(c.bounding_box()["y"]) for c in page.locator(".control:visible").all()}
        assert len(tops) == 1, "one row"


@pytest.mark.parametrize("window", SIZES)
def test_controls_stand_in_one_row_and_nothing_is_cut_off(browser, window):
    with visiting(browser, [], viewport=WINDOWS[window]) as visit:
        visit.start()
        controls = visit.page.locator(".control:visible")
        expect(controls).to_have_count(4)
        assert len({round(c.bounding_box()["y"]) for c in controls.all()}) == 1
        cut = "e => e.scrollWidth > e.clientWidth + 1"
        assert [c.text_content() for c in controls.all() if c.evaluate(cut)] == []
        assert wider_than_the_window(visit.page) == []


def test_escape_in_a_dialog_leaves_the_reply_alone(browser):
    with visiting(browser, []) as visit:
        page = visit.page
        visit.open("?transport=websocket").type(" ".join(["word"] * 30))
        visit.wait_for("page.sound.first")
        page.get_by_role("button", name="Settings").click()
        page.keyboard.press("m")  # at once, while the devices are still being listed
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        page.wait_for_timeout(200)
        assert visit.entries("response.cancel") == []
        assert visit.entries("page.muted") == []
        page.keyboard.press("Escape")
        assert visit.entries("response.cancel")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_server_that_is_gone_is_told_within_two_seconds(browser, transport):
    resumed = served(scripted([], {}), server={"resume_seconds": 1})
    with resumed as server, browser.new_context() as context:
        page = context.new_page()
        visit = Visit(page, server.url).open(f"?transport={transport}")
        visit.start()
        # The machine is cut off as if its power had failed: nothing is said and nothing answers.
        page.route("**/healthz", lambda route: route.abort("connectionrefused"))
        page.evaluate("window.cutAt = performance.now()")
        page.evaluate(f"() => {{ {CONTROLLER}.call.transport.send = () => {{}}; }}")
        context.set_offline(True)  # no new connection either
        lost = page.get_by_role("status").first
        expect(lost).to_contain_text("Reconnecting, your conversation is kept", timeout=4000)
        # 2 s, and some for a busy machine.
        assert page.evaluate("performance.now() - window.cutAt") < 2500
        expect(page.get_by_role("alert")).to_contain_text("connection was lost", timeout=10_000)
        expect(page.get_by_role("button", name="Start talking")).to_be_visible()


def test_a_busy_server_is_waited_for(browser):
    with visiting(browser, []) as visit:
        visit.start()
        page = visit.page
        page.evaluate(f"() => {{ const t = {CONTROLLER}.call.transport; t.send = () => {{}}; }}")
        page.wait_for_timeout(2500)  # /healthz answers: the call goes on
        expect(page.get_by_role("status").first).to_have_text("Listening")


# ---- settings and recordings -------------------------------------------------------


def test_what_is_wanted_of_the_agent_is_asked_for_and_shown(browser):
    with visiting(browser, []) as visit:
        page = visit.page
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Instructions for the agent").fill("Answer like a pirate.")
        page.get_by_label("Eagerness").select_option("high")
        page.get_by_role("button", name="Done").click()
        visit.start()
        visit.wait_for("session.updated")
        page.get_by_role("button", name="Settings").click()
        facts = page.locator(".facts")
        for words in ("Answer like a pirate.", "sess_", "WebRTC|webrtc", "ms"):
            expect(facts).to_contain_text(re.compile(words))
        page.get_by_label("Volume").fill("0.5")
        gain = page.evaluate(f"{CONTROLLER}.call.audio.speaker.master.gain.value")
        assert gain == pytest.approx(0.25, abs=0.01)
        page.get_by_label("Instructions for the agent").fill("Answer like a king.")
        page.get_by_role("button", name="Done").click()
        visit.wait_for("session.updated", 2)
        page.reload()
        page.get_by_role("button", name="Settings").click()
        expect(page.get_by_label("Instructions for the agent")).to_have_value("Answer like a king.")


def test_the_systems_colours_can_be_chosen_again(browser):
    with visiting(browser, []) as visit:
        page = visit.page
        page.get_by_role("button", name="Dark colours").click()
        theme = page.locator("html")
        expect(theme).to_have_attribute("data-theme", "dark")
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Colours", exact=True).select_option("system")
        expect(theme).to_have_attribute("data-theme", "light")
        page.emulate_media(color_scheme="dark")
        expect(theme).to_have_attribute("data-theme", "dark")


def test_a_recording_can_be_paused_sped_up_and_left(browser):
    with visiting(browser, []) as visit:
        page = visit.page
        page.goto(f"{visit.url}/?replay=demo")
        bar = page.get_by_role("group", name="Recorded session")
        visit.wait_for("page.connecting")
        page.get_by_role("button", name="Pause", exact=True).click()
        shown = page.evaluate(f"{CONTROLLER}.replay.shown")
        page.wait_for_timeout(500)
        assert page.evaluate(f"{CONTROLLER}.replay.shown") == shown
        bar.get_by_label("Speed").select_option("4")
        bar.get_by_role("button", name="Play").click()
        page.wait_for_timeout(700)
        assert page.evaluate(f"{CONTROLLER}.replay.shown") > shown
        bar.get_by_role("button", name="To the end").click()
        expect(bar.get_by_role("button", name="Play again")).to_be_visible()
        bar.get_by_role("button", name="Leave the recording").click()
        expect(bar).to_be_hidden()
        expect(page.locator(".hint")).to_be_visible()


REPORT = (
    "import('/src/problems.js').then(({ Problem }) =>"
    f" {CONTROLLER}.call.report(new Problem('sound_stopped')))"
)


def test_a_problem_is_seen_wherever_a_small_page_is_scrolled_to(browser):
    with visiting(browser, [], "?transport=websocket", viewport=(320, 640)) as visit:
        visit.start().type(FRANCE)
        visit.wait_for("response.done")
        visit.page.locator(".composer").scroll_into_view_if_needed()
        assert visit.page.evaluate("scrollY") > 0
        visit.page.evaluate(REPORT)
        expect(visit.page.get_by_role("alert")).to_be_in_viewport(ratio=0.95)


def test_a_problem_does_not_cover_what_was_said_last(browser):
    with visiting(browser, [], "?transport=websocket") as visit:
        visit.start()
        for count in range(1, 4):
            visit.type(FRANCE)
            visit.wait_for("response.done", count)
        visit.page.evaluate(REPORT)
        expect(visit.page.get_by_role("alert")).to_be_visible()
        expect(visit.page.locator(".said .words").last).to_be_in_viewport(ratio=0.95)
