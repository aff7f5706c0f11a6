"""The server with scripted engines and all telephony providers, for tests that call it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from agent.compute import Compute
from agent.config.settings import Settings
from agent.reply import ToolCall
from agent.responders.scripted import ScriptedResponder, repeat
from agent.runtime.engine_tasks import Engines
from agent.server.app import listen, serve
from agent.telephony.check.fake_providers import ProviderMessage, Twilio
from agent.telephony.check.signing import MediaAddress, read_answer, signed_webhook
from agent.tools.toolbox import load_tools
from asr.scripted import ScriptedTranscriber
from support.fakes import LoudIsSpeech
from tts.tone import ToneSynthesizer

SECRET = "a-secret-of-more-than-thirty-two-characters"
UUID = "40325ec2-5efd-4bd3-805f-53576e581d13"
PROVIDERS: dict[str, dict[str, Any]] = {
    "twilio": {"auth_token": SECRET},
    "signalwire": {"signing_key": SECRET},
    "exotel": {"username": "agent", "password": SECRET},
    "telnyx": {"public_key": "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="},
    "plivo": {"auth_token": SECRET},
    "vonage": {"signature_secret": SECRET},
    "jambonz": {"username": "agent", "password": SECRET},
    "asterisk": {"username": "agent", "password": SECRET},
}


@dataclass
class TelephonyServer:
    """A server that is up."""

    address: str
    """host:port"""
    settings: Settings
    engines: Engines
    web: httpx.AsyncClient

    @property
    def responder(self) -> ScriptedResponder:
        assert isinstance(self.engines.responder, ScriptedResponder)
        return self.engines.responder

    async def ask(self, provider: str, call_id: str) -> MediaAddress:
        """Ask about a call as the provider does."""
        request = signed_webhook(provider, self.settings.telephony, call_id, time.time())
        assert request is not None
        response = await self.web.request(
            request.method, request.url, headers=request.headers, content=request.body
        )
        assert response.status_code == 200, response.text
        return read_answer(provider, response.text)

    async def calls(self) -> int:
        """How many calls the server has up."""
        return int((await self.web.get("/readyz")).json()["calls"])

    async def until_calls(self, count: int) -> None:
        while await self.calls() != count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def scripted(
    *heard: str, script: Callable[[str], str] | Mapping[str, str | ToolCall] = repeat
) -> Engines:
    """Engines without models, whose caller says ``heard``."""
    utterances = [[(1, word) for word in text.split()] for text in heard]
    return Engines(
        ScriptedTranscriber(utterances),
        ScriptedResponder(script),
        ToneSynthesizer(),
        LoudIsSpeech,
        Compute(),
        ThreadPoolExecutor(8),
    )


@asynccontextmanager
async def telephony_server(
    *heard: str,
    script: Callable[[str], str] | Mapping[str, str | ToolCall] = repeat,
    telephony: Mapping[str, Any] | None = None,
    engines: Engines | None = None,
    **sections: Any,
) -> AsyncIterator[TelephonyServer]:
    """A server whose caller says ``heard``, turn by turn, whenever it is loud.

    Args:
        telephony: settings besides the providers, all of which are set up.
        engines: instead of the scripted ones; they are not closed.
        sections: other sections of the settings.
    """
    sock = listen("127.0.0.1", 0)
    address = f"127.0.0.1:{sock.getsockname()[1]}"
    providers = {"public_url": f"http://{address}", **PROVIDERS, **(telephony or {})}
    sections = {"server": {"max_calls": 8}, **sections}
    settings = Settings.model_validate({"telephony": providers, **sections})
    own = engines is None
    engines = engines or scripted(*heard, script=script)
    engines = replace(engines, tools=load_tools(settings.tools))
    ready = asyncio.Event()
    serving = asyncio.create_task(serve(settings, engines, sock, ready.set))
    try:
        async with asyncio.timeout(20):
            await ready.wait()
        # No TLS context is needed, and making one takes longer than a test.
        async with httpx.AsyncClient(
            base_url=f"http://{address}", verify=False, trust_env=False
        ) as web:
            yield TelephonyServer(address, settings, engines, web)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        if own:
            engines.compute.close()
            engines.voices.shutdown()


def dial(server: TelephonyServer, provider: str = "twilio", **options: Any) -> Any:
    url = f"ws://{server.address}/telephony/{provider}"
    return connect(url, compression=None, max_size=None, **options)


async def closed(line: ClientConnection, seconds: float = 5.0) -> int | None:
    """Read until the server hangs up; its close code."""
    async with asyncio.timeout(seconds):
        with contextlib.suppress(ConnectionClosed):
            async for _ in line:
                pass
    return line.close_code


async def admitted(server: TelephonyServer, call_id: str = "CA1") -> Twilio:
    """A caller whose token is good."""
    return Twilio(call_id, (await server.ask("twilio", call_id)).token)


async def send(line: ClientConnection, *messages: ProviderMessage) -> None:
    """Send as far as the server lets us."""
    with contextlib.suppress(ConnectionClosed):
        for message in messages:
            await line.send(message)


def start(token: str, **changed: Any) -> str:
    """A start message with fields of the attacker's choice."""
    body = json.loads(Twilio("CA1", token).opening()[1])
    body["start"] |= changed
    return json.dumps(body)
