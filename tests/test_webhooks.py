"""Webhooks of every provider: signed requests are answered, all others are not."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from xml.etree import ElementTree as Xml

import httpx
import jwt
import pytest
from starlette.applications import Starlette

from agent.config.telephony import TelephonySettings
from agent.telephony.access.signatures import SignedRequest, plivo_signature, twilio_signature
from agent.telephony.access.tokens import TokenError, Tokens
from agent.telephony.access.webhooks import MAX_BODY, Webhooks

PUBLIC = "https://phone.example.com"
NOW = 1_790_000_000.0
SECRET = "a-secret-of-more-than-thirty-two-characters"
SETTINGS = {
    "public_url": f"{PUBLIC}/",
    "twilio": {"auth_token": SECRET},
    "signalwire": {"signing_key": SECRET},
    "exotel": {"username": "agent", "password": SECRET},
    "telnyx": {"public_key": "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="},
    "plivo": {"auth_token": SECRET},
    "vonage": {"signature_secret": SECRET, "application_id": "app-1"},
    "jambonz": {"username": "agent", "password": SECRET},
}
FORM = {"content-type": "application/x-www-form-urlencoded"}


def webhooks(tokens: Tokens, **changed: Any) -> httpx.AsyncClient:
    """A client of the routes. The host name it sends is not ours, as behind some proxies."""
    settings = TelephonySettings.model_validate(SETTINGS | changed)
    app = Starlette(routes=Webhooks(settings, tokens, lambda: 5.0, lambda: NOW).routes())
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://internal:8080", trust_env=False
    )


async def post(
    provider: str,
    body: str | bytes,
    headers: Mapping[str, str],
    tokens: Tokens | None = None,
    **changed: Any,
) -> httpx.Response:
    async with webhooks(tokens or Tokens(), **changed) as client:
        return await client.post(f"/telephony/{provider}/answer", content=body, headers=headers)


def twilio(fields: Mapping[str, str], provider: str = "twilio") -> tuple[str, dict[str, str]]:
    url = f"{PUBLIC}/telephony/{provider}/answer"
    signature = twilio_signature(url, fields.items(), SECRET)
    return urlencode(fields), {**FORM, f"x-{provider}-signature": signature}


def plivo(fields: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    body = urlencode(fields)
    url = f"{PUBLIC}/telephony/plivo/answer"
    signature = plivo_signature(SignedRequest("POST", url, FORM, body.encode()), "n1", SECRET)
    named = {"x-plivo-signature-v3": signature, "x-plivo-signature-v3-nonce": "n1"}
    return body, {**FORM, **named}


def vonage(call: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    body = json.dumps(call)
    claims = {
        "iat": int(NOW),
        "iss": "Vonage",
        "application_id": "app-1",
        "payload_hash": hashlib.sha256(body.encode()).hexdigest(),
    }
    token = jwt.encode(claims, SECRET, "HS256")
    return body, {"content-type": "application/json", "authorization": f"Bearer {token}"}


def basic(password: str = SECRET) -> tuple[str, str]:
    return ("agent", password)


@pytest.mark.parametrize("provider", ["twilio", "signalwire"])
async def test_twiml(provider: str) -> None:
    tokens = Tokens()
    body, headers = twilio({"CallSid": "CA1", "From": "+15550100"}, provider)
    response = await post(provider, body, headers, tokens)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/xml")
    root = Xml.fromstring(response.text)
    assert root.tag == "Response"
    (stream,) = root.findall("Connect/Stream")
    assert stream.attrib == {"url": f"wss://phone.example.com/telephony/{provider}"}
    (parameter,) = stream.findall("Parameter")
    assert parameter.attrib["name"] == "token"
    tokens.spend(parameter.attrib["value"], "CA1", 6.0, provider)


async def test_texml() -> None:
    tokens = Tokens()
    headers = {
        **FORM,
        "telnyx-timestamp": "1790000000",
        "telnyx-signature-ed25519": (
            "91FJ+tiwJBkLFk0n7fNMITc7PsXd4ne+kLlfwOTGgDov"
            "jp9yhM2lGPeSQjS8AdyxHUqEsHu3iYDHffcgRjpFBw=="
        ),
    }
    response = await post("telnyx", "CallSid=v3%3Aabc&From=%2B15550100", headers, tokens)
    assert response.status_code == 200, response.text
    (stream,) = Xml.fromstring(response.text).findall("Connect/Stream")
    assert stream.attrib["url"] == "wss://phone.example.com/telephony/telnyx"
    assert stream.attrib["bidirectionalMode"] == "rtp"
    tokens.spend(stream.findall("Parameter")[0].attrib["value"], "v3:abc", 6.0, "telnyx")


async def test_plivo_xml() -> None:
    tokens = Tokens()
    response = await post("plivo", *plivo({"CallUUID": "u-1"}), tokens)
    assert response.status_code == 200, response.text
    (stream,) = Xml.fromstring(response.text).findall("Stream")
    assert stream.text == "wss://phone.example.com/telephony/plivo"
    assert stream.attrib["bidirectional"] == "true"
    assert stream.attrib["contentType"] == "audio/x-l16;rate=16000"
    name, _, token = stream.attrib["extraHeaders"].partition("=")
    assert name == "token"
    tokens.spend(token, "u-1", 6.0, "plivo")


async def test_ncco() -> None:
    tokens = Tokens()
    response = await post("vonage", *vonage({"uuid": "u-1", "from": "15550100"}), tokens)
    assert response.status_code == 200, response.text
    ((action,), (endpoint,)) = response.json(), response.json()[0]["endpoint"]
    assert action["action"] == "connect"
    assert endpoint["uri"] == "wss://phone.example.com/telephony/vonage"
    assert endpoint["content-type"] == "audio/l16;rate=16000"
    assert endpoint["headers"]["uuid"] == "u-1"
    tokens.spend(endpoint["headers"]["token"], "u-1", 6.0, "vonage")


async def test_jambonz_verbs() -> None:
    tokens = Tokens()
    async with webhooks(tokens) as client:
        response = await client.post(
            "/telephony/jambonz/answer", json={"call_sid": "j-1"}, auth=basic()
        )
        assert (await client.post("/telephony/jambonz/ended", json={})).json() == []
    assert [verb["verb"] for verb in response.json()] == ["answer", "listen", "hangup"]
    listen = response.json()[1]
    assert listen["url"] == "wss://phone.example.com/telephony/jambonz"
    assert listen["bidirectionalAudio"] == {"enabled": True, "streaming": True, "sampleRate": 16000}
    tokens.spend(listen["metadata"]["token"], "j-1", 6.0, "jambonz")


async def test_exotels_dynamic_url() -> None:
    tokens = Tokens()
    async with webhooks(tokens) as client:
        response = await client.get(
            "/telephony/exotel/answer", params={"CallSid": "e-1"}, auth=basic()
        )
    url = urlsplit(response.json()["url"])
    assert (url.scheme, url.netloc, url.path) == ("wss", "phone.example.com", "/telephony/exotel")
    tokens.spend(parse_qs(url.query)["token"][0], "e-1", 6.0, "exotel")


async def test_each_answer_has_a_token_of_its_own() -> None:
    tokens = Tokens()
    request = twilio({"CallSid": "CA1"})
    first, second = [await post("twilio", *request, tokens) for _ in range(2)]
    assert first.text != second.text
    stream = Xml.fromstring(first.text)[0][0]
    with pytest.raises(TokenError, match="not for this call"):
        tokens.spend(stream[0].attrib["value"], "CA2", 6.0, "twilio")


@pytest.mark.parametrize(
    "provider", ["twilio", "signalwire", "telnyx", "plivo", "vonage", "exotel", "jambonz"]
)
async def test_unsigned_requests_get_nothing(provider: str) -> None:
    fields = {"CallSid": "CA1", "CallUUID": "CA1", "uuid": "CA1", "call_sid": "CA1"}
    response = await post(provider, urlencode(fields), FORM)
    assert response.status_code == 403
    assert "header" in response.text
    assert "wss:" not in response.text


async def test_what_is_signed_for_another_address_gets_nothing() -> None:
    body, headers = twilio({"CallSid": "CA1"})
    response = await post("twilio", body, headers, public_url="https://other.example.com")
    assert response.status_code == 403
    assert "telephony.public_url" in response.text


async def test_the_host_header_changes_nothing() -> None:
    body, headers = twilio({"CallSid": "CA1"})
    forged = {"host": "evil.example", "x-forwarded-host": "evil.example"}
    response = await post("twilio", body, {**headers, **forged})
    assert response.status_code == 200
    assert "evil" not in response.text


async def test_wrong_basic_password() -> None:
    async with webhooks(Tokens()) as client:
        for provider in ("exotel", "jambonz"):
            response = await client.get(
                f"/telephony/{provider}/answer", params={"CallSid": "e"}, auth=basic("wrong")
            )
            assert response.status_code == 403


async def test_a_provider_that_is_not_set_up() -> None:
    response = await post("twilio", *twilio({"CallSid": "CA1"}), twilio=None)
    assert response.status_code == 404
    assert "[telephony.twilio]" in response.text
    assert (await post("nobody", "", {})).status_code == 404


async def test_a_signed_request_without_a_call() -> None:
    response = await post("twilio", *twilio({"SmsSid": "SM1"}))
    assert response.status_code == 400
    assert "CallSid" in response.text
    too_long = await post("twilio", *twilio({"CallSid": "C" * 500}))
    assert too_long.status_code == 400


@pytest.mark.parametrize("body", [b"[1]", b"[" * 60_000, b"\xff", b'{"uuid": 7}'])
async def test_signed_junk_from_vonage(body: bytes) -> None:
    claims = {"iat": int(NOW), "iss": "Vonage", "application_id": "app-1"}
    claims["payload_hash"] = hashlib.sha256(body).hexdigest()
    token = jwt.encode(claims, SECRET, "HS256")
    response = await post("vonage", body, {"authorization": f"Bearer {token}"})
    assert response.status_code == 400


async def test_a_large_body_is_not_read_to_its_end() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 16_384
            yield b"x" * 16_384

    async with webhooks(Tokens()) as client:
        response = await client.post("/telephony/twilio/answer", content=endless(), headers=FORM)
    assert response.status_code == 413
    assert sent < 2 * MAX_BODY + 16_384


async def test_a_body_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.telephony.access.webhooks.BODY_SECONDS", 0.05)

    async def stuck() -> AsyncIterator[bytes]:
        yield b"CallSid="
        await asyncio.Event().wait()

    async with asyncio.timeout(5), webhooks(Tokens()) as client:
        response = await client.post("/telephony/twilio/answer", content=stuck(), headers=FORM)
    assert response.status_code == 408


async def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    body, headers = twilio({"CallSid": "CA1", "From": "+15550100"})
    answered = await post("twilio", body, headers)
    refused = await post("twilio", body + "&x=1", headers)
    assert refused.status_code == 403
    token = Xml.fromstring(answered.text)[0][0][0].attrib["value"]
    for secret in (token, SECRET, headers["x-twilio-signature"], "15550100", "CA1"):
        assert secret not in caplog.text
    assert "refused a webhook of 'twilio'" in caplog.text


def test_without_providers_there_are_no_routes() -> None:
    assert Webhooks(TelephonySettings(), Tokens()).routes() == []
