"""End-to-end test of the telephony settings: plays each provider against the running server.

For every provider with a section in the settings: a webhook signed as the provider signs it
must be answered, an unsigned one must be refused; the media socket that the answer names must
take a call, hear a question and speak.
"""

from __future__ import annotations

import asyncio
import http.client
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from agent.audio.samples import Samples, read_sound_file
from agent.config.settings import Settings
from agent.config.telephony import ASK_BY_WEBHOOK, TelephonySettings
from agent.doctor.checks import Finding, Level
from agent.errors import CallError, ProtocolError
from agent.questions import bundled_questions
from agent.telephony.access.signatures import SignedRequest
from agent.telephony.check import fake_providers
from agent.telephony.check.signing import MediaAddress, basic_header, read_answer, signed_webhook
from agent.telephony.check.simulation import AudibleReply, simulate, simulate_audiosocket

HTTP_SECONDS = 10.0
MAX_ANSWER = 65_536


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The address at which the server is reached.

    Args:
        url: http or https; the public address, or the server's own, which bypasses the proxy.
        public: whether it is the public address.
    """

    url: str
    public: bool = False

    def socket(self, url: str) -> str:
        """The URL to dial for the media socket at ``url``.

        By the public address it is dialled as it is: it may name ``server.advertise``.
        """
        if self.public and urlsplit(url).netloc:
            return url
        here, there = urlsplit(self.url), urlsplit(url)
        scheme = "wss" if here.scheme == "https" else "ws"
        prefix = here.path.rstrip("/")
        return urlunsplit((scheme, here.netloc, prefix + there.path, there.query, ""))


async def check_telephony(settings: Settings, url: str | None = None) -> list[Finding]:
    """Check the server, and every provider in the settings.

    Args:
        url: address of the server, if not ``telephony.public_url``.
    """
    telephony = settings.telephony
    here = f"http://{settings.server.host}:{settings.server.port}"
    place = ServerAddress(
        (url or telephony.public_url or here).rstrip("/"),
        url is None and bool(telephony.public_url),
    )
    configured = [name for name in (*ASK_BY_WEBHOOK, "asterisk") if getattr(telephony, name)]
    configured += ["audiosocket"] * (telephony.audiosocket_port is not None)
    findings = [_settings(configured), await _reachable(place)]
    if findings[-1].level is Level.PROBLEM:
        return findings
    for name in configured:
        if name == "asterisk":
            findings.append(await _asterisk(telephony, place))
        elif name == "audiosocket":
            findings.append(await _audiosocket(telephony))
        else:
            findings += await _provider(name, telephony, place)
    return findings


def _settings(configured: Sequence[str]) -> Finding:
    if configured:
        return Finding(Level.OK, "settings", ", ".join(configured))
    advice = "add a section such as [telephony.twilio]; docs/telephony.md has one for each provider"
    return Finding(Level.PROBLEM, "settings", "no provider is set up", advice)


async def _reachable(place: ServerAddress) -> Finding:
    try:
        status, body = await _fetch(SignedRequest("GET", f"{place.url}/healthz", {}))
    except CallError as error:
        advice = "start `onebreath serve`; check name, proxy and certificate"
        return Finding(Level.PROBLEM, "server", f"{place.url}: {error}", advice)
    if status == 200 and '"ok"' in body:
        return Finding(Level.OK, "server", f"{place.url} answers")
    # docs/security.md advises a proxy that passes on /telephony/ only.
    return Finding(Level.OK, "server", f"{place.url} answers; /healthz is not passed on ({status})")


async def _provider(name: str, telephony: TelephonySettings, place: ServerAddress) -> list[Finding]:
    """Check the webhook, unsigned and signed, then a call."""
    findings = [await _unsigned(name, place)]
    call_id = f"check{secrets.token_hex(8)}"
    request = signed_webhook(name, telephony, call_id, time.time())
    if request is None:
        advice = "dial the number yourself"
        detail = "not tried: only Telnyx can sign its webhooks"
        return [*findings, Finding(Level.WARNING, f"{name} call", detail, advice)]
    try:
        opened = await _answer(name, request, place)
    except (CallError, ProtocolError) as error:
        advice = "compare [telephony] here with the settings of the running server"
        return [*findings, Finding(Level.PROBLEM, f"{name} webhook", str(error), advice)]
    findings.append(Finding(Level.OK, f"{name} webhook", f"opens {_without_query(opened.url)}"))
    caller = _caller(name, telephony, call_id, opened.token)
    return [*findings, await _call(f"{name} call", place.socket(opened.url), caller)]


async def _unsigned(name: str, place: ServerAddress) -> Finding:
    """Check that a request without a signature is refused."""
    what = f"{name} unsigned"
    body = b"CallSid=check&CallUUID=check"
    headers = {"content-type": "application/x-www-form-urlencoded"}
    url = f"{place.url}/telephony/{name}/answer"
    try:
        status, answer = await _fetch(SignedRequest("POST", url, headers, body))
    except CallError as error:
        return Finding(Level.PROBLEM, what, str(error), "does the proxy pass /telephony/ on?")
    if status == 403:
        return Finding(Level.OK, what, "an unsigned webhook is refused")
    advice = "restart the server with these settings, and see that the proxy passes /telephony/ on"
    return Finding(Level.PROBLEM, what, f"HTTP {status}: {answer[:100].strip()}", advice)


async def _answer(name: str, request: SignedRequest, place: ServerAddress) -> MediaAddress:
    parts = urlsplit(request.url)
    here = f"{place.url}/telephony/{name}/answer" + (f"?{parts.query}" if parts.query else "")
    asked = SignedRequest(request.method, here, request.headers, request.body)
    status, body = await _fetch(asked)
    if status != 200:
        raise CallError(f"HTTP {status}: {body[:200].strip()}")
    return read_answer(name, body)


async def _asterisk(telephony: TelephonySettings, place: ServerAddress) -> Finding:
    settings = telephony.asterisk
    assert settings is not None
    headers = basic_header(settings.username, settings.password)
    return await _call(
        "asterisk call",
        place.socket("/telephony/asterisk"),
        fake_providers.asterisk("check.1"),
        {"Authorization": headers["authorization"]},
        "media",
    )


async def _audiosocket(telephony: TelephonySettings) -> Finding:
    caller = fake_providers.AudioSocket(telephony.audiosocket_uuid or uuid4())
    host, port = telephony.audiosocket_host, telephony.audiosocket_port or 0
    advice = "is this the machine of the server, and is telephony.audiosocket_uuid the same there?"
    call = simulate_audiosocket(host, port, caller, _question(caller.rate))
    return await _judge("audiosocket call", call, advice)


async def _call(
    what: str,
    url: str,
    caller: fake_providers.Provider,
    headers: Mapping[str, str] | None = None,
    subprotocol: str | None = None,
) -> Finding:
    call = simulate(url, caller, _question(caller.rate), headers=headers, subprotocol=subprotocol)
    advice = "see the log of the server, and whether the proxy passes websockets on"
    return await _judge(what, call, advice)


async def _judge(what: str, call: Awaitable[AudibleReply], advice: str) -> Finding:
    try:
        heard = await call
    except CallError as error:
        return Finding(Level.PROBLEM, what, str(error), advice)
    return Finding(Level.OK, what, f"speaks {heard.delay:.2f} s after the question")


def _question(rate: int) -> Samples:
    return read_sound_file(bundled_questions()[0], rate).samples


def _caller(
    name: str, telephony: TelephonySettings, call_id: str, token: str
) -> fake_providers.Provider:
    rate = getattr(getattr(telephony, name), "rate", 8000)
    match name:
        case "exotel":
            return fake_providers.Exotel(call_id, token, rate)
        case "telnyx":
            return fake_providers.Telnyx(call_id, token)
        case "plivo":
            return fake_providers.Plivo(call_id, token, rate)
        case "vonage":
            return fake_providers.vonage(call_id, token, rate)
        case "jambonz":
            return fake_providers.jambonz(call_id, token, rate)
        case _:
            return fake_providers.Twilio(call_id, token)


async def _fetch(request: SignedRequest) -> tuple[int, str]:
    """Send a request; returns the status and the beginning of the body.

    Raises:
        CallError: there is no answer, or it is not HTTP.
    """
    return await asyncio.to_thread(_fetch_now, request)


def _fetch_now(request: SignedRequest) -> tuple[int, str]:
    body = request.body or None
    asked = urllib.request.Request(request.url, body, dict(request.headers), method=request.method)
    try:
        with urllib.request.urlopen(asked, timeout=HTTP_SECONDS) as response:
            return response.status, response.read(MAX_ANSWER).decode(errors="replace")
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read(MAX_ANSWER).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise CallError(str(getattr(error, "reason", error))) from None


def _without_query(url: str) -> str:
    return url.partition("?")[0]
