"""Offers: in every form, bad ones, and those that nobody follows up."""

import asyncio
import json
import re

import httpx
import pytest
from aiortc import RTCConfiguration, RTCIceTransport, RTCPeerConnection
from support.webrtc_calls import CALLS, HERE, agent, lines_in_use, offer_of, post, until_free
from test_server import server

from agent.close_codes import INTERNAL_ERROR, NORMAL_CLOSURE
from agent.config.settings import Settings
from agent.errors import CallError
from agent.latency.rtc_caller import RtcCaller
from agent.runtime.calls import CallRegistry, Outcome
from agent.server import webrtc_offers
from agent.transports import rtc_peer
from agent.transports.rtc_peer import BadOffer, check_offer


async def test_offers_in_every_form():
    async with agent(max_calls=3) as (url, _), httpx.AsyncClient(base_url=url) as web:
        offer = await offer_of()
        session = {"type": "realtime", "instructions": "Be brief."}
        plain = await post(web, offer)
        assert plain.status_code == 201
        assert plain.headers["content-type"].startswith("application/sdp")
        assert plain.headers["location"].startswith(f"{CALLS}/rtc_")
        assert "m=audio" in plain.text
        form = {"sdp": (None, offer), "session": (None, json.dumps(session))}
        answer = await web.post(CALLS, files=form)
        assert answer.status_code == 201
        assert answer.text.startswith("v=0")
        answer = (await web.post(CALLS, json={"sdp": offer, "session": session})).json()
        assert answer["call_id"].startswith("rtc_")
        assert answer["sdp"].startswith("v=0")
        assert not any(line.startswith("a=candidate") for line in answer["sdp"].splitlines()
                       if "127.0.0.1" not in line)  # fmt: skip


async def test_the_json_of_an_offer_is_read_as_events_are():
    async with agent(max_calls=2) as (url, _), httpx.AsyncClient(base_url=url) as web:
        offer = await offer_of()
        session = json.dumps({"type": "realtime", "instructions": "Be \ud83d brief."})
        form = {"sdp": (None, offer), "session": (None, session)}
        assert (await web.post(CALLS, files=form)).status_code == 201
        body = f'\ufeff{{"sdp": {json.dumps(offer)}, "session": {session}}}'
        headers = {"Content-Type": "application/json"}
        assert (await web.post(CALLS, content=body, headers=headers)).status_code == 201
        for bad in ("", "{", "NaN", "[" * 50_000):
            answer = await web.post(CALLS, content=bad, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")


def test_an_error_of_the_parser_is_told_in_words():
    with pytest.raises(BadOffer) as refused:
        check_offer("v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio x UDP 0\r\n")
    assert str(refused.value) == "the offer is no SDP that can be read"


async def test_the_session_of_the_offer_is_applied():
    async with agent() as (url, _):
        caller = RtcCaller(url, HERE)
        await caller.connect({"type": "realtime", "instructions": "Be brief."})
        caller.send("session.update", session={})
        (updated,) = await caller.until("session.updated")  # and none before that was asked for
        assert updated["session"]["instructions"] == "Be brief."
        await caller.close()


@pytest.mark.parametrize(
    ("prepare", "what"),
    [
        (lambda peer: peer.createDataChannel("x"), "application"),
        (lambda peer: peer.addTransceiver("audio"), "audio"),
        (lambda peer: (peer.addTransceiver("video"), peer.createDataChannel("x")), "video"),
        (
            lambda peer: (
                [peer.addTransceiver("audio") for _ in "ab"] + [peer.createDataChannel("x")]
            ),
            "audio, audio",
        ),
    ],
)
async def test_offers_without_the_right_sections(prepare, what):
    offer = await offer_of(prepare)
    with pytest.raises(BadOffer, match=what):
        check_offer(offer)


@pytest.mark.parametrize("bad", ["", "garbage", "v=0\r\nm=audio\r\n", "v=0\n" * 20_000, "\0" * 9])
async def test_offers_that_are_no_sdp(bad):
    async with agent() as (url, _), httpx.AsyncClient(base_url=url) as web:
        answer = await post(web, bad)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "invalid_offer"
        assert await lines_in_use(url) == 0


async def test_an_offer_without_opus_or_with_a_flood_of_candidates_is_refused():
    offer = await offer_of()
    flood = offer + "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n" * 33
    with pytest.raises(BadOffer, match="candidates"):
        check_offer(flood)
    async with agent() as (url, _), httpx.AsyncClient(base_url=url) as web:
        answer = await post(web, offer.replace("opus", "speex"))
        assert answer.status_code == 400
        assert await lines_in_use(url) == 0


@pytest.mark.slow
async def test_requests_that_are_no_offers():
    async with agent() as (url, _), httpx.AsyncClient(base_url=url) as web:
        assert (await web.post(CALLS, content=b"x")).status_code == 415
        assert (await web.post(CALLS, json={"sdp": 5})).status_code == 400
        assert (await web.post(CALLS, json={"sdp": "x", "session": 1})).status_code == 400
        assert (await web.post(CALLS, data={"sdp": "x"})).status_code == 415
        assert (await web.post(CALLS, files={"session": (None, "{}")})).status_code == 400
        assert (await web.post(CALLS, content=b"x" * 200_000)).status_code == 413
        bad_session = {"sdp": await offer_of(), "session": {"type": "realtime", "audio": 1}}
        answer = await web.post(CALLS, json=bad_session)
        assert answer.json()["error"]["param"] == "session.audio"

        async def chunks():
            yield b"x"

        assert (await web.post(CALLS, content=chunks())).status_code == 411


async def test_other_sites_may_not_call():
    async with agent() as (url, _), httpx.AsyncClient(base_url=url) as web:
        evil = {"Origin": "https://evil.example"}
        assert (await web.post(CALLS, headers=evil)).status_code == 403
        assert (await web.post(f"{CALLS}/rtc_1/hangup", headers=evil)).status_code == 403
        assert (await web.get("/v1/realtime/ice", headers=evil)).status_code == 403
        own = {"Origin": url, "Content-Type": "application/sdp"}
        assert (await web.post(CALLS, headers=own, content=await offer_of())).status_code == 201


async def test_an_allowed_page_elsewhere_may_call():
    page = "https://page.example"
    async with (
        agent(allowed_origins=[page]) as (url, _),
        httpx.AsyncClient(base_url=url) as web,
    ):
        ask = {"Access-Control-Request-Method": "POST"}
        ask["Access-Control-Request-Headers"] = "authorization,content-type"
        allowed = await web.options(CALLS, headers={"Origin": page, **ask})
        assert allowed.headers["access-control-allow-origin"] == page
        refused = await web.options(CALLS, headers={"Origin": "https://evil.example", **ask})
        assert "access-control-allow-origin" not in refused.headers
        headers = {"Origin": page, "Content-Type": "application/sdp"}
        answer = await web.post(CALLS, headers=headers, content=await offer_of())
        assert answer.status_code == 201
        assert answer.headers["access-control-expose-headers"] == "location"


@pytest.mark.slow
async def test_the_page_gets_the_ice_servers_of_the_settings():
    turn = {"urls": "turn:turn.example:3478", "username": "u", "credential": "c"}
    for servers in ([], [turn]):
        async with (
            server(webrtc={"ice_servers": servers}) as (address, _),
            httpx.AsyncClient(base_url=f"http://{address}") as web,
        ):
            assert (await web.get("/v1/realtime/ice")).json() == {"iceServers": servers}


async def test_nobody_answers():
    caller = RtcCaller("http://127.0.0.1:9", HERE)
    with pytest.raises(CallError, match="nobody answers"):
        await caller.connect()
    await caller.close()


@pytest.mark.slow
async def test_an_offer_that_nobody_follows_up_is_dropped(monkeypatch):
    monkeypatch.setattr(webrtc_offers, "PENDING_SECONDS", 1.5)
    async with agent() as (url, _), httpx.AsyncClient(base_url=url) as web:
        offer = await offer_of()
        for _ in range(2):  # the same offer twice is two calls, and neither comes about
            assert (await post(web, offer)).status_code == 201
        assert await lines_in_use(url) == 2
        busy = await post(web, offer)
        assert busy.status_code == 503
        assert busy.json()["error"]["code"] == "server_full"
        assert int(busy.headers["retry-after"]) > 0
        await until_free(url)


class Line:
    """A connection that stands at once, or never."""

    def __init__(self, stands):
        self.stands = stands
        self.closed = []

    async def open(self, way_back=None):
        if not self.stands:
            await asyncio.Event().wait()

    async def close(self, code, reason):
        self.closed.append(code)


@pytest.mark.parametrize(
    ("stands", "said", "outcome", "closed"),
    [
        (True, "one send took too long", Outcome.FAILED, INTERNAL_ERROR),
        (False, "no connection within 0 s of the answer", Outcome.DISCONNECTED, NORMAL_CLOSURE),
    ],
)
async def test_only_the_wait_for_the_connection_is_called_no_connection(
    stands, said, outcome, closed, monkeypatch, caplog
):
    monkeypatch.setattr(webrtc_offers, "PENDING_SECONDS", 0.01)

    async def converse(transport, opened, delivery):
        raise TimeoutError("one send took too long")

    calls = CallRegistry(1)
    offers = webrtc_offers.WebRtcOffers(Settings(), calls, None, lambda *_: None, converse)
    line = Line(stands)
    with caplog.at_level("INFO", "onebreath.calls"):
        end = await calls.admit("webrtc").run(
            line, lambda: offers._connect_and_converse(line, None)
        )
    assert said in caplog.text or said == end.reason
    assert (end.outcome, line.closed) == (outcome, [closed])
    assert (len(calls), "no connection" in end.reason) == (0, not stands)


@pytest.mark.parametrize(
    "missing", ["mid", "group", "ice-ufrag", "setup", "fingerprint", "rtcp-mux"]
)
async def test_an_offer_that_lacks_a_line_leaves_no_traceback(missing, caplog):
    offer = re.sub(rf"a={missing}.*\r\n", "", await offer_of())
    async with agent() as (url, _), httpx.AsyncClient(base_url=url) as web:
        answer = await post(web, offer)
        assert answer.status_code in (201, 400)
        await asyncio.sleep(0.1)
    assert "Traceback" not in caplog.text
    assert "never retrieved" not in caplog.text
    if missing == "fingerprint":
        assert "a=fingerprint" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("line", "answered"),
    [("", "sendrecv"), ("a=sendonly\r\n", "recvonly"), ("a=SENDRECV\r\n", "sendrecv")],
    ids=["none", "of the session", "unknown"],
)
async def test_an_offer_without_a_direction_has_the_default(line, answered):
    """RFC 8866 has one; aiortc has none, and the offer was refused."""
    offer = re.sub(r"a=sendrecv\r\n", "", await offer_of())
    offer = offer.replace("t=0 0\r\n", f"t=0 0\r\n{line}")
    async with agent() as (url, _), httpx.AsyncClient(base_url=url) as web:
        answer = await post(web, offer)
        assert answer.status_code == 201
        assert re.findall(r"a=(sendrecv|sendonly|recvonly|inactive)", answer.text) == [answered]


async def test_an_offer_without_setup_is_told_so():
    offer = re.sub(r"a=setup.*\r\n", "", await offer_of())
    async with agent() as (url, _), httpx.AsyncClient(base_url=url) as web:
        assert "a=setup" in (await post(web, offer)).json()["error"]["message"]


async def test_a_connection_that_cannot_be_made_frees_its_line_at_once(monkeypatch, caplog):
    async def fails(self, parameters):
        raise AssertionError("a bug of the library")

    monkeypatch.setattr(RTCIceTransport, "start", fails)
    async with agent() as (url, _), httpx.AsyncClient(base_url=url) as web:
        assert (await post(web, await offer_of())).status_code == 201
        await until_free(url)
    assert "Traceback" not in caplog.text


async def test_sections_bundled_with_one_that_is_missing_leave_no_traceback(caplog):
    """aiortc gave them no transport, raised when it was closed, and the answer was a 500."""
    async with agent() as (url, _), httpx.AsyncClient(base_url=url) as web:
        offer = await offer_of()
        (first,) = re.findall(r"a=group:BUNDLE (\S+)", offer)
        answer = await post(web, offer.replace(f"a=mid:{first}\r\n", "a=mid:other\r\n"))
        assert answer.status_code == 400
        assert "a=group:BUNDLE" in answer.json()["error"]["message"]
        assert await lines_in_use(url) == 0
    assert "Traceback" not in caplog.text


async def fails():
    raise AttributeError("an offer left no transport here")


async def hangs():
    await asyncio.Event().wait()


@pytest.mark.parametrize("stop", [fails, hangs])
async def test_a_connection_of_which_parts_are_missing_is_closed_and_may_be_closed_twice(
    stop, monkeypatch
):
    monkeypatch.setattr(rtc_peer, "CLOSE_SECONDS", 0.2)
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTransceiver("audio")
    peer.createDataChannel("x")
    await peer.setLocalDescription(await peer.createOffer())
    sockets = [peer.getTransceivers()[0].receiver.transport.transport]
    sockets.append(peer.sctp.transport.transport)

    peer.sctp.stop = stop
    async with asyncio.timeout(5):
        await rtc_peer.close(peer)
        await rtc_peer.close(peer)  # it waited for ever
    assert [socket.state for socket in sockets] == ["closed", "closed"]


@pytest.mark.parametrize("port", [-1, 65_536])
async def test_a_candidate_without_a_port_is_refused(port):
    """The operating system's refusal to send there closed the socket, and the call with it."""
    offer = await offer_of()
    candidate = f"a=candidate:1 1 udp 2130706431 127.0.0.1 {port} typ host\r\n"
    with pytest.raises(BadOffer, match="port"):
        check_offer(offer.replace("a=rtcp-mux\r\n", "a=rtcp-mux\r\n" + candidate, 1))
