"""Tools of telephone calls: a transfer in each provider's own way, and keys as tones."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as Xml

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette
from support.telephony_peer import RATE, start
from support.telephony_server import server
from test_telephony_endpoint import ask, closed, dial, until
from test_webhooks import FORM, NOW, PUBLIC, SECRET, SETTINGS, twilio_signature

from agent.audio.g711 import decode_mulaw
from agent.config.telephony import TelephonySettings
from agent.reply import ToolCall
from agent.server.identity import Identity
from agent.telephony.access import answers
from agent.telephony.access.tokens import Tokens
from agent.telephony.access.transfers import LIFETIME, MAX_WAITING, Transfers
from agent.telephony.access.webhooks import Webhooks
from agent.telephony.check.signing import MediaAddress, read_answer
from agent.telephony.media.tones import COLUMNS, KEYS, ROWS, key_tones

SIP = "sip:desk@pbx.example.com"
EXCHANGE = {"username": "agent", "password": SECRET}
TOOLS = {
    "built_in": ["transfer", "send_dtmf", "hang_up"],
    "transfer": {"desk": {"number": "+4930123456"}},
    "announcement": "",
}


# ---- the tones -----------------------------------------------------------------------


def power(samples: np.ndarray[Any, Any], frequency: float, rate: int) -> float:
    at = np.arange(len(samples)) / rate
    return float(abs(np.dot(samples, np.exp(-2j * np.pi * frequency * at)))) / len(samples)


def heard_keys(samples: np.ndarray[Any, Any], rate: int) -> str:
    """The keys in a sound: the two frequencies of every stretch that is not silent."""
    found, size, last = "", rate // 50, " "
    for begin in range(0, len(samples) - size, size):
        piece = samples[begin : begin + size]
        row = max(range(4), key=lambda n: power(piece, ROWS[n], rate))
        column = max(range(4), key=lambda n: power(piece, COLUMNS[n], rate))
        sure = min(power(piece, ROWS[row], rate), power(piece, COLUMNS[column], rate)) > 0.05
        key = KEYS[row][column] if sure else " "
        found += key if key not in (last, " ") else ""
        last = key
    return found


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000, 44_100])
def test_every_key_has_its_tones(rate: int) -> None:
    keys = "0123456789*#ABCD"
    sound = key_tones(keys, rate)
    assert heard_keys(sound, rate) == keys
    assert np.abs(sound).max() <= 0.5
    assert len(sound) == pytest.approx(len(keys) * 0.18 * rate, abs=len(keys) * 2)


def test_a_pause_is_half_a_second_and_nothing_else_is_a_key() -> None:
    assert len(key_tones("1w1", 8000)) == 2 * len(key_tones("1", 8000)) + 4000
    assert len(key_tones("", 8000)) == 0
    with pytest.raises(ValueError, match="'x' is no key"):
        key_tones("x", 8000)


# ---- what comes after the stream -----------------------------------------------------


def xml(answer: answers.WebhookAnswer) -> Xml.Element:
    return Xml.fromstring(answer.body)


def test_the_answers_of_each_provider() -> None:
    assert xml(answers.dial_xml("+49301")).findtext("Dial") == "+49301"
    assert xml(answers.dial_xml(SIP)).findtext("Dial/Sip") == SIP
    assert xml(answers.dial_xml(None)).find("Hangup") is not None
    assert xml(answers.plivo_dial_xml("+49301")).findtext("Dial/Number") == "+49301"
    assert xml(answers.plivo_dial_xml(SIP)).findtext("Dial/User") == SIP
    assert xml(answers.plivo_dial_xml(None)).find("Hangup") is not None
    phone = json.loads(answers.connect_ncco("+49301").body)
    assert phone == [{"action": "connect", "endpoint": [{"type": "phone", "number": "49301"}]}]
    assert json.loads(answers.connect_ncco(SIP).body)[0]["endpoint"] == [
        {"type": "sip", "uri": SIP}
    ]
    assert json.loads(answers.connect_ncco(None).body) == []
    (verb,) = json.loads(answers.jambonz_dial("+49301").body)
    assert verb == {"verb": "dial", "target": [{"type": "phone", "number": "+49301"}]}
    assert json.loads(answers.jambonz_dial(SIP).body)[0]["target"][0]["sipUri"] == SIP
    assert json.loads(answers.jambonz_dial(None).body) == []
    assert answers.plain("100").body == "100"
    assert answers.plain(None).body == ""


AFTER = f"{PUBLIC}/telephony/x/next"


def test_a_stream_is_followed_by_a_question_only_where_transfers_are_on() -> None:
    for make in (answers.twiml, answers.texml):
        assert xml(make("wss://x", "t")).find("Redirect") is None
        assert xml(make("wss://x", "t", AFTER)).findtext("Redirect") == AFTER
    assert xml(answers.plivo_xml("wss://x", "t", 8000, AFTER)).findtext("Redirect") == AFTER
    connect, notify = json.loads(answers.ncco("wss://x", "t", 8000, "a/b", AFTER).body)
    assert (connect["action"], notify["eventUrl"]) == ("connect", [f"{AFTER}?uuid=a%2Fb"])
    verbs = json.loads(answers.jambonz_verbs("wss://x", "t", 8000, AFTER).body)
    assert verbs[1]["actionHook"] == AFTER


def client(transfers: Transfers | None) -> httpx.AsyncClient:
    settings = TelephonySettings.model_validate({**SETTINGS, "asterisk": EXCHANGE})
    hooks = Webhooks(settings, Tokens(), lambda: 5.0, lambda: NOW, transfers=transfers)
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(Starlette(routes=hooks.routes())),
        base_url="http://internal:8080",
        trust_env=False,
    )


def signed(provider: str, path: str, fields: dict[str, str]) -> dict[str, Any]:
    signature = twilio_signature(f"{PUBLIC}{path}", fields.items(), SECRET)
    headers = {**FORM, f"x-{provider}-signature": signature}
    return {"content": urlencode(fields), "headers": headers}


@pytest.mark.parametrize("provider", ["twilio", "signalwire"])
async def test_a_provider_is_told_once_whom_to_dial(provider: str) -> None:
    transfers = Transfers(lambda: 5.0)
    path, fields = f"/telephony/{provider}/next", {"CallSid": "CA1"}
    async with client(transfers) as http:
        asked = await http.post(
            f"/telephony/{provider}/answer",
            **signed(provider, f"/telephony/{provider}/answer", fields),
        )
        assert Xml.fromstring(asked.text).findtext("Redirect") == f"{PUBLIC}{path}"
        transfers.expect(provider, "CA1", "+4930")
        transfers.expect(provider, "CA2", "+4931")
        told = await http.post(path, **signed(provider, path, fields))
        assert Xml.fromstring(told.text).findtext("Dial") == "+4930"
        again = await http.post(path, **signed(provider, path, fields))
        assert Xml.fromstring(again.text).find("Hangup") is not None
        forged = await http.post(path, content=urlencode(fields), headers=FORM)
        assert forged.status_code == 403


async def test_a_dialplan_asks_by_the_id_of_its_call() -> None:
    transfers = Transfers(lambda: 5.0)
    transfers.expect("asterisk", "17.1", "100")
    where, query = "/telephony/asterisk/next", {"call": "17.1"}
    async with client(transfers) as http:
        assert (await http.get(where, params=query)).status_code == 403
        auth = ("agent", SECRET)
        assert (await http.get(where, params=query, auth=auth)).text == "100"
        assert (await http.get(where, params=query, auth=auth)).text == ""
        assert (await http.get(where, auth=auth)).status_code == 400
        assert (await http.get("/telephony/exotel/next", auth=auth)).status_code in (400, 404)


async def test_without_transfers_nobody_is_asked() -> None:
    async with client(None) as http:
        assert (await http.post("/telephony/twilio/next")).status_code == 404


def test_a_transfer_is_forgotten_in_time_and_beyond_a_bound() -> None:
    now = 0.0
    transfers = Transfers(lambda: now)
    transfers.expect("twilio", "a", "1")
    now = LIFETIME
    assert transfers.take("twilio", "a") is None
    for number in range(MAX_WAITING + 1):
        transfers.expect("twilio", str(number), "1")
    assert transfers.take("twilio", "0") is None
    assert transfers.take("twilio", "1") == "1"


# ---- whole calls ---------------------------------------------------------------------


async def call(address: str, tokens: Tokens, provider: str = "twilio") -> Any:
    line = await dial(address).__aenter__()
    await line.send(start(token=tokens.issue("CA1", time.monotonic(), provider)))
    await ask(line)
    return line


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> Tokens:
    shared = Tokens(b"k" * 32)
    monkeypatch.setattr(Identity, "tokens", lambda self: shared)
    return shared


def calling(name: str, arguments: str = "{}") -> dict[str, ToolCall]:
    return {"how are you": ToolCall("", name, arguments)}


@pytest.mark.slow
async def test_a_transferred_call_ends_and_the_provider_is_told_whom_to_dial(
    tokens: Tokens,
) -> None:
    script = calling("transfer", '{"target": "desk"}')
    async with server("how are you", answers=script, tools=TOOLS) as (address, engines):
        line = await call(address, tokens)
        assert await closed(line) == 1000
        fields, path = {"CallSid": "CA1"}, "/telephony/twilio/next"
        signature = twilio_signature(f"http://127.0.0.1{path}", fields.items(), "0123456789abcdef")
        async with httpx.AsyncClient(trust_env=False) as http:
            told = await http.post(
                f"http://{address}{path}",
                content=urlencode(fields),
                headers={**FORM, "x-twilio-signature": signature},
            )
        assert Xml.fromstring(told.text).findtext("Dial") == "+4930123456"
        offered = [tool.name for tool in engines.responder.options[0].tools]
        assert offered == ["transfer", "send_dtmf", "hang_up"]


@pytest.mark.slow
async def test_keys_are_heard_at_the_other_end_although_it_speaks(tokens: Tokens) -> None:
    script = calling("send_dtmf", '{"digits": "15#"}')
    async with server("how are you", "again", answers=script, tools=TOOLS) as (address, _):
        line = await call(address, tokens)
        await until(line, "media")
        heard = [np.zeros(0, np.float32)]
        async with asyncio.timeout(20):
            while heard_keys(np.concatenate(heard), RATE) != "15#":
                (*_, command) = await until(line, "media")
                payload = base64.b64decode(command["media"]["payload"])
                heard.append(decode_mulaw(payload))
                if len(heard) == 3:
                    await ask(line)
        await line.close()


@pytest.mark.slow
async def test_the_agent_hangs_up(tokens: Tokens) -> None:
    async with server("how are you", answers=calling("hang_up"), tools=TOOLS) as (address, _):
        line = await call(address, tokens)
        commands = await until(line, "media")  # the goodbye of the settings
        assert commands
        assert await closed(line) == 1000


def test_the_check_of_a_set_up_reads_these_answers_too() -> None:
    made = {
        "twilio": answers.twiml("wss://x", "t", AFTER),
        "telnyx": answers.texml("wss://x", "t", AFTER),
        "plivo": answers.plivo_xml("wss://x", "t", 8000, AFTER),
        "vonage": answers.ncco("wss://x", "t", 8000, "c", AFTER),
        "jambonz": answers.jambonz_verbs("wss://x", "t", 8000, AFTER),
    }
    for provider, answer in made.items():
        assert read_answer(provider, answer.body) == MediaAddress("wss://x", "t"), provider
