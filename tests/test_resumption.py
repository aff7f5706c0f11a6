"""Sessions that are resumed over another connection: the real server on a real socket."""

import asyncio
import gc
import json
import logging

import httpx
import psutil
import pytest
from aiortc import RTCPeerConnection
from starlette.datastructures import Headers
from support.fakes import silence, speech
from support.webrtc_calls import CALLS, HERE, Ear, agent, call, lines_in_use, offer_of, until_free
from test_server import WIRE, append, close_code, dial, server, until
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from agent.close_codes import RESUMED_ELSEWHERE
from agent.config.settings import ApiKeySettings, ServerSettings
from agent.latency.rtc_caller import RtcCaller
from agent.runtime.calls import CallRegistry
from agent.server.access import Access, Refused
from agent.server.keys import Caller, Keys, new_key
from agent.server.resumption import Resumption, hide_tokens, worker_of
from agent.server.sessions import OpenedSession
from agent.session.session import Session

RESUMABLE = "?onebreath=1&resumable=true"


def typed(text):
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content}
    yield json.dumps({"type": "conversation.item.create", "item": item})
    yield json.dumps({"type": "response.create"})


async def ask(line, text):
    for event in typed(text):
        await line.send(event)


async def token_of(line):
    return (await until(line, "onebreath.session.resumable"))[-1]["token"]


def cut(line):
    """The network is gone: no close frame, no hang-up."""
    line.transport.abort()


def back(address, token, query=""):
    return dial(address, f"?onebreath=1&resume={token}{query}")


async def refused(address, token, headers=None):
    with pytest.raises(InvalidStatus) as error:
        async with connect(
            f"ws://{address}/v1/realtime?resume={token}", additional_headers=headers or {}
        ):
            pass
    answer = error.value.response
    return answer.status_code, json.loads(answer.body)["error"]


# ---- over the websocket -----------------------------------------------------------------


@pytest.mark.slow
async def test_a_session_goes_on_over_another_websocket():
    async with server("how are you") as (address, _):
        async with dial(address, RESUMABLE) as line:
            created = (await until(line, "session.created"))[-1]
            assert "resumed" not in created
            way_back = (await until(line, "onebreath.session.resumable"))[-1]
            assert way_back["resume_seconds"] == 30
            await line.send(
                json.dumps(
                    {
                        "type": "session.update",
                        "session": {"type": "realtime", "instructions": "Be brief."},
                    }
                )
            )
            await ask(line, "how are you")
            await until(line, "response.done")
            cut(line)
        async with back(address, way_back["token"]) as line:
            again = (await until(line, "session.created"))[-1]
            assert again["resumed"] is True
            assert again["session"]["id"] == created["session"]["id"]
            assert again["session"]["instructions"] == "Be brief."
            another = await token_of(line)
            assert another != way_back["token"]
            items = [json.loads(await line.recv()) for _ in range(4)]
            added = [each["item"] for each in items if each["type"].endswith("added")]
            words = [item["content"][0] for item in added]
            assert words[0]["text"] == "how are you"
            assert words[1]["transcript"] == "Fine."
            await ask(line, "again")
            done = (await until(line, "response.done"))[-1]
            assert done["response"]["output"][0]["content"][0]["transcript"] == "Again and again."


@pytest.mark.slow
async def test_what_was_being_spoken_goes_on():
    async with server() as (address, _):
        async with dial(address, RESUMABLE) as line:
            token = await token_of(line)
            await ask(line, "talk")
            events = await until(line, "response.output_audio.delta")
            old = events[-1]["response_id"]
            for _ in range(20):
                await until(line, "response.output_audio.delta")
            cut(line)
        async with back(address, token) as line:
            events = await until(line, "response.output_audio.delta")
            assert events[-1]["response_id"] != old
            created = next(each for each in events if each["type"] == "response.created")
            assert created["response"]["id"] == events[-1]["response_id"]
            said = "".join(
                each["delta"]
                for each in events
                if each["type"] == "response.output_audio_transcript.delta"
            )
            assert said.startswith("word word")
            await line.send(json.dumps({"type": "response.cancel"}))
            heard = (await until(line, "response.done"))[-1]["response"]["output"][0]
            # The sound so far: at least what came over the first connection.
            assert len(heard["content"][0]["transcript"].split()) >= 5


@pytest.mark.slow
async def test_a_turn_that_was_half_spoken_goes_on():
    async with server("how are you") as (address, _):
        async with dial(address, RESUMABLE) as line:
            token = await token_of(line)
            await line.send(append(silence(0.1, WIRE), speech(0.4, WIRE)))
            began = (await until(line, "input_audio_buffer.speech_started"))[-1]
            cut(line)
        async with back(address, token) as line:
            again = (await until(line, "input_audio_buffer.speech_started"))[-1]
            assert again["item_id"] == began["item_id"]
            await line.send(append(speech(0.2, WIRE), silence(0.9, WIRE)))
            ended = (await until(line, "input_audio_buffer.committed"))[-1]
            assert ended["item_id"] == began["item_id"]
            await until(line, "response.done")


@pytest.mark.slow
async def test_the_old_connection_is_closed_with_a_reason():
    async with server() as (address, _), dial(address, RESUMABLE) as old:
        token = await token_of(old)
        async with back(address, token) as line:
            await token_of(line)
            assert await close_code(old) == RESUMED_ELSEWHERE
            assert "another connection" in old.close_reason
            await ask(line, "how are you")
            await until(line, "response.done")


@pytest.mark.slow
async def test_a_hang_up_is_the_end():
    async with server() as (address, _):
        async with dial(address, RESUMABLE) as line:
            token = await token_of(line)
        await until_free(f"http://{address}")
        assert (await refused(address, token))[0] == 404


@pytest.mark.slow
async def test_who_does_not_ask_sees_no_difference():
    async with server() as (address, _):
        async with dial(address, "") as line:
            await ask(line, "how are you")
            kinds = [event["type"] for event in await until(line, "response.done")]
            assert not [kind for kind in kinds if kind.startswith("onebreath")]
            cut(line)
        await until_free(f"http://{address}")


@pytest.mark.slow
async def test_a_server_may_be_set_to_wait_for_nobody():
    async with server(resume_seconds=0) as (address, _), dial(address, RESUMABLE) as line:
        await ask(line, "how are you")
        kinds = [event["type"] for event in await until(line, "response.done")]
        assert "onebreath.session.resumable" not in kinds


@pytest.mark.slow
async def test_nobody_is_waited_for_for_ever():
    async with server(resume_seconds=0.05) as (address, _):
        async with dial(address, RESUMABLE) as line:
            token = await token_of(line)
            cut(line)
        await until_free(f"http://{address}")
        assert (await refused(address, token))[0] == 404


async def test_a_session_that_waits_keeps_its_place_on_a_full_server():
    async with server(max_calls=1) as (address, _):
        async with dial(address, RESUMABLE) as line:
            token = await token_of(line)
            cut(line)
        async with dial(address) as other:
            assert (await until(other, "error"))[-1]["error"]["code"] == "server_full"
        async with back(address, token) as line:
            assert (await until(line, "session.created"))[-1]["resumed"]


# ---- tokens -------------------------------------------------------------------------------


@pytest.mark.slow
async def test_sound_alone_does_not_prove_that_a_client_knows_its_next_token(monkeypatch):
    """A page whose first events are late gives the connection up, its sound having come through."""
    monkeypatch.setattr("agent.server.resumption.UNPROVEN_SECONDS", 0.0)
    async with server() as (address, _), dial(address, RESUMABLE) as line:
        token = await token_of(line)
        async with back(address, token) as another:
            await another.send(append(silence(0.5, WIRE)))
            await another.send(append(speech(0.3, WIRE)))
            await until(another, "input_audio_buffer.speech_started")
            cut(another)
        async with back(address, token) as again:
            assert (await until(again, "session.created"))[-1]["resumed"] is True


async def test_a_token_whose_client_was_not_heard_works_again_a_little_later(monkeypatch):
    """Its connection may have come up after its client had given it up: a page tries again."""
    async with server() as (address, _), dial(address, RESUMABLE) as line:
        token = await token_of(line)
        async with back(address, token) as another:
            await token_of(another)
            assert (await refused(address, token))[0] == 404
            cut(another)
        monkeypatch.setattr("agent.server.resumption.UNPROVEN_SECONDS", 0.0)
        async with back(address, token) as again:
            assert (await until(again, "session.created"))[-1]["resumed"] is True


async def test_whatever_is_wrong_with_a_token_the_answer_is_the_same():
    async with server() as (address, _), dial(address, RESUMABLE) as line:
        token = await token_of(line)
        async with back(address, token) as another:
            await token_of(another)
            await another.send('{"type": "input_audio_buffer.clear"}')  # so that it is heard
            await until(another, "input_audio_buffer.cleared")
            wrong = ["", "x", "rs_", "rs_%00", token[:-1], token + "A", "rs_" + "A" * 56, token]
            answers = [await refused(address, each) for each in wrong]
        assert {status for status, _ in answers} == {404}
        assert len({error["message"] for _, error in answers}) == 1


async def test_a_token_is_of_no_use_to_another_key():
    mine, mine_hash = new_key()
    theirs, theirs_hash = new_key()
    keys = {"mine": {"hash": mine_hash}, "theirs": {"hash": theirs_hash}}
    async with server(api_keys=keys) as (address, _):
        own, foreign = ({"Authorization": f"Bearer {key}"} for key in (mine, theirs))
        async with dial(address, RESUMABLE, additional_headers=own) as line:
            token = await token_of(line)
            cut(line)
        assert (await refused(address, token))[0] == 401
        assert (await refused(address, token, foreign))[0] == 404
        async with dial(address, f"?resume={token}", additional_headers=own) as line:
            assert (await until(line, "session.created"))[-1]["resumed"]


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


def begun_by_a_secret(clock):
    """A session that a client secret of a minute began, and the headers with that secret."""
    _, digest = new_key()
    access = Access(ServerSettings(), Keys({"app": ApiKeySettings(hash=digest)}, clock))
    app = access.keys._callers["app"]
    secret = access.keys.make_secret(app, {})
    headers = Headers({"authorization": f"Bearer {secret.value}"})
    kept, by_secret = Resumption(30.0), access.admit(headers).by_secret
    call, opened = CallRegistry(4).admit("websocket"), OpenedSession(None, None, None, True)
    slot, (token, _) = kept.register(call, opened, app, None, by_secret)
    slot.replace = lambda another: None
    return kept, access, token, headers


def refusal(kept, access, token, headers):
    with pytest.raises(Refused) as error:
        kept.caller(access, token, "here", headers)
    return error.value.status, str(error.value)


@pytest.mark.parametrize("sent", [True, False])
def test_a_session_outlives_the_client_secret_that_began_it(sent):
    clock = Clock()
    kept, access, token, headers = begun_by_a_secret(clock)
    headers = headers if sent else Headers()
    clock.now += 3600
    caller = kept.caller(access, token, "here", headers)
    assert caller is None
    with kept.redeeming(token, caller, "here") as resumable:
        assert resumable.caller.name == "app"
        kept.hand_over(resumable, token, None, {}, rtc=False)
    resumable.slot.heard = True
    assert refusal(kept, access, token, headers)[0] == (404 if sent else 401), "it was used"


def test_an_expired_secret_with_a_bad_token_is_told_no_more_than_anybody():
    clock = Clock()
    kept, access, token, headers = begun_by_a_secret(clock)
    clock.now += 3600
    wrong = [refusal(kept, access, each, headers) for each in ("", "x", token[:-1], token + "A")]
    assert set(wrong) == {(404, "no session waits for this token")}
    assert refusal(kept, access, "x", Headers())[0] == 401
    tries = {refusal(kept, access, "x", headers)[0] for _ in range(40)}
    assert tries == {404, 429}


def test_a_session_of_a_key_that_is_gone_is_not_resumed():
    clock = Clock()
    kept, access, token, headers = begun_by_a_secret(clock)
    clock.now += 3600
    _, digest = new_key()
    access.take(ServerSettings(api_keys={"other": ApiKeySettings(hash=digest)}))
    assert refusal(kept, access, token, headers)[0] == 404


def test_a_session_that_a_key_began_needs_the_key():
    kept, _, _, _, token = resumption(lambda: 0.0)
    _, access, _, expired = begun_by_a_secret(clock := Clock())
    clock.now += 3600
    assert refusal(kept, access, token, Headers())[0] == 401
    assert refusal(kept, access, token, expired)[0] == 404
    with pytest.raises(Refused) as error, kept.redeeming(token, None, "here"):
        pass
    assert error.value.status == 404


@pytest.mark.slow
async def test_tokens_cannot_be_tried_by_the_thousand():
    async with server(max_calls=100) as (address, _):
        answers = [await refused(address, f"rs_{n}") for n in range(25)]
    assert {status for status, _ in answers} == {404, 429}


@pytest.mark.slow
async def test_a_token_is_in_no_log(caplog, monkeypatch):
    log = logging.getLogger("uvicorn.error")  # which other tests may have set up otherwise
    monkeypatch.setattr(log, "disabled", False)
    monkeypatch.setattr(log, "propagate", True)
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, log.name):
        async with server() as (address, _):
            async with dial(address, RESUMABLE) as line:
                token = await token_of(line)
                cut(line)
            async with back(address, token) as line:
                another = await token_of(line)
    lines = [
        record.getMessage() for record in caplog.records if not record.name.startswith("websockets")
    ]
    assert any("resume=..." in line for line in lines)
    assert not [line for line in lines if token in line or another in line]


def resumption(clock):
    calls = CallRegistry(4)
    kept = Resumption(30.0, worker=7, clock=clock)
    admitted = calls.admit("websocket")
    opened = OpenedSession(None, None, None, True)
    slot, (token, seconds) = kept.register(admitted, opened, Caller("me"), None)
    assert seconds == 30.0
    slot.replace = lambda another: another
    return kept, calls, admitted, slot, token


def redeem(kept, token, caller="me"):
    with kept.redeeming(token, Caller(caller), "here") as resumable:
        kept.hand_over(resumable, token, None, {}, rtc=False)
        return resumable


def test_the_worker_can_be_read_from_a_token():
    *_, token = resumption(lambda: 0.0)
    assert worker_of(token) == 7
    assert worker_of("rs_abc") is None
    assert worker_of("") is None


def test_a_used_token_opens_once_more_only_if_its_client_never_spoke():
    now = [100.0]
    kept, _, _, slot, token = resumption(lambda: now[0])
    redeem(kept, token)
    with pytest.raises(Refused) as error:
        redeem(kept, token)
    assert error.value.status == 404
    now[0] += 5.0
    redeem(kept, token)  # the answer with the next token had not arrived
    slot.heard = True
    now[0] += 5.0
    with pytest.raises(Refused):
        redeem(kept, token)


def test_the_second_of_two_at_once_is_told():
    kept, _, _, _, token = resumption(lambda: 0.0)
    with kept.redeeming(token, Caller("me"), "here"):
        with pytest.raises(Refused) as error:
            redeem(kept, token)
        assert (error.value.status, error.value.code) == (409, "resumption_under_way")
    redeem(kept, token)


def test_the_end_of_a_call_leaves_no_token():
    kept, calls, admitted, _, token = resumption(lambda: 0.0)
    redeem(kept, token)
    assert len(kept) == 2
    calls.remove(admitted)
    assert len(kept) == 0


def test_a_call_that_ends_while_it_is_resumed_leaves_no_token():
    kept, calls, admitted, _, token = resumption(lambda: 0.0)
    with kept.redeeming(token, Caller("me"), "here") as resumable:
        calls.remove(admitted)
        with pytest.raises(Refused) as error:
            kept.hand_over(resumable, token, object(), {}, rtc=False)
    assert error.value.code == "session_not_found"
    assert len(kept) == 0


def test_tokens_do_not_pile_up():
    kept, _, _, slot, token = resumption(lambda: 0.0)
    tokens = [token]
    slot.replace = lambda another: tokens.append(another.token)
    for _ in range(50):
        redeem(kept, tokens[-1])
        slot.heard = True
    assert len(kept) == 2
    assert len(set(tokens)) == 51


def test_addresses_in_the_log_keep_no_token():
    args = ("1.2.3.4", "/v1/realtime?resume=rs_secret&onebreath=1", 404)
    record = logging.LogRecord("uvicorn.error", logging.INFO, "", 0, "%s %s %d", args, None)
    assert hide_tokens(record)
    assert record.getMessage() == "1.2.3.4 /v1/realtime?resume=...&onebreath=1 404"


# ---- over WebRTC --------------------------------------------------------------------------


async def rtc_token(caller):
    return (await caller.until("onebreath.session.resumable"))[-1]["token"]


def rtc(url, query, ear=None):
    return RtcCaller(url, HERE, ear, query=query)


@pytest.mark.slow
async def test_a_session_goes_on_over_a_new_offer():
    ear = Ear()
    async with agent() as (url, _):
        first, second = rtc(url, RESUMABLE), None
        try:
            await first.connect()
            token = await rtc_token(first)
            content = [{"type": "input_text", "text": "talk"}]
            first.send(
                "conversation.item.create",
                item={"type": "message", "role": "user", "content": content},
            )
            first.send("response.create")
            await first.until("output_audio_buffer.started")
            second = rtc(url, f"?onebreath=1&resume={token}", ear)
            await second.connect()
            await second.until("output_audio_buffer.started")
            assert second.created["resumed"] is True
            assert await lines_in_use(url) == 1
            await ear.heard(0.2)
            assert (await first.until("error"))[-1]["error"]["code"] == "call_ended"
        finally:
            await first.close()
            if second is not None:
                await second.close()


@pytest.mark.slow
async def test_from_webrtc_to_the_websocket_and_back():
    async with agent() as (url, _):
        first = rtc(url, RESUMABLE)
        await first.connect()
        token = await rtc_token(first)
        async with back(url.removeprefix("http://"), token) as line:
            await first.close()
            token = await token_of(line)
            await ask(line, "how are you")
            events = await until(line, "response.done")
            assert "response.output_audio.delta" in [event["type"] for event in events]
            third = rtc(url, f"?onebreath=1&resume={token}")
            try:
                await third.connect()
                assert third.created["resumed"] is True
                assert await close_code(line) == RESUMED_ELSEWHERE
                async with httpx.AsyncClient(base_url=url) as web:
                    hang_up = await web.post(f"{CALLS}/{third.call_id}/hangup")
                assert hang_up.status_code == 200
                await until_free(url)
            finally:
                await third.close()


@pytest.mark.slow
async def test_a_sideband_stays_with_the_session():
    async with agent() as (url, _):
        address = url.removeprefix("http://")
        first, third = rtc(url, RESUMABLE), None
        await first.connect()
        token = await rtc_token(first)
        async with dial(address, f"?call_id={first.call_id}") as beside:
            await until(beside, "session.created")
            async with back(address, token) as line:
                await first.close()
                assert (await until(beside, "session.created"))[-1]["resumed"]
                token = await token_of(line)
                await ask(beside, "how are you")
                seen = [event["type"] for event in await until(beside, "response.done")]
                assert "response.output_audio.delta" not in seen
                assert "onebreath.session.resumable" not in seen
                await until(line, "response.done")
                third = rtc(url, f"?onebreath=1&resume={token}")
                await third.connect()
            try:
                assert (await until(beside, "session.created"))[-1]["resumed"]
                await ask(beside, "again")
                await third.until("response.done")
                await until(beside, "response.done")
                async with httpx.AsyncClient(base_url=url) as web:
                    await web.post(f"{CALLS}/{third.call_id}/hangup")
                assert await close_code(beside) == 1000
            finally:
                await third.close()


@pytest.mark.slow
async def test_an_offer_with_a_bad_token_is_answered_like_any():
    sdp = await offer_of()
    async with agent() as (url, _), httpx.AsyncClient(base_url=url) as web:
        head = {"Content-Type": "application/sdp"}
        answer = await web.post(f"{CALLS}?resume=rs_no", content=sdp, headers=head)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "session_not_found"


@pytest.mark.slow
async def test_a_lost_peer_is_waited_for():
    async with agent() as (url, _):
        async with call(url) as caller:
            await caller.close()
            await until_free(url)  # without asking, as ever
        caller = rtc(url, RESUMABLE)
        await caller.connect()
        token = await rtc_token(caller)
        await caller.close()
        async with back(url.removeprefix("http://"), token) as line:
            assert (await until(line, "session.created"))[-1]["resumed"]


# ---- many times ---------------------------------------------------------------------------


@pytest.mark.slow
async def test_two_hundred_resumptions_leave_nothing_behind(monkeypatch):
    monkeypatch.setattr("agent.server.app.SPARE_RESUMPTIONS", 1000)
    async with server(within=200) as (address, _):
        async with dial(address, RESUMABLE) as line:
            token = await token_of(line)
            cut(line)
        tasks = None
        for turn in range(200):
            async with back(address, token) as line:
                token = await token_of(line)
                if turn % 10 == 0:
                    await ask(line, "how are you")
                    await until(line, "response.done")
                cut(line)
            if turn == 20:
                tasks = len(asyncio.all_tasks())
        assert len(asyncio.all_tasks()) <= tasks + 2
        gc.collect()
        assert len([each for each in gc.get_objects() if type(each) is Session]) == 1
        assert await lines_in_use(f"http://{address}") == 1
        async with back(address, token):
            pass
        await until_free(f"http://{address}")
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) is Session]


def peers():
    gc.collect()
    return [each for each in gc.get_objects() if type(each) is RTCPeerConnection]


def lose(caller):
    """The network is gone: nothing comes or goes, and nobody is told."""

    async def nowhere(*_):
        pass

    transport = caller.peer.getTransceivers()[0].sender.transport.transport
    for protocol in transport._connection._protocols:
        protocol.send_data = nowhere
        protocol.send_stun = protocol.datagram_received = lambda *_: None


@pytest.mark.slow
@pytest.mark.long
async def test_two_hundred_resumptions_over_webrtc_leave_nothing_behind():
    before = len(peers())
    async with agent(within=600, offers_per_minute=60_000) as (url, _):
        address, token = url.removeprefix("http://"), ""
        tasks = descriptors = None
        for turn in range(201):
            query = f"&resume={token}" if token else "&resumable=true"
            caller = RtcCaller(url, HERE, query=f"?onebreath=1{query}")
            await caller.connect()
            assert caller.created.get("resumed", False) is bool(token)
            token = (await caller.until("onebreath.session.resumable"))[-1]["token"]
            if turn % 20 == 0:  # and now and then over the other transport
                async with back(address, token) as line:
                    token = await token_of(line)
                    await ask(line, "how are you")
                    await until(line, "response.done")
                    cut(line)
            if turn % 2:
                lose(caller)
            await caller.close()
            if turn == 20:
                tasks, descriptors = len(asyncio.all_tasks()), psutil.Process().num_fds()
        async with asyncio.timeout(20):  # the newest connections are still being closed
            while len(asyncio.all_tasks()) > tasks + 5:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert psutil.Process().num_fds() <= descriptors + 10
        assert len([each for each in gc.get_objects() if type(each) is Session]) == 1
        assert len(peers()) <= before + 3, "the newest of either end, and one that is being closed"
        assert await lines_in_use(url) == 1
        async with back(address, token):
            pass
        await until_free(url)
    assert len(peers()) <= before + 1
