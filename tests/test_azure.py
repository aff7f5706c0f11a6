"""Azure's addresses of the API and its header for a key."""

import json

import httpx
import pytest
from test_server import server, until
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from agent.config.settings import ApiKeySettings
from agent.server.azure import AzureAddresses, is_preview
from agent.server.keys import new_key

PREVIEW = "/openai/realtime?api-version=2025-04-01-preview&deployment=gpt-realtime"
NEWER = "/openai/v1/realtime?model=gpt-realtime"
VOICE_LIVE = "/voice-live/realtime?api-version=2026-07-15&model=gpt-realtime"


async def translated(path, headers=(), kind="websocket"):
    """The request as the application sees it."""
    seen = {}

    async def app(scope, receive, send):
        seen.update(scope)

    scope = {"type": kind, "path": path, "raw_path": path.encode(), "headers": list(headers)}
    await AzureAddresses(app)(scope, None, None)
    return seen


@pytest.mark.parametrize(
    ("path", "served", "preview"),
    [
        ("/openai/realtime", "/v1/realtime", True),
        ("/openai/v1/realtime", "/v1/realtime", False),
        ("/voice-live/realtime", "/v1/realtime", True),
        ("/openai/v1/realtime/client_secrets", "/v1/realtime/client_secrets", False),
        ("/openai/v1/realtime/calls/rtc_1/hangup", "/v1/realtime/calls/rtc_1/hangup", False),
        ("/v1/realtime", "/v1/realtime", False),
        ("/openai/realtimes", "/openai/realtimes", False),
        ("/", "/", False),
    ],
)
async def test_addresses(path, served, preview):
    scope = await translated(path)
    assert (scope["path"], is_preview(scope)) == (served, preview)
    assert scope["raw_path"] == served.encode()


async def test_the_key_of_azures_header_is_a_bearers():
    key, bearer = (b"api-key", b" sk_1 "), (b"authorization", b"Bearer sk_2")
    scope = await translated("/v1/realtime", [key])
    assert (b"authorization", b"Bearer sk_1") in scope["headers"]
    scope = await translated("/v1/realtime", [key, bearer])
    assert [value for name, value in scope["headers"] if name == b"authorization"] == [bearer[1]]
    assert (await translated("/telephony/twilio", [key]))["headers"] == [key]


async def test_the_lifespan_passes():
    assert (await translated("", kind="lifespan"))["path"] == ""


async def kinds(address, path, session):
    """The kinds of the events of a typed turn."""
    async with connect(f"ws://{address}{path}") as line:
        seen = await until(line, "session.created")
        part = {"type": "input_text", "text": "how are you"}
        item = {"type": "message", "role": "user", "content": [part]}
        await line.send(json.dumps({"type": "session.update", "session": session}))
        await line.send(json.dumps({"type": "conversation.item.create", "item": item}))
        await line.send(json.dumps({"type": "response.create"}))
        seen += await until(line, "response.done")
    assert not [event for event in seen if event["type"] == "error"]
    return {event["type"] for event in seen}


@pytest.mark.parametrize(
    ("path", "session", "beta"),
    [
        (PREVIEW, {"modalities": ["text", "audio"]}, True),
        (VOICE_LIVE, {"modalities": ["text", "audio"]}, True),
        (PREVIEW, {"type": "realtime", "output_modalities": ["audio"]}, False),
        (NEWER, {"type": "realtime"}, False),
        (NEWER, {"instructions": "Be kind."}, False),
    ],
)
async def test_events_have_the_form_of_the_address_or_of_the_session(path, session, beta):
    async with server() as (address, _):
        seen = await kinds(address, path, session)
    assert ("response.audio.delta" in seen) == beta
    assert ("conversation.item.created" in seen) == beta
    assert ("response.output_audio.delta" in seen) != beta


async def test_a_key_is_needed_and_found_in_its_header():
    key, digest = new_key()
    async with server(api_keys={"one": ApiKeySettings(hash=digest)}) as (address, _):
        with pytest.raises(InvalidStatus, match="401"):
            async with connect(f"ws://{address}{PREVIEW}"):
                pass
        with pytest.raises(InvalidStatus, match="401"):
            async with connect(f"ws://{address}{PREVIEW}", additional_headers={"api-key": "no"}):
                pass
        async with connect(f"ws://{address}{PREVIEW}", additional_headers={"api-key": key}) as line:
            await until(line, "session.created")
        async with httpx.AsyncClient() as web:
            url = f"http://{address}/openai/v1/realtime/client_secrets"
            made = await web.post(url, headers={"api-key": key}, json={})
    assert made.json()["value"].startswith("ek_")
