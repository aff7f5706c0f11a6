"""The page comes back to its session: real sockets that are cut, real packets that are lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aioice.ice import StunProtocol
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright
from support.browsers import Served, chromium, scripted, served
from support.relay import Relay, relay_to

from agent.bench.browser_page import CONTROLLER, Visit
from agent.server.keys import new_key

pytestmark = pytest.mark.browser

KEPT = "Reconnecting, your conversation is kept"
LONG = " ".join(f"word{n}" for n in range(60)) + "."
ANSWERS = {"Talk": LONG, "Hello": "Hello yourself.", "And now?": "Now as well."}


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    running = chromium(playwright)
    yield running
    running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1280, "height": 820}) as context:
        yield context.new_page()


@contextmanager
def through_a_relay(page: Page, **settings: Any) -> Iterator[tuple[Visit, Relay, Served]]:
    with served(scripted([], ANSWERS), **settings) as server, relay_to(server.url) as relay:
        yield Visit(page, f"http://127.0.0.1:{relay.port}"), relay, server
        page.close()


def words(page: Page) -> list[str]:
    return page.locator(".said .words").all_text_contents()


def test_a_cut_socket_costs_neither_the_reply_nor_the_conversation(page):
    with through_a_relay(page) as (visit, relay, server):
        visit.open("?transport=websocket").start()
        session = visit.entries("session.created")[0]["event"]["session"]["id"]
        visit.type("Talk")
        visit.wait_for("page.sound.first")
        page.wait_for_timeout(500)
        relay.cut()
        visit.wait_for("page.reconnected")
        again = visit.wait_for("session.created", 2)["event"]
        assert (again["resumed"], again["session"]["id"]) == (True, session)
        done = visit.wait_for("response.done")["event"]["response"]
        assert done["status"] == "completed"
        visit.type("And now?")
        visit.wait_for("response.done", 2)
        assert words(page) == ["Talk", LONG, "And now?", "Now as well."]
        assert page.locator(".said.cut").count() == 0
        assert visit.entries("onebreath.session.resumable") == [], "a secret is not recorded"
        assert server.calls() == 1


def test_typed_words_wait_until_the_server_is_there_again(page):
    with through_a_relay(page) as (visit, relay, _):
        visit.open("?transport=websocket").start()
        visit.type("Hello")
        visit.wait_for("response.done")
        relay.cut(down=True)
        expect(page.get_by_role("status").get_by_text(KEPT)).to_be_visible()
        visit.type("And now?")
        page.wait_for_timeout(1000)
        assert len(visit.entries("response.create")) == 1
        relay.up()
        visit.wait_for("response.done", 2)
        assert words(page) == ["Hello", "Hello yourself.", "And now?", "Now as well."]


def test_what_does_not_come_back_ends_honestly_and_keeps_the_conversation(page):
    with through_a_relay(page, server={"resume_seconds": 2}) as (visit, relay, _):
        visit.open("?transport=websocket").start()
        visit.type("Hello")
        visit.wait_for("response.done")
        relay.cut(down=True)
        visit.wait_for("page.ended")
        expect(page.get_by_role("alert")).to_contain_text("The connection was lost.")
        again = page.get_by_role("button", name="Call again")
        expect(again).to_be_visible()
        relay.up()
        again.click()
        visit.wait_for("page.connected", 2)
        assert words(page) == ["Hello", "Hello yourself."]


def test_a_session_that_is_gone_is_told_at_once_and_not_tried_for_ever(page):
    with through_a_relay(page) as (visit, relay, _):
        visit.open("?transport=websocket").start()
        visit.type("Hello")
        visit.wait_for("response.done")
        page.evaluate(f"void ({CONTROLLER}.call.reconnection.token = 'rs_of_another_server')")
        relay.cut()
        visit.wait_for("page.ended")
        expect(page.get_by_role("alert")).to_contain_text("The server has ended this session.")
        (problem,) = visit.entries("page.problem")
        assert problem["event"]["code"] == "session_gone"
        page.get_by_role("button", name="Call again").click()
        visit.wait_for("page.connected", 2)
        assert words(page) == ["Hello", "Hello yourself."]


@pytest.mark.parametrize("transport", ["websocket", "webrtc"])
def test_a_key_that_is_missing_is_told_over_either_transport(page, transport):
    page.on("dialog", lambda dialog: dialog.dismiss())
    _, hashed = new_key()
    settings = {"api_keys": {"me": {"hash": hashed}}}
    with through_a_relay(page, server=settings) as (visit, _, _):
        visit.open(f"?transport={transport}")
        page.locator(".orb").click()
        visit.wait_for("page.ended")
        expect(page.get_by_role("alert")).to_contain_text("The server did not admit this call.")


def test_hanging_up_while_reconnecting_is_the_end(page):
    with through_a_relay(page) as (visit, relay, _):
        visit.open("?transport=websocket").start()
        relay.cut(down=True)
        visit.wait_for("page.reconnecting")
        page.get_by_role("button", name="End the call").click()
        visit.wait_for("page.ended")
        relay.up()
        page.wait_for_timeout(1000)
        assert visit.entries("page.reconnected") == []


class Ether:
    """The UDP of the server: sockets that are there when it is cut carry nothing any more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._sockets: list[StunProtocol] = []
        self._dead: set[int] = set()
        made, received = StunProtocol.connection_made, StunProtocol.datagram_received

        def connection_made(protocol: StunProtocol, transport: Any) -> None:
            self._sockets.append(protocol)
            made(protocol, transport)

        def datagram_received(protocol: StunProtocol, data: Any, address: Any) -> None:
            if id(protocol) not in self._dead:
                received(protocol, data, address)

        monkeypatch.setattr(StunProtocol, "connection_made", connection_made)
        monkeypatch.setattr(StunProtocol, "datagram_received", datagram_received)

    def cut(self) -> None:
        self._dead = {id(protocol) for protocol in self._sockets}


@pytest.mark.slow
def test_an_offer_does_not_wait_for_a_slow_stun_server(page):
    nobody = {"iceServers": [{"urls": "stun:127.0.0.1:9"}]}
    page.route("**/v1/realtime/ice", lambda route: route.fulfill(json=nobody))
    patched = []
    page.on("response", lambda got: got.request.method == "PATCH" and patched.append(got))
    with through_a_relay(page) as (visit, _, _):
        visit.open("?transport=webrtc").start()
        visit.type("Hello")
        visit.wait_for("response.done")
        for _ in range(300):
            if patched:
                break
            page.wait_for_timeout(50)
        assert [answer.status for answer in patched] == [204]
        assert "a=end-of-candidates" in patched[0].request.post_data
        visit.type("And now?")
        visit.wait_for("response.done", 2)


@pytest.mark.slow
def test_a_dead_media_path_is_replaced(page, monkeypatch):
    ether = Ether(monkeypatch)
    with through_a_relay(page) as (visit, _, server):
        visit.open("?transport=webrtc").start()
        visit.type("Hello")
        visit.wait_for("response.done")
        ether.cut()
        visit.wait_for("page.reconnecting")
        visit.wait_for("page.reconnected")
        visit.type("And now?")
        visit.wait_for("response.done", 2)
        assert words(page) == ["Hello", "Hello yourself.", "And now?", "Now as well."]
        assert server.calls() == 1


KINDS = ("RTCPeerConnection", "WebSocket", "AudioContext", "AudioWorkletNode", "HTMLAudioElement")
KINDS += ("MediaStreamAudioSourceNode",)
CUT = f"{CONTROLLER}.call.transport.listener.closed('connection_lost', '')"


def kept(page: Page) -> dict[str, int]:
    """Living objects of the page by kind, after a collection."""
    tools = page.context.new_cdp_session(page)
    tools.send("HeapProfiler.collectGarbage")
    counts = {}
    for kind in KINDS:
        prototype = tools.send("Runtime.evaluate", {"expression": f"{kind}.prototype"})
        of = {"prototypeObjectId": prototype["result"]["objectId"]}
        objects = tools.send("Runtime.queryObjects", of)["objects"]["objectId"]
        length = {
            "objectId": objects,
            "functionDeclaration": "function () { return this.length; }",
            "returnByValue": True,
        }
        counts[kind] = tools.send("Runtime.callFunctionOn", length)["result"]["value"]
        tools.send("Runtime.releaseObject", {"objectId": objects})
    tools.detach()
    return counts


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("transport", ["websocket", "webrtc"])
def test_a_page_that_comes_back_two_hundred_times_keeps_nothing(page, monkeypatch, transport):
    monkeypatch.setattr("agent.server.app.SPARE_RESUMPTIONS", 1000)
    page.add_init_script("Math.random = () => 0")  # no pause before a first try
    with through_a_relay(page, server={"offers_per_minute": 60_000}) as (visit, relay, server):
        visit.open(f"?transport={transport}").start()
        session = visit.entries("session.created")[0]["event"]["session"]["id"]
        early: dict[str, int] = {}
        for turn in range(1, 201):
            if transport == "websocket":
                relay.cut()
            else:
                page.evaluate(CUT)
            back = visit.wait_for("session.created", turn + 1)["event"]
            assert back["session"]["id"] == session
            visit.wait_for("page.reconnected", turn)
            if turn == 20:
                early = kept(page)
        visit.type("Hello")
        visit.wait_for("response.done")
        visit.wait_for("page.sound.first")
        late = kept(page)
        # Chromium keeps the node of a remote track, disconnected, as long as its context.
        spare = dict.fromkeys(KINDS, 2) | {"MediaStreamAudioSourceNode": 190}
        grown = [kind for kind in KINDS if late[kind] > early[kind] + spare[kind]]
        assert grown == [], f"{early}\n{late}"
        assert server.calls() == 1
