"""Candidates that come after the offer, and the address of a call."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest
from support.webrtc_calls import CALLS, HERE, agent, lines_in_use, offer_of, post, until_free
from test_server import dial, until

from agent.latency.rtc_caller import RtcCaller
from agent.server.call_resource import FRAGMENT
from agent.transports.ice_fragment import MAX_LINES, BadFragment, IceFragment
from agent.transports.rtc_peer import MAX_CANDIDATES, add_candidates

HOST = "candidate:1 1 udp 2130706431 127.0.0.1 {port} typ host"
LATE = ("a=candidate", "a=end-of-candidates")


def fragment_of(sdp: str, port: int | None = None) -> str:
    """What a client sends of an offer whose candidates it held back."""
    wanted = ("a=ice-ufrag", "a=ice-pwd", "m=", "a=mid", *LATE)
    lines = [line for line in sdp.splitlines() if line.startswith(wanted)]
    return "\r\n".join([*lines, ""])


def bare(sdp: str) -> str:
    return "".join(line for line in sdp.splitlines(True) if not line.startswith(LATE))


def test_a_fragment_is_read_by_its_sections():
    text = (
        "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n"
        "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=" + HOST.format(port=5000) + "\r\n"
        "a=candidate:2 1 tcp 1518280447 127.0.0.1 9 typ host tcptype active\r\n"
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
        "a=" + HOST.format(port=5001) + " generation 0 ufrag EsAw\r\na=end-of-candidates\r\n"
    )
    fragment = IceFragment.parse(text)
    assert fragment.username == "EsAw"
    places = [(c.port, c.sdpMid, c.sdpMLineIndex) for c in fragment.candidates]
    assert places == [(5000, "0", None), (5001, None, 1)], "a candidate of TCP is of no use"


@pytest.mark.parametrize("text", ["a=candidate:nonsense", "a=candidate:1 1 udp x 1.2.3.4 y typ z"])
def test_a_fragment_that_cannot_be_read_is_refused(text):
    with pytest.raises(BadFragment, match="cannot be read"):
        IceFragment.parse(text)
    with pytest.raises(BadFragment, match="port"):
        IceFragment.parse("a=" + HOST.format(port=65_536))
    with pytest.raises(BadFragment, match="lines"):
        IceFragment.parse("\n" * (MAX_LINES + 1))


class LateCaller(RtcCaller):
    """Holds its candidates back, and does not check the server's: only the server can connect."""

    def __init__(self, url: str) -> None:
        super().__init__(url, HERE)
        self.url = url
        self.patched: list[int] = []

    async def signal(self, sdp, session):
        answer = await super().signal(bare(sdp), session)
        async with httpx.AsyncClient(base_url=self.url) as web:
            place = f"{CALLS}/{answer['call_id']}"
            headers = {"Content-Type": FRAGMENT}
            patched = await web.patch(place, content=fragment_of(sdp), headers=headers)
            self.patched.append(patched.status_code)
        return {**answer, "sdp": bare(answer["sdp"])}


@pytest.mark.slow
async def test_candidates_that_come_later_connect_the_call():
    async with agent("how are you") as (url, _):
        caller = LateCaller(url)
        await caller.connect()
        assert caller.patched == [204]
        assert caller.created["type"] == "session.created"
        await caller.close()
        await until_free(url)


@pytest.mark.slow
async def test_a_session_is_resumed_with_candidates_that_come_later():
    async with agent("how are you") as (url, _):
        first = RtcCaller(url, HERE, query="?onebreath=1&resumable=true")
        await first.connect()
        token = (await first.until("onebreath.session.resumable"))[-1]["token"]
        again = LateCaller(url)
        again._query = f"?onebreath=1&resume={token}"
        await again.connect()
        assert again.patched == [204]
        assert again.created["resumed"] is True
        await asyncio.gather(first.close(), again.close())


@pytest.mark.slow
async def test_what_makes_no_sense_is_told(monkeypatch):
    async with agent() as (url, _), httpx.AsyncClient(base_url=url) as web:
        sdp = await offer_of()
        place = (await post(web, bare(sdp))).headers["location"]

        async def patch(text, kind=FRAGMENT, at=place):
            answer = await web.patch(at, content=text, headers={"Content-Type": kind})
            code = answer.json()["error"]["code"] if answer.content else None
            return answer.status_code, code

        other = fragment_of(sdp).replace("a=ice-ufrag:", "a=ice-ufrag:other")
        assert await patch(other) == (422, "ice_restart_unsupported")
        assert await patch("a=candidate:nonsense") == (400, "invalid_candidates")
        assert await patch(fragment_of(sdp), "text/plain") == (415, "unsupported_content_type")
        assert await patch("x", at=f"{CALLS}/rtc_nobody") == (404, "call_not_found")
        assert await patch("x" * 100_000) == (413, "body_too_large")
        assert await patch("") == (204, None)
        many = "\n".join("a=" + HOST.format(port=n + 1) for n in range(MAX_CANDIDATES + 1))
        assert await patch(many) == (400, "invalid_candidates")
        assert (await web.delete(place)).status_code == 200
        await until_free(url)
        assert (await web.delete(place)).status_code == 404


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "names that nobody resolves"])
async def test_the_end_of_useless_candidates_waits_for_the_clients_own_checks(kind):
    """A browser without a permission for the microphone names its host by mDNS."""

    class Silent(RtcCaller):
        async def signal(self, sdp, session):
            assert "a=end-of-candidates\r\n" in sdp
            if kind == "none":
                sdp = re.sub(r"a=candidate:.*\r\n", "", sdp)
            else:
                sdp = re.sub(r"(a=candidate:.* )127\.0\.0\.1 ", r"\1nobody.local ", sdp)
                assert "nobody.local" in sdp
            answer = await super().signal(sdp, session)
            async with httpx.AsyncClient(base_url=url) as web:
                end = "a=end-of-candidates\r\n"
                headers = {"Content-Type": FRAGMENT}
                await web.patch(f"{CALLS}/{answer['call_id']}", content=end, headers=headers)
            return answer

    async with agent() as (url, _):
        caller = Silent(url, HERE)
        await caller.connect()
        assert await lines_in_use(url) == 1
        await caller.close()


@pytest.mark.slow
async def test_a_session_that_comes_from_a_websocket_can_be_hung_up_before_it_is_there():
    """The id of its answer led nowhere, and the session waited for a client that had left."""
    async with agent() as (url, _), httpx.AsyncClient(base_url=url) as web:
        address = url.removeprefix("http://")
        async with dial(address, "?onebreath=1&resumable=true") as line:
            token = (await until(line, "onebreath.session.resumable"))[-1]["token"]
            line.transport.abort()
        headers = {"Content-Type": "application/sdp"}
        offered = await web.post(
            f"{CALLS}?resume={token}", content=await offer_of(), headers=headers
        )
        assert offered.status_code == 201
        assert (await web.delete(offered.headers["location"])).status_code == 200
        await until_free(url)


async def test_names_that_nobody_resolves_are_asked_for_at_once(monkeypatch):
    """One after the other they took a second each, and the ANSWER_SECONDS of all the others."""
    waiting, everybody = 0, asyncio.Event()

    class Peer:
        async def addIceCandidate(self, candidate):
            nonlocal waiting
            waiting += 1
            if waiting == 8:
                everybody.set()
            await everybody.wait()

    names = "\n".join(f"a=candidate:1 1 udp 2 n{n}.local 9 typ host" for n in range(8))
    async with asyncio.timeout(3):
        await add_candidates(Peer(), IceFragment.parse(names))
