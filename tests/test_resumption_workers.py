"""Sessions and transfers that are asked for at another worker than the one that has them."""

import asyncio
import base64
import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from types import SimpleNamespace
from urllib.parse import urlencode
from xml.etree import ElementTree as Xml

import httpx
import pytest
from aiortc import RTCSessionDescription
from starlette.datastructures import Headers
from support.fakes import LoudIsSpeech
from support.webrtc_calls import CALLS, HERE, lines_in_use, offer_of, until_free
from test_resumption import RESUMABLE, ask, back, cut, refused, rtc, rtc_token, token_of
from test_server import ANSWERS, close_code, dial, until, utterances

from agent.close_codes import RESUMED_ELSEWHERE, SERVICE_RESTART
from agent.compute import Compute
from agent.config.settings import Settings
from agent.responders.scripted import ScriptedResponder
from agent.runtime.calls import CallRegistry
from agent.runtime.engine_tasks import Engines
from agent.server.app import AgentServer, stopping_of
from agent.server.forwarding import CLIENT, FORWARDED, Forwarding
from agent.server.http_server import HttpServer
from agent.server.identity import Identity
from agent.server.keys import Caller
from agent.server.ports import listen
from agent.server.resumption import PREFIX, Resumption
from agent.server.workers.connections import HandedConnections
from agent.telephony.access import transfers
from agent.telephony.access.signatures import twilio_signature
from agent.telephony.access.transfers import LIFETIME, TransfersOnMachine
from tts.tone import ToneSynthesizer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no unix sockets")

KEY = b"k" * 32
SECRET = "0123456789abcdef"
NOBODY = "no session waits for this token"

# ---- whose token it is ---------------------------------------------------------------------


def resumption(worker, machine="", key=KEY):
    return Resumption(30.0, worker, key=Identity(key, machine, worker).resumption_key())


def token_from(kept):
    call = CallRegistry(4).admit("websocket")
    return kept.register(call, None, Caller("me"), None)[1][0]


def forged(token, worker):
    """The same token, as if another worker had given it out."""
    content = base64.urlsafe_b64decode(token.removeprefix(PREFIX))
    return PREFIX + base64.urlsafe_b64encode(worker.to_bytes(2, "big") + content[2:]).decode()


@pytest.mark.slow
def test_a_token_names_its_worker_to_those_that_share_its_key():
    token = token_from(resumption(7))
    assert resumption(0).holder(token) == 7
    assert resumption(7).holder(token) is None
    assert resumption(0, key=b"o" * 32).holder(token) is None
    assert resumption(0, machine="https://b.example").holder(token) is None
    assert Resumption(30.0).holder(token) is None


def test_a_forged_token_leads_nowhere():
    token = token_from(resumption(7))
    # Not the last letter, of which some bits mean nothing.
    other = token[:-5] + ("A" if token[-5] != "A" else "B") + token[-4:]
    wrong = [forged(token, 3), forged(token, 65535), other, token[:-1], "", "rs_é", "x"]
    assert [resumption(0).holder(each) for each in wrong] == [None] * len(wrong)


@pytest.mark.slow
def test_a_request_goes_one_hop_to_another_process_of_this_machine(tmp_path):
    here = Forwarding(Identity(KEY, "", 0, tmp_path))

    def target(worker, **headers):
        return here.sibling(worker, SimpleNamespace(headers=Headers(headers)))

    assert target(7).unix == tmp_path / "worker-7.sock"
    assert target(0) is None
    assert target(None) is None
    for hops in ("1", "2", "x"):
        assert target(7, **{FORWARDED: hops}) is None
    assert Forwarding(Identity(KEY)).sibling(7, SimpleNamespace(headers=Headers({}))) is None


# ---- transfers -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_transfer_is_told_once_by_any_process_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(transfers, "MAX_WAITING", 5)
    now = [0.0]
    one, two = (TransfersOnMachine(tmp_path / "x.sqlite", lambda: now[0]) for _ in range(2))
    one.expect("twilio", "CA1", "+4930")
    one.expect("twilio", "CA1", "+4931")  # another word of the same call
    assert two.take("plivo", "CA1") is None
    assert two.take("twilio", "CA1") == "+4931"
    assert one.take("twilio", "CA1") is None
    two.expect("twilio", "CA2", "+4930")
    now[0] += LIFETIME
    assert one.take("twilio", "CA2") is None
    for number in range(6):
        one.expect("twilio", str(number), "+4930")
    assert two.take("twilio", "0") is None
    assert two.take("twilio", "1") == "+4930"
    one.close()
    assert two.take("twilio", "2") == "+4930"  # whoever noted it is gone
    two.close()
    assert two.take("twilio", "3") is None


# ---- two workers, each with a port of its own, so that a test chooses ----------------------


@asynccontextmanager
async def worker(index, folder, **server_settings):
    """A worker that siblings reach; (its address, the server)."""
    settings = Settings(
        server={"max_calls": 8, **server_settings},
        webrtc={"ice_hosts": HERE},
        tools={"built_in": ["transfer"], "transfer": {"desk": {"number": "+4930123456"}}},
        telephony={"public_url": "https://phone.example.com", "twilio": {"auth_token": SECRET}},
    )
    engines = Engines(
        utterances(),
        ScriptedResponder(ANSWERS),
        ToneSynthesizer(),
        LoudIsSpeech,
        Compute(),
        ThreadPoolExecutor(2),
    )
    agent = AgentServer(settings, engines, Identity(KEY, "", index, folder))
    server = HttpServer(agent.app(), settings.server)
    sock, ready = listen("127.0.0.1", 0), asyncio.Event()
    parent, channel = socket.socketpair()
    handed = HandedConnections(
        channel, server, agent.telephony.audiosocket, dict, lambda: pytest.fail("no parent")
    )

    async def serve():
        async with handed.taking(folder / f"worker-{index}.sock"):
            ready.set()
            await asyncio.Event().wait()

    running = asyncio.create_task(server.until_stopped([sock]))
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    serving = asyncio.create_task(serve())
    try:
        async with asyncio.timeout(60):
            await ready.wait()
            yield f"127.0.0.1:{sock.getsockname()[1]}", agent
    finally:
        for task in (serving, running):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        parent.close()
        channel.close()
        engines.compute.close()
        engines.voices.shutdown()


@asynccontextmanager
async def workers(folder, **server_settings):
    async with (
        worker(0, folder, **server_settings) as one,
        worker(1, folder, **server_settings) as two,
    ):
        yield one, two


async def waiting(address):
    """The token of a session at this worker whose client was lost."""
    async with dial(address, RESUMABLE) as line:
        token = await token_of(line)
        cut(line)
    return token


@pytest.mark.slow
async def test_a_websocket_at_another_worker_goes_on_with_the_session(tmp_path):
    async with workers(tmp_path) as ((one, agent), (two, other)):
        token = await waiting(one)
        async with back(two, token) as line:
            assert (await until(line, "session.created"))[-1]["resumed"] is True
            token = await token_of(line)
            await ask(line, "how are you")
            await until(line, "response.done")
            (call,) = agent.calls._calls.values()
            # Rates of an address count the client, and not the worker that forwards.
            assert list(agent._resumptions._buckets) == ["127.0.0.1"]
            assert not other.calls._calls
            cut(line)  # a loss is none the less a loss: the session waits again
        async with back(two, token) as line:
            token = await token_of(line)
            async with back(one, token) as direct:
                token = await token_of(direct)
                assert await close_code(line) == RESUMED_ELSEWHERE
                cut(direct)
        async with back(two, token) as line:
            await token_of(line)
        await until_free(f"http://{one}")  # closed with 1000 by its client: a hang-up
        assert call.task.done()


@pytest.mark.slow
async def test_an_offer_at_another_worker_goes_on_with_the_session(tmp_path):
    async with workers(tmp_path) as ((one, agent), (two, _)):
        first, second = rtc(f"http://{one}", RESUMABLE), rtc(f"http://{two}", "")
        try:
            await first.connect()
            path = f"{CALLS}?onebreath=1&resume={await rtc_token(first)}"
            head = {"Content-Type": "application/sdp"}
            async with httpx.AsyncClient(base_url=f"http://{two}") as web:
                answer = await web.post(path, content="no offer", headers=head)
                assert answer.json()["error"]["code"] == "invalid_offer"
                answer = await web.post(path, content=await second.offer(), headers=head)
            assert answer.status_code == 201
            assert answer.headers["location"] == f"{CALLS}/{first.call_id}"
            assert answer.headers["content-type"].startswith("application/sdp")
            await second.peer.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
            assert (await second.until("session.created"))[-1]["resumed"] is True
            assert len(agent.calls) == 1
        finally:
            await first.close()
            await second.close()


@pytest.mark.slow
async def test_a_wrong_token_gets_the_same_answer_at_every_worker(tmp_path):
    async with workers(tmp_path) as ((one, agent), (two, _)):
        token = await waiting(one)
        used = await waiting(one)
        async with back(one, used) as line:
            await token_of(line)
            wrong = [used, forged(token, 1), forged(token, 9), token_from(resumption(9)), "rs_"]
            for each in wrong:
                for address in (one, two):
                    status, error = await refused(address, each)
                    assert (status, error["code"]) == (404, "session_not_found")
                    assert error["message"] == NOBODY
            # Who says that it was forwarded before gets no further.
            assert (await refused(two, token, {FORWARDED: "1"}))[0] == 404
            sdp, head = await offer_of(), {"Content-Type": "application/sdp"}
            async with httpx.AsyncClient(base_url=f"http://{two}") as web:
                for each in (used, token_from(resumption(9))):
                    answer = await web.post(f"{CALLS}?resume={each}", content=sdp, headers=head)
                    assert answer.status_code == 404
                    assert answer.json()["error"]["message"] == NOBODY
        assert agent.resumption._failures._buckets.keys() == {"127.0.0.1"}
        async with back(two, token) as line:
            assert (await until(line, "session.created"))[-1]["resumed"]


@pytest.mark.slow
async def test_nobody_on_the_network_can_say_that_he_is_somebody_else(tmp_path):
    async with workers(tmp_path) as ((one, agent), _):
        await refused(one, "rs_", {CLIENT: "192.0.2.1"})
        assert list(agent._resumptions._buckets) == ["127.0.0.1"]


@pytest.mark.slow
async def test_a_token_of_a_worker_that_is_gone_is_a_wrong_token(tmp_path):
    async with worker(1, tmp_path) as (two, _):
        async with worker(0, tmp_path) as (one, agent):
            token = await waiting(one)
            async with back(two, token) as line:
                token = await token_of(line)
                await agent.calls.end_all()
                assert await close_code(line) == SERVICE_RESTART
            token = token_from(agent.resumption)
        async with httpx.AsyncClient(base_url=f"http://{two}") as web:
            head = {"Content-Type": "application/sdp"}
            answer = await web.post(
                f"{CALLS}?resume={token}", content=await offer_of(), headers=head
            )
            assert answer.status_code == 404
            assert answer.json()["error"]["message"] == NOBODY
        status, error = await refused(two, token)
        assert (status, error["message"]) == (404, NOBODY)


@pytest.mark.slow
async def test_a_worker_that_drains_carries_the_sessions_of_others_to_their_end(tmp_path):
    async with workers(tmp_path) as ((one, _), (two, other)):
        token = await waiting(one)
        async with back(two, token) as line:
            await token_of(line)
            stopping = stopping_of(other, SimpleNamespace(stop=lambda: None), None)
            drained = asyncio.create_task(stopping._drain())  # what SIGTERM begins
            await ask(line, "how are you")
            await until(line, "response.done")
            assert not drained.done()
            await other.forwarding.drained(0.0)  # bounded
            await line.send(json.dumps({"type": "onebreath.ping", "client_time_ms": 1}))
            await until(line, "onebreath.pong")
        await drained
        assert await lines_in_use(f"http://{two}") == 0


@pytest.mark.slow
async def test_a_provider_may_ask_any_worker_what_comes_after_the_stream(tmp_path):
    async with workers(tmp_path) as ((_, agent), (two, _)):
        agent.telephony.transfers.expect("twilio", "CA1", "+4930123456")
        fields, path = {"CallSid": "CA1"}, "/telephony/twilio/next"
        url = f"https://phone.example.com{path}"
        headers = {
            "content-type": "application/x-www-form-urlencoded",
            "x-twilio-signature": twilio_signature(url, fields.items(), SECRET),
        }
        async with httpx.AsyncClient(base_url=f"http://{two}") as web:
            told = [
                await web.post(path, content=urlencode(fields), headers=headers) for _ in range(2)
            ]
        first, second = (Xml.fromstring(each.text) for each in told)
        assert first.findtext("Dial") == "+4930123456"
        assert second.find("Hangup") is not None
