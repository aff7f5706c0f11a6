"""Credentials for TURN servers."""

import base64
import hashlib
import hmac

import httpx
import pytest
from support.webrtc_calls import HERE
from test_server import server

from agent.config.settings import IceServer
from agent.transports.turn import credentials

TURN = "turn:turn.example.org:3478"


def test_a_shared_secret_makes_credentials_that_expire():
    given = IceServer(urls=TURN, secret="north", credential_seconds=600)
    username, password = credentials(given, now=1_000.5)
    expires, _, name = username.partition(":")
    assert expires == "1600"
    expected = hmac.new(b"north", username.encode(), hashlib.sha1).digest()
    assert base64.b64decode(password) == expected
    assert credentials(given, now=1_000.5)[0] != username, "nobody can be followed by the name"
    assert len(name) == 16


def test_fixed_credentials_and_none_stay_as_they_are():
    fixed = IceServer(urls=TURN, username="me", credential="word")
    assert credentials(fixed) == ("me", "word")
    assert credentials(IceServer(urls="stun:stun.example.org")) == (None, None)


def test_a_secret_and_fixed_credentials_contradict_each_other():
    with pytest.raises(ValueError, match="not both"):
        IceServer(urls=TURN, secret="north", username="me", credential="word")


async def test_the_page_is_given_credentials_and_never_the_secret():
    webrtc = {"ice_hosts": HERE, "ice_servers": [{"urls": TURN, "secret": "north"}]}
    async with server(webrtc=webrtc) as (address, _), httpx.AsyncClient() as web:
        answer = await web.get(f"http://{address}/v1/realtime/ice")
    (given,) = answer.json()["iceServers"]
    assert set(given) == {"urls", "username", "credential"}
    assert "north" not in answer.text
    assert answer.headers["cache-control"] == "no-store"
