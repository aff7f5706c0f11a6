"""A call on the move, in a real Chromium: slow links, lost networks, devices that end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page
from support.browsers import listening, scripted, served
from support.relay import relay_to
from test_browser_reconnect import CUT, kept

from agent.bench.browser_page import CONTROLLER, Visit
from agent.bench.network_link import Condition

pytestmark = pytest.mark.browser

CALL = f"{CONTROLLER}.call"
LONG = " ".join(f"word{n}" for n in range(60)) + "."
ANSWERS = {"Hello": "Hello yourself.", "Talk": LONG}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with listening() as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(permissions=["microphone"]) as context:
        page = context.new_page()
        page.add_init_script("Math.random = () => 0")  # no pause before a first try
        yield page
        page.close()


def test_a_slow_websocket_is_given_a_lighter_format_and_is_heard_at_the_same_pitch(page):
    with (
        served(scripted([], ANSWERS)) as server,
        relay_to(server.url, Condition("slow", rate=256_000)) as relay,
    ):
        visit = Visit(page, f"http://127.0.0.1:{relay.port}", real_microphone=True)
        visit.open("?transport=websocket").start()
        updated = visit.wait_for("session.updated")["event"]["session"]["audio"]
        kinds = {updated[way]["format"]["type"] for way in ("input", "output")}
        assert kinds == {"audio/pcmu"}
        visit.type("Hello")
        visit.wait_for("page.sound.first")
        visit.wait_for("response.done")
        assert visit.entries("error") == []
        page.close()


def test_a_microphone_that_ends_while_the_page_reconnects_is_replaced_in_the_new_connection(page):
    with served(scripted([], ANSWERS)) as server:
        visit = Visit(page, server.url, real_microphone=True)
        visit.open("?transport=webrtc").start()
        before = page.evaluate(f"{CALL}.audio.microphone.track.id")
        # The offer of the new connection is on its way, with the old track, when that ends.
        page.evaluate(
            "() => { const real = window.fetch; window.fetch = async (...all) => {"
            " if (String(all[0]).includes('resume=')) { window.fetch = real;"
            f" {CALL}.audio.microphone.track.dispatchEvent(new Event('ended'));"
            " await new Promise((go) => setTimeout(go, 500)); } return real(...all); }; }"
        )
        page.evaluate(CUT)
        visit.wait_for("page.device")
        visit.wait_for("page.reconnected")
        now = page.evaluate(f"{CALL}.audio.microphone.track.id")
        assert now != before
        assert page.evaluate(f"{CALL}.transport.peer.getSenders()[0].track.id") == now
        page.close()


@pytest.mark.parametrize("transport", ["websocket", "webrtc"])
@pytest.mark.parametrize("how", ["suspend", "close"])
def test_a_context_that_stops_before_the_connection_is_lost_holds_nothing_up(page, transport, how):
    with served(scripted([], ANSWERS)) as server:
        visit = Visit(page, server.url, real_microphone=True)
        visit.open(f"?transport={transport}").start()
        visit.type("Talk")
        visit.wait_for("page.sound.first")
        page.evaluate(f"{CALL}.audio.context.{how}().then(() => {{ {CUT}; }})")
        visit.wait_for("page.reconnected")
        page.mouse.click(640, 5)
        page.wait_for_function(f"{CALL}.audio.context.state === 'running'")
        visit.wait_for("response.done")
        visit.type("Hello")
        visit.wait_for("response.done", 2)
        assert server.calls() == 1
        page.close()


def test_a_burst_of_online_and_offline_makes_few_tries_and_one_connection(page):
    with served(scripted([], ANSWERS)) as server, relay_to(server.url) as relay:
        visit = Visit(page, f"http://127.0.0.1:{relay.port}", real_microphone=True)
        visit.open("?transport=websocket").start()
        page.evaluate(
            "() => { const Real = WebSocket; window.tries = 0;"
            " window.WebSocket = class extends Real {"
            " constructor(...all) { super(...all); window.tries++; } }; }"
        )
        relay.cut(down=True)
        visit.wait_for("page.reconnecting")
        burst = "for (const kind of ['offline', 'online', 'online']) dispatchEvent(new Event(kind))"
        for _ in range(20):
            page.evaluate(f"() => {{ {burst} }}")
            page.wait_for_timeout(50)
        tries = page.evaluate("window.tries")
        assert 1 <= tries <= 6, "one in half a second"
        relay.up()
        page.evaluate(f"() => {{ {burst} }}")
        visit.wait_for("page.reconnected")
        visit.type("Hello")
        visit.wait_for("response.done")
        assert server.calls() == 1
        assert len(visit.entries("page.reconnected")) == 1
        page.close()


def test_a_network_that_is_back_late_is_tried_again_soon(page):
    """While the browser says that there is none, nothing is tried and no pause grows."""
    with served(scripted([], ANSWERS)) as server, relay_to(server.url) as relay:
        visit = Visit(page, f"http://127.0.0.1:{relay.port}", real_microphone=True)
        visit.open("?transport=websocket").start()
        online = "Object.defineProperty(navigator, 'onLine', {value: %s, configurable: true})"
        page.evaluate(f"void {online % 'false'}")
        relay.cut(down=True)
        visit.wait_for("page.reconnecting")
        page.wait_for_timeout(4000)
        page.evaluate(f"() => {{ {online % 'true'}; dispatchEvent(new Event('online')); }}")
        page.wait_for_timeout(300)  # a first try is in vain: there is no address yet
        relay.up()
        visit.wait_for("page.reconnected")
        event = visit.entries("page.reconnected")[0]["event"]
        assert event["ms"] < 7000
        page.close()


@pytest.mark.slow
def test_what_chromium_keeps_of_twenty_connections_goes_with_the_call(page):
    """It keeps the node of a remote track as long as its context runs, and nothing else."""
    with served(scripted([], ANSWERS)) as server:
        visit = Visit(page, server.url, real_microphone=True)
        visit.open("?transport=webrtc").start()
        for turn in range(1, 21):
            page.evaluate(CUT)
            visit.wait_for("page.reconnected", turn)
        late = kept(page)
        assert late["RTCPeerConnection"] <= 2
        assert late["HTMLAudioElement"] <= 2
        assert late["AudioWorkletNode"] <= 4
        assert late["MediaStreamAudioSourceNode"] <= 22, "one of each connection, one microphone"
        page.get_by_role("button", name="End the call").click()
        visit.wait_for("page.ended")
        page.wait_for_timeout(500)
        assert kept(page)["MediaStreamAudioSourceNode"] <= 2
        page.close()
