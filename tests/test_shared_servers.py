"""Several processes and machines with one key: places, spent tokens, secrets, calls of others."""

import asyncio
import json
import random
import string
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from urllib.parse import urlencode
from xml.etree import ElementTree as Xml

import httpx
import pytest
from pydantic import ValidationError
from support.fakes import LoudIsSpeech
from support.telephony_peer import start
from support.webrtc_calls import HERE, call
from test_server import dial, until
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from agent.compute import Compute
from agent.config.settings import ApiKeySettings, Settings
from agent.responders.scripted import ScriptedResponder
from agent.runtime.calls import CallRefused, CallRegistry
from agent.runtime.engine_tasks import Engines
from agent.runtime.places import Places, SharedPlaces
from agent.server.app import listen, serve
from agent.server.identity import Identity, Owner
from agent.server.keys import SECRET_PREFIX, Keys, new_key
from agent.server.seal import MAX_LENGTH, Seal, Sealed, SealTooLong
from agent.telephony.access import spent
from agent.telephony.access.signatures import twilio_signature
from agent.telephony.access.spent import SpentOnMachine
from agent.telephony.access.tokens import TokenError, Tokens
from asr.scripted import ScriptedTranscriber
from tts.tone import ToneSynthesizer

LONG = "".join(random.Random(1).choices(string.printable, k=32_000))
KEY = "a key of more than thirty-two characters"
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="no record locks")

# ---- places --------------------------------------------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from agent.runtime.places import SharedPlaces
places = SharedPlaces(Path(sys.argv[1]))
print(places.take("lines", 2) is not None, places.take("key x", 1) is not None, flush=True)
sys.stdin.read()
"""


@needs_posix
def test_processes_count_their_places_together_and_a_dead_one_holds_none(tmp_path):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "places")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout.readline().split() == ["True", "True"]
        places = SharedPlaces(tmp_path / "places")
        free = places.take("lines", 2)
        assert free is not None
        assert places.take("lines", 2) is None
        assert places.full("lines", 2)
        assert places.take("key x", 1) is None
        assert places.take("key y", 1) is not None
        free()
        assert not places.full("lines", 2)
        other.kill()
        other.communicate()
    assert [places.take("lines", 2) is not None for _ in range(3)] == [True, True, False]
    assert places.take("key x", 1) is not None


@pytest.mark.parametrize("shared", [False, pytest.param(True, marks=needs_posix)])
def test_a_registry_frees_the_line_of_a_call_that_its_address_refuses(shared, tmp_path):
    places = SharedPlaces(tmp_path / "places") if shared else Places()
    calls = CallRegistry(4, max_calls_per_address=1, places=places)
    first = calls.admit("websocket", address="192.0.2.1")
    with pytest.raises(CallRefused, match="from this address"):
        calls.admit("websocket", address="192.0.2.1")
    others = [calls.admit("websocket") for _ in range(3)]
    with pytest.raises(CallRefused, match="all 4 lines"):
        calls.admit("websocket")
    for ended in (first, *others):
        calls.remove(ended)
        calls.remove(ended)  # twice is harmless
    assert len([calls.admit("websocket", address=f"192.0.2.{n}") for n in range(4)]) == 4


# ---- spent tokens --------------------------------------------------------------------------


def desks(tmp_path, count=2, **changed):
    """The tokens of several processes of one machine."""
    made = [
        Tokens(b"k" * 32, spent=SpentOnMachine(tmp_path / "spent.sqlite"), **changed)
        for _ in range(count)
    ]
    return made


def test_a_token_is_spent_once_over_all_processes_of_a_machine(tmp_path):
    one, two = desks(tmp_path)
    token = one.issue("CA1", 100.0)
    two.spend(token, "CA1", 101.0)
    for desk in (one, two):
        with pytest.raises(TokenError, match="used before"):
            desk.spend(token, "CA1", 102.0)
    (later,) = desks(tmp_path, 1)  # one that was started again
    with pytest.raises(TokenError, match="used before"):
        later.spend(token, "CA1", 102.0)


def test_spent_tokens_are_forgotten_when_they_expire_and_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(spent, "MAX_SPENT", 2)
    one, two = desks(tmp_path)
    for number in range(2):
        one.spend(one.issue(f"CA{number}", 0.0), f"CA{number}", 1.0)
    with pytest.raises(TokenError, match="too many"):
        two.spend(two.issue("CA9", 1.0), "CA9", 2.0)
    two.spend(two.issue("CA9", 61.0), "CA9", 62.0)


def test_a_token_of_one_machine_opens_nothing_at_another():
    here, there = (Tokens(b"k" * 32, machine=f"https://{name}") for name in ("a", "b"))
    with pytest.raises(TokenError, match="not of this server"):
        there.spend(here.issue("CA1", 0.0), "CA1", 1.0)


def test_a_database_that_cannot_be_written_refuses_the_token(tmp_path):
    store = SpentOnMachine(tmp_path / "spent.sqlite")
    store.close()
    with pytest.raises(TokenError, match="could not be noted"):
        store.add(b"head", 60.0, 1.0)


# ---- client secrets ------------------------------------------------------------------------


def test_a_sealed_secret_is_opened_by_who_has_the_key_and_cannot_be_changed():
    content = Sealed("app", {"instructions": "Be brief. ☎"}, 60)
    text = Seal(b"one").close(content)
    assert Seal(b"one").open(text) == content
    assert Seal(b"two").open(text) is None
    assert "brief" not in text
    for place in range(0, len(text) - 1, 7):
        other = "A" if text[place] != "A" else "B"
        assert Seal(b"one").open(text[:place] + other + text[place + 1 :]) is None


@pytest.mark.parametrize(
    "junk", ["", "A", "é", "a b", "A" * 40, "A" * (MAX_LENGTH + 1), "====", "\0"]
)
def test_what_is_no_sealed_secret_is_refused(junk):
    assert Seal(b"one").open(junk) is None


def test_a_session_that_does_not_fit_is_refused():
    with pytest.raises(SealTooLong, match=r"session\.update"):
        Seal(b"x").close(Sealed("", {"instructions": LONG}, 60))


def test_a_secret_dies_with_its_key_and_its_time():
    key, digest = new_key()
    now = [1000.0]
    settings = {"app": ApiKeySettings(hash=digest, max_calls=1)}
    one = Keys(settings, lambda: now[0], seal=Seal(b"k"))
    two = Keys(settings, lambda: now[0], seal=Seal(b"k"))
    secret = one.make_secret(one.admit(key).caller, {"instructions": "x"})
    assert secret.value.startswith(SECRET_PREFIX)
    admitted = two.admit(secret.value)
    assert (admitted.session, admitted.caller.name) == ({"instructions": "x"}, "app")
    assert Keys({}, lambda: now[0], seal=Seal(b"k")).admit(secret.value).session is None
    other = {"web": ApiKeySettings(hash=new_key()[1])}
    assert Keys(other, lambda: now[0], seal=Seal(b"k")).admit(secret.value) is None
    now[0] += 60.0
    assert two.admit(secret.value) is None


# ---- whose call it is ----------------------------------------------------------------------


def test_a_calls_id_names_its_worker_and_its_machine(tmp_path):
    here = Identity(b"k", "https://a.example", 2, tmp_path)
    call_id = "rtc_00ff" + here.call_suffix()
    assert here.owner(call_id) == Owner(2)
    assert here.socket_of(2) is None
    assert here.socket_of(0) == tmp_path / "worker-0.sock"
    assert Identity(b"k", "https://b.example").owner(call_id) == Owner(2, "https://a.example")
    assert Identity(b"other").owner(call_id) is None
    assert Identity().owner("rtc_00ff") == Owner()


@pytest.mark.parametrize("end", ["-x", "-1234", "-²", ".aHR0cA.bad", ".", "..", ".é.é"])
def test_forged_ids_name_nobody(end):
    assert Identity(b"k").owner("rtc_00ff" + end) in {None, Owner()}


def test_an_address_of_ones_own_needs_a_shared_key():
    with pytest.raises(ValidationError, match="openssl rand"):
        Settings(server={"advertise": "https://a.example"})
    with pytest.raises(ValidationError, match="https"):
        Settings(server={"advertise": "http://a.example", "shared_key": KEY})
    with pytest.raises(ValidationError, match="32"):
        Settings(server={"shared_key": "short"})


# ---- two machines behind one name ----------------------------------------------------------

TWILIO = "0123456789abcdef"
FRONT = "https://phone.example.com"


@asynccontextmanager
async def machine(name, **server):
    """A server with an address of its own, which the others of its name can reach."""
    sock = listen("127.0.0.1", 0)
    address = f"http://127.0.0.1:{sock.getsockname()[1]}"
    settings = Settings(
        server={"shared_key": KEY, "advertise": address, **server},
        webrtc={"ice_hosts": HERE},
        telephony={"public_url": FRONT, "twilio": {"auth_token": TWILIO}},
    )
    engines = Engines(
        ScriptedTranscriber([]),
        ScriptedResponder({}),
        ToneSynthesizer(),
        LoudIsSpeech,
        Compute(),
        ThreadPoolExecutor(2),
    )
    ready = asyncio.Event()
    serving = asyncio.create_task(serve(settings, engines, sock, ready.set), name=name)
    try:
        async with asyncio.timeout(60):
            await ready.wait()
            yield address
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        engines.compute.close()
        engines.voices.shutdown()


@pytest.mark.slow
async def test_a_client_secret_of_one_machine_is_accepted_by_another():
    key, digest = new_key()
    keys = {"app": {"hash": digest}}
    async with (
        machine("a", api_keys=keys) as one,
        machine("b", api_keys=keys) as two,
        httpx.AsyncClient(base_url=one) as web,
    ):
        body = {"session": {"type": "realtime", "instructions": "Be brief."}}
        bearer = {"Authorization": f"Bearer {key}"}
        made = await web.post("/v1/realtime/client_secrets", json=body, headers=bearer)
        held = {"Authorization": f"Bearer {made.json()['value']}"}
        async with dial(two.removeprefix("http://"), "", additional_headers=held) as line:
            created = (await until(line, "session.created"))[-1]
        assert created["session"]["instructions"] == "Be brief."
        body["session"]["instructions"] = noise = random.Random(1).randbytes(8000).hex()
        made = await web.post("/v1/realtime/client_secrets", json=body, headers=bearer)
        long = made.json()["value"]
        assert 8192 < len(long) <= MAX_LENGTH  # longer than a line of a handshake by default
        held = {"Authorization": f"Bearer {long}"}
        async with dial(two.removeprefix("http://"), "", additional_headers=held) as line:
            created = (await until(line, "session.created"))[-1]
        assert created["session"]["instructions"] == noise
        body["session"]["instructions"] = LONG
        long = await web.post("/v1/realtime/client_secrets", json=body, headers=bearer)
        assert (long.status_code, long.json()["error"]["code"]) == (413, "session_too_large")


async def answered(address):
    """(media address, token) of the webhook's answer by the server at ``address``."""
    fields = {"CallSid": "CA1", "From": "+15550100"}
    signature = twilio_signature(f"{FRONT}/telephony/twilio/answer", fields.items(), TWILIO)
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "x-twilio-signature": signature,
    }
    async with httpx.AsyncClient(base_url=address) as web:
        answer = await web.post(
            "/telephony/twilio/answer", content=urlencode(fields), headers=headers
        )
    stream = Xml.fromstring(answer.text).find("Connect/Stream")
    return stream.get("url"), stream.find("Parameter").get("value")


async def is_let_in(url, token):
    """Whether a media socket with this token becomes a call."""
    async with connect(url, compression=None) as line:
        await line.send(start(token=token))
        await line.send(json.dumps({"event": "stop", "streamSid": "MZ1", "stop": {}}))
        await line.wait_closed()
        return line.close_code == 1000


@pytest.mark.slow
async def test_a_webhook_sends_the_provider_to_the_machine_that_issued_the_token():
    async with machine("a") as one, machine("b") as two:
        url, token = await answered(one)
        assert url == one.replace("http", "ws") + "/telephony/twilio"
        assert not await is_let_in(url.replace(one[7:], two[7:]), token)
        assert await is_let_in(url, token)
        assert not await is_let_in(url, token)


@pytest.mark.slow
async def test_a_call_of_one_machine_is_seen_and_hung_up_by_way_of_another():
    async with machine("a") as one, machine("b") as two, call(one) as caller:
        away = two.removeprefix("http://")
        async with dial(away, f"?call_id={caller.call_id}") as line:
            await until(line, "session.created")
            update = {"type": "realtime", "instructions": "Be brief."}
            await line.send(json.dumps({"type": "session.update", "session": update}))
            changed = (await until(line, "session.updated"))[-1]
            assert changed["session"]["instructions"] == "Be brief."
        async with httpx.AsyncClient(base_url=two) as web:
            path = f"/v1/realtime/calls/{caller.call_id}/hangup"
            assert (await web.post(path)).status_code == 200
            await caller._closed.wait()
            while (await web.post(path)).status_code == 200:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert (await web.post(path)).status_code == 404


async def test_a_call_of_a_machine_that_is_gone_is_not_found():
    async with machine("b") as two:
        gone = Identity(KEY.encode(), "http://127.0.0.1:1").call_suffix()
        with pytest.raises(InvalidStatus) as refused:
            async with dial(two.removeprefix("http://"), f"?call_id=rtc_00{gone}"):
                pass
        assert refused.value.response.status_code == 404
        async with httpx.AsyncClient(base_url=two) as web:
            answer = await web.post(f"/v1/realtime/calls/rtc_00{gone}/hangup")
        assert answer.status_code == 404


@pytest.mark.slow
async def test_a_request_that_was_forwarded_twice_goes_no_further():
    async with (
        machine("a") as one,
        machine("b") as two,
        call(one) as caller,
        httpx.AsyncClient(base_url=two) as web,
    ):
        path = f"/v1/realtime/calls/{caller.call_id}/hangup"
        for hops in ("2", "1", "99999", "x"):
            answer = await web.post(path, headers={"x-onebreath-forwarded": hops})
            assert answer.status_code == 404
