"""Keys, client secrets, TLS and pages of other origins, against the real server."""

import datetime
import json
import ssl

import httpx
import pytest
from support.fakes import speech
from support.webrtc_calls import agent, call, offer_of
from test_server import WIRE, append, close_code, dial, server, until
from typer.testing import CliRunner
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from agent.cli.main import app
from agent.cli.serving import listening
from agent.config.settings import ApiKeySettings, Settings
from agent.errors import ConfigError
from agent.server.keys import Allowance, Caller, Keys, new_key
from agent.server.tls import self_signed

KEY, HASH = new_key()
KEYS = {"app": {"hash": HASH}}
BEARER = {"Authorization": f"Bearer {KEY}"}


def web_at(address, **options):
    return httpx.AsyncClient(base_url=f"http://{address}", **options)


async def refused(address, **options):
    with pytest.raises(InvalidStatus) as caught:
        async with dial(address, **options):
            pass
    return caught.value.response.status_code


@pytest.mark.slow
async def test_without_a_key_nobody_calls():
    async with server(api_keys=KEYS) as (address, _), web_at(address) as web:
        assert await refused(address) == 401
        assert await refused(address, additional_headers={"Authorization": "Bearer ob_no"}) == 401
        for path in ("/v1/realtime/calls", "/v1/realtime/client_secrets", "/v1/realtime/sessions"):
            answer = await web.post(path, json={})
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
        assert (await web.get("/v1/realtime/ice")).status_code == 401
        assert (await web.get("/healthz")).status_code == 200


async def test_a_key_admits_by_header_and_by_subprotocol():
    async with server(api_keys=KEYS) as (address, _):
        async with dial(address, additional_headers=BEARER) as line:
            await until(line, "session.created")
        names = ["realtime", f"openai-insecure-api-key.{KEY}"]
        async with dial(address, subprotocols=names) as line:
            assert line.subprotocol == "realtime"
            await until(line, "session.created")


async def test_a_client_secret_brings_its_session_with_it():
    async with server(api_keys=KEYS) as (address, _), web_at(address) as web:
        session = {"type": "realtime", "instructions": "Speak like a pirate."}
        body = {"session": session, "expires_after": {"anchor": "created_at", "seconds": 30}}
        made = await web.post("/v1/realtime/client_secrets", json=body, headers=BEARER)
        secret = made.json()
        assert secret["value"].startswith("ek_")
        assert secret["session"]["instructions"] == "Speak like a pirate."
        assert made.headers["cache-control"] == "no-store"
        held = {"Authorization": f"Bearer {secret['value']}"}
        async with dial(address, additional_headers=held) as line:
            (created,) = await until(line, "session.created")
        assert created["session"]["instructions"] == "Speak like a pirate."
        again = await web.post("/v1/realtime/client_secrets", json={}, headers=held)
        assert again.status_code == 403, "a secret makes no secrets"


async def test_the_session_of_the_beta_has_its_secret_inside():
    async with server() as (address, _), web_at(address) as web:
        made = await web.post("/v1/realtime/sessions", json={"model": "m", "voice": "alloy"})
        assert made.json()["client_secret"]["value"].startswith("ek_")
        bad = await web.post("/v1/realtime/sessions", json={"instructions": 7})
        assert bad.status_code == 400
        assert bad.json()["error"]["param"] == "session.instructions"
        words = await web.post("/v1/realtime/client_secrets", content=b"hello")
        assert words.json()["error"]["code"] == "invalid_json"
        kind = await web.post("/v1/realtime/transcription_sessions", json={})
        assert kind.json()["type"] == "transcription"


@pytest.mark.slow
async def test_a_browser_of_another_site_reads_the_answers_where_keys_are_needed():
    page = {"Origin": "https://app.example"}
    wanted = {**page, "Access-Control-Request-Method": "POST"}
    wanted["Access-Control-Request-Headers"] = "authorization,content-type,x-openai-agents-sdk"
    async with server(api_keys=KEYS) as (address, _), web_at(address) as web:
        flight = await web.options("/v1/realtime/calls", headers=wanted)
        assert flight.status_code == 200
        assert flight.headers["access-control-allow-origin"] == "*"
        assert "x-openai-agents-sdk" in flight.headers["access-control-allow-headers"]
        async with dial(address, additional_headers={**BEARER, **page}) as line:
            await until(line, "session.created")
    async with server() as (address, _), web_at(address) as web:
        flight = await web.options("/v1/realtime/calls", headers=wanted)
        assert "access-control-allow-origin" not in flight.headers
        assert await refused(address, additional_headers=page) == 403
    async with (
        server(allowed_origins=["https://app.example"]) as (address, _),
        web_at(address) as web,
    ):
        flight = await web.options("/v1/realtime/calls", headers=wanted)
        assert flight.headers["access-control-allow-origin"] == "https://app.example"


async def test_a_key_has_its_own_number_of_calls():
    keys = {"app": {"hash": HASH, "max_calls": 1}}
    async with server(api_keys=keys) as (address, _):
        async with dial(address, additional_headers=BEARER) as line:
            await until(line, "session.created")
            async with dial(address, additional_headers=BEARER) as second:
                (error,) = await until(second, "error")
            assert error["error"]["code"] == "rate_limit_exceeded"
        kind = "error"
        while kind == "error":  # the place is free once the server has seen the close
            async with dial(address, additional_headers=BEARER) as line:
                kind = json.loads(await line.recv())["type"]
        assert kind == "session.created"


async def test_a_key_has_its_own_rate_of_events():
    keys = {"app": {"hash": HASH, "events_per_minute": 60}}
    async with (
        server(api_keys=keys) as (address, _),
        dial(address, additional_headers=BEARER) as line,
    ):
        for _ in range(61):
            await line.send(append(speech(0.02, WIRE)))
        error = (await until(line, "error"))[-1]["error"]
    assert error["code"] == "rate_limit_exceeded"


async def test_a_webrtc_call_needs_a_key_and_takes_its_secrets_session():
    async with agent(api_keys=KEYS) as (url, _), httpx.AsyncClient(base_url=url) as web:
        offer = await offer_of()
        sdp = {"Content-Type": "application/sdp"}
        assert (await web.post("/v1/realtime/calls", content=offer, headers=sdp)).status_code == 401
        body = {"session": {"type": "realtime", "instructions": "x"}}
        made = await web.post("/v1/realtime/client_secrets", json=body, headers=BEARER)
        held = {"Authorization": f"Bearer {made.json()['value']}", **sdp}
        answer = await web.post("/v1/realtime?model=gpt-realtime", content=offer, headers=held)
        assert answer.status_code == 201
        assert answer.headers["location"].startswith("/v1/realtime/calls/rtc_")


async def test_a_call_of_another_key_has_no_sideband():
    other, digest = new_key()
    keys = {**KEYS, "other": {"hash": digest}}
    async with agent(api_keys=keys) as (url, _), httpx.AsyncClient(base_url=url) as web:
        headers = {**BEARER, "Content-Type": "application/sdp"}
        answer = await web.post("/v1/realtime/calls", content=await offer_of(), headers=headers)
        call_id = answer.headers["location"].rpartition("/")[2]
        address, query = url.removeprefix("http://"), f"?call_id={call_id}"
        another = {"Authorization": f"Bearer {other}"}
        assert await refused(address, query=query, additional_headers=another) == 404
        async with dial(address, query, additional_headers=BEARER) as line:
            await until(line, "session.created")


async def test_an_unknown_call_has_no_sideband():
    async with server() as (address, _):
        assert await refused(address, query="?call_id=rtc_none") == 404


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


def test_keys_and_secrets_expire():
    clock = Clock()
    later = datetime.datetime.fromtimestamp(clock.now + 100, datetime.UTC)
    keys = Keys({"app": ApiKeySettings(hash=HASH, expires=later)}, clock)
    caller = keys.admit(KEY).caller
    secret = keys.make_secret(caller, {"instructions": "x"})
    assert keys.admit(secret.value).session == {"instructions": "x"}
    clock.now += 61
    assert keys.admit(secret.value) is None
    assert keys.admit(KEY) is not None
    clock.now += 40
    assert keys.admit(KEY) is None


@pytest.mark.slow
def test_the_oldest_secrets_go_first():
    keys = Keys({}, Clock())
    first, *_ = [keys.make_secret(Caller(), {"n": n}) for n in range(4097)]
    assert keys.admit(first.value).session is None


def test_a_rate_fills_up_again():
    clock = Clock()
    rate = Allowance(60, clock)
    assert [rate.take() for _ in range(61)] == [True] * 60 + [False]
    clock.now += 1.5
    assert [rate.take(), rate.take()] == [True, False]


async def test_tls_with_a_certificate_of_the_servers_own(tmp_path):
    certificate, key = self_signed(tmp_path / "tls")
    assert key.stat().st_mode & 0o077 == 0
    assert self_signed(tmp_path / "tls") == (certificate, key)
    trust = ssl.create_default_context(cafile=certificate)
    async with server(certificate=certificate, key=key) as (address, _):
        async with connect(f"wss://{address}/v1/realtime", ssl=trust, compression=None) as line:
            await until(line, "session.created")
        async with httpx.AsyncClient(verify=trust) as web:
            assert (await web.get(f"https://{address}/")).status_code == 200


def settings(**server):
    return Settings(server=server)


def test_other_machines_may_not_call_without_a_key_unless_that_is_said():
    with pytest.raises(ConfigError, match="onebreath key NAME"):
        listening(settings(host="0.0.0.0"), self_signed=False, insecure=False)
    listening(settings(host="0.0.0.0"), self_signed=False, insecure=True)
    listening(settings(host="0.0.0.0", api_keys=KEYS), self_signed=False, insecure=False)
    for host in ("127.0.0.1", "::1", "localhost"):
        listening(settings(host=host), self_signed=False, insecure=False)


def test_a_self_signed_server_has_a_key_of_its_run_in_its_link(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    where = listening(settings(host="0.0.0.0"), self_signed=True, insecure=False)
    page = where.page("192.0.2.7", 8443)
    address, _, key = page.partition("#key=")
    assert address == "https://192.0.2.7:8443/"
    assert Keys(where.settings.server.api_keys).admit(key) is not None


def test_half_of_a_certificate_is_refused():
    with pytest.raises(ValueError, match="set both or neither"):
        settings(certificate="cert.pem")


def test_a_key_is_made_with_the_settings_that_admit_it():
    result = CliRunner().invoke(app, ["key", "phone_app"])
    key = next(line for line in result.output.splitlines() if line.startswith("ob_"))
    line = next(line for line in result.output.splitlines() if line.startswith("hash"))
    keys = Keys({"phone_app": ApiKeySettings(hash=json.loads(line.removeprefix("hash = ")))})
    assert keys.admit(key).caller.name == "phone_app"


async def test_a_sideband_sees_and_steers_a_webrtc_call():
    async with agent() as (url, _), call(url) as caller:
        address = url.removeprefix("http://")
        async with dial(address, f"?call_id={caller.call_id}") as line:
            (created,) = await until(line, "session.created")
            update = {"type": "session.update", "session": {"instructions": "Be brief."}}
            await line.send(json.dumps(update))
            (updated,) = await until(line, "session.updated")
            assert updated["session"]["id"] == created["session"]["id"]
            seen = await caller.until("session.updated")
            assert seen[-1]["session"]["instructions"] == "Be brief."
            caller.send("conversation.item.retrieve", item_id="none")
            await until(line, "error")
            async with httpx.AsyncClient(base_url=url) as web:
                await web.post(f"/v1/realtime/calls/{caller.call_id}/hangup")
            assert await close_code(line) == 1000
